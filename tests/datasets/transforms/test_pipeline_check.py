# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import contextlib
import logging
import random

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from mmfrac.datasets.transforms import pipeline_check
from mmfrac.datasets.transforms.pipeline_check import check_pipeline

SIZES = [(64, 48), (300, 256), (1024, 1024), (2500, 2048)]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(pipeline_check, '_right', set())
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def pipeline(*steps, scale=128, target=True):
    """Load and resize as the configs do, then some steps, then the target."""
    head = [
        dict(type='LoadRadiograph'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(scale, scale), keep_ratio=True),
        dict(type='PadRadiograph', size=(scale, scale)),
    ]
    tail = [dict(type='ProbMapTarget')] * target + [dict(type='PackProbMapInputs')]
    return Compose([*map(dict, head), *steps, *map(dict, tail)]).transforms


class Crop(BaseTransform):
    """A crop as a user would write it."""

    def transform(self, results):
        results['img'] = results['img'][10:, 6:]
        results['img_shape'] = results['img'].shape[:2]
        return results


class RecordedCrop(Crop):
    def transform(self, results):
        results = super().transform(results)
        before = results.get('homography_matrix', np.eye(3))
        results['homography_matrix'] = np.array([[1, 0, -6], [0, 1, -10], [0, 0, 1.0]]) @ before
        return results


class WrongMirror(BaseTransform):
    """Mirrors the image, and records that it did not."""

    def transform(self, results):
        results['img'] = np.ascontiguousarray(results['img'][:, ::-1])
        return results


class Claimed(BaseTransform):
    """Moves nothing, and says that it did."""

    def transform(self, results):
        before = results.get('homography_matrix', np.eye(3))
        results['homography_matrix'] = np.diag([-1.0, 1, 1]) @ before
        results['homography_matrix'][0, 2] += results['img_shape'][1]
        return results


class Bend(BaseTransform):
    """A wave that no matrix can record."""

    def transform(self, results):
        height, width = results['img'].shape
        y, x = np.indices((height, width), dtype=np.float32)
        wave = np.float32(height / 16) * np.sin(y * 12 / height)
        results['img'] = cv2.remap(results['img'], x + wave, y, cv2.INTER_LINEAR)
        return results


class Rare(BaseTransform):
    """Shifts one image in ten."""

    def transform(self, results):
        if np.random.rand() < 0.1:
            results['img'] = np.roll(results['img'], 5, axis=1)
        return results


class InPlace(BaseTransform):
    """Writes into the image that it is given."""

    def transform(self, results):
        results['img'] *= 0.5
        results['img'] += np.random.normal(0, 0.05, results['img'].shape).astype(np.float32)
        return results


class Broken(BaseTransform):
    def transform(self, results):
        raise RuntimeError('only for films with a moon')


