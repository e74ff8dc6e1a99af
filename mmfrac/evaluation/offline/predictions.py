# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Saved predictions of any kind: a folder of maps, COCO results, a table of boxes."""

import filecmp
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from mmfrac.evaluation.offline.ground_truth import GroundTruth, ImageIndex, TrueImage
from mmfrac.evaluation.offline.image_prediction import (
    ImagePrediction,
    PredictionError,
    misread_boxes,
)
from mmfrac.evaluation.offline.map_folder import MapFolder, read_prediction
from mmfrac.preparation.tables.table import Problems, Table
from mmfrac.utils.io import read_json

_CSV_BOX = ('x1', 'y1', 'x2', 'y2')

_NUMBERS = {name: (name,) for name in (*_CSV_BOX, 'score')}

_FILM = dict(film=('film',), image_id=('image_id',), category=('category',))


# Columns that hold the category of each box under another name.
_CATEGORIES = frozenset(
    ('category_id', 'category_name', 'class', 'class_id', 'class_name', 'cls', 'label', 'finding')
)


class FoundBox(NamedTuple):
    """A box on an image; without ``box`` the score is the image's own."""

    image: TrueImage
    box: tuple[float, float, float, float] | None
    score: float


# boxes, a line for every record that is wrong, and how many boxes are of each other category
BoxList = tuple[list[FoundBox], list[str], dict[str, int]]


