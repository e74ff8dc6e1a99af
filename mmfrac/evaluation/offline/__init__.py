# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Predictions on disk: prob maps and boxes of mmfrac, COCO results and tables of any detector."""

from mmfrac.evaluation.offline.film_prediction import FilmPrediction, PredictionError
from mmfrac.evaluation.offline.map_folder import MapFolder, MapFolderWriter
from mmfrac.evaluation.offline.predictions import SavedPredictions, open_predictions

__all__ = [
    'FilmPrediction',
    'MapFolder',
    'MapFolderWriter',
    'PredictionError',
    'SavedPredictions',
    'open_predictions',
]
