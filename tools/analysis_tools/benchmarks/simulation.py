# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Films of simulated readers, whose true metrics are known."""

from dataclasses import dataclass

import numpy as np

from mmfrac.evaluation.functional.froc import ImageRecord


@dataclass(frozen=True, eq=False)
class SimulatedFilms:
    """Films as a metric sees them.

    Attributes:
        records (list[ImageRecord]): (n) records.
        labels (np.ndarray): (n,) 1 or 0.
        scores (np.ndarray): (n,) image scores.
        patients (np.ndarray): (n,) patients.
    """

    records: list[ImageRecord]
    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray


def simulate(rng: np.random.Generator, num_patients: int) -> SimulatedFilms:
    """Patients of 1 to 3 films that resemble each other.

    A patient has fractures with probability 0.4, then each film shows 1 to 3. A lesion's rating is
    normal about 1.5, false positives come with a rate of 0.8 a film and normal ratings about 0; a
    patient's own offset (standard deviation 0.7) is in all ratings and in the rate, so that films of a
    patient are not independent. Scores are the ratings on the logistic scale.

    Args:
        rng (np.random.Generator): Source of the numbers.
        num_patients (int): Patients.

    Returns:
        SimulatedFilms: Their films.
    """
    num_films = rng.integers(1, 4, num_patients)
    patients = np.repeat(np.arange(num_patients), num_films)
    labels = np.repeat(rng.random(num_patients) < 0.4, num_films).astype(np.int64)
    offsets = 0.7 * np.repeat(rng.normal(size=num_patients), num_films)
    records, scores = [], np.zeros(patients.size)
    for film, (label, offset) in enumerate(zip(labels, offsets)):
        lesions = 1.5 + offset + rng.normal(size=rng.integers(1, 4) if label else 0)
        false = offset + rng.normal(size=rng.poisson(0.8 * np.exp(offset / 2)))
        thresholds = _logistic(np.sort(false)[::-1])
        counts = np.arange(1, false.size + 1).astype(np.uint8)
        lesion_scores = _logistic(lesions)
        scores[film] = max(thresholds.max(initial=0), lesion_scores.max(initial=0))
        records.append(ImageRecord(thresholds, counts, lesion_scores, scores[film]))
    return SimulatedFilms(records, labels, scores, patients)


def _logistic(ratings: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-ratings))
