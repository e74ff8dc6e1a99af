# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Boxes of any detector: COCO result JSON, and CSV."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..ground_truth import FilmFinder, GroundTruth, TrueFilm

_CSV_BOX = ('x1', 'y1', 'x2', 'y2')


class FoundBox(NamedTuple):
    """A box on a film; without ``box`` the score is the film's own."""

    film: TrueFilm
    box: tuple[float, float, float, float] | None
    score: float


def read_coco_results(path: Path, truth: GroundTruth) -> tuple[list[FoundBox], list[str]]:
    """Boxes of a COCO result file, a list of ``image_id``, ``category_id``, ``bbox`` (xywh), ``score``.

    Args:
        path (Path): JSON.
        truth (GroundTruth): Films; results of other categories than its own are left out.

    Returns:
        tuple[list[FoundBox], list[str]]: Boxes, and a line for every record that is wrong.

    Raises:
        ValueError: If the file is no JSON list.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, list):
        raise ValueError(
            f'{path} must hold a list of COCO results (image_id, category_id, bbox, score), it holds a '
            f'{type(content).__name__}'
        )
    finder = FilmFinder(truth)
    found, problems = [], []
    for index, result in enumerate(content):
        where = f'{path.name}[{index}]'
        try:
            if result['category_id'] not in truth.category_ids:
                continue
            film = finder.by_id(result['image_id'])
            x, y, width, height = (float(value) for value in result['bbox'])
            score = float(result['score'])
        except (KeyError, TypeError, ValueError) as error:
            fault = f'no {error}' if isinstance(error, KeyError) else str(error)
            problems.append(f'{where}: {fault}; wanted are image_id, category_id, bbox and score')
            continue
        if film is None:
            problems.append(f'{where}: image_id {result["image_id"]!r} is no film of {truth.file}')
        else:
            found.append(FoundBox(film, (x, y, x + width, y + height), score))
    return found, problems


def read_box_table(path: Path, truth: GroundTruth) -> tuple[list[FoundBox], list[str]]:
    """Boxes of a CSV file with the columns ``film``, ``x1``, ``y1``, ``x2``, ``y2``, ``score``.

    A row whose box is empty gives the film's image score. ``image_id`` may stand in place of ``film``.

    Args:
        path (Path): CSV.
        truth (GroundTruth): Films.

    Returns:
        tuple[list[FoundBox], list[str]]: Boxes, and a line for every row that is wrong.

    Raises:
        ValueError: If a column is missing.
    """
    finder = FilmFinder(truth)
    found, problems = [], []
    with path.open(newline='', encoding='utf-8-sig') as file:
        reader = csv.DictReader(file)
        columns = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in (*_CSV_BOX, 'score') if name not in columns]
        if missing or not {'film', 'image_id'} & set(columns):
            raise ValueError(
                f'{path} needs the columns film (or image_id), x1, y1, x2, y2, score; it has {columns}'
            )
        reader.fieldnames = columns
        for row in reader:
            where = f'{path.name} line {reader.line_num}'
            film, name = _film_of(row, finder)
            if film is None:
                problems.append(f'{where}: {name!r} is no film of {truth.file}')
                continue
            try:
                found.append(_row(film, row))
            except ValueError as error:
                problems.append(f'{where}: {error}')
    return found, problems


def _film_of(row: dict, finder: FilmFinder) -> tuple[TrueFilm | None, str]:
    name = (row.get('film') or '').strip()
    if name:
        return finder.by_path(name), name
    image_id = (row.get('image_id') or '').strip()
    return finder.by_id(int(image_id) if image_id.isdigit() else None), image_id


def _row(film: TrueFilm, row: dict) -> FoundBox:
    cells = [(row.get(name) or '').strip() for name in (*_CSV_BOX, 'score')]
    if not any(cells[:4]):
        return FoundBox(film, None, _number(cells[4], 'score'))
    x1, y1, x2, y2, score = (_number(cell, name) for cell, name in zip(cells, (*_CSV_BOX, 'score')))
    return FoundBox(film, (x1, y1, x2, y2), score)


def _number(cell: str, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f'{name} must be a finite number, got {cell!r}')
    return value


def double_scores(found: list[FoundBox]) -> Iterator[str]:
    """A line for every film with more than one row without box."""
    seen = set()
    for item in found:
        if item.box is None:
            if item.film.name in seen:
                yield f'{item.film.name}: more than one image score'
            seen.add(item.film.name)
