# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from mmfrac.engine import PlainCheckpointHook
from mmfrac.engine.hooks.plain_checkpoint_hook import plain


def checkpoint_of(hub: MessageHub) -> dict:
    meta = dict(
        epoch=3, seed=np.int64(5), dataset_meta=dict(classes=('fracture',), palette=[(1, 2)])
    )
    return dict(meta=meta, state_dict={}, message_hub=hub.state_dict())


def test_hub_survives_a_protected_round_trip():
    hub = MessageHub('plain-checkpoint')
    for value in (0.5, 0.25, 0.125):
        hub.update_scalar('train/loss', value, 2)
    hub.update_info('best_score', np.float64(0.75))
    stock = io.BytesIO()
    torch.save(checkpoint_of(hub), stock)
    stock.seek(0)
    with pytest.raises(Exception, match=r'weights_only|Weights only'):
        torch.load(stock)

    checkpoint = checkpoint_of(hub)
    PlainCheckpointHook().before_save_checkpoint(None, checkpoint)
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    PlainCheckpointHook().after_load_checkpoint(SimpleNamespace(work_dir='work'), loaded)
    other = MessageHub('plain-checkpoint-other')
    other.load_state_dict(loaded['message_hub'])
    history, counts = other.get_scalar('train/loss').data
    assert history.tolist() == [0.5, 0.25, 0.125] and counts.tolist() == [2, 2, 2]
    assert other.get_scalar('train/loss').mean() == pytest.approx(
        0.875 / 6
    )  # mmengine weighs by count
    assert other.get_info('best_score') == 0.75
    other.update_scalar('train/loss', 1.0)
    assert other.get_scalar('train/loss').current() == 1.0
    assert loaded['meta']['dataset_meta'] == dict(classes=('fracture',), palette=[(1, 2)])


def test_the_best_checkpoint_of_another_run_is_forgotten(tmp_path):
    def after_loading_in(work_dir):
        info = dict(best_ckpt=str(tmp_path / 'a/best.pth'), best_score=0.9, iter=7)
        checkpoint = dict(message_hub=dict(runtime_info=info))
        runner = SimpleNamespace(work_dir=str(work_dir))
        PlainCheckpointHook().after_load_checkpoint(runner, checkpoint)
        return info

    assert set(after_loading_in(tmp_path / 'a')) == {'best_ckpt', 'best_score', 'iter'}
    assert after_loading_in(tmp_path / 'b') == dict(iter=7)


def test_plain_values():
    class Odd:
        def __str__(self):
            return 'odd'

    value = plain({'a': np.float32(1.5), 'b': [np.array([1, 2]), Odd()], 'c': None})
    assert value['a'] == 1.5 and type(value['a']) is float
    assert value['b'][0].tolist() == [1, 2] and value['b'][1] == 'odd' and value['c'] is None
