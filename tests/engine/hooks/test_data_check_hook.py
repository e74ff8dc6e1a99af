# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Faults between a model and its data that mmdet trains on, or fails late."""

import json
import re
from types import SimpleNamespace

import cv2
import pytest
from mmdet.datasets.samplers import MultiSourceSampler
from mmdet.engine.hooks import PipelineSwitchHook
from mmdet.models import SemiBaseDetector
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn
from torch.utils import data as torch_data

from mmfrac.datasets.samplers import MultiSourceBatchSampler
from mmfrac.engine.hooks import data_check_hook
from mmfrac.engine.hooks.data_check_hook import (
    check_boxes,
    check_branches,
    check_classes,
    check_positives,
    check_switches,
    check_wrappers,
)
from mmfrac.models import AugmentedTeacher
from tests.configs.test_configs import tiny_config
from tests.models.small_model import build, detector_cfg, semi_cfg

LOAD = [dict(type='LoadRadiograph'), dict(type='LoadAnnotations', with_bbox=True)]
TARGET = [dict(type='ProbMapTarget'), dict(type='PackProbMapInputs')]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


def data_set(root, pipeline=(), **options):
    return DATASETS.build(
        dict(
            type='CXRDataset',
            data_root=str(root),
            ann_file='annotations/train.json',
            data_prefix=dict(img='images/'),
            pipeline=list(pipeline),
        )
        | options
    )


def of_classes(*classes):
    return SimpleNamespace(metainfo=dict(classes=classes), img_paths=list)


class Box(nn.Module):
    def __init__(self, num_classes=1, **parts):
        super().__init__()
        self.backbone, self.rpn_head, self.bbox_head = (nn.Module() for _ in range(3))
        # of ImageNet, and of proposals
        self.backbone.num_classes, self.rpn_head.num_classes = 1000, 1
        self.bbox_head.num_classes = num_classes
        for name, part in parts.items():
            setattr(self, name, part)


def test_a_box_detector_knows_the_classes_of_its_data():
    one, two = of_classes('fracture'), of_classes('rib fracture', 'clavicle fracture')
    check_classes(Box(1), one)
    check_classes(Box(2), two)
    # a prob map has none
    check_classes(nn.Module(), two)
    message = r'^model\.bbox_head\.num_classes is 1, .* has 2 classes, .*clavicle.* to 2 wherever'
    for dataset in (two, SimpleNamespace(datasets=[SimpleNamespace(dataset=two)])):
        with pytest.raises(ValueError, match=message):
            check_classes(Box(1), dataset)
    with pytest.raises(ValueError, match=r'^model\.bbox_head\.num_classes is 80, .* 1 classes'):
        check_classes(Box(80), one)
    semi = nn.Module()
    semi.student, semi.teacher = Box(1), Box(1)
    with pytest.raises(ValueError, match=r'^model\.detector\.bbox_head\.num_classes is 1, '):
        check_classes(semi, two)


AFFINE = dict(type='RandomAffine', border_val=(0, 0, 0))


def test_a_wrapper_must_not_move_what_its_target_does_not_follow(tiny_data):
    def mixed(*steps):
        inner = dict(
            type='CXRDataset',
            data_root=str(tiny_data),
            ann_file='annotations/train.json',
            data_prefix=dict(img='images/'),
            pipeline=LOAD,
        )
        return dict(type='MultiImageMixDataset', dataset=inner, pipeline=[*steps])

    wrong = DATASETS.build(mixed(AFFINE, *TARGET))
    for dataset in (wrong, torch_data.Subset(wrong, [0]), torch_data.ConcatDataset([wrong])):
        with pytest.raises(ValueError, match=r'^RandomAffine moves the image otherwise'):
            check_wrappers(dataset)
    check_wrappers(DATASETS.build(mixed(dict(type='RandomFlip', prob=0.5), *TARGET)))
    crop = dict(type='RandomCrop', crop_size=(32, 32))
    with pytest.raises(ValueError, match=r'^RandomCrop would leave out films without boxes'):
        check_wrappers(DATASETS.build(mixed(crop, TARGET[1])))


