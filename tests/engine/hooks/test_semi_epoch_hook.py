# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmfrac.engine import SemiEpochHook
from tests.configs.test_configs import CONFIGS
from tests.models.small_model import build, semi_cfg


def boxes_cfg(semi_train_cfg):
    cfg = Config.fromfile(CONFIGS / 'compare/phantom/consistent_teacher.py').model
    return {**cfg, 'semi_train_cfg': semi_train_cfg}


@pytest.mark.parametrize('make_cfg', [semi_cfg, boxes_cfg])
def test_burn_in_is_told_to_model_and_sampler_and_kept(make_cfg):
    saved = []
    batch_sampler = SimpleNamespace(supervised_only=None)
    runner = SimpleNamespace(
        model=build(make_cfg(semi_train_cfg=dict(burn_in_epochs=2))),
        train_dataloader=SimpleNamespace(batch_sampler=batch_sampler),
        save_checkpoint=lambda folder, name, **options: saved.append((runner.epoch, name)),
        work_dir='work',
        iter=0,
    )
    told = []
    for runner.epoch in range(4):
        SemiEpochHook().before_train_epoch(runner)
        told.append((batch_sampler.supervised_only, runner.model.is_semi_supervised))
    assert told == [(True, False), (True, False), (False, True), (False, True)]
    assert saved == [(2, 'burn_in.pth')]
