# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Memory of an evaluation of the paper's size, and what ranks have to exchange."""

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from mmfrac.evaluation import FracMetric
from mmfrac.evaluation.functional.froc import image_record

from .figure import Figure

GOAL = 20_000
GROWTH_GOAL = 4_000
_WARM_UP = 200


def measure(
    repeats: int = 1, films: int = 32_184, size: int = 256, noise_films: int = 2_000
) -> Iterator[Figure]:
    """Stream films through ``FracMetric(max_fppi=8)``, as in the configs; each map is made and dropped.

    Args:
        repeats (int): Runs over all films. Defaults to 1.
        films (int): Films of maps like a network's; the paper's public films. Defaults to 32,184.
        size (int): Edge of the maps in cells. Defaults to 256.
        noise_films (int): Films of uniform noise, the worst that can be. Defaults to 2,000.

    Yields:
        Figure: For each kind how much the process grows after the first 200 films, bytes of
        a whole record, bytes that a rank of four pickles for the others, and milliseconds.
    """
    makers: Sequence[tuple[str, int, Callable]] = (
        ("like a network's", films, network_map),
        ('uniform noise', noise_films, lambda rng, size: rng.random((size, size), np.float32)),
    )
    for kind, count, make in makers:
        for _ in range(repeats):
            yield from _stream(f'{count} maps {size} x {size} {kind}', count, size, make)


def _stream(case: str, count: int, size: int, make: Callable) -> Iterator[Figure]:
    rng = np.random.default_rng(0)
    metric = FracMetric(max_fppi=8.0)
    start, before, largest, seconds = time.perf_counter(), 0, 0, 0.0
    whole = []
    for film in range(count):
        prob_map = make(rng, size)
        sample = _sample(prob_map, film, rng)
        began = time.perf_counter()
        metric.process(None, [sample])
        seconds += time.perf_counter() - began
        if film < _WARM_UP:
            whole.append(len(pickle.dumps(image_record(prob_map, []))))
            before = _resident_bytes()
        elif film % 100 == 0:
            largest = max(largest, _resident_bytes())
        if film % 2000 == 0 and film:
            print(f'  {film} films, {time.perf_counter() - start:.0f} s', file=sys.stderr)
    growth = max(0, largest - before) / max(1, count - _WARM_UP)
    # one rank of four trims with what it has seen itself, and the number of all films
    metric.results = metric.results[::4]
    num_sent = len(metric.results)
    sent: list[int] = []
    metric.compute_metrics = lambda gathered: sent.append(len(pickle.dumps(gathered))) or {}
    metric.evaluate(count)
    yield Figure('streaming', f'{case}: growth of the process', growth, 'B/film', 0, GROWTH_GOAL)
    yield Figure('streaming', f'{case}: record as it is made', np.mean(whole), 'B', 0, np.inf)
    yield Figure(
        'streaming', f'{case}: gathered from a rank', sent[0] / num_sent, 'B/film', 0, GOAL
    )
    yield Figure('streaming', f'{case}: time', seconds / count * 1e3, 'ms/film', 0, np.inf)


def network_map(rng: np.random.Generator, size: int) -> np.ndarray:
    """A map with as many extremes as a trained network's: smooth fields, fine texture, hot spots.

    Args:
        rng (np.random.Generator): Source of the numbers.
        size (int): Edge in cells.

    Returns:
        np.ndarray: (size, size) float32 in (0, 1).
    """
    logits = np.full((size, size), -5, np.float32)
    for cells, amplitude in ((size // 16, 1.0), (size // 4, 0.3), (size // 2, 0.05)):
        field = rng.standard_normal((cells, cells), dtype=np.float32)
        logits += amplitude * cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC)
    spots = np.zeros((size, size), np.float32)
    for _ in range(rng.poisson(2)):
        spots[tuple(rng.integers(0, size, 2))] = rng.uniform(50, 400)
    logits += cv2.GaussianBlur(spots, (0, 0), size / 100)
    return 1 / (1 + np.exp(-logits))


def _sample(prob_map: np.ndarray, film: int, rng: np.random.Generator) -> dict:
    has_lesion = film % 3 == 0
    x, y = rng.uniform(0.1, 0.8, 2) * prob_map.shape[0] * 4
    boxes = [dict(bbox=[x, y, x + 60, y + 60])] if has_lesion else []
    return dict(
        img_path=f'images/{film:06d}.png',
        img_id=film,
        patient_id=f'p{film // 2}',
        label=int(has_lesion),
        regions=True,
        instances=boxes,
        map_scale=(4.0, 4.0),
        pred_prob_map=dict(data=prob_map[None]),
    )


def _resident_bytes() -> int:
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')
