# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which part of a rank's records can matter up to a given FPPI, before anything is gathered."""

from collections.abc import Sequence

import numpy as np

from mmfrac.evaluation.functional.froc import FilmRecord, count_changes, counting_films


def check_max_fppi(max_fppi: float | None, needed: Sequence[float], crossing: str) -> float | None:
    """``max_fppi`` of a metric; a ``ValueError`` if FPPI values that are needed lie beyond it.

    Args:
        max_fppi (float | None): None: nothing is trimmed.
        needed (Sequence[float]): FPPI values that are asked for.
        crossing (str): See :func:`froc.recall_at`; only 'first' can be trimmed.

    Returns:
        float | None: The same.

    Raises:
        ValueError: If it is less than a needed value, or ``crossing`` is not 'first'.
    """
    if max_fppi is None:
        return None
    if crossing != 'first':
        raise ValueError(f"max_fppi needs crossing='first', got {crossing!r}")
    if not max_fppi >= max(needed):
        raise ValueError(
            f'max_fppi must be at least the largest FPPI that is asked for, {max(needed)}, got '
            f'{max_fppi}'
        )
    return float(max_fppi)


def trim_records(
    records: Sequence[FilmRecord], num_films: int, max_fppi: float, denominator: str = 'all'
) -> list[FilmRecord]:
    """Records without what lies below the threshold at which FPPI must have passed ``max_fppi``.

    At a threshold where these films alone have more than ``max_fppi * num_films`` false positives, all
    films together have at least as many: the running maximum of FPPI has passed ``max_fppi``, whatever
    the other ranks hold. So up to there nothing changes, with ``crossing='first'``, and of noise, which
    has a threshold for nearly every map cell, next to nothing is left to gather.

    Args:
        records (Sequence[FilmRecord]): Of distinct films.
        num_films (int): Films of all ranks, or more.
        max_fppi (float): False positives per image up to which the pooled curve has to be exact.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.

    Returns:
        list[FilmRecord]: In the same order; the arrays are copies, so that the memory of the rest is
        given back.
    """
    lowest = lowest_needed(records, num_films, max_fppi, denominator)
    return [trim_to(record, lowest) for record in records]


def lowest_needed(
    records: Sequence[FilmRecord], num_films: int, max_fppi: float, denominator: str = 'all'
) -> float:
    """Highest threshold at which films alone pass ``max_fppi``; 0 if they never do.

    Args:
        records (Sequence[FilmRecord]): See :func:`trim_records`.
        num_films (int): See there.
        max_fppi (float): See there.
        denominator (str): See there. Defaults to 'all'.

    Returns:
        float: What lies below it does not matter.
    """
    counting = counting_films(records, denominator)
    counted = [record for record, counts in zip(records, counting) if counts]
    thresholds = np.concatenate([np.zeros(0), *(record.thresholds for record in counted)])
    changes = np.concatenate([np.zeros(0, np.int64), *map(count_changes, counted)])
    order = np.argsort(-thresholds, kind='stable')
    descending = thresholds[order]
    totals = np.cumsum(changes[order])
    ends_group = np.append(descending[:-1] != descending[1:], True)[: descending.size]
    past = np.flatnonzero(ends_group & (totals > max_fppi * num_films))
    return float(descending[past[0]]) if past.size else 0.0


def trim_to(record: FilmRecord, lowest: float) -> FilmRecord:
    """A record without its thresholds below ``lowest``, as a copy where there are any."""
    kept = np.count_nonzero(record.thresholds >= lowest)
    if kept == record.thresholds.size:
        return record
    return FilmRecord(
        record.thresholds[:kept].copy(),
        record.false_positives[:kept].copy(),
        record.lesion_scores,
        record.image_score,
    )
