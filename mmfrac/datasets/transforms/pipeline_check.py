# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What is wrong with the transforms of a pipeline in silence: no training would show it.

Targets and pseudo maps follow ``homography_matrix`` alone. A transform that moves pixels and does not
record it there (mmdet's ``RandomShift`` and ``RandomAffine``) would train the model on masks that lie
elsewhere. No transform is known here by its name: each is run on an image of blobs, and where the blobs
went is compared with what was recorded.

By the same runs other faults come to light: values far from those of a film, films without boxes that
are left out, and films that are mixed. Without a map target, for box detectors, only films that are left
out are looked for.
"""

import copy
import functools
import logging
import pickle
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import mmcv.transforms
import mmengine.dataset
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.logging import print_log

from mmfrac.datasets.transforms.targets import MapTarget
from mmfrac.utils.geometry import project

# px of the transform's output; conventions of pixel centres differ by up to 1
TOLERANCE = 2.0
# a transform of probability 0.1 acts in one of 40 runs with a chance of 98.5 %
MAX_RUNS = 40
# runs in which a transform has acted and was right, after which it is trusted
ENOUGH_RUNS = 3
# of a film, px: larger ones are probed as if they had this size
MAX_SIDE = 1024
MIN_SIDE = 64
BACKGROUND, PEAK = 0.25, 0.75
# of what becomes of it; noise and contrast go a little beyond, fill values of 8 bits far
LOWEST, HIGHEST = -0.25, 1.25
# where the blobs are, as shares of width and height: no flip or turn maps them on themselves
POINTS = np.array([[0.38, 0.42], [0.63, 0.47], [0.45, 0.66]])

# transforms that were right, by content and size: data sets of one config share most of theirs
_right: set[tuple[bytes, bool, bool]] = set()


def check_pipeline(
    transforms: Sequence[Any], shape: tuple[int, int] = (1024, 1024), has_empty: bool = True
) -> None:
    """Check the transforms of a pipeline.

    Nothing is read from disk, and the random state of ``random``, numpy and torch is the same after it.
    What does not run on a made-up image is left alone, too.

    Args:
        transforms (Sequence[Any]): Built transforms.
        shape (tuple[int, int]): ``(h, w)`` px of a film. Defaults to (1024, 1024).
        has_empty (bool): Whether there are films without boxes. Defaults to True.

    Raises:
        ValueError: With the name of a transform that would leave out films without boxes; in a pipeline
            with a map target also of one that moves the image otherwise than it records, or after the
            target was made; that gives values far outside [0, 1]; or that mixes films.
    """
    members = list(_all_transforms(transforms))
    has_target = any(isinstance(one, MapTarget) for one in members)
    if not (has_target or has_empty):
        return
    for one in members:
        # mmdet's mark of Mosaic, MixUp and CopyPaste
        if has_target and hasattr(one, 'get_indexes'):
            raise ValueError(
                f'{type(one).__name__} mixes films, but the target is made of the boxes of one: leave '
                'it out of the pipeline; MixUp in batch_augments of SemiProbMapDetector mixes films '
                'with their targets'
            )
    scale = min(1.0, MAX_SIDE / max(shape))
    height, width = (max(round(side * scale), MIN_SIDE) for side in shape)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            _check_sequence(transforms, _film(height, width), has_empty, has_target)
    finally:
        _image.cache_clear()
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _film(height: int, width: int) -> dict:
    """What a pipeline holds when a film of this size is loaded, with one box in its middle."""
    results = dict(
        img_shape=(height, width),
        ori_shape=(height, width),
        height=height,
        width=width,
        img_id=0,
        label=1,
        regions=True,
        source='',
        patient_id='',
    )
    return _with_central_box(results)


def _with_central_box(results: dict) -> dict:
    # a transform may leave an image alone whose boxes it would lose
    height, width = results['img_shape'][:2]
    return _with_boxes(results, [[width * 0.3, height * 0.3, width * 0.7, height * 0.7]])


def _with_boxes(results: dict, boxes: list[list[float]]) -> dict:
    return dict(
        results,
        instances=[dict(bbox=box, bbox_label=0, ignore_flag=0) for box in boxes],
        gt_bboxes=HorizontalBoxes(np.reshape(boxes, (-1, 4)), dtype=torch.float32),
        gt_bboxes_labels=np.zeros(len(boxes), np.int64),
        gt_ignore_flags=np.zeros(len(boxes), bool),
    )


_COMPOSES = (mmcv.transforms.Compose, mmengine.dataset.Compose)


def _is_transform(value: Any) -> bool:
    return isinstance(value, (mmcv.transforms.BaseTransform, *_COMPOSES))


def _sequences_within(transform: Any) -> list[list[Any]]:
    """Sequences of transforms that a wrapper runs: its steps, or one for each choice or branch."""
    sequences: list[list[Any]] = []
    for value in getattr(transform, '__dict__', {}).values():
        members = list(value.values()) if isinstance(value, dict) else value
        if _is_transform(members):
            sequences.append([members])
        elif isinstance(members, (list, tuple)) and any(map(_is_transform, members)):
            apart = isinstance(value, dict) or all(isinstance(one, _COMPOSES) for one in members)
            sequences += [[one] for one in members] if apart else [list(members)]
    return sequences


def _all_transforms(transforms: Sequence[Any]) -> Iterator[Any]:
    for transform in transforms:
        yield transform
        for sequence in _sequences_within(transform):
            yield from _all_transforms(sequence)


def _check_sequence(
    transforms: Sequence[Any], results: dict, has_empty: bool, has_target: bool
) -> dict:
    """Check one transform after the other; what the last one leaves, without the image."""
    for transform in transforms:
        inner = [
            _check_sequence(one, results, has_empty, has_target)
            for one in _sequences_within(transform)
        ]
        after = _check_transform(transform, results, has_empty, has_target)
        results = after if after is not None else (inner or [results])[0]
    return results


def _check_transform(
    transform: Any, results: dict, has_empty: bool, has_target: bool
) -> dict | None:
    """Raise if a transform has one of the faults of ``check_pipeline``.

    Args:
        transform (Any): Built transform.
        results (dict): What comes to it, without ``img``.
        has_empty (bool): Whether there are films without boxes.
        has_target (bool): Whether a map target is made in its pipeline.

    Returns:
        dict | None: What it leaves, without ``img``; None if that is no image, or nothing.
    """
    probe = _Probe(transform, results)
    key = probe.key()
    known = None if key is None else (key, has_empty, has_target)
    after = None
    acted = 0
    for seed in range(MAX_RUNS):
        run = probe.run(seed, (0, 1, 2))
        # it fails, or packs the image away
        if run is None or (run.img is None and run.results is not None):
            break
        if run.img is None:
            # it asks for another film
            if not run.is_random:
                break
            continue
        is_first = after is None
        if is_first:
            after = run.results
        if known in _right:
            break
        fault = probe.fault(seed, run) if has_target and run.acted else None
        if is_first and has_empty and not fault:
            fault = probe.left_out_fault(seed)
        if fault:
            raise ValueError(f'{probe.name} {fault}')
        acted += run.acted
        if acted == ENOUGH_RUNS or not (has_target and run.is_random):
            break
    if known is not None and after is not None:
        _right.add(known)
    return after


class _Run:
    """One run of a transform.

    Attributes:
        img (np.ndarray | None): What became of the image; None if the transform gave none.
        results (dict | None): What it left besides; None if it left nothing.
        motion (np.ndarray): ``(3, 3)`` from px before to px after it, as recorded.
        acted (bool): Whether it changed the image, or recorded a motion.
        is_random (bool): Whether it drew a random number.
    """

    def __init__(self, before: dict, img: np.ndarray, after: Any, is_random: bool) -> None:
        self.is_random = is_random
        self.img: np.ndarray | None = None
        self.results: dict | None = None if after is None else {}
        found = after.get('img') if isinstance(after, dict) else None
        if not isinstance(found, np.ndarray) or found.ndim not in (2, 3) or not found.size:
            return
        self.img = found
        self.results = {key: value for key, value in after.items() if key != 'img'}
        self.results['img_shape'] = found.shape[:2]
        self.motion = _matrix(self.results) @ np.linalg.inv(_matrix(before))
        same = found is img or np.array_equal(found, img)
        self.acted = not (same and np.allclose(self.motion, np.eye(3), atol=1e-4))


def _matrix(results: dict) -> np.ndarray:
    matrix = results.get('homography_matrix')
    return np.eye(3) if matrix is None else np.asarray(matrix, np.float64)


class _Probe:
    """A transform and the images of blobs that it is run on.

    Args:
        transform (Any): Built transform; a copy of it is run.
        results (dict): What comes to it, without ``img``.
    """

    def __init__(self, transform: Any, results: dict) -> None:
        self.name = type(transform).__name__
        self.results = _with_central_box(results)
        self.height, self.width = results['img_shape'][:2]
        self.points = _points(self.height, self.width)
        self.sigma = _sigma(self.height, self.width)
        # colour for those that expect it; read-only for those that would write into the image
        self.modes = [(False, False), (False, True), (True, False), (True, True)]
        try:
            self.transform = copy.deepcopy(transform)
        except Exception as error:
            self._log(error)
            self.modes = []

    def key(self) -> bytes | None:
        """Content of the transform and size of its image; None if it has no such key."""
        content = getattr(self.transform, '__dict__', {}) if self.modes else {}
        try:
            kind = f'{type(self.transform).__module__}.{type(self.transform).__qualname__}'
            made = 'gt_prob_map' in self.results
            return pickle.dumps((kind, content, self.height, self.width, made))
        except Exception:
            return None

    def run(self, seed: int, blobs: tuple[int, ...]) -> _Run | None:
        """Run the transform on an image of some of the blobs; None if it fails on it."""
        while self.modes:
            img, results = self._input(self.results, blobs)
            before = _seed(seed)
            try:
                after = self.transform(results)
            except Exception as error:
                failed = error
                # what is not there, as a loader's img_path, is not there for another image either
                self.modes = [] if isinstance(error, KeyError) else self.modes[1:]
                continue
            return _Run(self.results, img, after, _random_state() != before)
        if blobs and seed == 0:
            self._log(failed)
        return None

    def _input(self, results: dict, blobs: tuple[int, ...]) -> tuple[np.ndarray, dict]:
        """An image of blobs, and what the transform is given: it, or a copy of it, and the results."""
        colour, writeable = self.modes[0]
        img = _image(self.height, self.width, blobs, colour)
        return img, dict(copy.deepcopy(results), img=img.copy() if writeable else img)

    def left_out_fault(self, seed: int) -> str | None:
        """What is wrong if an image is left out for having no box; None if it is not.

        Args:
            seed (int): Of a run that gave an image.
        """
        _, results = self._input(_with_boxes(self.results, []), (0, 1, 2))
        _seed(seed)
        try:
            if self.transform(results) is not None:
                return None
        except Exception:
            # a training would stop there
            return None
        return (
            'would leave out films without boxes, and so all negatives: set its '
            'allow_negative_crop=True, or leave it out of the pipeline'
        )

    def fault(self, seed: int, run: _Run) -> str | None:
        """What is wrong with the image of a run on all blobs; None if nothing is."""
        return self._motion_fault(seed, run) or _value_fault(run)

    def _motion_fault(self, seed: int, run: _Run) -> str | None:
        if self._is_where_recorded(run):
            return None
        made = 'gt_prob_map' in self.results
        empty = self.run(seed, ())
        wrong, right = [], 0
        for blob, point in enumerate(self.points):
            single = self.run(seed, (blob,))
            if single is None or empty is None:
                continue
            where = _difference(single.img, empty.img)
            if where is None:
                continue
            recorded = project(point[None], np.eye(3) if made else single.motion)[0]
            if np.hypot(*(where - recorded)) > TOLERANCE:
                wrong.append((point, where, recorded))
            else:
                right += 1
        # a blob of which a part was erased lies elsewhere, too
        if len(wrong) <= right:
            return None
        before, now, recorded = (f'({x:.1f}, {y:.1f})' for x, y in wrong[0])
        if made:
            return (
                f'moves the image after its target was made: what was at {before} px is at {now} px, '
                'and the target stays; put the target behind it in the pipeline'
            )
        return (
            'moves the image otherwise than it records in homography_matrix: what was at '
            f'{before} px (x, y) is at {now} px, by the matrix it is at {recorded} px, and targets and '
            'pseudo maps follow the matrix. Leave it out of the pipeline, or let it set '
            "results['homography_matrix'] to its own 3 x 3 matrix times the one that is there, as "
            "mmdet's Resize, RandomFlip, Rotate with img_border_value=0.0 and RandomCrop with "
            'allow_negative_crop=True do'
        )

    def _is_where_recorded(self, run: _Run) -> bool:
        """Whether every blob inside is where the matrix says, as far as its surroundings show."""
        assert run.img is not None
        plane = run.img if run.img.ndim == 2 else run.img[..., 0]
        motion = np.eye(3) if 'gt_prob_map' in self.results else run.motion
        radius = 3 * self.sigma * np.sqrt(abs(np.linalg.det(motion[:2, :2]))) + TOLERANCE
        seen = 0
        for x, y in project(self.points, motion):
            x0, y0 = (int(np.floor(value - radius)) for value in (x, y))
            x1, y1 = (int(np.ceil(value + radius)) for value in (x, y))
            if x0 < 0 or y0 < 0 or x1 > plane.shape[1] or y1 > plane.shape[0]:
                continue
            patch = plane[y0:y1, x0:x1].astype(np.float64)
            where = _centre(np.abs(patch - np.median(patch)))
            if where is None or np.hypot(*(where + (x0, y0) - (x, y))) > TOLERANCE:
                return False
            seen += 1
        return seen > 0

    def _log(self, error: Exception) -> None:
        print_log(
            f'{self.name} does not run on a made-up image, so that it is not known whether it records '
            f'how it moves one: {type(error).__name__}: {error}',
            logger='current',
            level=logging.DEBUG,
        )


def _value_fault(run: _Run) -> str | None:
    assert run.img is not None
    # on its way through a transform of 8 bits; what is packed in the end is checked there
    if run.img.dtype == np.uint8:
        return None
    low, high = float(run.img.min()), float(run.img.max())
    # NaN lies nowhere
    if low >= LOWEST and high <= HIGHEST:
        return None
    return (
        f'gives values from {low:g} to {high:g}, films lie in [0, 1]: set its border or fill value '
        '(img_border_value, pad_val, fill_in) to 0, leave normalising to model.data_preprocessor, and '
        'leave out what is made for values up to 255'
    )


def _points(height: int, width: int) -> np.ndarray:
    return POINTS * [width, height]


def _sigma(height: int, width: int) -> float:
    return max(2.0, min(height, width) / 64)


@functools.lru_cache(8)
def _image(height: int, width: int, blobs: tuple[int, ...], colour: bool) -> np.ndarray:
    """Image (h, w) or (h, w, 3) of some of the blobs, read-only."""
    img = np.full((height, width), BACKGROUND, np.float32)
    sigma = _sigma(height, width)
    for x, y in _points(height, width)[list(blobs)]:
        x0, y0 = (max(int(value - 4 * sigma), 0) for value in (x, y))
        x1, y1 = (int(value + 4 * sigma) + 1 for value in (x, y))
        part = img[y0:y1, x0:x1]
        rows, columns = np.indices(part.shape) + 0.5
        squares = (rows + y0 - y) ** 2 + (columns + x0 - x) ** 2
        part += (PEAK - BACKGROUND) * np.exp(-squares / (2 * sigma**2))
    if colour:
        img = np.repeat(img[..., None], 3, axis=2)
    img.flags.writeable = False
    return img


def _difference(img: np.ndarray | None, empty: np.ndarray | None) -> np.ndarray | None:
    """Where a blob is, from an image with it and one without; None if it is nowhere."""
    if img is None or empty is None or img.shape != empty.shape:
        return None
    difference = img.astype(np.float64) - empty
    if difference.ndim == 3:
        difference = difference.sum(axis=2)
    weight = np.abs(difference - np.median(difference))
    return _centre(weight) if _is_whole(weight) else None


def _is_whole(weight: np.ndarray) -> bool:
    """Whether a blob fades on all sides; one that was cut has its centre elsewhere."""
    peak = weight.max(initial=0)
    mask = np.pad(weight > peak / 2, 1)
    around = (cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~mask
    return np.mean(np.pad(weight, 1)[around] < peak / 10) < 0.1


def _centre(weight: np.ndarray) -> np.ndarray | None:
    """Centroid (x, y) of what is above half of the maximum; None if that is nothing, or too much."""
    mask = weight > weight.max(initial=0) / 2
    count = np.count_nonzero(mask)
    if weight.max(initial=0) < 1e-6 or count > weight.size / 4:
        return None
    rows, columns = np.nonzero(mask)
    shares = weight[rows, columns] / weight[rows, columns].sum()
    return np.array([(columns + 0.5) @ shares, (rows + 0.5) @ shares])


def _seed(seed: int) -> tuple:
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed would seed the accelerators, too
    torch.default_generator.manual_seed(seed)
    return _random_state()


def _random_state() -> tuple:
    _, keys, position, *_ = np.random.get_state()
    tensor = torch.get_rng_state()
    return random.getstate(), np.asarray(keys).tobytes(), position, tensor.numpy().tobytes()
