# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The metric: film records, FROC, AUROC and the MMEngine shell around them."""

from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.froc import FrocCurve, ImageRecord, Recall
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.evaluation.metrics.save_predictions import SavePredictions

__all__ = ['FracMetric', 'FrocCurve', 'ImageRecord', 'Recall', 'SavePredictions', 'froc']
