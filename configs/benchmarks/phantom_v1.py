# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v1.py --seeds 0 1 2
# Phantom films in the paper's proportions (P_hos : N_hos : P_pub : N_pub = 580 : 9858 : 4825 : 16921), a
# test set of 400 films, difficulty chosen on the supervised model alone.
name = 'phantom-v1'
data_root = 'data/phantom_v1/'
phantom = dict(
    counts=dict(
        train=dict(P_hos=54, N_hos=919, P_pub=450, N_pub=1577),
        val=dict(P_hos=60, N_hos=100),
        test=dict(P_hos=160, N_hos=240),
    ),
    size=160,
    seed=1,
    difficulty=0.05,
)
semi, changes = 'configs/phantom/frac_ssl_phantom_v1.py', 'configs/_base_/methods/'
pretraining = dict(config='configs/phantom/frac_sup_phantom_v1.py')
methods = dict(
    supervised=dict(
        config=semi, changes=changes + 'supervised.py', label='Supervised', search=False
    ),
    pi_model=dict(config=semi, changes=changes + 'pi_model.py', label='Pi-model'),
    mean_teacher=dict(config=semi, changes=changes + 'mean_teacher.py', label='Mean Teacher'),
    ours=dict(config=semi, label='Dynamic sharpening'),
)
reference = 'ours'
