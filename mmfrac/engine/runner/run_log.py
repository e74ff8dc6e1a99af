# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a training has logged in its work dir."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

EpochValues = dict[int, float]


def read_scalars(
    work_dir: Path, keys: tuple[str, ...], report: Callable[[str], Any] = print
) -> dict[str, EpochValues]:
    """Logged values of a work dir by key and epoch.

    Args:
        work_dir (Path): See ``read_log``; ``step`` is the epoch.
        keys (tuple[str, ...]): Names of the values.
        report (Callable): Is given one line for each damaged file. Defaults to ``print``.

    Returns:
        dict[str, dict[int, float]]: Every key, with the values of the latest file in each epoch.
    """
    found: dict[str, EpochValues] = {key: {} for key in keys}
    for record in read_log(work_dir, report):
        for key in keys:
            if isinstance(record.get(key), (int, float)):
                found[key][int(record.get('step', 0))] = float(record[key])
    return found


def read_log(work_dir: Path, report: Callable[[str], Any] = print) -> Iterator[dict[str, Any]]:
    """What a work dir has logged, in the order of time.

    Args:
        work_dir (Path): Holds ``<timestamp>/vis_data/scalars.json``, one JSON object a line.
        report (Callable): Is given one line for each damaged file. Defaults to ``print``.

    Yields:
        dict: One line each, with a number or nothing as ``step``.
    """
    # the folders are named by the time at which the run started
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        damaged = 0
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                int(record.get('step', 0))
            except (AttributeError, TypeError, ValueError):
                # a run that was killed may leave half a line
                damaged += 1
                continue
            yield record
        if damaged:
            report(f'{path}: {damaged} damaged lines left out')


def logged_keys(work_dir: Path, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the logged values that begin with one of the prefixes, sorted.

    Args:
        work_dir (Path): As of ``read_scalars``.
        prefixes (tuple[str, ...]): Beginnings of names.

    Returns:
        tuple[str, ...]: Names.
    """
    records = read_log(work_dir, report=lambda line: None)
    return tuple(sorted({key for record in records for key in record if key.startswith(prefixes)}))
