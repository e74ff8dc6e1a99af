# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# ResNet-50 of timm with its ImageNet weights (A1 of "ResNet strikes back"), which timm downloads.
# Changes over any config with prob maps.
from mmfrac.utils.config import set_backbone

set_backbone(
    _base_,
    dict(
        type='TimmBackbone',
        model_name='resnet50.a1_in1k',
        pretrained=True,
    ),
    in_channels=[256, 512, 1024, 2048],
    mean=[0.449],
    std=[0.226],
)
