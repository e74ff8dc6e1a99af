# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What ``FracInferencer`` gives back and writes of one film."""

from typing import Any

import numpy as np
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer

from mmfrac.evaluation.metrics.save_predictions import prediction_of_sample
from mmfrac.evaluation.offline.film_results import FilmPrediction, PredictionError


def prediction_of_film(name: str, sample: DetDataSample) -> dict[str, Any]:
    """Prediction in plain types, see ``FracInferencer.__call__``."""
    found = sample.pred_instances
    scores = [float(score) for score in found.scores]
    score = float(sample.pred_score) if 'pred_score' in sample else max(scores, default=0.0)
    scale = sample.metainfo.get('map_scale')
    return dict(
        film=name,
        score=score,
        boxes=found.bboxes.tolist(),
        scores=scores,
        map_scale=None if scale is None else [float(side) for side in scale],
    )


def saved_prediction(name: str, sample: DetDataSample) -> FilmPrediction:
    """Prediction in the form that ``tools/analysis_tools/froc.py`` reads.

    Raises:
        PredictionError: When it is malformed.
    """
    prediction = prediction_of_sample(sample.to_dict() | dict(img_path=name))
    faults = prediction.faults()
    if faults:
        raise PredictionError(f'of film {name}', faults)
    return prediction


def show_overlay(overlay: np.ndarray, name: str, wait_time: float) -> None:
    """Show an overlay ``(H, W, 3)`` uint8 RGB in a window.

    Args:
        overlay (np.ndarray): Picture.
        name (str): Title of the window.
        wait_time (float): Seconds that it stays open; 0: until a key is pressed.
    """
    DetLocalVisualizer().show(overlay, win_name=name, wait_time=wait_time)
