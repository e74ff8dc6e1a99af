# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# ResNet-50 of torchxrayvision (resnet50-res512-all), trained on the labels of chest films, 512 x 512.
# Put the path of its file below. It takes grey values from -1024 to 1024. Changes over any config
# with prob maps.
from mmfrac.utils.config import set_backbone

set_backbone(
    _base_,
    dict(
        type='TimmBackbone',
        model_name='resnet50',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='pc-nih-rsna-siim-vin-resnet50-test512-e400-state.pt',
        ),
    ),
    in_channels=[256, 512, 1024, 2048],
    mean=[0.5],
    std=[1 / 2048],
)
