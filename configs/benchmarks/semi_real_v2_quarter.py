# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v2_quarter.py \
#     --data-root FOLDER
# The rows of semi_real_v2.py that decide, with a quarter of the boxes, nothing else changed.
_base_ = 'semi_real_v2.py'
name = 'semi-real-v2-quarter'
pretraining = dict(config='configs/semi_real/frac_sup_semi_real_v2_quarter.py')
ssl = 'configs/semi_real/frac_ssl_semi_real_v2_quarter.py'
deciding = ['supervised', 'mean_teacher', 'temporal_ensembling', 'aals', 'ours', 'mil']
deciding += ['certain_cells_two_views', 'plus', 'posterior_snapshot', 'posterior_student']
deciding += ['posterior_match']
methods = {key: dict(_base_.methods[key], config=ssl) for key in deciding}
methods['_delete_'] = True
