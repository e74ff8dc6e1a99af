# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What happens in all records, from the highest threshold downwards."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmfrac.evaluation.functional.records import FilmRecord


class PooledEvents(NamedTuple):
    """Changes of false positives and hits in descending order of their threshold.

    Attributes:
        films (np.ndarray): (m,) index of the film.
        changes (np.ndarray): (m,) change of its false positives.
        hits (np.ndarray): (m,) lesions hit from there on.
        ends_group (np.ndarray): (m,) whether the next event has another threshold.
        is_whole (bool): Whether no event was left out.
    """

    films: np.ndarray
    changes: np.ndarray
    hits: np.ndarray
    ends_group: np.ndarray
    is_whole: bool


def pooled_events(
    records: Sequence[FilmRecord], counting: np.ndarray, depth: int | None = None
) -> PooledEvents:
    """Pool the events of all records.

    Args:
        records (Sequence[FilmRecord]): (n) one a film.
        counting (np.ndarray): (n,) bool, films whose false positives count.
        depth (int, optional): Leave out what lies below the highest threshold that is the ``depth``-th
            of a film, so that at most ``depth`` a film have to be sorted; what is left is complete.
            Defaults to None, all.

    Returns:
        PooledEvents: In descending order.
    """
    floor = 0.0
    if depth is not None:
        deep = (
            r.thresholds[depth - 1]
            for r, c in zip(records, counting)
            if c and r.thresholds.size > depth
        )
        floor = max((float(threshold) for threshold in deep), default=0.0)
    thresholds, films, changes, hits = [], [], [], []
    for film, record in enumerate(records):
        scores = record.lesion_scores[record.lesion_scores >= max(floor, _TINY)]
        kept = record.thresholds[:depth] if counting[film] else record.thresholds[:0]
        kept = kept[: np.count_nonzero(kept >= floor)]
        counts = record.false_positives[: kept.size].astype(np.int64)
        thresholds += [kept.astype(np.float64), scores.astype(np.float64)]
        films.append(np.full(kept.size + scores.size, film))
        changes += [np.diff(counts, prepend=0), np.zeros(scores.size, np.int64)]
        hits += [np.zeros(kept.size, np.int64), np.ones(scores.size, np.int64)]
    values = np.concatenate(thresholds)
    order = np.argsort(-values, kind='stable')
    values = values[order]
    return PooledEvents(
        np.concatenate(films)[order],
        np.concatenate(changes)[order],
        np.concatenate(hits)[order],
        np.append(values[:-1] != values[1:], True)[: values.size],
        floor == 0,
    )


_TINY = np.nextafter(0, 1)
