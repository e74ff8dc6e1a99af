# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from torch import Tensor, nn

from mmfrac.utils.device import to_device


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
        affine = torch.from_numpy(theta / theta[:, 2:, 2:])[:, :2].float()
        grid = F.affine_grid(to_device(affine, prob_map.device), size, align_corners=False)
        return F.grid_sample(prob_map, grid, padding_mode=padding_mode, align_corners=False)


def _to_cells(h: int, w: int) -> np.ndarray:
    """From the coordinates in [-1, 1] of ``affine_grid`` to cells."""
    return np.array([[w / 2, 0, w / 2], [0, h / 2, h / 2], [0, 0, 1]])


@MODELS.register_module()
class WarpToStudent(nn.Module):
    """Pseudo-label step that moves a map and its weight from the teacher's view into the student's.

    Uses the ``homography_matrix`` (image px to input px) of both views, as mmdet's ``Resize``,
    ``RandomFlip`` and ``Rotate`` record it. Px per cell follow from the sizes of input and map.

    Args:
        stride (int, optional): Input px per map cell, if it is to be checked. Defaults to None.

    Attributes:
        moves_to_student (bool): True: after this step the map lies in the student's view. A step of
            one's own that warps says so, too.
    """

    moves_to_student = True

    def __init__(self, stride: int | None = None) -> None:
        super().__init__()
        self.stride = stride

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Warp the maps.

        Args:
            pseudo_map (Tensor): ``(N, 1, h, w)`` in the teacher's view.
            weight (Tensor): ``(N, 1, h, w)`` in the teacher's view.
            teacher_samples (list[DetDataSample]): Images in the teacher's view.
            student_samples (list[DetDataSample]): The same images in the student's view.

        Returns:
            tuple[Tensor, Tensor]: Both in the student's view, ``(N, 1, h', w')``. Where the teacher saw
            nothing the map is 0 and the weight that of the nearest cell.

        Raises:
            ValueError: When the map has another stride than the option says, or a view is no affine one.
        """
        stride = map_stride(pseudo_map, teacher_samples)
        if self.stride is not None and stride != (self.stride, self.stride):
            raise ValueError(
                f'WarpToStudent(stride={self.stride}) got a map of {stride[0]:g} x {stride[1]:g} input '
                'px a cell: leave the option out, the stride is that of the head'
            )
        scale = np.diag([1 / stride[0], 1 / stride[1], 1.0])
        between_views = np.stack(
            [
                homography_of(student) @ np.linalg.inv(homography_of(teacher))
                for teacher, student in zip(teacher_samples, student_samples)
            ]
        )
        cells = scale @ between_views @ np.linalg.inv(scale)
        height, width = input_shape(student_samples[0])
        shape = round(height / stride[1]), round(width / stride[0])
        warped = warp_map(pseudo_map, cells, shape)
        # what is left out, not what counts: cells that all count keep exactly the weight 1
        missing = warp_map(1 - weight, cells, shape, padding_mode='border')
        return warped, (1 - missing).masked_fill(missing > 1 - 1e-5, 0)


def input_shape(sample: DetDataSample) -> tuple[int, int]:
    """Height and width in px of the network input that an image lies in."""
    for key in ('batch_input_shape', 'pad_shape', 'img_shape'):
        if key in sample.metainfo:
            return tuple(sample.metainfo[key][:2])
    raise ValueError(
        f'{sample.metainfo.get("img_path")}: the size of the network input is not known; the data '
        "preprocessor sets 'batch_input_shape'"
    )


def map_stride(prob_map: Tensor, samples: SampleList) -> tuple[float, float]:
    """Input px per map cell.

    Args:
        prob_map (Tensor): ``(N, 1, h, w)``.
        samples (list[DetDataSample]): Its images, of one input size.

    Returns:
        tuple[float, float]: In x and y.
    """
    (height, width), (rows, columns) = input_shape(samples[0]), prob_map.shape[-2:]
    return width / columns, height / rows


def homography_of(sample: DetDataSample) -> np.ndarray:
    """``homography_matrix`` ``(3, 3)`` of a view, image px to input px; identity where there is none.

    Args:
        sample (DetDataSample): The view.

    Returns:
        np.ndarray: ``(3, 3)`` float64.

    Raises:
        ValueError: When it is perspective.
    """
    homography = np.asarray(sample.metainfo.get('homography_matrix', np.eye(3)), dtype=np.float64)
    if not np.allclose(homography[2, :2], 0):
        raise ValueError(
            f'{sample.img_path}: WarpToStudent handles affine views only, got the perspective '
            f'homography {homography.tolist()}; leave perspective transforms out of the pipeline'
        )
    return homography
