# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a packaged model says of one image: a line of ``results.jsonl``."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

import numpy as np

from mmfrac.utils.prob_map import component_boxes

_TEXTS = ('image', 'reason', 'precision')
_OPTIONAL_TEXTS = ('sop_instance_uid', 'series_instance_uid', 'study_instance_uid', 'view', 'error')
_NUMBERS = ('score', 'probability')


class ResultError(ValueError):
    """A record that is no result of an image; the message says what is wrong with it."""


@dataclass(frozen=True)
class ResultLine:
    """What a model found on an image, or why it was not asked.

    Args:
        image (str): Path or URL, as it was given.
        model (dict): ``name`` and ``sha256`` of the package.
        precision (str): 'fp32', 'bf16' or 'fp16'. Defaults to 'fp32'.
        sop_instance_uid (str, optional): Of a DICOM image. Defaults to None.
        series_instance_uid (str, optional): Of a DICOM image. Defaults to None.
        study_instance_uid (str, optional): Of a DICOM image. Defaults to None.
        width (int): Of the image as stored, px; 0 where it could not be read. Defaults to 0.
        height (int): Likewise. Defaults to 0.
        view (str, optional): 'PA', 'AP', 'frontal', 'lateral' or 'oblique'; None where nothing tells.
            Defaults to None.
        scored (bool): Whether the model was asked. Defaults to False.
        reason (str): Why not; '' if it was. Defaults to ''.
        error (str, optional): What went wrong. Defaults to None.
        score (float, optional): Image score. Defaults to None.
        probability (float, optional): The score with the temperature of the package. Defaults to None.
        flag (bool, optional): Whether the score reaches the threshold. Defaults to None.
        operating_point (dict, optional): ``name`` and ``threshold``. Defaults to None.
        boxes (list): ``[x1, y1, x2, y2]`` each, px of the image as stored, or upright where
            EXIF turns it. Those of a prob map are its components at the lower of the model's
            ``component_thr`` and the threshold of the operating point: above ``component_thr`` some do
            not reach the point, and one may hold several components at the point. Results that are
            downloaded from the page have those at the point itself, as they were shown. Defaults to
            none.
        scores (list): One a box. Defaults to none.
        map_scale (list, optional): px of the image a cell of the prob map, in x and y. Defaults to None.
        notes (list[str]): What is doubtful of the image, a sentence each: its header contradicts its
            pixels or itself. Defaults to none.

    Raises:
        ResultError: If the fields contradict each other, or one has another type.
    """

    image: str
    model: Mapping[str, str]
    precision: str = 'fp32'
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    width: int = 0
    height: int = 0
    view: str | None = None
    scored: bool = False
    reason: str = ''
    error: str | None = None
    score: float | None = None
    probability: float | None = None
    flag: bool | None = None
    operating_point: Mapping[str, Any] | None = None
    boxes: Sequence[Sequence[float]] = field(default_factory=list)
    scores: Sequence[float] = field(default_factory=list)
    map_scale: Sequence[float] | None = None
    notes: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise ResultError(f'no result of an image: {fault}')

    def as_dict(self) -> dict[str, Any]:
        """Plain data, in the order of ``FIELDS``."""
        plain = asdict(self)
        return {name: plain[name] for name in FIELDS}

    def to_json(self) -> str:
        """One line of JSON, without its end; equal results give equal lines."""
        return json.dumps(self.as_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, record: str | bytes | Mapping[str, Any]) -> 'ResultLine':
        """Read a result.

        Args:
            record (str, bytes or Mapping): A line of ``results.jsonl``, or what it holds.

        Returns:
            ResultLine: Checked.

        Raises:
            ResultError: If it is none.
        """
        if not isinstance(record, Mapping):
            try:
                record = json.loads(record, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                raise ResultError(f'no result of an image: no JSON ({error})') from error
        if not isinstance(record, Mapping):
            raise ResultError(f'no result of an image: a {type(record).__name__}')
        missing = sorted(set(FIELDS) - _LATER_FIELDS - set(record))
        unknown = sorted(map(str, set(record) - set(FIELDS)))
        if missing or unknown:
            what = f'it lacks {missing}' if missing else f'it has {unknown}'
            raise ResultError(f'no result of an image: {what}')
        return cls(**record)


# in the order of the lines: what the image is, whether it was scored, what was found, by what
FIELDS = (
    *('image', 'sop_instance_uid', 'series_instance_uid', 'study_instance_uid', 'width', 'height'),
    *('view', 'scored', 'reason', 'error', 'notes', 'score', 'probability', 'flag'),
    *('operating_point', 'boxes', 'scores', 'map_scale', 'model', 'precision'),
)
# not in files of before
_LATER_FIELDS = {'notes'}
assert set(FIELDS) == {one.name for one in fields(ResultLine)}


class Scored(NamedTuple):
    """What a model says of an image, at any threshold: all outputs have their findings from here.

    Attributes:
        result (ResultLine): The result, or why there is none.
        prob_map (np.ndarray, optional): ``(h', w')`` in [0, 1]; None of a box detector.
        max_per_img (int): Components of the map that are findings, highest score first, as of the model.
            Defaults to 100.
    """

    result: ResultLine
    prob_map: np.ndarray | None = None
    max_per_img: int = 100

    def at(self, threshold: float) -> ResultLine:
        """The result at another threshold.

        Args:
            threshold (float): Of the flag and of the findings, none of which lies below it.
        """
        result = self.result
        if not result.scored or result.score is None:
            return result
        point = result.operating_point
        if point is None or point['threshold'] != threshold:
            point = dict(name=f'{threshold:g}', threshold=threshold)
        boxes, scores = self.findings(threshold)
        return replace(
            result,
            boxes=boxes,
            scores=scores,
            flag=result.score >= threshold,
            operating_point=point,
        )

    def findings(self, threshold: float) -> tuple[list, list]:
        """Boxes and scores of the components at a threshold.

        Args:
            threshold (float): Of the map; without one, boxes of the result that reach it are left.

        Returns:
            tuple[list, list]: ``[x1, y1, x2, y2]`` each, px of the image, and their scores.
        """
        result = self.result
        boxes, scores = result.boxes, result.scores
        if self.prob_map is not None and result.map_scale is not None:
            cells = np.asarray(self.prob_map, np.float32)
            scale = (float(result.map_scale[0]), float(result.map_scale[1]))
            size = (result.height, result.width)
            found = component_boxes(cells, scale, size, threshold, self.max_per_img)
            boxes, scores = found[0].tolist(), found[1].tolist()
        # the map is cut in float32, where a threshold may be less than it is
        kept = [(list(box), score) for box, score in zip(boxes, scores) if score >= threshold]
        return [box for box, _ in kept], [score for _, score in kept]


def read_results(path: str | os.PathLike) -> Iterator[ResultLine]:
    """Results of a file, one at a time.

    Args:
        path (str or PathLike): ``results.jsonl``.

    Yields:
        ResultLine: One a line.

    Raises:
        FileNotFoundError: If there is no such file.
        ResultError: If a line is none, with its number.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f'no results {os.fspath(path)}; mmfrac archive writes them')
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            try:
                yield ResultLine.from_json(line)
            except ResultError as error:
                raise ResultError(f'{os.fspath(path)}, line {number}: {error}') from error


def _no_constant(name: str) -> None:
    raise ValueError(f'{name} is no JSON')


def _fault(result: ResultLine) -> str:
    """What is wrong with the fields of a result; '' if nothing is."""
    for name in _TEXTS:
        if not isinstance(getattr(result, name), str):
            return f'{name} is {getattr(result, name)!r}, a text is wanted'
    for name in _OPTIONAL_TEXTS:
        if not isinstance(getattr(result, name), (str, type(None))):
            return f'{name} is {getattr(result, name)!r}, a text or null is wanted'
    for name in _NUMBERS:
        if getattr(result, name) is not None and not is_number(getattr(result, name)):
            return f'{name} is {getattr(result, name)!r}, a number or null is wanted'
    for name in ('width', 'height'):
        value = getattr(result, name)
        if type(value) is not int or value < 0:
            return f'{name} is {value!r}, a number of px is wanted'
    if type(result.scored) is not bool or type(result.flag) not in (bool, type(None)):
        return f'scored is {result.scored!r} and flag {result.flag!r}, true and false are wanted'
    if result.probability is not None and not 0 <= result.probability <= 1:
        return f'probability is {result.probability!r}, which is not in [0, 1]'
    return _fault_of_parts(result) or _contradiction(result)


def _fault_of_parts(result: ResultLine) -> str:
    model, point, scale = result.model, result.operating_point, result.map_scale
    if not isinstance(model, Mapping) or set(model) != {'name', 'sha256'}:
        return f'model is {model!r}, its name and sha256 are wanted'
    if point is not None and (
        not isinstance(point, Mapping)
        or set(point) != {'name', 'threshold'}
        or not isinstance(point['name'], str)
        or not is_number(point['threshold'])
    ):
        return f'operating_point is {point!r}, its name and threshold are wanted'
    if not isinstance(result.boxes, (list, tuple)) or not isinstance(result.scores, (list, tuple)):
        return 'boxes and scores are no lists'
    if len(result.boxes) != len(result.scores):
        return f'{len(result.boxes)} boxes and {len(result.scores)} scores'
    for box in result.boxes:
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(is_number, box)):
            return f'a box is {box!r}, [x1, y1, x2, y2] is wanted'
        if box[0] > box[2] or box[1] > box[3]:
            return f'a box is {box!r}, x1 <= x2 and y1 <= y2 are wanted'
    if not all(map(is_number, result.scores)):
        return f'scores are {result.scores!r}, numbers are wanted'
    if not isinstance(result.notes, (list, tuple)) or not all(
        isinstance(note, str) for note in result.notes
    ):
        return f'notes are {result.notes!r}, texts are wanted'
    if scale is not None and (
        not isinstance(scale, (list, tuple))
        or len(scale) != 2
        or not all(is_number(side) and side > 0 for side in scale)
    ):
        return f'map_scale is {scale!r}, two sides in px are wanted'
    return ''


def _contradiction(result: ResultLine) -> str:
    if result.scored:
        if result.score is None or result.reason or result.error is not None:
            return 'it was scored, and has no score, a reason not to be, or an error'
        if not result.width or not result.height:
            return 'it was scored, and has no size'
        return ''
    if not result.reason:
        return 'it was not scored, and no reason is given'
    found = (result.score, result.probability, result.flag)
    if any(one is not None for one in found) or result.boxes:
        return 'it was not scored, and has a score, a flag or boxes'
    return ''


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number that is finite as a float, and no truth value."""
    try:
        is_one = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_one and math.isfinite(value)
    except OverflowError:
        return False
