# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
default_scope = 'mmdet'
custom_imports = dict(imports=['mmfrac'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        interval=1,
        max_keep_ckpts=3,
        save_best='frac/AUROC',
        rule='greater',
        backend_args=dict(backend='atomic'),
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='ProbMapVisualizationHook'),
    sync_buffers=dict(type='SyncBuffersHook'),
    class_weight=dict(type='ClassWeightHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    data_check=dict(type='DataCheckHook'),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    checkpoint_guard=dict(type='CheckpointGuardHook'),
    validate_resumed=dict(type='ValidateResumedHook'),
    # these do nothing but with a SemiProbMapDetector, which refuses to train without them
    semi_epoch=dict(type='SemiEpochHook'),
    teacher=dict(type='TeacherHook'),
    dynamic_sharpening=dict(type='DynamicSharpeningHook'),
    collapse_monitor=dict(type='CollapseMonitorHook'),
)

env_cfg = dict(
    # all inputs have one size
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