def test_a_pipeline_that_is_switched_to_is_checked(tiny_data):
    dataset = data_set(tiny_data, [*LOAD, *TARGET])
    wrong = PipelineSwitchHook(1, [*LOAD, AFFINE, *TARGET])
    with pytest.raises(ValueError, match=r'^RandomAffine moves the image otherwise'):
        check_switches([wrong], dataset)
    right = PipelineSwitchHook(1, [*LOAD, *TARGET])
    check_switches([right], dataset)
    for around in (ConcatDataset([dataset]), RepeatDataset(dataset, 2)):
        name = type(around).__name__
        with pytest.raises(ValueError, match=rf'^PipelineSwitchHook sets .* a {name} go through'):
            check_switches([right], around)
        check_switches([], around)


def test_what_is_measured_on_boxes_needs_some(tiny_data):
    def step(**options):
        return nn.Sequential(MODELS.build(dict(type='NoisyOrPosterior', alpha_r=1.0, **options)))

    match = step(teacher_alpha_r='match')
    some, none = (data_set(tiny_data, subset=subset) for subset in ('P_hos', ['N', 'P_pub']))
    for dataset in (some, RepeatDataset(some, 2), ConcatDataset([none, some])):
        check_boxes(match, dataset)
    check_boxes(step(), none)
    # no CXRDataset: what it has is not known
    check_boxes(match, of_classes('fracture'))
    for dataset in (none, RepeatDataset(none, 2), ConcatDataset([none])):
        with pytest.raises(
            ValueError, match=r'^NoisyOrPosterior measures .* has none: add .*P_hos'
        ):
            check_boxes(match, dataset)


def loader_of(*datasets, shares=None):
    dataset = SimpleNamespace(datasets=datasets) if len(datasets) > 1 else datasets[0]
    batch_sampler = SimpleNamespace(shares=shares) if shares else None
    return SimpleNamespace(dataset=dataset, batch_sampler=batch_sampler)


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(data_check_hook, 'print_log', lambda text, **_: said.append(text))
    return said


NO_POSITIVES = r'^L_sup of this training has no film with label 1 and complete boxes \(P_hos\): '


def test_masks_are_learnt_from_positives_too(tiny_data, warnings):
    """Of branch sup, or of none; what the teacher looks at does not count."""
    branches = dict(type='MultiBranch', branch_field=['sup', 'unsup_teacher', 'unsup_student'])
    sup = [dict(branches, sup=TARGET)]
    unsup = [dict(branches, unsup_teacher=TARGET, unsup_student=TARGET)]
    boxed, negative, labelled = (
        data_set(tiny_data, subset=subset) for subset in ('P_hos', 'N', 'P_pub')
    )
    taught, untaught = (data_set(tiny_data, [*LOAD, *end], subset='P_hos') for end in (sup, unsup))
    plain = build(detector_cfg())
    for loader in (
        loader_of(boxed),
        loader_of(RepeatDataset(boxed, 2)),
        loader_of(negative, boxed),
        loader_of(negative, ConcatDataset([labelled, taught])),
        loader_of(boxed, negative, shares=[1, 3]),
        # no CXRDataset: what it has is not known
        loader_of(negative, of_classes('fracture')),
    ):
        check_positives(plain, loader, False)
    for loader in (
        loader_of(negative),
        loader_of(negative, labelled),
        loader_of(negative, untaught),
        loader_of(boxed, negative, shares=[0, 3]),
    ):
        with pytest.raises(ValueError, match=NO_POSITIVES):
            check_positives(plain, loader, False)
    # all boxes of the hidden truth
    check_positives(plain, loader_of(data_set(tiny_data, complete_boxes=True)), False)
    # box detectors, and losses that know positives by their labels
    check_positives(Box(), loader_of(negative), False)
    noisy_or = detector_cfg()
    noisy_or['prob_map_head']['loss'] = dict(type='NoisyOrLoss')
    check_positives(build(noisy_or), loader_of(negative, labelled), False)
    assert not warnings


