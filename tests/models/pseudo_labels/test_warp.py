# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import Pad, RandomFlip, Resize, Rotate
from mmdet.structures import DetDataSample

from mmfrac.models.pseudo_labels.warp import WarpToStudent, warp_map


def view(film: np.ndarray, *transforms) -> dict:
    results = dict(img=film, img_shape=film.shape, ori_shape=film.shape)
    for transform in transforms:
        results = transform(results)
    return results


def sample(results: dict) -> DetDataSample:
    return DetDataSample(
        metainfo=dict(
            img_path='film',
            img_shape=results['img_shape'],
            homography_matrix=results['homography_matrix'],
        )
    )


def blob(size: int, x: float, y: float, sigma: float) -> np.ndarray:
    grid = np.arange(size) + 0.5
    return np.exp(-((grid - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * sigma**2), dtype=np.float32)


def map_of(results: dict) -> torch.Tensor:
    """A 'network' that is equivariant by construction: mean over 4 x 4 px."""
    image = torch.from_numpy(np.ascontiguousarray(results['img']))[None, None]
    return torch.nn.functional.avg_pool2d(image, 4)


LOAD = [Resize(scale=(128, 128), keep_ratio=True), Pad(size=(128, 128))]


@pytest.mark.parametrize(
    ('augment', 'tolerance'),
    [
        ([RandomFlip(prob=1.0)], 1e-5),
        ([RandomFlip(prob=1.0, direction='vertical')], 1e-5),
        ([Rotate(prob=1.0, min_mag=12.0, max_mag=12.0, img_border_value=0.0)], 0.05),
        (
            [
                RandomFlip(prob=1.0),
                Rotate(prob=1.0, min_mag=15.0, max_mag=15.0, img_border_value=0.0),
            ],
            0.05,
        ),
    ],
)
def test_warped_teacher_map_is_the_map_of_the_students_view(augment, tolerance):
    film = blob(96, 60, 40, 8)[:, :80]
    teacher, student = view(film, *LOAD), view(film, *LOAD, *augment)
    prob_map = map_of(teacher)
    samples = [sample(teacher)], [sample(student)]
    warped, _ = WarpToStudent(stride=4)(prob_map, torch.ones_like(prob_map), *samples)
    difference = (warped - map_of(student)).abs().max().item()
    unwarped = (map_of(teacher) - map_of(student)).abs().max().item()
    assert difference < tolerance < 0.2 < unwarped


def test_each_film_of_a_batch_gets_its_own_warp():
    film = blob(128, 40, 70, 8)
    teacher = view(film, *LOAD)
    students = [view(film, *LOAD), view(film, *LOAD, RandomFlip(prob=1.0))]
    maps = map_of(teacher).repeat(2, 1, 1, 1)
    samples = [sample(teacher)] * 2, [sample(student) for student in students]
    warped, _ = WarpToStudent()(maps, torch.ones_like(maps), *samples)
    for index, student in enumerate(students):
        torch.testing.assert_close(warped[index], map_of(student)[0], atol=1e-5, rtol=0)


def test_flip_is_exact_and_identity_changes_nothing():
    prob_map = torch.rand(1, 1, 6, 8)
    flip = np.array([[[-1.0, 0, 8], [0, 1, 0], [0, 0, 1]]])
    torch.testing.assert_close(warp_map(prob_map, flip), prob_map.flip(-1), atol=1e-6, rtol=0)
    torch.testing.assert_close(warp_map(prob_map, np.eye(3)[None]), prob_map, atol=1e-6, rtol=0)


def test_shift_brings_in_zeros():
    shift = np.array([[[1.0, 0, 2], [0, 1, 0], [0, 0, 1]]])
    warped = warp_map(torch.ones(1, 1, 3, 5), shift)
    expected = torch.ones(1, 1, 3, 5)
    expected[..., :2] = 0
    torch.testing.assert_close(warped, expected)


def test_agrees_with_opencv_on_a_random_affine():
    rng = np.random.default_rng(1)
    prob_map = cv2.GaussianBlur(rng.random((40, 50), dtype=np.float32), (0, 0), 2)
    affine = cv2.getRotationMatrix2D((25, 20), 20, 0.9)
    ours = warp_map(torch.from_numpy(prob_map)[None, None], np.vstack([affine, [0, 0, 1]])[None])
    # opencv's coordinates are those of cell centres
    centred = affine.copy()
    centred[:, 2] += affine[:, :2] @ [0.5, 0.5] - [0.5, 0.5]
    theirs = cv2.warpAffine(prob_map, centred, (50, 40), flags=cv2.INTER_LINEAR)
    assert np.abs(ours[0, 0].numpy() - theirs)[2:-2, 2:-2].max() < 0.02


def test_perspective_is_refused():
    tilted = DetDataSample(
        metainfo=dict(
            img_path='film.png',
            img_shape=(16, 16),
            homography_matrix=np.array([[1, 0, 0], [0, 1, 0], [0.1, 0, 1]]),
        )
    )
    with pytest.raises(ValueError, match=r'film.png.*affine'):
        WarpToStudent()(*torch.rand(2, 1, 1, 4, 4), [tilted], [tilted])


def test_the_grid_is_not_rounded_under_amp():
    turn = np.array(
        [[np.cos(0.2), -np.sin(0.2), 20.0], [np.sin(0.2), np.cos(0.2), -15.0], [0, 0, 1]]
    )
    prob_map = torch.from_numpy(blob(256, 150, 90, 3))[None, None]
    wanted = warp_map(prob_map, turn[None])
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(warp_map(prob_map, turn[None]), wanted)
