# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
# ConvNeXt-T of timm with its ImageNet weights, which timm downloads. Changes over any config with
# prob maps.
from mmfrac.utils.config import set_backbone

set_backbone(
    _base_,
    dict(
        type='TimmBackbone',
        model_name='convnext_tiny.fb_in1k',
        out_indices=(0, 1, 2, 3),
        pretrained=True,
    ),
    in_channels=[96, 192, 384, 768],
    mean=[0.449],
    std=[0.226],
)
