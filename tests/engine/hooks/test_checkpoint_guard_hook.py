# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.models import SwinTransformer
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import BaseLoop
from mmengine.runner.checkpoint import load_state_dict

from mmfrac.engine.hooks.checkpoint_guard_hook import (
    CheckpointGuardHook,
    check_pretrained,
    check_state_dict,
    stays_as_loaded,
)
from tests.models.small_model import build, detector_cfg, semi_cfg

BOXES = Path(__file__).resolve().parents[3] / 'configs' / 'compare' / 'phantom'


def test_own_and_plain_detector_checkpoints_pass():
    semi, detector = build(semi_cfg()), build(detector_cfg())
    check_state_dict(semi, dict(state_dict=semi.state_dict()))
    check_state_dict(detector, detector.state_dict())
    check_state_dict(detector, dict(state_dict=semi.state_dict()))
    # the pseudo-label buffers m, t, a are not in a supervised checkpoint
    check_state_dict(semi, dict(state_dict=detector.state_dict()), share_needed=0.5)


def test_a_teacher_with_weights_of_its_own_starts_from_a_supervised_model():
    semi = build(semi_cfg(teacher=dict(type='MeanTeacher')))
    supervised = dict(state_dict=build(detector_cfg()).state_dict())
    check_state_dict(semi, supervised, share_needed=0.5, for_prediction=True)
    with pytest.raises(ValueError, match='another model'):
        check_state_dict(semi, supervised, share_needed=0.5)


def test_prediction_needs_the_student_alone():
    semi, detector = build(semi_cfg()), build(detector_cfg())
    supervised = dict(state_dict=detector.state_dict())
    check_state_dict(semi, supervised, for_prediction=True)
    with pytest.raises(ValueError, match=r'missing: pseudo_pipeline\.0\.m'):
        check_state_dict(semi, supervised)
    del supervised['state_dict']['backbone.conv1.weight']
    with pytest.raises(ValueError, match=r'missing: student\.backbone\.conv1\.weight'):
        check_state_dict(semi, supervised, for_prediction=True)


def test_another_models_checkpoint_is_refused_in_one_message():
    detector = build(detector_cfg())
    backbone = {f'model.{key}': value for key, value in detector.backbone.state_dict().items()}
    with pytest.raises(ValueError, match=r'a\.pth is a checkpoint of another model') as error:
        check_state_dict(detector, dict(state_dict=backbone), name='a.pth')
    assert 'missing: backbone' in str(error.value)
    wide = detector_cfg()
    wide['backbone']['base_channels'] = 16
    wide['neck']['in_channels'] = [16, 32, 64, 128]
    with pytest.raises(ValueError, match='another shape'):
        check_state_dict(build(wide), dict(state_dict=detector.state_dict()))


@pytest.mark.parametrize('content', [None, [1, 2], {1: torch.zeros(2)}])
def test_what_is_no_state_dict(content):
    with pytest.raises(ValueError, match='is no checkpoint'):
        check_state_dict(build(detector_cfg()), dict(state_dict=content))


def test_tensors_that_are_none_are_missing():
    detector = build(detector_cfg())
    weights = dict(detector.state_dict(), **{'backbone.conv1.weight': 'a'})
    with pytest.raises(ValueError, match=r'missing: backbone\.conv1\.weight'):
        check_state_dict(detector, weights)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_of_a_training_that_diverged(value):
    detector = build(detector_cfg())
    weights = {key: tensor.clone() for key, tensor in detector.state_dict().items()}
    weights['backbone.conv1.weight'][0, 0, 0, 3] = value
    with pytest.raises(ValueError, match=r'NaN or inf in 1 tensors, e\.g\. backbone\.conv1'):
        check_state_dict(detector, weights, for_prediction=True)
    # resuming such a run is left to it
    check_state_dict(detector, weights)


def test_data_parallel_prefix_is_no_other_model():
    detector = build(detector_cfg())
    state = {f'module.{key}': value for key, value in detector.state_dict().items()}
    check_state_dict(detector, dict(state_dict=state))


def test_soft_teacher_goes_on_from_its_detector():
    plain, soft = (
        MODELS.build(Config.fromfile(BOXES / f'{name}.py').model)
        for name in ('faster_rcnn_burn_in', 'soft_teacher')
    )
    weights = plain.state_dict()
    check_state_dict(soft, dict(state_dict=weights))
    assert list(weights) == list(plain.state_dict())
    soft.load_state_dict(dict(weights))
    for part in (soft.student, soft.teacher):
        for key, value in part.state_dict().items():
            assert torch.equal(value, plain.state_dict()[key])
    del weights['backbone.conv1.weight']
    with pytest.raises(ValueError, match=r'missing: student\.backbone\.conv1\.weight'):
        check_state_dict(soft, weights)


