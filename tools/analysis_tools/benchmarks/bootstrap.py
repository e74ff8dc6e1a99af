# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How long intervals of all metrics take."""

import time
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from mmfrac.evaluation.functional.afroc import bootstrap_afroc_area
from mmfrac.evaluation.functional.bootstrap import (
    bootstrap_auroc,
    bootstrap_recalls,
    patient_weights,
)
from mmfrac.evaluation.functional.froc import ImageRecord, image_record

from .figure import Figure
from .froc import noise
from .pairing import Comparison
from .streaming import network_map

GOAL_SECONDS = 0.5
FPPI = (0.1, 0.2, 0.3, 0.4, 0.5)


def measure(
    repeats: int = 5, films: int = 400, replicates: int = 2000, size: int = 256
) -> Iterator[Figure | Comparison]:
    """Seconds for the draws, AUROC, recall at five FPPI with their mean, and AFROC, of all replicates.

    Args:
        repeats (int): Runs, of which the median counts; one more runs first. Defaults to 5.
        films (int): Films, two of each patient, half of them with a lesion. Defaults to 400.
        replicates (int): Defaults to 2000.
        size (int): Edge of the maps in cells. Defaults to 256.

    Yields:
        Figure: Of records of maps like a network's, and of uniform noise.
    """
    rng = np.random.default_rng(0)
    makers: Sequence[tuple[str, Callable[[], np.ndarray]]] = (
        ("maps like a network's", lambda: network_map(rng, size)),
        ('uniform noise', lambda: noise(size) + rng.random((size, size), np.float32) / 9),
    )
    for kind, make in makers:
        records = [_record(make(), film, rng) for film in range(films)]
        labels = np.arange(films) % 2
        scores = np.array([record.image_score for record in records])
        patients = np.arange(films) // 2

        def intervals(records=records, labels=labels, scores=scores, patients=patients) -> None:
            takes = patient_weights(patients, replicates)
            bootstrap_auroc(labels, scores, takes)
            bootstrap_recalls(records, takes, FPPI)
            bootstrap_afroc_area(records, takes)

        case = f'{replicates} replicates of {films} films, {kind}'
        yield Figure('bootstrap', case, _median_seconds(intervals, repeats), 's', 0, GOAL_SECONDS)


def _record(prob_map: np.ndarray, film: int, rng: np.random.Generator) -> ImageRecord:
    boxes = np.zeros((0, 4))
    if film % 2:
        corner = rng.uniform(0.1, 0.8, 2) * prob_map.shape
        boxes = np.array([[*corner, *(corner + 0.1 * prob_map.shape[0])]])
        x, y = ((boxes[0, :2] + boxes[0, 2:]) / 2).astype(int)
        spot = np.zeros_like(prob_map)
        spot[y, x] = 9 * rng.random()
        prob_map = np.maximum(prob_map, cv2.GaussianBlur(spot, (0, 0), 1.5)).clip(0, 1)
    return image_record(prob_map, boxes)


def _median_seconds(call: Callable[[], None], repeats: int) -> float:
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:]))
