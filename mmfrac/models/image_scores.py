# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.structures import SampleList
from torch import Tensor


def image_scores(prob_map: Tensor, samples: SampleList) -> Tensor:
    """Image scores of a batch: maxima of the maps over the films' own area.

    Args:
        prob_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
        samples (list[DetDataSample]): The films in the same view. Without ``gt_prob_map`` nothing is
            known of padding, and all cells count.

    Returns:
        Tensor: ``(N,)``.
    """
    if samples and 'gt_prob_map' in samples[0]:
        valid = torch.stack([sample.gt_prob_map.valid for sample in samples])
        prob_map = prob_map.masked_fill(~valid, 0)
    return prob_map.flatten(1).amax(dim=1)
