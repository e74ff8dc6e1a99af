# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# python tools/analysis_tools/compare_methods.py configs/benchmarks/phantom_v2.py --seeds 0 1 2
# Phantom films in the paper's proportions (P_hos : N_hos : P_pub : N_pub = 580 : 9858 : 4825 : 16921), a
# test set of 600 films, difficulty chosen on the supervised model alone.
name = 'phantom-v2'
data_root = 'data/phantom_v2/'
phantom = dict(
    counts=dict(
        train=dict(P_hos=30, N_hos=510, P_pub=250, N_pub=875),
        val=dict(P_hos=80, N_hos=120),
        test=dict(P_hos=240, N_hos=360),
    ),
    size=160,
    seed=2,
    difficulty=0.0,
)
pretraining = dict(config='configs/phantom/frac_sup_phantom_v2.py')
semi = dict(config='configs/phantom/frac_ssl_phantom_v2.py')
# as many steps and films in one stage, for what must not know the boxes that the supervised model saw
scratch = dict(
    config='configs/phantom/frac_sup_phantom_v2.py',
    options={
        'train_cfg.max_epochs': 12,
        'param_scheduler.1.end': 12,
        'train_dataloader.batch_size': 12,
    },
    pretrained=False,
)
delta = 'configs/_base_/methods/{}.py'.format
methods = dict(
    supervised=dict(semi, changes=delta('supervised'), label='Supervised', search=False),
    pi_model=dict(semi, changes=delta('pi_model'), label='Pi-model'),
    temporal_ensembling=dict(
        semi, changes=delta('temporal_ensembling'), label='Temporal Ensembling'
    ),
    mean_teacher=dict(semi, changes=delta('mean_teacher'), label='Mean Teacher'),
    transformation_consistent=dict(
        semi, changes=delta('transformation_consistent'), label='Transformation-consistent MT'
    ),
    mixmatch_sharpening=dict(
        semi, changes=delta('mixmatch_sharpening'), label='Sharpening of MixMatch'
    ),
    aals=dict(semi, changes=delta('aals'), label='AALS'),
    aals_two_views=dict(semi, changes=delta('aals_two_views'), label='AALS, two views'),
    constant_a4_t02=dict(semi, changes=delta('constant_a4_t02'), label='Constant a 4, t 0.2'),
    constant_a4_t03=dict(semi, changes=delta('constant_a4_t03'), label='Constant a 4, t 0.3'),
    constant_a4_t04=dict(semi, changes=delta('constant_a4_t04'), label='Constant a 4, t 0.4'),
    constant_a6_t02=dict(semi, changes=delta('constant_a6_t02'), label='Constant a 6, t 0.2'),
    constant_a6_t03=dict(semi, changes=delta('constant_a6_t03'), label='Constant a 6, t 0.3'),
    constant_a6_t04=dict(semi, changes=delta('constant_a6_t04'), label='Constant a 6, t 0.4'),
    focal_mix=dict(semi, changes=delta('focal_mix'), label='FocalMix'),
    # weight of the boxes beside the labels, 5 in the original
    noisy_or=dict(
        semi,
        changes=delta('noisy_or'),
        label='Noisy-OR',
        search=dict(setting='model.prob_map_head.loss.box_weight', values=[5.0, 50.0]),
    ),
    window_loss=dict(
        scratch,
        changes=delta('window_loss'),
        options={**scratch['options'], 'model.semi_train_cfg.burn_in_epochs': 12},
        label='Window loss, points',
        search=dict(setting='model.detector.prob_map_head.loss.alpha_r', values=[10.0, 100.0]),
    ),
    # the backbone is that of the supervised model
    chexnet_cam=dict(
        semi,
        changes=delta('chexnet_cam'),
        label='CheXNet with CAM',
        search=dict(setting='optim_wrapper.optimizer.lr', values=[5e-4, 2e-3]),
    ),
    upper_bound=dict(
        semi, changes=delta('upper_bound'), label='Supervised, boxes of P_pub too', search=False
    ),
    ours=dict(semi, label='Dynamic sharpening'),
    known_positive=dict(
        semi, changes=delta('known_positive'), label='Ours + peak in each positive'
    ),
    low_quantile=dict(semi, changes=delta('low_quantile'), label='Ours, m the lowest decile'),
    low_quantile_ema=dict(
        semi, changes=delta('low_quantile_ema'), label='Ours, lowest decile, EMA teacher'
    ),
    certain_cells=dict(
        semi, changes=delta('certain_cells'), label='Ours, lowest decile, certain cells'
    ),
    certain_cells_two_views=dict(
        semi,
        changes=delta('certain_cells_two_views'),
        label='Ours, lowest decile, certain cells, two views',
    ),
    weighted_kld=dict(semi, changes=delta('weighted_kld'), label='Ours + weighted KLD'),
)
reference = 'ours'
search = dict(setting='model.semi_train_cfg.unsup_weight', values=[1.0, 30.0], seed=0)
