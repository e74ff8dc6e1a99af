# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor, nn


def warp_map(
    prob_map: Tensor,
    homographies: np.ndarray,
    shape: tuple[int, int] | None = None,
    padding_mode: str = 'zeros',
) -> Tensor:
    """Resample maps into another view (``f^Affi``; paper, section 2.2).

    In fp32, also under AMP, where a grid of cells would be rounded to whole ones.

    Args:
        prob_map (Tensor): ``(N, 1, h, w)``.
        homographies (np.ndarray): ``(N, 3, 3)`` from source cells to destination cells, in
            continuous coordinates (cell ``i`` covers ``[i, i + 1]``).
        shape (tuple, optional): ``(h, w)`` of the destination. Defaults to that of the source.
        padding_mode (str): Value where the source has no cell, 'zeros' or 'border' (the nearest
            one's). Defaults to 'zeros'.

    Returns:
        Tensor: ``(N, 1, *shape)``, fp32; bilinear.
    """
    size = list(prob_map.shape[:2]) + list(shape or prob_map.shape[-2:])
    source, destination = _to_cells(*prob_map.shape[-2:]), _to_cells(*size[2:])
    theta = np.linalg.inv(source) @ np.linalg.inv(homographies) @ destination
    with torch.autocast(prob_map.device.type, enabled=False):
        prob_map = prob_map.float()
        theta = torch.from_numpy(theta / theta[:, 2:, 2:]).to(prob_map)
        grid = F.affine_grid(theta[:, :2], size, align_corners=False)
        return F.grid_sample(prob_map, grid, padding_mode=padding_mode, align_corners=False)


def _to_cells(h: int, w: int) -> np.ndarray:
    """From the coordinates in [-1, 1] of ``affine_grid`` to cells."""
    return np.array([[w / 2, 0, w / 2], [0, h / 2, h / 2], [0, 0, 1]])


@MODELS.register_module()
class WarpToStudent(nn.Module):
    """Pseudo-label step that moves a map from the teacher's view into the student's.

    Uses the ``homography_matrix`` (film px to input px) of both views, as mmdet's ``Resize``,
    ``RandomFlip`` and ``Rotate`` record it. mmdet's ``RandomAffine`` does not record its own.

    Args:
        stride (int): Input px per map cell. Defaults to 4.
    """

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride

    def forward(
        self, pseudo_map: Tensor, teacher_samples: SampleList, student_samples: SampleList
    ) -> Tensor:
        """Warp the maps.

        Args:
            pseudo_map (Tensor): ``(N, 1, h, w)`` in the teacher's view.
            teacher_samples (list[DetDataSample]): Films in the teacher's view.
            student_samples (list[DetDataSample]): The same films in the student's view.

        Returns:
            Tensor: ``(N, 1, h, w)`` in the student's view.
        """
        scale = np.diag([1 / self.stride, 1 / self.stride, 1.0])
        between_views = np.stack(
            [
                _homography(student) @ np.linalg.inv(_homography(teacher))
                for teacher, student in zip(teacher_samples, student_samples)
            ]
        )
        return warp_map(pseudo_map, scale @ between_views @ np.linalg.inv(scale))


def _homography(sample) -> np.ndarray:
    homography = np.asarray(sample.metainfo.get('homography_matrix', np.eye(3)), dtype=np.float64)
    if not np.allclose(homography[2, :2], 0):
        raise ValueError(
            f'{sample.img_path}: WarpToStudent handles affine views only, got the perspective '
            f'homography {homography.tolist()}; leave perspective transforms out of the pipeline'
        )
    return homography
