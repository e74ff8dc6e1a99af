# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Image score of a mean map, of views or of detectors."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor


def score_is_map_maximum(detectors: Sequence[Any]) -> bool | None:
    """What detectors say of their image scores by the attribute ``image_score_is_map_maximum``.

    Args:
        detectors (Sequence[Any]): That predict ``pred_prob_map`` and ``pred_score``.

    Returns:
        bool | None: Whether all say that the score is the maximum of the map. None where one says
        neither, see ``merged_score``; of one without the attribute it is warned.
    """
    silent = [one for one in detectors if not hasattr(one, 'image_score_is_map_maximum')]
    if silent:
        print_log(
            f'{type(silent[0]).__name__} has no image_score_is_map_maximum: a film whose scores are '
            'the maxima of its maps gets the maximum of their mean, another one the mean of its '
            'scores; set it to True or False, so that all are scored alike',
            logger='current',
            level=logging.WARNING,
        )
    said = [getattr(one, 'image_score_is_map_maximum', None) for one in detectors]
    return None if None in said else all(said)


def merged_score(
    mean_map: Tensor, maps: Sequence[Tensor], scores: Sequence[Any], is_maximum: bool | None
) -> Tensor:
    """Image score of a film whose maps were averaged.

    Args:
        mean_map (Tensor): ``(1, h, w)``.
        maps (Sequence[Tensor]): What it is the mean of, each ``(1, h_i, w_i)``.
        scores (Sequence[Tensor or float]): Image score that was predicted with each.
        is_maximum (bool | None): Whether the score is the maximum of the map; None: as it is in all of
            these.

    Returns:
        Tensor: Scalar, the maximum of the mean map, or the mean of the scores.
    """
    stacked = torch.stack([torch.as_tensor(score) for score in scores]).reshape(len(scores))
    if is_maximum is None:
        is_maximum = stacked.tolist() == [one.max().item() for one in maps]
    return mean_map.amax() if is_maximum else stacked.mean()
