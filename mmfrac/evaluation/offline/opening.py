# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Predictions of any kind, matched with the films of an annotation file."""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from mmfrac.evaluation.offline.box_lists import (
    FoundBox,
    double_scores,
    read_box_table,
    read_coco_results,
)
from mmfrac.evaluation.offline.film_prediction import FilmPrediction, PredictionError
from mmfrac.evaluation.offline.ground_truth import FilmFinder, GroundTruth
from mmfrac.evaluation.offline.map_folder import MapFolder, read_film


class SavedPredictions:
    """Predictions of every film of an annotation file; maps are read when they are asked for.

    Args:
        path (str): Where they are.
        kind (str): 'folder', 'COCO results' or 'CSV'.
        readers (Mapping): Film name to a function that gives its prediction.
        run (dict): Where they come from, as far as they say.
        num_silent (int): Films of which a list of boxes says nothing; they count as films without
            boxes. Defaults to 0.
    """

    def __init__(
        self,
        path: str,
        kind: str,
        readers: Mapping[str, Callable[[], FilmPrediction]],
        run: dict,
        num_silent: int = 0,
    ) -> None:
        self.path = path
        self.kind = kind
        self.run = run
        self.num_silent = num_silent
        self._readers = readers

    def __getitem__(self, film: str) -> FilmPrediction:
        return self._readers[film]()


def open_predictions(path: str | os.PathLike, truth: GroundTruth) -> SavedPredictions:
    """Open predictions: a folder of ``.npz``, COCO results (``.json``) or a table (``.csv``).

    Args:
        path (str or PathLike): Folder or file.
        truth (GroundTruth): Films that they are of.

    Returns:
        SavedPredictions: One for each film.

    Raises:
        FileNotFoundError: If there is nothing.
        PredictionError: With all of: films that a folder lacks, films that the annotation file does not
            have, films that come twice, records that cannot be read.
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
    found, problems = read(where, truth)
    problems += double_scores(found)
    predictions = _by_film(found, truth)
    for name, prediction in predictions.items():
        problems += [f'{name}: {fault}' for fault in prediction.faults()]
    if problems:
        raise PredictionError(str(where), problems)
    num_silent = len(truth.films) - len({item.film.name for item in found})
    say = {name: partial(_same, prediction) for name, prediction in predictions.items()}
    return SavedPredictions(str(where), kind, say, {}, num_silent)


def _open_folder(folder: Path, truth: GroundTruth) -> SavedPredictions:
    maps = MapFolder(folder)
    finder = FilmFinder(truth)
    paths: dict[str, Path] = {}
    problems = []
    for path, name in maps.films():
        film = finder.by_path(name)
        if film is None:
            problems.append(f'{path.name}: {name} is no film of {truth.file}')
        elif film.name in paths:
            problems.append(f'{path.name}: film {film.name} again, also in {paths[film.name].name}')
        else:
            paths[film.name] = path
    problems += [f'film {film.name} is missing' for film in truth.films if film.name not in paths]
    if problems:
        raise PredictionError(str(folder), problems)
    readers = {name: partial(read_film, path, name) for name, path in paths.items()}
    return SavedPredictions(str(folder), 'folder', readers, maps.run)


def _by_film(found: list[FoundBox], truth: GroundTruth) -> dict[str, FilmPrediction]:
    boxes, scores, image_scores = defaultdict(list), defaultdict(list), {}
    for item in found:
        if item.box is None:
            image_scores[item.film.name] = item.score
        else:
            boxes[item.film.name].append(item.box)
            scores[item.film.name].append(item.score)
    return {
        film.name: FilmPrediction(
            film.name,
            np.array(boxes[film.name], np.float64).reshape(-1, 4),
            np.array(scores[film.name], np.float64),
            image_scores.get(film.name),
        )
        for film in truth.films
    }


def _same(prediction: FilmPrediction) -> FilmPrediction:
    return prediction
