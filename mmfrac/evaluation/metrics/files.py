# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What ``FracMetric`` writes, and how its records are read back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmfrac.evaluation.definitions import METRIC_OPTIONS, Definitions, common_definitions
from mmfrac.evaluation.functional.froc import FrocCurve, ImageRecord, ImageResult
from mmfrac.evaluation.functional.records import counting_images, lowest_needed
from mmfrac.utils.io import write_json


def write_metrics(
    out_file: str | Path,
    metrics: Mapping[str, float],
    curve: FrocCurve,
    definitions: Definitions,
    max_fppi: float | None = None,
    precision: str | None = None,
) -> None:
    """Write an evaluation as JSON; what is not finite becomes null.

    Args:
        out_file (str | Path): Written whole or not at all; its folder is made.
        metrics (Mapping[str, float]): Values by name.
        curve (FrocCurve): The pooled curve.
        definitions (Definitions): That were used; the file's ``options``.
        max_fppi (float, optional): FPPI up to which the curve is kept. Defaults to None, all.
        precision (str, optional): In which the images were predicted. Defaults to None, not known.
    """
    content = dict(
        metrics={name: _finite(value) for name, value in metrics.items()},
        num_images=int(curve.num_images),
        num_lesions=int(curve.num_lesions),
        options=definitions.as_dict(METRIC_OPTIONS),
        max_fppi=max_fppi,
        precision=precision,
        curve=curve_content(curve),
    )
    write_json(out_file, content, indent=None)


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


@dataclass(frozen=True, eq=False)
class RecordSet:
    """Records of the images of an evaluation, and what may be asked of them.

    Attributes:
        where (str): File or run that they are of, for messages.
        images (list[ImageResult]): One an image.
        definitions (Definitions): Of the evaluation.
        max_fppi (float | None): FPPI up to which the records are kept; None: all of them.
    """

    where: str
    images: list[ImageResult]
    definitions: Definitions
    max_fppi: float | None = None

    @property
    def lowest(self) -> float:
        """Threshold below which thresholds were left out; 0 where none can have been."""
        if self.max_fppi is None:
            return 0.0
        return _lowest_kept(self.images, self.definitions.denominator, self.max_fppi)

    def check(self, definitions: Definitions) -> None:
        """Raise ``ValueError`` if figures under ``definitions`` need what the records do not hold."""
        own = self.definitions
        asked = ('what is asked for', definitions)
        common_definitions([(self.where, own), asked], ('source', 'connectivity'))
        if self.max_fppi is None or not self.lowest:
            return
        held = f'{self.where}: the records are cut at FPPI {self.max_fppi:g}'
        if definitions.crossing == 'best' or definitions.denominator != own.denominator:
            raise ValueError(
                f"{held} for crossing='first' and denominator={own.denominator!r}; for crossing="
                f'{definitions.crossing!r} and denominator={definitions.denominator!r} evaluate anew'
            )
        if definitions.highest_fppi > self.max_fppi:
            raise ValueError(
                f'{held}, FPPI {definitions.highest_fppi:g} is asked for: evaluate anew with a higher '
                'records_max_fppi'
            )


def write_records(
    out_file: str | Path,
    images: Sequence[ImageResult],
    definitions: Definitions,
    max_fppi: float | None = 2.0,
) -> None:
    """Write records, each down to the threshold at which all images together pass ``max_fppi``.

    What lies below has no part in recalls at a smaller FPPI, and is most of a record. The file holds at
    least what its own definitions ask for: with ``crossing='best'`` the whole records.

    Args:
        out_file (str | Path): Written whole or not at all; its folder is made.
        images (Sequence[ImageResult]): One an image.
        definitions (Definitions): That the images were evaluated with.
        max_fppi (float, optional): False positives per image up to which the records are exact; None:
            whole. Defaults to 2.
    """
    end = records_end(definitions, max_fppi)
    lowest = 0.0 if end is None else _lowest_kept(images, definitions.denominator, end)
    content = dict(
        format_version=FORMAT_VERSION,
        max_fppi=end,
        definitions=definitions.as_dict(METRIC_OPTIONS),
        films=[_plain(image, lowest) for image in images],
    )
    write_json(out_file, content, compact=True)


def records_end(definitions: Definitions, max_fppi: float | None) -> float | None:
    """FPPI up to which a file of records is kept that is asked for ``max_fppi``; None: all of it."""
    if max_fppi is None or definitions.crossing == 'best':
        return None
    return max(float(max_fppi), definitions.highest_fppi)


