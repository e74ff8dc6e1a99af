# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmfrac.utils.geometry import box_corners, film_mask, project, rasterise_convex


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


@TRANSFORMS.register_module()
class ProbMapTarget(BaseTransform):
    """Ground-truth mask of a film on the map grid (paper, section 2.1).

    A cell is one when its centre lies in the transformed polygon of a box, that is in its four
    corners moved by ``homography_matrix``, not in the grown axis-aligned box. A lesion smaller
    than a cell keeps the cell of its centre.

    Required keys: ``img_shape``, ``ori_shape``, ``instances`` (boxes in film px, optional),
    ``homography_matrix`` (optional, identity when no transform moved the film).

    Added keys: ``gt_prob_map`` ``(h, w)`` uint8 and ``valid_map`` ``(h, w)`` bool, the cells that
    lie on the film itself (padding counts in no loss).

    Args:
        stride (int): Input px per map cell. Defaults to 4.

    Raises:
        ValueError: When the input is not a whole number of cells.
    """

    def __init__(self, stride: int = 4) -> None:
        if stride < 1:
            raise ValueError(f'stride must be a positive number of px, got {stride}')
        self.stride = stride

    def transform(self, results: dict) -> dict:
        """Add the target and the valid cells to ``results``."""
        shape, homography = map_grid(results, self.stride)
        target = np.zeros(shape, dtype=np.uint8)
        for instance in results.get('instances', ()):
            if instance.get('ignore_flag'):
                continue
            corners = project(box_corners(instance['bbox']), homography) / self.stride
            cells = rasterise_convex(corners, shape)
            if not cells.any():
                column, row = np.floor(corners.mean(axis=0)).astype(int)
                if 0 <= row < shape[0] and 0 <= column < shape[1]:
                    cells[row, column] = True
            target[cells] = 1
        results['gt_prob_map'] = target
        results['valid_map'] = film_mask(results['ori_shape'], homography, shape, self.stride)
        return results

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(stride={self.stride})'
