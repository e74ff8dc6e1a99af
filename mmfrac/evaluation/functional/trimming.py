# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What of a rank's records can matter up to a given FPPI: only that is gathered."""

import tempfile
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from mmfrac.evaluation.functional.froc import ImageRecord, count_changes, counting_films


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
    records: Sequence[ImageRecord], num_films: int, max_fppi: float, denominator: str = 'all'
) -> list[ImageRecord]:
    """Records without what lies below the threshold at which FPPI must have passed ``max_fppi``.

    At a threshold where these films alone have more than ``max_fppi * num_films`` false positives, all
    films together have at least as many: the running maximum of FPPI has passed ``max_fppi``, whatever
    the other ranks hold. So up to there nothing changes, with ``crossing='first'``, and of noise, which
    has a threshold for nearly every map cell, next to nothing is left to gather.

    Args:
        records (Sequence[ImageRecord]): Of distinct films.
        num_films (int): Films of all ranks, or more.
        max_fppi (float): False positives per image up to which the pooled curve has to be exact.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.

    Returns:
        list[ImageRecord]: In the same order; the arrays are copies, so that the memory of the rest is
        given back.
    """
    lowest = lowest_needed(records, num_films, max_fppi, denominator)
    return [trim_to(record, lowest) for record in records]


def lowest_needed(
    records: Sequence[ImageRecord], num_films: int, max_fppi: float, denominator: str = 'all'
) -> float:
    """Highest threshold at which films alone pass ``max_fppi``; 0 if they never do.

    Args:
        records (Sequence[ImageRecord]): See :func:`trim_records`.
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


def trim_to(record: ImageRecord, lowest: float) -> ImageRecord:
    """A record without its thresholds below ``lowest``, as a copy where there are any."""
    kept = np.count_nonzero(record.thresholds >= lowest)
    if kept == record.thresholds.size:
        return record
    return ImageRecord(
        record.thresholds[:kept].copy(),
        record.false_positives[:kept].copy(),
        record.lesion_scores,
        record.image_score,
    )


DEPTH = 64

"""Thresholds of a film that stay in memory."""


class Tail(NamedTuple):
    """Where the rest of a record is."""

    offset: int
    size: int
    threshold_type: np.dtype
    count_type: np.dtype


class RecordTails:
    """Keeps the first thresholds of each record in memory and the others in a temporary file.

    While films stream by, nobody knows how far down their records will matter: that depends on the films
    that are still to come. Of most nothing but the first thresholds does.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def cut(self, record: ImageRecord) -> tuple[ImageRecord, Tail | None]:
        """Put away what lies below the first ``DEPTH`` thresholds.

        Args:
            record (ImageRecord): Of a film.

        Returns:
            tuple[ImageRecord, Tail | None]: What stays, and where the rest is; None if there is none.
        """
        if record.thresholds.size <= DEPTH:
            return record, None
        if self._file is None:
            # open for as long as films come; it has no name and ends with the process
            self._file = tempfile.TemporaryFile(prefix='mmfrac_records_')  # noqa: SIM115
        thresholds, counts = record.thresholds[DEPTH:], record.false_positives[DEPTH:]
        tail = Tail(self._file.seek(0, 2), thresholds.size, thresholds.dtype, counts.dtype)
        self._file.write(thresholds.tobytes() + counts.tobytes())
        return trim_to(record, float(record.thresholds[DEPTH - 1])), tail

    def join(self, head: ImageRecord, tail: Tail) -> ImageRecord:
        """The record as it was.

        Args:
            head (ImageRecord): What stayed.
            tail (Tail): Where the rest is.

        Returns:
            ImageRecord: Equal to the one that was cut.
        """
        assert self._file is not None
        self._file.seek(tail.offset)
        thresholds = self._read(tail.threshold_type, tail.size)
        counts = self._read(tail.count_type, tail.size)
        return ImageRecord(
            np.concatenate([head.thresholds, thresholds]),
            np.concatenate([head.false_positives, counts]),
            head.lesion_scores,
            head.image_score,
        )

    def clear(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _read(self, dtype: np.dtype, size: int) -> np.ndarray:
        assert self._file is not None
        return np.frombuffer(self._file.read(size * dtype.itemsize), dtype)


def trim_cut_records(
    heads: Sequence[ImageRecord],
    tails: Sequence[Tail | None],
    store: RecordTails,
    num_films: int,
    max_fppi: float,
    denominator: str = 'all',
) -> list[ImageRecord]:
    """:func:`trimming.trim_records` of records that were cut; reads the tails that reach high enough.

    Args:
        heads (Sequence[ImageRecord]): (n) what stayed of each record.
        tails (Sequence[Tail | None]): (n) where the rest is.
        store (RecordTails): Who has it.
        num_films (int): See there.
        max_fppi (float): See there.
        denominator (str): See there. Defaults to 'all'.

    Returns:
        list[ImageRecord]: The same as of the whole records.
    """
    records = list(heads)
    counting = counting_films(records, denominator)
    cut = [film for film, tail in enumerate(tails) if tail is not None and counting[film]]
    # the record that ends highest hides most
    cut.sort(key=lambda film: float(records[film].thresholds[-1]))
    batch = DEPTH
    while True:
        lowest = lowest_needed(records, num_films, max_fppi, denominator)
        if not cut or lowest >= float(records[cut[-1]].thresholds[-1]):
            return [trim_to(record, lowest) for record in records]
        for film in [cut.pop() for _ in range(min(batch, len(cut)))]:
            tail = tails[film]
            assert tail is not None
            records[film] = store.join(records[film], tail)
        batch *= 2
