# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Two ways to do one thing, timed in turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """mmfrac beside the bare way.

    Args:
        section (str): Section of the benchmark.
        case (str): What was measured.
        ours_ms (float): Median time of mmfrac.
        bare_ms (float): Median time of the bare way.
        ratio (float): Median over the pairs of bare / ours (``at_least``) or ours / bare.
        goal (float): What the ratio should reach.
        at_least (bool): The ratio is a speed and should be at least the goal; otherwise it is a cost
            and should be at most the goal.
    """

    section: str
    case: str
    ours_ms: float
    bare_ms: float
    ratio: float
    goal: float
    at_least: bool

    @property
    def is_met(self) -> bool:
        """Whether the ratio reaches the goal."""
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal


def compare(
    section: str,
    case: str,
    ours: Callable[[], object],
    bare: Callable[[], object],
    repeats: int,
    goal: float,
    at_least: bool,
    ours_calls: int = 1,
) -> Comparison:
    """Time both ways in turns; the median of the pairs' ratios is little moved by other load.

    Args:
        section (str): Section of the benchmark.
        case (str): What is measured.
        ours (Callable): mmfrac's way.
        bare (Callable): The bare way.
        repeats (int): Pairs; one more runs first, untimed.
        goal (float): What the ratio should reach.
        at_least (bool): See :class:`Comparison`.
        ours_calls (int): Calls of ``ours`` a pair, where it is much the faster. Defaults to 1.

    Returns:
        Comparison: The medians.

    Raises:
        ValueError: If ``repeats`` is not positive.
    """
    if repeats < 1:
        raise ValueError(f'repeats must be at least 1, got {repeats}')
    ours()
    bare()
    pairs = []
    for index in range(repeats):
        # the order alternates, so that neither way always runs on the other's warm caches
        if index % 2:
            bare_ms = _milliseconds(bare, 1)
            ours_ms = _milliseconds(ours, ours_calls)
        else:
            ours_ms = _milliseconds(ours, ours_calls)
            bare_ms = _milliseconds(bare, 1)
        pairs.append((ours_ms, bare_ms))
    times = np.array(pairs)
    ratios = times[:, 1] / times[:, 0] if at_least else times[:, 0] / times[:, 1]
    ours_median, bare_median = np.median(times, axis=0)
    return Comparison(
        section,
        case,
        float(ours_median),
        float(bare_median),
        float(np.median(ratios)),
        goal,
        at_least,
    )


def _milliseconds(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls * 1e3
