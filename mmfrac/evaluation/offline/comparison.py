# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Two models on the same films, by bootstrap under the same draws."""

import numpy as np
from numpy.typing import ArrayLike

from mmfrac.evaluation.functional.bootstrap import interval
from mmfrac.evaluation.functional.delong import PairedTest


def paired_bootstrap_test(
    first: float,
    second: float,
    first_replicates: ArrayLike,
    second_replicates: ArrayLike,
    level: float = 0.95,
) -> PairedTest:
    """Whether a metric differs between two models on the same films.

    p is the smallest 1 - level whose percentile interval of the difference leaves out 0: twice the
    smaller share of replicates on either side of 0, with one added so that it is never 0 (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).

    Args:
        first (float): Metric of one model.
        second (float): Metric of the other.
        first_replicates (ArrayLike): (r,) its replicates.
        second_replicates (ArrayLike): (r,) those of the other under the same draws; a replicate in which
            either is NaN is left out.
        level (float): Nominal coverage of the interval. Defaults to 0.95.

    Returns:
        PairedTest: NaN where nothing can be compared.

    Raises:
        ValueError: If the replicates differ in number.
    """
    one, other = np.asarray(first_replicates), np.asarray(second_replicates)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f'replicates must be (r,) alike, got {one.shape} and {other.shape}')
    differences = one - other
    differences = differences[np.isfinite(differences)]
    # what rounding leaves of two equal sums is no difference
    differences[np.abs(differences) < 1e-12] = 0
    low, high = interval(differences, level)
    if not differences.size:
        return PairedTest(first - second, low, high, float('nan'))
    smaller = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (smaller + 1) / (differences.size + 1))
    return PairedTest(first - second, low, high, float(p_value))
