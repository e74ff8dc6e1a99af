# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Everything that is said of models on the same films."""

from dataclasses import dataclass

import numpy as np

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.calibration import Reliability
from mmfrac.evaluation.functional.delong import PairedTest
from mmfrac.evaluation.functional.froc import FrocCurve
from mmfrac.evaluation.functional.operating_point import Target
from mmfrac.evaluation.offline.breakdown import Group
from mmfrac.evaluation.offline.estimates import Estimate
from mmfrac.evaluation.offline.film_results import FilmResults


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A threshold and what it achieves.

    Attributes:
        target (Target): What it was chosen for.
        threshold (float): NaN where none reaches the target, infinity where nothing may be kept.
        on_own (dict[str, float]): Rates on the films that it was chosen on.
        achieved (dict[str, Estimate]): Rates on the test films; empty where there is no threshold.
    """

    target: Target
    threshold: float
    on_own: dict[str, float]
    achieved: dict[str, Estimate]


@dataclass(frozen=True, eq=False)
class Band:
    """FROC curve at given FPPI with pointwise intervals.

    Attributes:
        fppi (np.ndarray): (k,) ascending.
        low (np.ndarray): (k,) lower ends of the recall.
        high (np.ndarray): (k,) upper ends.
    """

    fppi: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class ModelSummary:
    """What is said of one model.

    Attributes:
        results (FilmResults): Of the test films.
        metrics (dict[str, Estimate]): See :func:`estimates.estimate_metrics`.
        delong (tuple[float, float]): Interval of AUROC without resampling.
        curve (FrocCurve): Pooled curve.
        band (Band): Intervals around it.
        points (list[OperatingPoint]): One a target.
        calibration (dict[str, Reliability]): 'as it is' and, with validation films, 'with temperature';
            empty where image scores are no probabilities.
        temperature (float | None): Fitted on the validation films.
        groups (dict[str, list[Group]]): By what the films or lesions are parted.
    """

    results: FilmResults
    metrics: dict[str, Estimate]
    delong: tuple[float, float]
    curve: FrocCurve
    band: Band
    points: list[OperatingPoint]
    calibration: dict[str, Reliability]
    temperature: float | None
    groups: dict[str, list[Group]]


@dataclass(frozen=True)
class Difference:
    """A paired test of two models.

    Attributes:
        first (str): Model.
        second (str): Model.
        metric (str): Metric.
        method (str): 'bootstrap' or 'DeLong'.
        test (PairedTest): First minus second.
    """

    first: str
    second: str
    metric: str
    method: str
    test: PairedTest


@dataclass(frozen=True, eq=False)
class Summary:
    """What is said of all models.

    Attributes:
        definitions (Definitions): All choices.
        models (dict[str, ModelSummary]): By name.
        differences (list[Difference]): Of every pair.
        chosen_on (str): Films that thresholds were chosen on: 'validation' or 'test'.
        lesion_sizes (tuple[float, float]): Sizes between small, medium and large lesions, see
            :func:`breakdown.size_parts`.
    """

    definitions: Definitions
    models: dict[str, ModelSummary]
    differences: list[Difference]
    chosen_on: str
    lesion_sizes: tuple[float, float]
