# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Records of saved predictions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.froc import ImageRecord
from mmfrac.evaluation.offline.film_prediction import FilmPrediction, PredictionError
from mmfrac.evaluation.offline.ground_truth import GroundTruth, TrueFilm
from mmfrac.evaluation.offline.predictions import SavedPredictions


@dataclass(frozen=True, eq=False)
class FilmResults:
    """What a model achieved on each film of an annotation file.

    Attributes:
        films (list[TrueFilm]): (n) films.
        labels (np.ndarray): (n,) int.
        scores (np.ndarray): (n,) image scores, float64.
        records (list[ImageRecord | None]): (n) None for films without complete regions.
        kinds (tuple[str, ...]): What was evaluated, 'prob_map' or 'boxes', or both.
    """

    films: list[TrueFilm]
    labels: np.ndarray
    scores: np.ndarray
    records: list[ImageRecord | None]
    kinds: tuple[str, ...]

    @property
    def with_regions(self) -> np.ndarray:
        """Which films have a record, (n,) bool."""
        return np.array([record is not None for record in self.records], bool)

    @property
    def measured(self) -> list[ImageRecord]:
        """Records of the films that have one."""
        return [record for record in self.records if record is not None]


def evaluate_predictions(
    truth: GroundTruth,
    predictions: SavedPredictions,
    definitions: Definitions,
    progress: Callable[[Iterable], Iterable] = iter,
) -> FilmResults:
    """Evaluate every film, one map in memory at a time.

    Args:
        truth (GroundTruth): Films.
        predictions (SavedPredictions): Predictions of each of them.
        definitions (Definitions): ``source`` and ``connectivity`` are used.
        progress (Callable): Wraps the films to show how far it is, e.g. ``tqdm``. Defaults to ``iter``.

    Returns:
        FilmResults: In the order of the films.

    Raises:
        PredictionError: With everything that is wrong with any prediction.
    """
    scores, records, problems = [], [], []
    kinds = set()
    for film in progress(truth.films):
        try:
            prediction = predictions[film.name]
            faults = prediction.faults(film.shape)
            if definitions.source == 'prob_map' and prediction.prob_map is None:
                faults.append('there is no prob_map')
        except ValueError as error:
            faults = [str(error)]
        if faults:
            problems += [f'{film.name}: {fault}' for fault in faults]
            continue
        kind, record = film_record(film, prediction, definitions)
        kinds.add(kind)
        scores.append(record.image_score if prediction.score is None else prediction.score)
        records.append(record if film.regions else None)
    if problems:
        raise PredictionError(predictions.path, problems)
    labels = np.array([film.label for film in truth.films], np.int64)
    return FilmResults(
        truth.films, labels, np.array(scores, np.float64), records, tuple(sorted(kinds))
    )


def film_record(
    film: TrueFilm, prediction: FilmPrediction, definitions: Definitions
) -> tuple[str, ImageRecord]:
    """Record of one film, and what it was made of: 'prob_map' or 'boxes'."""
    lesions = film.boxes if film.regions else np.zeros((0, 4))
    if prediction.prob_map is not None and definitions.source != 'boxes':
        assert prediction.map_scale is not None
        record = froc.image_record(
            prediction.prob_map,
            lesions,
            prediction.map_scale,
            definitions.connectivity,
            name=film.name,
        )
        return 'prob_map', record
    boxes, scores = prediction.boxes, prediction.box_scores
    return 'boxes', froc.box_record(boxes, scores, lesions, name=film.name)