def test_a_model_may_know_fractures_from_elsewhere(tiny_data, warnings):
    loader = loader_of(data_set(tiny_data, subset='N'))
    at_once, burns_in = (
        build(semi_cfg(semi_train_cfg=dict(burn_in_epochs=epochs))) for epochs in (0, 2)
    )
    with pytest.raises(ValueError, match=NO_POSITIVES):
        check_positives(burns_in, loader, False)
    plain, pretrained = build(detector_cfg()), build(detector_cfg())
    pretrained.init_cfg = dict(type='Pretrained', checkpoint='detector.pth')
    frozen = build(semi_cfg(semi_train_cfg=dict(burn_in_epochs=2)))
    frozen.teacher = AugmentedTeacher(
        teacher=dict(type='FrozenTeacher', checkpoints='detector.pth')
    )
    backbone = build(detector_cfg())
    backbone.backbone.init_cfg = pretrained.init_cfg
    with pytest.raises(ValueError, match=NO_POSITIVES):
        check_positives(backbone, loader, False)
    told = [(burns_in, True), (plain, True), (at_once, False), (pretrained, False), (frozen, False)]
    for number, (model, has_weights) in enumerate(told, start=1):
        check_positives(model, loader, has_weights)
        assert len(warnings) == number and re.match(NO_POSITIVES, warnings[-1])


class Semi(SemiBaseDetector):
    """Without a network."""

    def __init__(self):
        nn.Module.__init__(self)


def semi_loader(root, ratio, batch_size, mmdets=False):
    pack = [dict(type='PackProbMapInputs')]
    branches = dict(type='MultiBranch', branch_field=['sup', 'unsup_teacher', 'unsup_student'])
    sup = [*LOAD, dict(branches, sup=pack)]
    unsup = [*LOAD, dict(branches, unsup_teacher=pack, unsup_student=pack)]
    kinds = [('P_hos', sup), ('N', sup), ('P_pub', unsup)]
    dataset = ConcatDataset([data_set(root, one, subset=subset) for subset, one in kinds])
    if mmdets:
        sampler = MultiSourceSampler(dataset, batch_size, ratio, seed=0)
        return SimpleNamespace(dataset=dataset, sampler=sampler, batch_sampler=None)
    sampler = DefaultSampler(dataset, seed=0)
    batch_sampler = MultiSourceBatchSampler(sampler, batch_size, ratio)
    return SimpleNamespace(dataset=dataset, sampler=sampler, batch_sampler=batch_sampler)


def test_every_batch_has_all_branches(tiny_data):
    model = Semi()
    for batch_size in (2, 3, 4, 5, 8):
        check_branches(model, semi_loader(tiny_data, [1, 1, 2], batch_size))
    check_branches(model, semi_loader(tiny_data, [1, 1, 2], 4, mmdets=True))
    words = r'^Semi learns from .* batch 1 of .* no image of sup: .*batch_size to 2 or more'
    with pytest.raises(ValueError, match=words):
        check_branches(model, semi_loader(tiny_data, [1, 1, 2], 1))
    with pytest.raises(ValueError, match=r'of unsup_teacher, unsup_student: .* to 5 or more'):
        check_branches(model, semi_loader(tiny_data, [2, 2, 1], 2))
    with pytest.raises(ValueError, match=r'of unsup_teacher, unsup_student: .* to 5 or more'):
        check_branches(model, semi_loader(tiny_data, [2, 2, 1], 4, mmdets=True))
    with pytest.raises(ValueError, match=r'of unsup_teacher, unsup_student: no source'):
        check_branches(model, semi_loader(tiny_data, [1, 1, 0], 4))
    # a SemiProbMapDetector learns from what there is
    check_branches(nn.Module(), semi_loader(tiny_data, [1, 1, 2], 1))


