# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The lower part of records on disk, until it is known how much of it matters."""

import tempfile
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from mmfrac.evaluation.functional.froc import FilmRecord, counting_films
from mmfrac.evaluation.functional.trimming import lowest_needed, trim_to

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

    def cut(self, record: FilmRecord) -> tuple[FilmRecord, Tail | None]:
        """Put away what lies below the first ``DEPTH`` thresholds.

        Args:
            record (FilmRecord): Of a film.

        Returns:
            tuple[FilmRecord, Tail | None]: What stays, and where the rest is; None if there is none.
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

    def join(self, head: FilmRecord, tail: Tail) -> FilmRecord:
        """The record as it was.

        Args:
            head (FilmRecord): What stayed.
            tail (Tail): Where the rest is.

        Returns:
            FilmRecord: Equal to the one that was cut.
        """
        assert self._file is not None
        self._file.seek(tail.offset)
        thresholds = self._read(tail.threshold_type, tail.size)
        counts = self._read(tail.count_type, tail.size)
        return FilmRecord(
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
    heads: Sequence[FilmRecord],
    tails: Sequence[Tail | None],
    store: RecordTails,
    num_films: int,
    max_fppi: float,
    denominator: str = 'all',
) -> list[FilmRecord]:
    """:func:`trimming.trim_records` of records that were cut; reads the tails that reach high enough.

    Args:
        heads (Sequence[FilmRecord]): (n) what stayed of each record.
        tails (Sequence[Tail | None]): (n) where the rest is.
        store (RecordTails): Who has it.
        num_films (int): See there.
        max_fppi (float): See there.
        denominator (str): See there. Defaults to 'all'.

    Returns:
        list[FilmRecord]: The same as of the whole records.
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
