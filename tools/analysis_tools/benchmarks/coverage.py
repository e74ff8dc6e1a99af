# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How often the bootstrap interval of a simulated data set covers the truth."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from mmfrac.evaluation import froc
from mmfrac.evaluation.functional.afroc import afroc_area, bootstrap_afroc_area
from mmfrac.evaluation.functional.bootstrap import (
    bootstrap_auroc,
    bootstrap_recalls,
    interval,
    patient_weights,
)

from .figure import Figure
from .simulation import SimulatedFilms, simulate

TARGETS = (0.1, 0.2, 0.3, 0.4, 0.5)
LEVEL = 0.95
TOLERANCE = 0.02


def measure(
    repeats: int = 1000,
    num_patients: int = 200,
    replicates: int = 1000,
    truth_patients: int = 200_000,
) -> Iterator[Figure]:
    """Coverage of 95 % intervals of AUROC, FROC score, recall and JAFROC figure of merit.

    The truth is the metric of ``truth_patients`` patients of the same distribution. The share of
    covering intervals should be 0.95 within 0.02 (its standard error with 1000 data sets is 0.007).

    Args:
        repeats (int): Simulated data sets. Defaults to 1000.
        num_patients (int): Patients of each, of about two films. Defaults to 200.
        replicates (int): Bootstrap replicates of each. Defaults to 1000.
        truth_patients (int): Defaults to 200,000.

    Yields:
        Figure: For each metric; then, for comparison and without a goal, of a bootstrap that draws films
        as if they were independent.
    """
    truth = true_values(simulate(np.random.default_rng(0), truth_patients))
    covered = {kind: dict.fromkeys(truth, 0) for kind in ('patient', 'film')}
    for number in range(repeats):
        films = simulate(np.random.default_rng(number + 1), num_patients)
        for kind, clusters in (('patient', films.patients), ('film', np.arange(films.labels.size))):
            takes = patient_weights(clusters, replicates, seed=number)
            for metric, values in replicate_values(films, takes).items():
                low, high = interval(values, LEVEL)
                covered[kind][metric] += low <= truth[metric] <= high
    for metric, count in covered['patient'].items():
        goal = (LEVEL - TOLERANCE, LEVEL + TOLERANCE)
        yield Figure('coverage', f'{metric}, drawn by patient', count / repeats, 'share', *goal)
    for metric, count in covered['film'].items():
        yield Figure('coverage', f'{metric}, drawn by film', count / repeats, 'share', 0, math.inf)


def true_values(films: SimulatedFilms) -> dict[str, float]:
    """Metrics of simulated films."""
    curve = froc.froc_curve(films.records)
    return {
        'AUROC': froc.auroc(films.labels, films.scores),
        'FROC score': float(froc.froc_score(curve, TARGETS)),
        'Recall@0.1': float(froc.recall_at(curve, 0.1)),
        'Recall@0.5': float(froc.recall_at(curve, 0.5)),
        'AFROC': afroc_area(films.records),
    }


def replicate_values(films: SimulatedFilms, takes: np.ndarray) -> dict[str, np.ndarray]:
    """The same metrics of every replicate."""
    recalls = bootstrap_recalls(films.records, takes, TARGETS)
    areas: dict[str, Callable] = {
        'AUROC': lambda: bootstrap_auroc(films.labels, films.scores, takes),
        'AFROC': lambda: bootstrap_afroc_area(films.records, takes),
    }
    return {
        'FROC score': recalls.mean(axis=1),
        'Recall@0.1': recalls[:, 0],
        'Recall@0.5': recalls[:, -1],
    } | {name: area() for name, area in areas.items()}
