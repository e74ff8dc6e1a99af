# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# ResNet-50 + FPN + ProbMapHead (paper, sections 2 and 2.4). One grey plane in [0, 1] is given to all
# three channels of the backbone; mean and std are ImageNet's, averaged over the channels.
model = dict(
    type='ProbMapDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[0.449], std=[0.226], pad_size_divisor=32
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4),
    prob_map_head=dict(
        type='ProbMapHead',
        in_channels=256,
        feat_channels=128,
        loss=dict(type='WeightedBCELoss', alpha_r=10.0, alpha_l='auto'),
    ),
)
