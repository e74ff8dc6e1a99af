# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v2_fourfold.py \
#     --data-root FOLDER
# Rows of semi_real_v2.py with four times as many boxes, nothing else changed.
_base_ = 'semi_real_v2.py'
name = 'semi-real-v2-fourfold'
pretraining = dict(config='configs/semi_real/frac_sup_semi_real_v2_fourfold.py')
ssl = 'configs/semi_real/frac_ssl_semi_real_v2_fourfold.py'
deciding = ['supervised', 'mean_teacher', 'ours', 'plus', 'posterior_snapshot', 'upper_bound']
methods = {key: dict(_base_.methods[key], config=ssl) for key in deciding}
methods['_delete_'] = True
