# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v1.py
# An earlier trial, with more box films and a stronger start than phantom-v2; its search was not made.
_base_ = 'phantom_v2.py'
name = 'phantom-v1'
data_root = 'data/phantom_v1/'
phantom = dict(
    counts=dict(
        train=dict(P_hos=54, N_hos=919, P_pub=450, N_pub=1577),
        val=dict(P_hos=60, N_hos=100),
        test=dict(P_hos=160, N_hos=240),
    ),
    seed=1,
    difficulty=0.05,
)
sup = 'configs/phantom/frac_sup_phantom_v1.py'
ssl = 'configs/phantom/frac_ssl_phantom_v1.py'
pretraining = dict(config=sup)
# those that came later were not trained here
methods = dict(
    {
        name: dict(method, config=ssl)
        for name, method in _base_.methods.items()
        if not name.startswith(('low_quantile', 'certain_cells'))
        and name not in ('noisy_or', 'window_loss', 'chexnet_cam', 'aals_two_views')
    },
    _delete_=True,
)
search = dict(values=[1.0])