def read_coco_results(path: Path, truth: GroundTruth) -> BoxList:
    """Boxes of a COCO result file, a list of ``image_id``, ``category_id``, ``bbox`` (xywh), ``score``.

    Args:
        path (Path): JSON.
        truth (GroundTruth): Images; results of other categories than its own are left out.

    Returns:
        tuple[list[FoundBox], list[str], dict[str, int]]: Boxes, a line for every record that is wrong,
        and how many results are of each other category.

    Raises:
        ValueError: If the file is no JSON list, all its results are of other categories, or its boxes
            are in another form.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(
            f'{path} must hold a list of COCO results (image_id, category_id, bbox, score), it holds a '
            f'{type(content).__name__}'
        )
    finder = ImageIndex(truth)
    found, problems = [], []
    others: Counter[int] = Counter()
    for index, result in enumerate(content):
        where = f'{path.name}[{index}]'
        try:
            category = result['category_id']
            if type(category) is not int:
                raise ValueError(f'category_id is {category!r}, no whole number')
            if category not in truth.category_ids:
                others[category] += 1
                continue
            image = finder.by_id(result['image_id'])
            x, y, width, height = map(_checked_number, result['bbox'])
            score = _checked_number(result['score'])
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            fault = f'no {error}' if isinstance(error, KeyError) else str(error)
            problems.append(f'{where}: {fault}; wanted are image_id, category_id, bbox and score')
            continue
        if image is None:
            problems.append(f'{where}: image_id {result["image_id"]!r} is no film of {truth.file}')
        else:
            found.append(FoundBox(image, (x, y, x + width, y + height), score))
    if not problems:
        _check_form(path, found, 'xywh')
    if content and others.total() == len(content):
        counts = ', '.join(f'{number} of {name}' for name, number in others.most_common(10))
        raise ValueError(
            f'{path}: no result is of category_id {list(truth.category_ids)}, the lesions of '
            f'{truth.file}; there are {counts}: write the category_id of the annotation file'
        )
    unknown = f'{{}} (none of {truth.file})'
    named = {truth.categories.get(one) or unknown.format(one): n for one, n in others.items()}
    return found, problems, named


def _checked_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f'{value!r} is no number')
    return float(value)


def _check_form(path: Path, found: Sequence[FoundBox], form: str) -> None:
    """Raise a ``ValueError`` if the boxes of a file are in another form than they are read in."""
    boxes = np.array([item.box for item in found if item.box is not None], np.float64).reshape(
        -1, 4
    )
    shapes = [item.image.shape[::-1] for item in found if item.box is not None]
    sizes = np.array(shapes, np.float64).reshape(-1, 2)
    finite = np.isfinite(boxes).all(axis=1)
    boxes, sizes = boxes[finite], sizes[finite]
    if form == 'xywh':
        boxes[:, 2:] -= boxes[:, :2]
    fault = misread_boxes(boxes, sizes, form)
    if fault:
        raise ValueError(f'{path}: {fault}')


def read_box_table(path: Path, truth: GroundTruth) -> BoxList:
    """Boxes of a CSV file with the columns ``film``, ``x1``, ``y1``, ``x2``, ``y2``, ``score``.

    A row whose box is empty gives the image's own score. ``image_id`` may stand in place of ``film``; a
    column ``category`` names that of each box.
    Read as the converters read theirs: any delimiter, UTF-8 or UTF-16, columns in any order.

    Args:
        path (Path): CSV.
        truth (GroundTruth): Images.

    Returns:
        tuple[list[FoundBox], list[str], dict[str, int]]: Boxes, a line for every row that is wrong, and
        how many rows are of each other category.

    Raises:
        ValueError: If a column is missing or there twice, a column of categories has another name, the
            file is no table, all its rows are of other categories, or its boxes are in another form.
    """
    problems = Problems()
    table = Table(path, _NUMBERS, problems, _FILM)
    if not problems and not (table.has('film') or table.has('image_id')):
        problems.add(table.name, 'header', "no column 'film' or 'image_id'")
    misnamed = [name for name in table.unread if name.lower() in _CATEGORIES]
    if misnamed and not table.has('category'):
        text = (
            f'columns {", ".join(map(repr, misnamed))} are not read, and boxes of all categories would '
            "count: write the name of each box's category in a column 'category', or drop them"
        )
        problems.add(table.name, 'header', text)
    if problems:
        raise ValueError(
            f'{path} needs the columns film (or image_id), x1, y1, x2, y2, score: '
            + '; '.join(problems.lines)
        )
    finder = ImageIndex(truth)
    stems: dict[str, str] | None = None
    found = []
    films: dict[str, str] = {}
    others: Counter[str] = Counter()
    for line, fields in table.rows():
        row = dict(zip(table.keys, fields))
        if row['category'] and row['category'] not in truth.names:
            others[row['category']] += 1
            continue
        try:
            image = _image_of(row, finder)
            if image is None:
                name = row['film'] or row['image_id']
                # of all images, which a table without a fault has no use for
                stems = _by_stem(truth) if stems is None else stems
                alike = stems.get(_stem(name)) or stems.get(_stem(PurePath(name).name))
                hint = f'; did you mean {alike!r}?' if alike else ''
                raise ValueError(f'{name!r} is no film of {truth.file}{hint}')
            if row['film']:
                _check_same_film(films.setdefault(image.name, row['film']), row['film'], image.name)
            found.append(_row(image, row, table))
        except ValueError as error:
            problems.add(table.name, line, str(error))
    if not problems:
        _check_form(path, found, 'xyxy')
    if others and not found and not problems:
        counts = ', '.join(f'{number} of {name!r}' for name, number in others.most_common(10))
        raise ValueError(
            f'{path}: no row is of category {", ".join(map(repr, truth.names))}, the lesions of '
            f'{truth.file}; there are {counts}: write the category of the annotation file'
        )
    return found, problems.lines, dict(others)


def _by_stem(truth: GroundTruth) -> dict[str, str]:
    """Names of images without suffix, with and without folders, where they are of one image."""
    stems: dict[str, list[str]] = defaultdict(list)
    for image in truth.images:
        for key in {_stem(image.name), _stem(PurePath(image.name).name)}:
            stems[key].append(image.name)
    return {stem: names[0] for stem, names in stems.items() if len(names) == 1}


def _stem(name: str) -> str:
    """A path without its suffix; numbers behind the last dot of a UID are none."""
    path = PurePath(name)
    return str(path.with_suffix('') if path.suffix[1:].isalpha() else path)


def _image_of(row: dict[str, str], finder: ImageIndex) -> TrueImage | None:
    image_id = row['image_id']
    numbered = finder.by_id(int(image_id)) if image_id.isdecimal() else None
    if not row['film']:
        return numbered
    image = finder.by_path(row['film'])
    if image is not None and numbered is not None and numbered is not image:
        raise ValueError(
            f'film {row["film"]!r}, but image_id {image_id} is that of {numbered.name!r}: drop the '
            'wrong one of the two'
        )
    return image


def _check_same_film(first: str, other: str, name: str) -> None:
    """Raise unless one path of a film ends as the other: files of two folders have one name."""
    if not _ends_alike(first, other):
        raise ValueError(
            f'film {other!r}, but {first!r} was taken for {name!r} already: name films as the '
            'annotation file does, and leave out those that it lacks'
        )


def _row(image: TrueImage, row: dict[str, str], table: Table) -> FoundBox:
    score = _number(row, 'score', table)
    if not any(row[name] for name in _CSV_BOX):
        return FoundBox(image, None, score)
    x1, y1, x2, y2 = (_number(row, name, table) for name in _CSV_BOX)
    return FoundBox(image, (x1, y1, x2, y2), score)


def _number(row: dict[str, str], name: str, table: Table) -> float:
    try:
        return float(table.number(row[name]))
    except ValueError as error:
        raise ValueError(f'{name} must be a finite number: {error}') from error


def _without_repeated(found: list[FoundBox]) -> list[FoundBox]:
    """Each box of an image with a score once: a box that is there twice is one detection."""
    boxes = dict.fromkeys(item for item in found if item.box is not None)
    return [*boxes, *(item for item in found if item.box is None)]


def double_scores(found: list[FoundBox]) -> Iterator[str]:
    """A line for every image with more than one row without box."""
    seen = set()
    for item in found:
        if item.box is None:
            if item.image.name in seen:
                yield f'{item.image.name}: more than one image score'
            seen.add(item.image.name)


def check_same_model(name: str, test: 'SavedPredictions', validation: 'SavedPredictions') -> None:
    """Raise where a model's test and validation predictions say that they are of two models.

    Args:
        name (str): What it is called.
        test (SavedPredictions): Of the test images.
        validation (SavedPredictions): Of the validation images.

    Raises:
        ValueError: If their ``run.json`` name two checkpoints that are there and differ, or that have
            other file names.
    """
    first, other = (one.run.get('checkpoint') for one in (test, validation))
    if not first or not other or _ends_alike(first, other):
        return
    if os.path.isfile(first) and os.path.isfile(other):
        differ = not filecmp.cmp(first, other, shallow=False)
    else:
        # of another machine, where they may lie elsewhere
        differ = PurePath(first).name != PurePath(other).name
    if differ:
        raise ValueError(
            f'{name}: test predictions are of checkpoint {first!r} ({test.path}), validation '
            f'predictions of {other!r} ({validation.path}): thresholds of one model say nothing of '
            'another'
        )


def _ends_alike(first: str, other: str) -> bool:
    shorter, longer = sorted((PurePath(first).parts, PurePath(other).parts), key=len)
    return longer[-len(shorter) :] == shorter


class SavedPredictions:
    """Predictions of every image of an annotation file; maps are read when they are asked for.

    Args:
        path (str): Where they are.
        kind (str): 'folder', 'COCO results' or 'CSV'.
        readers (Mapping): Image name to a function that gives its prediction.
        run (dict): Where they come from, as far as they say.
        num_silent (int): Images of which a list of boxes says nothing; they count as images without
            boxes. Defaults to 0.
        names (Sequence[str]): Categories that are measured; boxes of others are left out and counted.
            Defaults to none, all are taken.
        others (Mapping[str, int]): How many boxes of each other category were left out already.
            Defaults to none.
        num_repeated (int): Boxes that were left out as the same image, box and score are there already.
            Defaults to 0.
    """

    def __init__(
        self,
        path: str,
        kind: str,
        readers: Mapping[str, Callable[[], ImagePrediction]],
        run: dict,
        num_silent: int = 0,
        names: Sequence[str] = (),
        others: Mapping[str, int] | None = None,
        num_repeated: int = 0,
    ) -> None:
        self.path = path
        self.kind = kind
        self.run = run
        self.num_silent = num_silent
        self.num_repeated = num_repeated
        self._readers = readers
        self._names = names
        self._others = dict(others or {})
        self._of_image: dict[str, list[str]] = {}

    def __getitem__(self, name: str) -> ImagePrediction:
        prediction = self._readers[name]()
        if not self._names:
            return prediction
        prediction, self._of_image[name] = prediction.of_categories(self._names)
        return prediction

    @property
    def others(self) -> dict[str, int]:
        """Boxes of other categories by their name, of all images that were asked for."""
        counts = Counter(self._others)
        for left_out in self._of_image.values():
            counts.update(left_out)
        return dict(counts.most_common())


def open_predictions(path: str | os.PathLike, truth: GroundTruth) -> SavedPredictions:
    """Open predictions: a folder of ``.npz``, COCO results (``.json``) or a table (``.csv``).

    Args:
        path (str or PathLike): Folder or file.
        truth (GroundTruth): Images that they are of.

    Returns:
        SavedPredictions: One for each image.

    Raises:
        FileNotFoundError: If there is nothing.
        PredictionError: With all of: images that a folder lacks, images that the annotation file does
            not have, images that come twice, records that cannot be read.
        ValueError: If the file is of no known kind.
    """
    where = Path(path)
    if where.is_dir():
        return _open_folder(where, truth)
    if not where.is_file():
        raise FileNotFoundError(f'no predictions {path}')
    readers = {'.json': ('COCO results', read_coco_results), '.csv': ('CSV', read_box_table)}
    if where.suffix.lower() not in readers:
        raise ValueError(
            f'predictions are a folder of .npz (tools/test.py --out), COCO results (.json) or a table '
            f'(.csv), got {path}'
        )
    kind, read = readers[where.suffix.lower()]
    found, problems, others = read(where, truth)
    problems += double_scores(found)
    num_found, found = len(found), _without_repeated(found)
    predictions = _by_image(found, truth)
    for name, prediction in predictions.items():
        problems += [f'{name}: {fault}' for fault in prediction.faults()]
    if problems:
        raise PredictionError(str(where), problems)
    num_silent = len(truth.images) - len({item.image.name for item in found})
    say = {name: partial(_same, prediction) for name, prediction in predictions.items()}
    repeated = num_found - len(found)
    return SavedPredictions(
        str(where), kind, say, {}, num_silent, others=others, num_repeated=repeated
    )


def _open_folder(folder: Path, truth: GroundTruth) -> SavedPredictions:
    maps = MapFolder(folder)
    finder = ImageIndex(truth)
    paths: dict[str, Path] = {}
    problems = []
    for path, name in maps.images():
        image = finder.by_path(name)
        if image is None:
            problems.append(f'{path.name}: {name} is no film of {truth.file}')
        elif image.name in paths:
            problems.append(
                f'{path.name}: film {image.name} again, also in {paths[image.name].name}'
            )
        else:
            paths[image.name] = path
    problems += [
        f'film {image.name} is missing' for image in truth.images if image.name not in paths
    ]
    if problems:
        raise PredictionError(str(folder), problems)
    readers = {name: partial(read_prediction, path, name) for name, path in paths.items()}
    return SavedPredictions(str(folder), 'folder', readers, maps.run, names=truth.names)


def _by_image(found: list[FoundBox], truth: GroundTruth) -> dict[str, ImagePrediction]:
    boxes, scores, image_scores = defaultdict(list), defaultdict(list), {}
    for item in found:
        if item.box is None:
            image_scores[item.image.name] = item.score
        else:
            boxes[item.image.name].append(item.box)
            scores[item.image.name].append(item.score)
    return {
        image.name: ImagePrediction(
            image.name,
            np.array(boxes[image.name], np.float64).reshape(-1, 4),
            np.array(scores[image.name], np.float64),
            image_scores.get(image.name),
        )
        for image in truth.images
    }


def _same(prediction: ImagePrediction) -> ImagePrediction:
    return prediction
