# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A detector and batches small enough for tests."""

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData

from mmfrac.models import DynamicSharpening, SemiProbMapDetector

PREPROCESSOR = dict(type='DetDataPreprocessor', mean=[0.449], std=[0.226], pad_size_divisor=32)


def detector_cfg(**head) -> dict:
    head = dict(loss=dict(type='WeightedBCELoss', alpha_l=1.0)) | head
    return dict(
        type='ProbMapDetector',
        data_preprocessor=PREPROCESSOR,
        backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_eval=False),
        neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=16, num_outs=4),
        prob_map_head=dict(
            type='ProbMapHead',
            in_channels=16,
            feat_channels=16,
            norm_cfg=dict(type='GN', num_groups=8),
            **head,
        ),
    )


def semi_cfg(**options) -> dict:
    return dict(
        type='SemiProbMapDetector',
        detector=detector_cfg(),
        data_preprocessor=dict(type='SemiDataPreprocessor', data_preprocessor=PREPROCESSOR),
        **options,
    )


def build(cfg: dict) -> torch.nn.Module:
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    if isinstance(model, SemiProbMapDetector):
        # what the hooks of a training do
        model.set_epoch(model.burn_in_epochs)
        if model.teacher.has_memory:
            model._is_started = True  # the test opens its memory and starts it
        else:
            model.start_teacher()
        for step in model.pseudo_pipeline:
            if isinstance(step, DynamicSharpening):
                step.expect_updates()
    return model


def film(name: str, label: int = 1, regions: bool = True, size: int = 64, boxes=()) -> dict:
    """Packed film: ``inputs`` ``(1, size, size)`` and a data sample whose lower quarter is padding."""
    height = size * 3 // 4
    cells = size // 4
    sample = DetDataSample(
        metainfo=dict(
            img_id=name,
            img_path=name,
            ori_shape=(height, size),
            img_shape=(size, size),
            scale_factor=(1.0, 1.0),
            homography_matrix=np.eye(3),
            label=label,
            regions=regions,
            instances=[dict(bbox=list(box), bbox_label=0, ignore_flag=0) for box in boxes],
        )
    )
    target = torch.zeros(1, cells, cells, dtype=torch.uint8)
    for x1, y1, x2, y2 in boxes:
        target[0, y1 // 4 : y2 // 4, x1 // 4 : x2 // 4] = 1
    valid = torch.zeros(1, cells, cells, dtype=torch.bool)
    valid[:, : cells * 3 // 4] = True
    sample.gt_prob_map = PixelData(prob_map=target, valid=valid)
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    return dict(inputs=torch.rand(1, size, size, generator=generator), data_samples=sample)


def collate(films: list[dict]) -> dict:
    return dict(
        inputs=[one['inputs'] for one in films],
        data_samples=[one['data_samples'] for one in films],
    )


def semi_batch(sup: list[dict], unsup: list[dict]) -> dict:
    """What ``pseudo_collate`` makes of the multi-branch pipelines."""
    branches = dict(sup=collate(sup), unsup_teacher=collate(unsup), unsup_student=collate(unsup))
    return {
        key: {name: list(branch[key]) for name, branch in branches.items()}
        for key in ('inputs', 'data_samples')
    }