def read_records(content: Any, where: str = 'records') -> RecordSet:
    """Rebuild what ``write_records`` wrote.

    Args:
        content (Any): The parsed JSON.
        where (str): Its file, for the message. Defaults to 'records'.

    Returns:
        RecordSet: In the order of the file. A file without definitions is of an earlier version: they
        are those of ``METRIC_DEFAULTS``.

    Raises:
        ValueError: If it is of another format, or damaged.
    """
    fits = isinstance(content, dict) and isinstance(content.get('films'), list)
    if not fits or content.get('format_version') != FORMAT_VERSION:
        raise ValueError(
            f'{where}: no records of format {FORMAT_VERSION}, as FracMetric(records_file=...) writes'
        )
    images = []
    for index, entry in enumerate(content['films']):
        try:
            images.append(_image_result(entry))
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            what = f'no {error}' if isinstance(error, KeyError) else str(error)
            raise ValueError(
                f'{where}: films[{index}] is damaged ({what}); evaluate anew'
            ) from error
    end = content.get('max_fppi')
    # JSON integers have no limit, floats do
    is_number = (type(end) is float or (type(end) is int and end < _MOST)) and end >= 0
    if end is not None and not is_number:
        raise ValueError(f'{where}: max_fppi {end!r} is damaged; evaluate anew')
    return RecordSet(where, images, Definitions.from_json(content, where), end)


def pool_records(
    parts: Sequence[RecordSet], where: str, names: Sequence[str] = METRIC_OPTIONS
) -> RecordSet:
    """All images of several sets under common thresholds; an image of two sets counts twice.

    Args:
        parts (Sequence[RecordSet]): At least one.
        where (str): Name of the whole.
        names (Sequence[str]): Options in which they must agree. Defaults to ``METRIC_OPTIONS``.

    Returns:
        RecordSet: Exact as far as every part is.

    Raises:
        ValueError: If their definitions differ.
    """
    definitions = common_definitions([(part.where, part.definitions) for part in parts], names)
    images = [image for part in parts for image in part.images]

    def counted(some: Sequence[ImageResult]) -> int:
        records = [image.record for image in some if image.record is not None]
        return int(counting_images(records, definitions.denominator).sum())

    # where one part ends it alone has so many false positives
    ends = [
        part.max_fppi * counted(part.images)
        for part in parts
        if part.max_fppi is not None and part.lowest
    ]
    return RecordSet(where, images, definitions, min(ends) / counted(images) if ends else None)


def _lowest_kept(images: Sequence[ImageResult], denominator: str, max_fppi: float) -> float:
    records = [image.record for image in images if image.record is not None]
    num_images = int(counting_images(records, denominator).sum())
    return lowest_needed(records, num_images, max_fppi, denominator)


def _plain(result: ImageResult, lowest: float) -> dict[str, Any]:
    entry: dict[str, Any] = dict(
        film=result.img_id,
        patient=result.patient_id,
        label=int(result.label),
        score=float(str(np.float32(result.score))),
    )
    if result.record is not None:
        kept = np.count_nonzero(result.record.thresholds >= lowest)
        entry['lesion_scores'] = _floats(result.record.lesion_scores)
        entry['thresholds'] = _floats(result.record.thresholds[:kept])
        entry['false_positives'] = result.record.false_positives[:kept].tolist()
    return entry


# FPPI that no evaluation has
_MOST = 2**53


def _image_result(entry: dict[str, Any]) -> ImageResult:
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
        _check_record(entry, record)
    if entry['label'] not in (-1, 0, 1) or not math.isfinite(entry['score']):
        raise ValueError(f'label {entry["label"]!r}, score {entry["score"]!r}')
    kinds = dict(film=(int, str), patient=(int, str), label=(int,), score=(int, float))
    for name, allowed in kinds.items():
        # a bool is an int in Python
        if type(entry[name]) not in allowed:
            raise ValueError(f'{name} is {entry[name]!r}')
    return ImageResult(entry['film'], entry['patient'], entry['label'], entry['score'], record)


def _check_record(entry: dict[str, Any], record: ImageRecord) -> None:
    """Raise a ``ValueError`` if the lists of an image hold what no evaluation writes."""
    for name in ('thresholds', 'lesion_scores', 'false_positives'):
        if not {float, int}.issuperset(map(type, entry[name])):
            raise ValueError(f'{name} must be numbers')
    if float in map(type, entry['false_positives']) or (record.false_positives < 0).any():
        raise ValueError('false_positives must be counts')
    # distinct thresholds may be equal as float32
    if (record.thresholds < 0).any() or (np.diff(record.thresholds) > 0).any():
        raise ValueError('thresholds must descend, and none is below 0')


def _floats(values: np.ndarray) -> list[float]:
    """The shortest decimals that give the same float32."""
    return [float(str(value)) for value in values.astype(np.float32)]