def box_config(tiny_data, tmp_path, name='phantom/retinanet'):
    cfg = tiny_config(f'compare/{name}.py', tiny_data, tmp_path)
    cfg.train_cfg.max_epochs = 1
    return cfg


def colour(cfg):
    cfg.model.data_preprocessor.update(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def grey(cfg):
    colour(cfg)
    for part in (*cfg.train_dataloader.dataset.datasets, cfg.val_dataloader.dataset):
        part.pipeline[0].channels = 1


def of_bytes(cfg):
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    for part in cfg.train_dataloader.dataset.datasets:
        part.pipeline = [
            dict(type='LoadImageFromFile'),
            dict(LOAD[1]),
            dict(type='Resize', scale=(64, 64)),
            dict(type='PackProbMapInputs'),
        ]


def one_by_one(cfg):
    cfg.model.semi_train_cfg.burn_in_epochs = 0
    cfg.train_dataloader.batch_size = 1


def second_class(cfg):
    for part in cfg.train_dataloader.dataset.datasets:
        part.metainfo = dict(classes=('fracture', 'rib'))


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        (
            'phantom/retinanet',
            colour,
            r'has mean 123\.675, .* of 8 bits .* give it mean=\[0\.449\]',
        ),
        ('phantom/retinanet', grey, r'expects three planes \(mean 123\.675, .*channels=3'),
        (
            'phantom/retinanet',
            of_bytes,
            r'has mean 0\.449 .* got images of 8 bits .*LoadRadiograph',
        ),
        ('phantom/retinanet', second_class, r'^model\.bbox_head\.num_classes is 1, .* 2 classes'),
        ('phantom/consistent_teacher', one_by_one, r'^ConsistentTeacher .* no image of sup'),
    ],
    ids=lambda value: getattr(value, '__name__', None),
)
def test_before_the_first_step(name, change, message, tiny_data, tmp_path):
    cfg = box_config(tiny_data, tmp_path, name)
    change(cfg)
    if change is second_class:
        cfg.train_dataloader.dataset.datasets[0].ann_file = str(two_classes(tiny_data, tmp_path))
        cfg.train_dataloader.dataset.datasets = cfg.train_dataloader.dataset.datasets[:1]
        cfg.train_dataloader.batch_sampler.source_ratio = [1]
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def two_classes(tiny_data, folder):
    content = json.loads((tiny_data / 'annotations' / 'train.json').read_text())
    content['categories'].append(dict(id=2, name='rib'))
    (folder / 'two.json').write_text(json.dumps(content))
    return folder / 'two.json'


def test_images_of_the_validation_are_checked_before_an_epoch_is_spent(tiny_data, tmp_path):
    cfg = box_config(tiny_data, tmp_path)
    cfg.val_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromFile')
    cfg.val_dataloader.dataset.pipeline[-2] = dict(type='Pad', size=(64, 64))
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=r'got images of 8 bits'):
        runner.train()
    assert runner.iter == 0


def test_what_mmdet_has_right_is_left_alone(tiny_data, tmp_path):
    assert cv2.imread(str(tiny_data / 'images' / 'train_0.png')).max() > 2
    cfg = box_config(tiny_data, tmp_path)
    colour(cfg)
    of_bytes(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 1


def test_negatives_alone_are_refused_before_burn_in(tiny_data, tmp_path):
    """A file without boxes passes as its negatives are there."""
    path = tiny_data / 'annotations/train.json'
    content = json.loads(path.read_text())
    content['annotations'] = []
    for image in content['images']:
        image['regions'] = image['label'] == 0
    (tmp_path / 'labels.json').write_text(json.dumps(content))
    cfg = tiny_config('frac_ssl.py', tiny_data, tmp_path)
    for part in cfg.train_dataloader.dataset.datasets:
        part.ann_file = str(tmp_path / 'labels.json')
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=NO_POSITIVES):
        runner.train()
    assert runner.iter == 0
