# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC, AUROC and what else is said of a detector, online and from saved predictions.

``functional`` has the mathematics, ``metrics`` MMEngine's shell around it, ``offline`` reads
predictions, ``report`` writes tables and pages. May import ``preparation.tables`` and all that is below.
"""

from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.froc import FrocCurve, ImageRecord, Recall
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.evaluation.metrics.save_predictions import SavePredictions

__all__ = ['FracMetric', 'FrocCurve', 'ImageRecord', 'Recall', 'SavePredictions', 'froc']
