# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Metrics with intervals, and their replicates, from film results."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.afroc import afroc_area, bootstrap_afroc_area
from mmfrac.evaluation.functional.bootstrap import (
    bootstrap_auroc,
    bootstrap_recalls,
    interval,
    patient_weights,
)
from mmfrac.evaluation.offline.film_results import FilmResults


@dataclass(frozen=True, eq=False)
class Estimate:
    """A metric with its percentile interval.

    Attributes:
        value (float): On the films as they are.
        low (float): Lower end; NaN if no replicate can be measured.
        high (float): Upper end.
        replicates (np.ndarray): (r,) values of the replicates.
        held (bool): Whether the FROC curve ended before an FPPI that was asked for.
    """

    value: float
    low: float
    high: float
    replicates: np.ndarray
    held: bool = False

    @classmethod
    def of(
        cls, value: float, replicates: np.ndarray, level: float, held: bool = False
    ) -> 'Estimate':
        """Estimate from a value and its replicates."""
        return cls(float(value), *interval(replicates, level), replicates, held)


def draw(results: FilmResults, definitions: Definitions) -> np.ndarray:
    """How often each replicate takes each film, (r, n); the same for all models on the same films."""
    if definitions.cluster == 'patient':
        clusters: Sequence = [film.patient for film in results.films]
    else:
        clusters = range(len(results.films))
    return patient_weights(clusters, definitions.replicates, definitions.seed)


def estimate_metrics(
    results: FilmResults, replicates: np.ndarray, definitions: Definitions
) -> dict[str, Estimate]:
    """AUROC, FROC score, recall at each FPPI and JAFROC figures of merit, with intervals.

    Args:
        results (FilmResults): Of a model.
        replicates (np.ndarray): (r, n) of :func:`draw`.
        definitions (Definitions): See there.

    Returns:
        dict[str, Estimate]: 'AUROC', 'FROC', 'Recall@...', 'AFROC' and 'wAFROC'. NaN where a class or
        lesions are missing.
    """
    level = definitions.level
    measured = results.with_regions
    records, takes = results.measured, replicates[:, measured]
    options = dict(crossing=definitions.crossing, interpolation=definitions.interpolation)
    fppi = list(dict.fromkeys([*definitions.targets, *definitions.recall_fppi]))
    curve = froc.froc_curve(records, definitions.denominator)
    with warnings.catch_warnings():
        # NaN says it, and the table marks it
        warnings.simplefilter('ignore')
        recalls = dict(zip(fppi, froc.recall_at(curve, fppi, **options)))
        score = froc.froc_score(curve, definitions.targets, **options)
        auroc = froc.auroc(results.labels, results.scores)
    drawn = bootstrap_recalls(records, takes, fppi, definitions.denominator, **options)
    of_fppi = dict(zip(fppi, drawn.T))
    found = {
        'AUROC': Estimate.of(
            auroc, bootstrap_auroc(results.labels, results.scores, replicates), level
        ),
        'FROC': Estimate.of(
            score, np.mean([of_fppi[x] for x in definitions.targets], axis=0), level, score.held
        ),
    }
    for x in definitions.recall_fppi:
        found[f'Recall@{x:g}'] = Estimate.of(recalls[x], of_fppi[x], level, recalls[x].held)
    for name, weights in (('AFROC', 'lesions'), ('wAFROC', 'films')):
        area = (definitions.afroc_films, weights)
        found[name] = Estimate.of(
            afroc_area(records, *area), bootstrap_afroc_area(records, takes, *area), level
        )
    return found
