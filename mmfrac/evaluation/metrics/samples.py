# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a data sample says of its image, as all metrics read it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmfrac.evaluation.offline.image_prediction import ImagePrediction, no_boxes


def as_numpy(data: Any) -> np.ndarray:
    """A tensor or array as a NumPy array; bfloat16, which NumPy lacks, becomes float32."""
    if not isinstance(data, torch.Tensor):
        return np.asarray(data)
    data = data.detach().cpu()
    return (data.float() if data.dtype == torch.bfloat16 else data).numpy()


def read_field(sample: dict, key: str, img_path: str) -> Any:
    """A field of a data sample; a ``ValueError`` that says how to get it where it is missing."""
    if key in sample:
        return sample[key]
    mend = (
        'the model has to predict it'
        if key.startswith('pred_')
        else "add it to meta_keys of the packing transform (or to the model's own predictions)"
    )
    raise ValueError(f'data sample of film {img_path} has no {key!r}: {mend}')


def prediction_of_sample(sample: dict, classes: Sequence[str] = ()) -> ImagePrediction:
    """Prediction of a data sample as a dict: its map or its boxes, in px of the image.

    Args:
        sample (dict): With ``img_path``, and ``pred_prob_map`` with ``map_scale``, or
            ``pred_instances``.
        classes (Sequence[str]): Names of the categories, by the labels of the boxes. Defaults to none,
            they are not named.

    Returns:
        ImagePrediction: Unchecked but for the planes of its map and the size of its image score.

    Raises:
        ValueError: If the map has another number of planes than one, or ``pred_score`` is several.
    """
    img_path = str(sample['img_path'])
    boxes, scores = no_boxes()
    box_classes = None
    if 'pred_instances' in sample:
        found = sample['pred_instances']
        boxes, scores = as_numpy(found['bboxes']), as_numpy(found['scores'])
        boxes = boxes if boxes.size else boxes.reshape(0, 4)
        if 'labels' in found and classes:
            box_classes = tuple(classes[index] for index in as_numpy(found['labels']).tolist())
    prob_map = None
    scale: Any = None
    if 'pred_prob_map' in sample:
        planes = as_numpy(sample['pred_prob_map']['data'])
        if planes.ndim != 3 or len(planes) != 1:
            raise ValueError(f'prob map of film {img_path} must be (1, h, w), got {planes.shape}')
        prob_map = planes[0]
        scale = sample.get('map_scale')
        # image_record and faults() say what is wrong with another one
        if np.shape(scale) == (2,):
            scale = (float(scale[0]), float(scale[1]))
    score = sample.get('pred_score')
    if score is not None:
        values = as_numpy(score)
        if values.size != 1:
            raise ValueError(
                f'pred_score of film {img_path} must be one number, got shape {values.shape}'
            )
        score = float(values.item())
    return ImagePrediction(
        img_path=img_path,
        boxes=boxes,
        box_scores=scores,
        score=score,
        prob_map=prob_map,
        map_scale=scale,
        box_classes=box_classes,
    )
