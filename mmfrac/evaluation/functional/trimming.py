# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What of a rank's records can matter up to a given FPPI: only that is gathered."""

import tempfile
from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np

from mmfrac.evaluation.functional.records import ImageRecord, counting_images, lowest_needed


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
    records: Sequence[ImageRecord], num_images: int, max_fppi: float, denominator: str = 'all'
) -> list[ImageRecord]:
    """Records without what lies below the threshold at which FPPI must have passed ``max_fppi``.

    At a threshold where these images alone have more than ``max_fppi * num_images`` false positives, all
    images together have at least as many: the running maximum of FPPI has passed ``max_fppi``, whatever
    the other ranks hold. So up to there nothing changes, with ``crossing='first'``, and of noise, which
    has a threshold for nearly every map cell, next to nothing is left to gather.

    Args:
        records (Sequence[ImageRecord]): Of distinct images.
        num_images (int): Images of all ranks, or more.
        max_fppi (float): False positives per image up to which the pooled curve has to be exact.
        denominator (str): See :func:`froc.froc_curve`. Defaults to 'all'.

    Returns:
        list[ImageRecord]: In the same order; the arrays are copies, so that the memory of the rest is
        given back.
    """
    lowest = lowest_needed(records, num_images, max_fppi, denominator)
    return [record.down_to(lowest) for record in records]


DEPTH = 64

"""Thresholds of an image that stay in memory."""


class StoredRest(NamedTuple):
    """Where the rest of a record is."""

    offset: int
    size: int
    threshold_type: np.dtype
    count_type: np.dtype


class RecordStore:
    """Keeps the first thresholds of each record in memory and the others in a temporary file.

    While images stream by, nobody knows how far down their records will matter: that depends on the
    images that are still to come. Of most nothing but the first thresholds does.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def cut(self, record: ImageRecord) -> tuple[ImageRecord, StoredRest | None]:
        """Put away what lies below the first ``DEPTH`` thresholds.

        Args:
            record (ImageRecord): Of an image.

        Returns:
            tuple[ImageRecord, StoredRest | None]: What stays, and where the rest is; None if
                there is none.
        """
        if record.thresholds.size <= DEPTH:
            return record, None
        if self._file is None:
            # open for as long as images come; it has no name and ends with the process
            self._file = tempfile.TemporaryFile(prefix='mmfrac_records_')  # noqa: SIM115
        thresholds, counts = record.thresholds[DEPTH:], record.false_positives[DEPTH:]
        rest = StoredRest(self._file.seek(0, 2), thresholds.size, thresholds.dtype, counts.dtype)
        self._file.write(thresholds.tobytes() + counts.tobytes())
        return record.down_to(float(record.thresholds[DEPTH - 1])), rest

    def join(self, head: ImageRecord, rest: StoredRest) -> ImageRecord:
        """The record as it was.

        Args:
            head (ImageRecord): What stayed.
            rest (StoredRest): Where the rest is.

        Returns:
            ImageRecord: Equal to the one that was cut.
        """
        assert self._file is not None
        self._file.seek(rest.offset)
        thresholds = self._read(rest.threshold_type, rest.size)
        counts = self._read(rest.count_type, rest.size)
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
    rests: Sequence[StoredRest | None],
    store: RecordStore,
    num_images: int,
    max_fppi: float,
    denominator: str = 'all',
) -> list[ImageRecord]:
    """:func:`trimming.trim_records` of records that were cut; reads the rests that reach high enough.

    Args:
        heads (Sequence[ImageRecord]): (n) what stayed of each record.
        rests (Sequence[StoredRest | None]): (n) where the rest is.
        store (RecordStore): Who has it.
        num_images (int): See there.
        max_fppi (float): See there.
        denominator (str): See there. Defaults to 'all'.

    Returns:
        list[ImageRecord]: The same as of the whole records.
    """
    records = list(heads)
    counting = counting_images(records, denominator)
    cut = [index for index, rest in enumerate(rests) if rest is not None and counting[index]]
    # the record that ends highest hides most
    cut.sort(key=lambda index: float(records[index].thresholds[-1]))
    batch = DEPTH
    while True:
        lowest = lowest_needed(records, num_images, max_fppi, denominator)
        if not cut or lowest >= float(records[cut[-1]].thresholds[-1]):
            return [record.down_to(lowest) for record in records]
        for index in [cut.pop() for _ in range(min(batch, len(cut)))]:
            rest = rests[index]
            assert rest is not None
            records[index] = store.join(records[index], rest)
        batch *= 2