@pytest.mark.parametrize('prefix', [None, 'backbone', 'backbone.'])
def test_pretrained_weights_that_fit_nothing_are_refused(tmp_path, prefix):
    """mmengine would train from scratch, with a warning among others."""
    detector = build(detector_cfg())
    torch.save(dict(state_dict=detector.state_dict()), tmp_path / 'whole.pth')
    torch.save(detector.backbone.state_dict(), tmp_path / 'backbone.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'whole.pth'), prefix=prefix)
    cfg = detector_cfg()
    cfg['backbone']['init_cfg'] = init
    model = build(cfg)
    if prefix:
        check_pretrained(model)
    else:
        with pytest.raises(ValueError, match=r'backbone\.init_cfg: 0 of \d+ tensors of ResNet'):
            check_pretrained(model)
    cfg['backbone']['init_cfg'] = dict(init, checkpoint=str(tmp_path / 'backbone.pth'), prefix=None)
    check_pretrained(build(cfg))


def test_what_a_module_loads_by_a_rule_of_its_own_is_left_alone(tmp_path):
    """As official weights of Swin, whose names mmdet changes."""
    official = tmp_path / 'swin.pth'
    torch.save(dict(model={'patch_embed.proj.weight': torch.zeros(96, 3, 4, 4)}), official)
    detector = build(detector_cfg())
    detector.extra = SwinTransformer(depths=(1,), num_heads=(1,), strides=(4,), out_indices=(0,))
    detector.extra.init_cfg = dict(type='Pretrained', checkpoint=str(official))
    check_pretrained(detector)


def test_a_test_is_told_of_missing_tensors_that_prediction_needs_alone(caplog):
    model, weights = build(semi_cfg()), build(detector_cfg()).state_dict()
    runner = SimpleNamespace(model=model, _train_loop={}, _resume=False, _load_from='a.pth')
    load_state_dict(model, weights, logger=logging.getLogger('before'))
    assert 'missing keys in source state_dict: pseudo_pipeline.0.m, ' in caplog.text
    caplog.clear()
    CheckpointGuardHook().after_load_checkpoint(runner, dict(state_dict=weights))
    load_state_dict(model, weights, logger=logging.getLogger('after'))
    assert not caplog.text
    del weights['backbone.conv1.weight']
    load_state_dict(model, weights | {'x': torch.zeros(1)}, logger=logging.getLogger('after'))
    assert 'unexpected key in source state_dict: student.x' in caplog.text
    assert 'missing keys in source state_dict: student.backbone.conv1.weight\n' in caplog.text
    caplog.clear()
    trained = build(semi_cfg())
    runner = SimpleNamespace(
        model=trained, _train_loop=Loop.__new__(Loop), _resume=False, _load_from='a.pth'
    )
    weights = build(detector_cfg()).state_dict()
    CheckpointGuardHook().after_load_checkpoint(runner, dict(state_dict=weights))
    load_state_dict(trained, weights, logger=logging.getLogger('trained'))
    assert 'pseudo_pipeline.0.m' in caplog.text


class Loop(BaseLoop):
    def run(self): ...


@pytest.mark.parametrize('burn_in', [0, 2])
def test_a_teacher_that_stays_needs_a_head(burn_in, tmp_path):
    """Half of the tensors are enough for what training mends, not for what stays as it is."""
    cfg = semi_cfg(teacher=dict(type='SnapshotTeacher'))
    cfg['semi_train_cfg'] = dict(cfg.get('semi_train_cfg', {}), burn_in_epochs=burn_in)
    model = build(cfg)
    assert stays_as_loaded(model) == (burn_in == 0)
    weights = {k: v for k, v in model.state_dict().items() if 'prob_map_head' not in k}
    runner = SimpleNamespace(
        model=model, _train_loop=Loop.__new__(Loop), _resume=False, _load_from='a.pth'
    )
    hook = CheckpointGuardHook()
    if burn_in:
        hook.after_load_checkpoint(runner, dict(state_dict=weights))
    else:
        with pytest.raises(ValueError, match=r'a\.pth is a checkpoint of another model'):
            hook.after_load_checkpoint(runner, dict(state_dict=weights))
    hook.after_load_checkpoint(runner, dict(state_dict=model.state_dict()))
