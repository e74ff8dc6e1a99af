# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The pseudo boxes of Consistent-Teacher: candidates, the bank of scores, threshold and weights."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmfrac.models.detectors.consistent_teacher import likely_instances
from tests.configs.test_configs import CONFIGS, tiny_config
from tests.models.small_model import build

CONFIG = 'compare/phantom/consistent_teacher.py'


def model_of(num_classes=1, **semi_train_cfg):
    cfg = Config.fromfile(CONFIGS / CONFIG).model
    cfg.detector.bbox_head.num_classes = num_classes
    return build({**cfg, 'semi_train_cfg': semi_train_cfg})


def instances(scores, labels=None):
    labels = labels or [0] * len(scores)
    return InstanceData(
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.long),
        bboxes=torch.rand(len(scores), 4),
    )


@pytest.mark.parametrize(
    ('scores', 'expected'),
    [
        # 0.9 + 0.6 + 0.3 = 1.8: two, and one more
        ([0.3, 0.9, 0.04, 0.6], [0.9, 0.6, 0.3]),
        ([0.3, 0.9, 0.06, 0.2], [0.9, 0.3]),
        ([0.2, 0.1], [0.2]),
        ([0.04, 0.01], []),
        ([], []),
    ],
)
def test_as_many_candidates_as_expected_and_one(scores, expected):
    found = likely_instances(instances(scores), lowest=0.05)
    assert found.scores.tolist() == pytest.approx(expected)


class TestNote:
    def test_bank_holds_the_newest_first(self):
        model = model_of(num_scores=5)
        model.note([instances([0.5, 0.4]), instances([0.3])])
        assert model.score_bank.tolist() == [pytest.approx([0.5, 0.4, 0.3, 0, 0])]
        model.note([instances([]), instances([0.8, 0.7, 0.6])])
        assert model.score_bank.tolist() == [pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4])]
        assert 'score_bank' in model.state_dict()

    def test_threshold_is_the_mode_of_the_sure_ones(self):
        model = model_of()
        (few,) = model.note([instances([0.8, 0.1, 0.7])])
        assert few.tolist() == [0, 0, 0]
        unsure, sure = [0.08, 0.1, 0.12, 0.1], [0.6, 0.7, 0.8, 0.85]
        model = model_of()
        first, second = model.note([instances(unsure), instances(sure)])
        assert first.tolist() == pytest.approx([0.7] * 4) and second.tolist() == first.tolist()
        # those of earlier steps count
        (third,) = model.note([instances([0.11])])
        assert third.tolist() == pytest.approx([0.7])

    def test_each_class_has_its_own(self):
        model = model_of(num_classes=2)
        scores = [0.08, 0.1, 0.12, 0.1, 0.6, 0.7, 0.8, 0.85]
        halves = [score / 2 for score in scores]
        (found,) = model.note([instances(scores + halves, [1] * 8 + [0] * 8)])
        assert found.tolist() == pytest.approx([0.7] * 8 + [0.35] * 8)
        assert model.score_bank[0, :8].tolist() == pytest.approx(halves)
        # a class that the step has not is as it was
        model.note([instances([0.9], [1])])
        assert model.score_bank[0, :8].tolist() == pytest.approx(halves)

    def test_scores_of_all_ranks(self, monkeypatch):
        other = np.array([[0.6, 0.5], [0, 0]])
        path = 'mmfrac.models.detectors.consistent_teacher.all_gather_object'
        monkeypatch.setattr(path, lambda own: [other, own])
        model = model_of(num_scores=5)
        (found,) = model.note([instances([0.9])])
        assert model.score_bank.tolist() == [pytest.approx([0.6, 0.5, 0.9, 0, 0])]
        assert len(found) == 1


def test_weak_view_gives_what_is_above_the_threshold(monkeypatch):
    model = model_of().train()
    scores = [0.08, 0.1, 0.12, 0.1, 0.6, 0.7, 0.8, 0.85]

    def predict(inputs, samples, rescale):
        assert not rescale and not model.teacher.training
        results = []
        for part in (scores[:4], scores[4:]):
            results.append(DetDataSample())
            results[-1].pred_instances = instances(part)
        return results

    monkeypatch.setattr(model.teacher, 'predict', predict)
    metainfo = dict(homography_matrix=torch.eye(3).numpy(), ori_shape=(64, 64))
    samples = [DetDataSample(metainfo=metainfo) for _ in range(2)]
    samples, info = model.get_pseudo_instances(torch.zeros(2, 3, 64, 64), samples)
    # of the first film one candidate, of the second 3 + 1; their bank has five scores
    assert sorted(model.score_bank[0, :5].tolist()) == pytest.approx([0.12, 0.6, 0.7, 0.8, 0.85])
    assert [len(sample.gt_instances) for sample in samples] == [0, 2]
    assert samples[1].gt_instances.scores.tolist() == pytest.approx([0.85, 0.8])
    assert info['threshold'].item() == pytest.approx(0.7)


@pytest.mark.parametrize(
    ('counts', 'weight'), [([1, 0], 2.0), ([1, 0, 0], 0.02), ([0, 0], 0.02), ([3, 2], 2.0)]
)
def test_weight_of_films_without_pseudo_boxes(counts, weight, monkeypatch):
    model = model_of()
    monkeypatch.setattr(model.student, 'loss', lambda *_: dict(loss_cls=[torch.tensor(3.0)]))
    samples = [DetDataSample(gt_instances=instances([0.9] * count)) for count in counts]
    losses = model.loss_by_pseudo_instances(torch.zeros(1), samples, dict(threshold=0.5))
    assert losses['unsup_loss_cls'][0].item() == pytest.approx(3 * weight)
    assert losses['pseudo_boxes'].item() == pytest.approx(sum(counts) / len(counts))
    assert losses['pseudo_thr'] == 0.5


def test_burn_in_needs_the_epoch():
    model = model_of(burn_in_epochs=2)
    with pytest.raises(ValueError, match='SemiEpochHook'):
        model.loss({}, {})
    told = []
    for epoch in range(4):
        model.set_epoch(epoch)
        told.append(model.is_semi_supervised)
    assert told == [False, False, True, True]
    assert model_of().is_semi_supervised


@pytest.mark.parametrize(
    'options',
    [
        dict(unsup_weight=-1.0),
        dict(initial_score_thr=1.0),
        dict(min_scores=101),
        dict(num_scores=3),
        dict(cls_pseudo_thr=0.9),
    ],
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        model_of(**options)


def test_a_detector_without_a_dense_head_is_refused():
    cfg = Config.fromfile(CONFIGS / 'compare/phantom/soft_teacher.py').model
    with pytest.raises(ValueError, match='single-stage'):
        build(dict(type='ConsistentTeacher', detector=cfg.detector))


def test_training_burns_in_then_notes_scores(tiny_data, tmp_path):
    cfg = tiny_config(CONFIG, tiny_data, tmp_path)
    cfg.train_cfg.val_interval = 10
    cfg.default_hooks.checkpoint = None
    cfg.model.semi_train_cfg.initial_score_thr = 0.0
    runner = Runner.from_cfg(cfg)
    runner.train()
    scalars = runner.message_hub.log_scalars
    counts = {
        key: len(scalars[f'train/{key}']._log_history) for key in ('sup_loss_cls', 'pseudo_thr')
    }
    assert counts == dict(sup_loss_cls=2, pseudo_thr=1)
    assert (runner.model.score_bank > 0).any()
