# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from mmfrac.geometry import box_corners, film_mask, project, rasterise_convex


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
        height, width = results['img_shape'][:2]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f'{results.get("img_path", "film")}: input of {height} x {width} px is no multiple '
                f'of stride {self.stride}; pad to a multiple before ProbMapTarget'
            )
        shape = (height // self.stride, width // self.stride)
        homography = results.get('homography_matrix')
        if homography is None:
            homography = np.eye(3)
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
