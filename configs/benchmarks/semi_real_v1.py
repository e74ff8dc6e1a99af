# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/semi_real_v1.py --data-root FOLDER
# Real chest films with synthetic fractures: 66 with boxes, 260 with the label alone, 353 negatives.
_base_ = 'phantom_v1.py'
name = 'semi-real-v1'
data_root = 'data/semi_real/'
phantom = None
