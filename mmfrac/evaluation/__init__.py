# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The metric: film records, FROC, AUROC and the MMEngine shell around them."""

from .frac_metric import FracMetric
from .froc import FilmRecord, FrocCurve, Recall
from .save_predictions import SavePredictions

__all__ = ['FilmRecord', 'FracMetric', 'FrocCurve', 'Recall', 'SavePredictions']
