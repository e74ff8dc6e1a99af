# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What ``FracMetric`` writes, and how its records are read back."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmfrac.evaluation.functional.froc import FrocCurve, ImageRecord, froc_curve


def write_metrics(
    out_file: str | Path, metrics: dict[str, float], curve: FrocCurve, options: dict[str, Any]
) -> None:
    """Write an evaluation as JSON; what is not finite becomes null.

    Args:
        out_file (str | Path): Written under a temporary name and renamed; its folder is made.
        metrics (dict[str, float]): Values by name.
        curve (FrocCurve): The pooled curve.
        options (dict): Definitions that were used.
    """
    content = dict(
        metrics={name: _finite(value) for name, value in metrics.items()},
        num_images=int(curve.num_images),
        num_lesions=int(curve.num_lesions),
        options=options,
        curve=curve_content(curve),
    )
    path = Path(out_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


def curve_content(curve: FrocCurve) -> dict[str, list[float | None]]:
    """A curve for JSON: ``thresholds``, ``fppi``, ``recall``; what is not finite is None.

    Args:
        curve (FrocCurve): The curve.

    Returns:
        dict[str, list]: By name.
    """
    return {
        name: [_finite(value) for value in getattr(curve, name).tolist()]
        for name in ('thresholds', 'fppi', 'recall')
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


FORMAT_VERSION = 1


@dataclass(frozen=True)
class FilmResult:
    """One film of an evaluation.

    Attributes:
        film (str): Id of the film in its annotation file.
        patient (str): Patient, the unit of the bootstrap.
        label (int): 1, 0 or -1.
        score (float): Image score.
        record (ImageRecord | None): None for a film without complete regions.
    """

    film: str
    patient: str
    label: int
    score: float
    record: ImageRecord | None


def write_records(
    out_file: str | Path, results: Sequence[FilmResult], max_fppi: float = 2.0
) -> None:
    """Write records, each down to the threshold at which all films together pass ``max_fppi``.

    What lies below has no part in recalls at a smaller FPPI, and is most of a record.

    Args:
        out_file (str | Path): Written under a temporary name and renamed; its folder is made.
        results (Sequence[FilmResult]): One a film.
        max_fppi (float): False positives per image up to which the records are exact. Defaults to 2.
    """
    records = [result.record for result in results if result.record is not None]
    lowest = _threshold_at(records, max_fppi)
    content = dict(
        format_version=FORMAT_VERSION,
        max_fppi=max_fppi,
        films=[_plain(result, lowest) for result in results],
    )
    path = Path(out_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    temporary.write_text(json.dumps(content, separators=(',', ':')))
    os.replace(temporary, path)


def read_records(content: Any, where: str = 'records') -> list[FilmResult]:
    """Rebuild what ``write_records`` wrote.

    Args:
        content (Any): The parsed JSON.
        where (str): Its file, for the message. Defaults to 'records'.

    Returns:
        list[FilmResult]: In the order of the file.

    Raises:
        ValueError: If it is of another format, or damaged.
    """
    fits = isinstance(content, dict) and isinstance(content.get('films'), list)
    if not fits or content.get('format_version') != FORMAT_VERSION:
        raise ValueError(
            f'{where}: no records of format {FORMAT_VERSION}, as FracMetric(records_file=...) writes'
        )
    results = []
    for index, entry in enumerate(content['films']):
        try:
            results.append(_film_result(entry))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            what = f'no {error}' if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f'{where}: films[{index}] is damaged ({what}); evaluate anew'
            ) from error
    return results


def _threshold_at(records: Sequence[ImageRecord], max_fppi: float) -> float:
    if not records:
        return 0.0
    curve = froc_curve(records)
    past = np.flatnonzero(curve.fppi > max_fppi)
    return float(curve.thresholds[past[0]]) if past.size else 0.0


def _plain(result: FilmResult, lowest: float) -> dict[str, Any]:
    entry: dict[str, Any] = dict(
        film=result.film,
        patient=result.patient,
        label=int(result.label),
        score=float(str(np.float32(result.score))),
    )
    if result.record is not None:
        kept = np.count_nonzero(result.record.thresholds >= lowest)
        entry['lesion_scores'] = _floats(result.record.lesion_scores)
        entry['thresholds'] = _floats(result.record.thresholds[:kept])
        entry['false_positives'] = result.record.false_positives[:kept].tolist()
    return entry


def _film_result(entry: dict[str, Any]) -> FilmResult:
    record = None
    if 'thresholds' in entry:
        record = ImageRecord(
            np.asarray(entry['thresholds'], np.float32),
            np.asarray(entry['false_positives'], np.int64),
            np.asarray(entry['lesion_scores'], np.float32),
            entry['score'],
        )
        if record.thresholds.shape != record.false_positives.shape or record.thresholds.ndim != 1:
            raise ValueError('thresholds and false_positives must be lists of one length')
        if record.lesion_scores.ndim != 1:
            raise ValueError('lesion_scores must be a list')
        if not (np.isfinite(record.thresholds).all() and np.isfinite(record.lesion_scores).all()):
            raise ValueError('a threshold or lesion score is NaN or infinite')
    names = ('film', 'patient', 'label', 'score')
    if entry['label'] not in (-1, 0, 1) or not math.isfinite(entry['score']):
        raise ValueError(f'label {entry["label"]!r}, score {entry["score"]!r}')
    return FilmResult(**{name: entry[name] for name in names}, record=record)


def _floats(values: np.ndarray) -> list[float]:
    """The shortest decimals that give the same float32."""
    return [float(str(value)) for value in values.astype(np.float32)]