RECORDED = [
    dict(type='Resize', scale=(96, 200), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomFlip', prob=[0.3, 0.3, 0.3], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='Rotate', prob=0.8, max_mag=15.0, img_border_value=0.0),
    dict(type='Rotate', prob=1.0, min_mag=100.0, max_mag=180.0, img_border_value=0.0),
    dict(type='TranslateX', prob=1.0, img_border_value=0.0),
    dict(type='ShearY', prob=1.0, img_border_value=0.0),
    dict(
        type='RandomCrop',
        crop_size=(0.5, 0.7),
        crop_type='relative_range',
        allow_negative_crop=True,
    ),
    dict(type='PadRadiograph', size=(160, 160)),
    dict(type='Pad', size_divisor=32),
    RecordedCrop(),
]
STAYING = [
    dict(type='IntensityJitter', gamma=0.3),
    dict(type='Equalize', prob=1.0),
    dict(type='Brightness', prob=1.0),
    dict(type='Solarize', prob=1.0),
    dict(type='CutOut', n_holes=20, cutout_ratio=(0.1, 0.1)),
    dict(type='RandomErasing', n_patches=(1, 5), ratio=(0, 0.4), img_border_value=0.0),
    InPlace(),
    Broken(),
]
MOVING = dict(
    RandomShift=dict(type='RandomShift'),
    RandomAffine=dict(type='RandomAffine'),
    MinIoURandomCrop=dict(type='MinIoURandomCrop'),
    Expand=dict(type='Expand'),
    Crop=Crop(),
    WrongMirror=WrongMirror(),
    Claimed=Claimed(),
    Bend=Bend(),
    Rare=Rare(),
)


def name_of(step):
    # an address would differ between the processes of a run
    return str(step) if isinstance(step, dict) else type(step).__name__


@pytest.mark.parametrize('shape', SIZES)
@pytest.mark.parametrize('step', [*RECORDED, *STAYING], ids=name_of)
def test_what_is_recorded_or_stays_passes(step, shape):
    check_pipeline(pipeline(step), shape)


@pytest.mark.parametrize('shape', SIZES)
@pytest.mark.parametrize('name', MOVING)
def test_what_moves_unrecorded_is_named(name, shape):
    with pytest.raises(ValueError, match=rf'^{name} moves .* homography_matrix'):
        check_pipeline(pipeline(MOVING[name]), shape)


@pytest.mark.parametrize(
    'step',
    [
        dict(type='RandomCrop', crop_size=(40, 40), allow_negative_crop=True),
        dict(type='CutOut', n_holes=30, cutout_ratio=(0.2, 0.2)),
    ],
    ids=lambda step: step['type'],
)
def test_blobs_that_are_cut_are_no_evidence(step):
    check_pipeline(pipeline(step, scale=1024), (1024, 1024))


def test_boxes_that_were_lost_hide_no_motion():
    class NoBoxes(BaseTransform):
        def transform(self, results):
            results['gt_bboxes'] = results['gt_bboxes'][torch.zeros(0, dtype=torch.long)]
            results['gt_bboxes_labels'] = results['gt_bboxes_labels'][:0]
            results['gt_ignore_flags'] = results['gt_ignore_flags'][:0]
            return results

    # it leaves an image alone of which no box would be left
    with pytest.raises(ValueError, match=r'^RandomShift moves'):
        check_pipeline(pipeline(NoBoxes(), dict(type='RandomShift', prob=1.0)), (300, 256))


def test_eight_bits_on_the_way_are_no_fault():
    class ToBytes(BaseTransform):
        def transform(self, results):
            results['img'] = np.round(results['img'] * 255).astype(np.uint8)
            return results

    class ToFloat(BaseTransform):
        def transform(self, results):
            results['img'] = results['img'].astype(np.float32) / 255
            return results

    check_pipeline(pipeline(ToBytes(), ToFloat()), (128, 128))


def test_where_it_went_is_said():
    # blobs at 0.38 and 0.42 of 128 px; the crop takes 6 px off the left and 10 off the top
    words = (
        r'at \(48\.6, 53\.8\) px .* is at \(42\.6, 43\.8\) px, by the matrix .* \(48\.6, 53\.8\)'
    )
    with pytest.raises(ValueError, match=words):
        check_pipeline(pipeline(Crop()), (128, 128))


@pytest.mark.parametrize('scale', [160, 256, 1024])
def test_pipelines_of_the_configs_pass(scale):
    augment = [
        dict(type='IntensityJitter', brightness=0.1, contrast=0.2),
        dict(type='RandomFlip', prob=0.5),
        dict(type='Rotate', prob=0.8, max_mag=15.0, img_border_value=0.0),
    ]
    check_pipeline(pipeline(*augment, scale=scale), (1200, 1000))


def inside(kind, step):
    still = dict(type='IntensityJitter')
    pack = [dict(type='ProbMapTarget'), dict(type='PackProbMapInputs')]
    return dict(
        MultiBranch=dict(
            type='MultiBranch', branch_field=['a', 'b'], a=[still, *pack], b=[step, *pack]
        ),
        RandomApply=dict(type='RandomApply', transforms=[step], prob=0.2),
        RandomChoice=dict(type='RandomChoice', transforms=[[still], [still, step]]),
        Compose=dict(type='Compose', transforms=[still, step]),
    )[kind]


@pytest.mark.parametrize('kind', ['MultiBranch', 'RandomApply', 'RandomChoice', 'Compose'])
def test_inside_of_wrappers(kind):
    rotate = dict(type='Rotate', prob=0.5, img_border_value=0.0)
    check_pipeline(pipeline(inside(kind, rotate)), (300, 256))
    with pytest.raises(ValueError, match=r'^RandomShift moves'):
        check_pipeline(pipeline(inside(kind, dict(type='RandomShift', prob=0.5))), (300, 256))


def test_a_wrapper_that_moves_by_itself():
    class Both(Crop):
        def __init__(self):
            self.flip = TRANSFORMS.build(dict(type='RandomFlip', prob=0.5))

    with pytest.raises(ValueError, match=r'^Both moves'):
        check_pipeline(pipeline(Both()), (300, 256))


@pytest.mark.parametrize('shape', SIZES)
def test_after_the_target_nothing_may_move(shape):
    flip = TRANSFORMS.build(dict(type='RandomFlip', prob=0.5))
    transforms = pipeline()
    check_pipeline([*transforms[:-2], flip, *transforms[-2:]], shape)
    with pytest.raises(ValueError, match=r'^RandomFlip moves the image after its target was made'):
        check_pipeline([*transforms[:-1], flip, transforms[-1]], shape)


class Half(BaseTransform):
    """Leaves NaN, as the logarithm of a negative number would be."""

    def transform(self, results):
        results['img'] = np.where(results['img'] > 0.5, results['img'], np.nan)
        return results


FAR = dict(
    Rotate=(dict(type='Rotate', prob=0.8), r'0\.25 to 128'),
    TranslateX=(dict(type='TranslateX', prob=1.0), r'0\.25 to 128'),
    Pad=(dict(type='Pad', size=(160, 160), pad_val=114), r'0\.25 to 114'),
    CutOut=(
        dict(type='CutOut', n_holes=3, cutout_ratio=(0.1, 0.1), fill_in=(9, 9, 9)),
        '0.25 to 9',
    ),
    RandomErasing=(dict(type='RandomErasing', n_patches=3, ratio=0.2), r'0\.25 to 128'),
    Invert=(dict(type='Invert', prob=1.0), r'254\.25\S* to 254\.75'),
    PhotoMetricDistortion=(dict(type='PhotoMetricDistortion'), ''),
    Normalize=(dict(type='Normalize', mean=[0.5], std=[0.25], to_rgb=False), r'-1 to 0\.99'),
    Half=(Half(), 'nan to nan'),
)


@pytest.mark.parametrize('shape', SIZES)
@pytest.mark.parametrize('name', FAR)
def test_values_far_from_those_of_a_film_are_refused(name, shape):
    step, values = FAR[name]
    with pytest.raises(ValueError, match=rf'^{name} gives values from {values}.*img_border_value'):
        check_pipeline(pipeline(step), shape)


@pytest.mark.parametrize('kind', ['MultiBranch', 'RandomApply', 'RandomChoice', 'Compose'])
def test_films_without_boxes_must_not_be_left_out(kind):
    crop = dict(type='RandomCrop', crop_size=(100, 100), allow_negative_crop=True)
    check_pipeline(pipeline(inside(kind, crop)), (300, 256))
    with pytest.raises(ValueError, match=r'^RandomCrop would leave out .*allow_negative_crop=True'):
        check_pipeline(pipeline(inside(kind, dict(crop, allow_negative_crop=False))), (300, 256))


def test_a_crop_that_leaves_the_image_as_it_is_leaves_out_films_too():
    with pytest.raises(ValueError, match=r'^RandomCrop would leave out films without boxes'):
        check_pipeline(pipeline(dict(type='RandomCrop', crop_size=(128, 128))), (300, 256))
    # of films that all have boxes; what is right for them is not for others
    step = dict(type='RandomCrop', crop_size=(99, 99))
    check_pipeline(pipeline(step), (300, 256), has_empty=False)
    with pytest.raises(ValueError, match=r'^RandomCrop would leave out'):
        check_pipeline(pipeline(step), (300, 256))


MIXING = dict(
    Mosaic=dict(type='Mosaic', img_scale=(96, 96), pad_val=0.0),
    MixUp=dict(type='MixUp', img_scale=(96, 96), pad_val=0.0),
    CachedMosaic=dict(type='CachedMosaic', img_scale=(96, 96), pad_val=0.0),
    CachedMixUp=dict(type='CachedMixUp', img_scale=(96, 96), pad_val=0.0),
    CopyPaste=dict(type='CopyPaste'),
)


@pytest.mark.parametrize('name', MIXING)
def test_films_must_not_be_mixed(name):
    with pytest.raises(ValueError, match=rf'^{name} mixes films, .* batch_augments'):
        check_pipeline(pipeline(MIXING[name]))
    with pytest.raises(ValueError, match=rf'^{name} mixes films'):
        check_pipeline(pipeline(inside('MultiBranch', MIXING[name]), target=False))
    check_pipeline(pipeline(MIXING[name], target=False))


@pytest.mark.parametrize(
    'step',
    [
        dict(type='Resize', scale=(32, 32), keep_ratio=True),
        dict(type='RandomFlip', prob=1.0),
        dict(type='Rotate', img_border_value=0.0),
        dict(type='RandomCrop', crop_size=(32, 32), allow_negative_crop=True),
    ],
    ids=lambda step: step['type'],
)
def test_what_is_recommended_works_on_a_film(step):
    with pytest.raises(ValueError, match=r'homography_matrix') as raised:
        check_pipeline(pipeline(Crop()), (300, 256))
    recommended = str(raised.value).partition("as mmdet's")[2]
    assert step['type'] in recommended and 'Translate' not in recommended
    for option in {'img_border_value', 'allow_negative_crop'} & set(step):
        assert f'{step["type"]} with {option}={step[option]}' in recommended
    check_pipeline(pipeline(step), (300, 256))
    film = dict(img=np.full((64, 48), 0.5, np.float32), img_shape=(64, 48))
    moved = TRANSFORMS.build(dict(step))(film)
    assert moved['img'].ndim == 2 and moved['img'].max() <= 1
    assert np.shape(moved['homography_matrix']) == (3, 3)


def test_without_a_target_boxes_may_follow_by_themselves():
    check_pipeline(pipeline(dict(type='RandomAffine'), target=False))


def test_without_a_target_films_without_boxes_must_not_be_left_out_either():
    crop = dict(type='RandomCrop', crop_size=(100, 100))
    boxes = [crop, dict(type='FilterAnnotations')]
    with pytest.raises(ValueError, match=r'^RandomCrop would leave out films without boxes'):
        check_pipeline(pipeline(*boxes, target=False), (300, 256))
    check_pipeline(pipeline(*boxes, target=False), (300, 256), has_empty=False)
    crop['allow_negative_crop'] = True
    check_pipeline(pipeline(*boxes, target=False), (300, 256))
    # what was right without a target is not for one
    check_pipeline(pipeline(dict(type='RandomShift'), target=False), (300, 256))
    with pytest.raises(ValueError, match=r'^RandomShift moves'):
        check_pipeline(pipeline(dict(type='RandomShift')), (300, 256))


@pytest.mark.parametrize(
    ('options', 'drops'),
    [
        (dict(), True),
        (dict(subset='N'), True),
        (dict(subset='P_hos'), False),
        (dict(sources='hospital'), True),
        (dict(test_mode=True), False),
        (dict(lazy_init=True), True),
    ],
    ids=str,
)
def test_a_data_set_knows_whether_it_has_films_without_boxes(options, drops, tiny_data):
    steps = [
        dict(type='LoadRadiograph', channels=3),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomCrop', crop_size=(32, 32)),
        dict(type='PackProbMapInputs'),
    ]
    cfg = dict(
        type='CXRDataset',
        data_root=str(tiny_data),
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        pipeline=steps,
    )
    with contextlib.ExitStack() as stack:
        if drops:
            stack.enter_context(pytest.raises(ValueError, match=r'^RandomCrop would leave out'))
        DATASETS.build(cfg | options)


@pytest.mark.parametrize('steps', [RECORDED, [dict(type='RandomShift')]], ids=['right', 'wrong'])
def test_random_state_is_left_as_it_was(steps):
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    wanted = draw()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    with contextlib.suppress(ValueError):
        check_pipeline(pipeline(*steps), (64, 48))
    assert draw() == wanted


def test_transforms_are_left_as_they_were():
    transforms = pipeline(dict(type='Rotate', prob=1.0, img_border_value=0.0), InPlace())
    before = [dict(vars(one)) for one in transforms]
    check_pipeline(transforms)
    assert [vars(one) for one in transforms] == before


def test_what_does_not_run_is_logged(monkeypatch):
    logged = []
    monkeypatch.setattr(
        pipeline_check, 'print_log', lambda text, logger, level: logged.append((level, text))
    )
    check_pipeline(pipeline(Broken()))
    assert {level for level, _ in logged} == {logging.DEBUG}
    assert any('Broken does not run' in text and 'a moon' in text for _, text in logged)


def test_a_right_transform_is_run_once_for_the_next_data_set():
    class Counted(RecordedCrop):
        runs = 0

        def transform(self, results):
            Counted.runs += 1
            np.random.rand()
            return super().transform(results)

    # a class of this function cannot be a key
    globals()['Counted'] = Counted
    Counted.__qualname__ = 'Counted'
    check_pipeline(pipeline(Counted()), (64, 64))
    first = Counted.runs
    check_pipeline(pipeline(Counted()), (64, 64))
    # one of them without boxes
    assert first == pipeline_check.ENOUGH_RUNS + 1 and Counted.runs == first + 1
    check_pipeline(pipeline(Counted(), scale=64), (64, 64))
    assert Counted.runs == 2 * first + 1


@pytest.mark.parametrize('lazy_init', [False, True])
def test_a_data_set_is_not_built(tiny_data, lazy_init):
    steps = [
        dict(type='LoadRadiograph'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomAffine'),
        dict(type='WindowTarget'),
        dict(type='PackProbMapInputs'),
    ]
    options = dict(
        type='CXRDataset',
        data_root=str(tiny_data),
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        lazy_init=lazy_init,
    )
    with pytest.raises(ValueError, match=r'^RandomAffine moves'):
        DATASETS.build(dict(options, pipeline=steps))
    steps[2] = dict(type='Rotate', prob=0.8, img_border_value=0.0)
    DATASETS.build(dict(options, pipeline=steps))
