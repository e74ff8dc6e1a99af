# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the prob map is compared with: the mask of the lesions, or bounds around their centres."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmfrac.datasets.labels import ignored, lesions
from mmfrac.utils.geometry import box_corners, image_mask, project, rasterise_convex


def map_grid(results: dict, stride: int) -> tuple[tuple[int, int], np.ndarray]:
    """Size of a film's map, and how the film got into the network input.

    Args:
        results (dict): With ``img_shape`` and perhaps ``homography_matrix``.
        stride (int): Input px per map cell.

    Returns:
        tuple: ``(h, w)`` cells, and ``(3, 3)`` from film px to input px.

    Raises:
        ValueError: When the input is not a whole number of cells.
    """
    height, width = results['img_shape'][:2]
    if height % stride or width % stride:
        raise ValueError(
            f'{results.get("img_path", "film")}: input of {height} x {width} px is no multiple '
            f'of stride {stride}; pad to a multiple before the target is made'
        )
    homography = results.get('homography_matrix')
    return (height // stride, width // stride), np.eye(3) if homography is None else homography


def check_boxes(results: dict) -> None:
    """Raise if ``gt_bboxes`` has boxes of other films, as it has behind Mosaic and MixUp.

    Targets are made of the instances alone. Steps may leave out boxes, clip them and make them larger,
    but each is that of an instance.

    Args:
        results (dict): With perhaps ``instances`` and ``gt_bboxes``.

    Raises:
        ValueError: When there are more boxes than instances.
    """
    boxes, instances = (results.get(key) for key in ('gt_bboxes', 'instances'))
    counts = [0 if found is None else len(found) for found in (boxes, instances)]
    if counts[0] > counts[1]:
        raise ValueError(
            f'{results.get("img_path", "film")}: {counts[0]} gt_bboxes for {counts[1]} instances, of '
            'which the target is made: leave out of the pipeline what mixes films (Mosaic, MixUp, '
            'CopyPaste); MixUp in batch_augments of SemiProbMapDetector mixes films with their targets'
        )


class MapTarget(BaseTransform):
    """What the targets on the map grid share: their stride, and the cells that count.

    A pipeline that holds one is checked when its data set is built, see ``check_pipeline``.

    Args:
        stride (int, optional): Input px per map cell. Defaults to None: that of the model's head,
            where a tool of mmfrac read the config (``fill_stride``), else 4.

    Raises:
        ValueError: When ``stride`` is not positive.
    """

    def __init__(self, stride: int | None = None) -> None:
        if stride is not None and stride < 1:
            raise ValueError(f'stride must be a positive number of px, got {stride}')
        self.stride = 4 if stride is None else stride

    def valid_map(
        self, results: dict, homography: np.ndarray, lesion_cells: np.ndarray
    ) -> np.ndarray:
        """Cells that count in a loss: those of the film without those of ignored boxes.

        Args:
            results (dict): With ``ori_shape`` and perhaps ``instances``.
            homography (np.ndarray): ``(3, 3)`` from film px to input px.
            lesion_cells (np.ndarray): ``(h, w)`` bool; they count though an ignored box covers them.

        Returns:
            np.ndarray: ``(h, w)`` bool.
        """
        shape = (lesion_cells.shape[0], lesion_cells.shape[1])
        valid = image_mask(results['ori_shape'], homography, shape, self.stride)
        for instance in ignored(results.get('instances', ())):
            cells = box_cells(instance['bbox'], homography, shape, self.stride)
            valid[cells & ~lesion_cells] = False
        return valid


def box_cells(
    box: np.ndarray, homography: np.ndarray, shape: tuple[int, int], stride: int
) -> np.ndarray:
    """Cells whose centre lies in a moved box; the cell of its centre where there is none.

    Args:
        box (array): ``(4,)`` xyxy in film px.
        homography (np.ndarray): ``(3, 3)`` from film px to input px.
        shape (tuple): ``(h, w)`` of the map.
        stride (int): Input px per map cell.

    Returns:
        np.ndarray: ``(h, w)`` bool.
    """
    corners = project(box_corners(box), homography) / stride
    cells = rasterise_convex(corners, shape)
    if not cells.any():
        column, row = np.floor(corners.mean(axis=0)).astype(int)
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            cells[row, column] = True
    return cells


@TRANSFORMS.register_module()
class ProbMapTarget(MapTarget):
    """Ground-truth mask of a film on the map grid (paper, section 2.1).

    A cell is one when its centre lies in the transformed polygon of a box, that is in its four
    corners moved by ``homography_matrix``, not in the grown axis-aligned box. A lesion smaller
    than a cell keeps the cell of its centre.

    Required keys: ``img_shape``, ``ori_shape``, ``instances`` (boxes in film px, optional),
    ``homography_matrix`` (optional, identity when no transform moved the film).

    Added keys: ``gt_prob_map`` ``(h, w)`` uint8 and ``valid_map`` ``(h, w)`` bool, the cells that
    lie on the film itself (padding counts in no loss) and in no ignored box, unless a lesion covers
    them.

    Args:
        stride (int, optional): Input px per map cell, see ``MapTarget``. Defaults to None.

    Raises:
        ValueError: When the input is not a whole number of cells, ``gt_bboxes`` has boxes of other
            films (see ``check_boxes``), or ``stride`` is not positive.
    """

    def transform(self, results: dict) -> dict:
        """Add the target and the valid cells to ``results``."""
        shape, homography = map_grid(results, self.stride)
        check_boxes(results)
        target = np.zeros(shape, dtype=np.uint8)
        for instance in lesions(results.get('instances', ())):
            target[box_cells(instance['bbox'], homography, shape, self.stride)] = 1
        results['gt_prob_map'] = target
        results['valid_map'] = self.valid_map(results, homography, target > 0)
        return results

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(stride={self.stride})'


def window_bounds(
    points: np.ndarray, shape: tuple[int, int], inner: float, outer: float
) -> np.ndarray:
    """Lower and upper bound of the prob map around points.

    Both are 1 within ``inner`` of a point; between ``inner`` and ``outer`` they are 0 and 1, so that any
    value is right; beyond, both are 0. The cell of a point always lies within ``inner``.

    Args:
        points (np.ndarray): ``(n, 2)`` xy in cells.
        shape (tuple): ``(h, w)`` of the map.
        inner (float): Radius in cells.
        outer (float): Radius in cells, at least ``inner``.

    Returns:
        np.ndarray: ``(2, h, w)`` uint8, lower then upper.
    """
    bounds = np.zeros((2, *shape), dtype=np.uint8)
    y, x = np.indices(shape) + 0.5
    for column, row in points:
        distance = np.hypot(x - column, y - row)
        bounds[0][distance <= inner] = 1
        bounds[1][distance <= outer] = 1
        cell = int(np.floor(row)), int(np.floor(column))
        if 0 <= cell[0] < shape[0] and 0 <= cell[1] < shape[1]:
            bounds[:, cell[0], cell[1]] = 1
    return bounds


@TRANSFORMS.register_module()
class WindowTarget(MapTarget):
    """Bounds of the prob map for ``WindowLoss``, from lesions known by a point each (window loss [16]).

    The point is the centre of a box, moved by ``homography_matrix``; size and shape of the box are not
    used. The shape of the bounds (discs, see ``window_bounds``) and the radii are unverified: our source
    does not state those of the original.

    Keys as of ``ProbMapTarget``; ``gt_prob_map`` is ``(2, h, w)`` uint8, lower then upper bound. Cells
    around a lesion where the lower bound is 1 count though an ignored box covers them.

    Args:
        inner (float): Radius within which the map must be 1, as a share of the longer side of the
            input. Defaults to 0.015, that is 15 px of 1024.
        outer (float): Radius beyond which it must be 0. Defaults to 0.05.
        stride (int, optional): Input px per map cell, see ``MapTarget``. Defaults to None.

    Raises:
        ValueError: When the input is not a whole number of cells, ``gt_bboxes`` has boxes of other
            films (see ``check_boxes``), the radii are not 0 <= inner <= outer, or ``stride`` is not
            positive.
    """

    def __init__(
        self, inner: float = 0.015, outer: float = 0.05, stride: int | None = None
    ) -> None:
        super().__init__(stride)
        if not 0 <= inner <= outer:
            raise ValueError(f'radii must be 0 <= inner <= outer, got {inner} and {outer}')
        self.inner = inner
        self.outer = outer

    def transform(self, results: dict) -> dict:
        """Add the bounds and the valid cells to ``results``."""
        shape, homography = map_grid(results, self.stride)
        check_boxes(results)
        centres = [
            project(box_corners(instance['bbox']).mean(axis=0, keepdims=True), homography)[0]
            for instance in lesions(results.get('instances', ()))
        ]
        points = np.array(centres).reshape(-1, 2) / self.stride
        side = max(shape)
        bounds = window_bounds(points, shape, self.inner * side, self.outer * side)
        results['gt_prob_map'] = bounds
        results['valid_map'] = self.valid_map(results, homography, bounds[0] > 0)
        return results

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(inner={self.inner}, outer={self.outer}, stride={self.stride})'
