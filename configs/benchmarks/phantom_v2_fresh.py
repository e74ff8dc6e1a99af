# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v2_fresh.py --seeds 3 4 5 6 7
# Fresh films for what phantom-v2 suggested: the lowest decile ahead of supervised training, of the best
# baseline and of the published form. Training, size and difficulty are phantom-v2's; films, seeds and a
# test set twice as large are new. Nothing is searched: L_semi has the weight 1 that phantom-v2 chose.
_base_ = ['phantom_v2.py']
name = 'phantom-v2-fresh'
data_root = 'data/phantom_v2_fresh/'
phantom = dict(
    counts=dict(test=dict(P_hos=480, N_hos=720)),
    seed=3,
)
methods = dict(
    _delete_=True,
    supervised={{_base_.methods.supervised}},
    mean_teacher={{_base_.methods.mean_teacher}},
    aals={{_base_.methods.aals}},
    aals_two_views={{_base_.methods.aals_two_views}},
    constant_a4_t02={{_base_.methods.constant_a4_t02}},
    constant_a4_t03={{_base_.methods.constant_a4_t03}},
    upper_bound={{_base_.methods.upper_bound}},
    ours={{_base_.methods.ours}},
    low_quantile={{_base_.methods.low_quantile}},
    certain_cells_two_views={{_base_.methods.certain_cells_two_views}},
)
reference = 'low_quantile'
search = dict(_delete_=True)
