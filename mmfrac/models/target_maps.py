# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Targets of a batch: labels of its images, and maps, which are as large as its padded input."""

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import PixelData
from torch import Tensor

from mmfrac.utils.device import to_device


def stack_targets(samples: SampleList) -> Tensor:
    """Targets of a batch of images.

    The data preprocessor pads images to the right and below (``pad_size_divisor``, or to the largest
    of the batch), not their maps; here these follow, with zeros.

    Args:
        samples (list[DetDataSample]): With ``gt_prob_map``.

    Returns:
        Tensor: ``(N, c, h, w)`` uint8, ``h`` and ``w`` those of the padded input.

    Raises:
        ValueError: When a sample has no ``gt_prob_map``.
    """
    return torch.stack([_padded(sample, _maps(sample).prob_map) for sample in samples])


def stack_valid(samples: SampleList) -> Tensor:
    """Which cells of a batch of maps count in a loss: none of the padding, none of ignored boxes.

    The cells of a lesion count though an ignored box covers them.

    Args:
        samples (list[DetDataSample]): With ``gt_prob_map``.

    Returns:
        Tensor: ``(N, 1, h, w)`` bool, as large as ``stack_targets``.

    Raises:
        ValueError: When a sample has no ``gt_prob_map``.
    """
    return torch.stack([_padded(sample, _maps(sample).valid) for sample in samples])


def stack_labels(samples: SampleList, device: torch.device) -> Tensor:
    """Labels of a batch of images.

    Args:
        samples (list[DetDataSample]): With ``label``.
        device (torch.device): Where they are wanted.

    Returns:
        Tensor: ``(N,)`` int64: 1, 0, or -1 where nobody knows.

    Raises:
        ValueError: When a sample does not say ``label``.
    """
    for sample in samples:
        if 'label' not in sample.metainfo:
            raise ValueError(
                f'data sample of {sample.metainfo.get("img_path")} does not say label, which a loss of '
                'image labels needs: keep it in meta_keys of PackProbMapInputs'
            )
    return to_device(torch.tensor([sample.label for sample in samples]), device)


def _maps(sample: DetDataSample) -> PixelData:
    if 'gt_prob_map' not in sample:
        raise ValueError(
            f'{sample.get("img_path", "an image")} has no gt_prob_map to train on: end the training '
            "pipeline in dict(type='ProbMapTarget'), dict(type='PackProbMapInputs'); PackDetInputs does "
            'not pack it'
        )
    return sample.gt_prob_map


def _padded(sample: DetDataSample, cells: Tensor) -> Tensor:
    image, batch = (sample.metainfo.get(key) for key in ('img_shape', 'batch_input_shape'))
    if image is None or batch is None or tuple(image[:2]) == tuple(batch):
        return cells
    height, width = (
        round(count * padded / side) for count, padded, side in zip(cells.shape[-2:], batch, image)
    )
    return F.pad(cells, (0, width - cells.shape[-1], 0, height - cells.shape[-2]))
