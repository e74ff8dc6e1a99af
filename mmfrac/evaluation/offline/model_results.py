# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Records of saved predictions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.froc import ImageRecord, ImageResult
from mmfrac.evaluation.offline.ground_truth import GroundTruth, TrueImage
from mmfrac.evaluation.offline.image_prediction import (
    PredictionError,
    misread_boxes,
    no_boxes,
)
from mmfrac.evaluation.offline.predictions import SavedPredictions


@dataclass(frozen=True, eq=False)
class ModelResults:
    """What a model achieved on each image of an annotation file.

    Attributes:
        images (list[TrueImage]): (n) images.
        labels (np.ndarray): (n,) int.
        scores (np.ndarray): (n,) image scores, float64.
        records (list[ImageRecord | None]): (n) None for images without complete regions.
        kinds (tuple[str, ...]): What was evaluated, 'prob_map' or 'boxes', or both.
        precision (str | None): In which the images were predicted. Defaults to None, not known.
        notes (tuple[str, ...]): What a reader of the figures should know of the predictions: that they
            are of two kinds. Defaults to none.
        weights (tuple[str, ...]): SHA-256 of the weights that predicted, one of each member of an
            ensemble. Defaults to none, not known.
    """

    images: list[TrueImage]
    labels: np.ndarray
    scores: np.ndarray
    records: list[ImageRecord | None]
    kinds: tuple[str, ...]
    precision: str | None = None
    notes: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()

    @property
    def with_regions(self) -> np.ndarray:
        """Which images have a record, (n,) bool."""
        return np.array([record is not None for record in self.records], bool)

    @property
    def measured(self) -> list[ImageRecord]:
        """Records of the images that have one."""
        return [record for record in self.records if record is not None]

    @property
    def results(self) -> list[ImageResult]:
        """The same image by image, as :func:`froc.figures` takes it."""
        rows = zip(self.images, self.labels.tolist(), self.scores.tolist(), self.records)
        return [
            ImageResult(image.name, image.patient, label, score, record)
            for image, label, score, record in rows
        ]


def evaluate_predictions(
    truth: GroundTruth,
    predictions: SavedPredictions,
    definitions: Definitions,
    progress: Callable[[Iterable], Iterable] = iter,
) -> ModelResults:
    """Evaluate every image, one map in memory at a time.

    Args:
        truth (GroundTruth): Images.
        predictions (SavedPredictions): Predictions of each of them.
        definitions (Definitions): ``source`` and ``connectivity`` are used.
        progress (Callable): Wraps the images to show how far it is, e.g. ``tqdm``. Defaults to ``iter``.

    Returns:
        ModelResults: In the order of the images.

    Raises:
        PredictionError: With everything that is wrong with any prediction.
    """
    scores, records, problems = [], [], []
    kinds: Counter[str] = Counter()
    num_own = 0
    boxes, sizes = [], []
    none, _ = no_boxes()
    for image in progress(truth.images):
        try:
            prediction = predictions[image.name]
            faults = prediction.faults(image.shape)
            if definitions.source == 'prob_map' and prediction.prob_map is None:
                faults.append('there is no prob_map')
            if prediction.boxes.ndim == 2 and prediction.boxes.shape[1] == 4:
                boxes.append(prediction.boxes)
                sizes += [image.shape[::-1]] * len(prediction.boxes)
        except ValueError as error:
            faults = [str(error)]
        if faults:
            problems += [f'{image.name}: {fault}' for fault in faults]
            continue
        measured = prediction.measured_as(definitions.source)
        lesions, ignored = (image.boxes, image.ignore_boxes) if image.regions else (none, none)
        record = measured.record(lesions, ignored, definitions.connectivity, image.name)
        kinds['boxes' if measured.prob_map is None else 'prob_map'] += 1
        num_own += measured.score is not None
        scores.append(measured.image_score)
        records.append(record if image.regions else None)
    if not problems:
        all_sizes = np.array(sizes, np.float64).reshape(-1, 2)
        fault = misread_boxes(np.concatenate([np.zeros((0, 4)), *boxes]), all_sizes, 'xyxy')
        problems = [fault] if fault else []
    if problems:
        raise PredictionError(predictions.path, problems)
    labels = np.array([image.label for image in truth.images], np.int64)
    return ModelResults(
        truth.images,
        labels,
        np.array(scores, np.float64),
        records,
        tuple(sorted(kinds)),
        predictions.run.get('precision'),
        _notes(kinds, num_own),
        tuple(map(str, predictions.run.get('weights', ()))),
    )


def _notes(kinds: Mapping[str, int], num_own: int) -> tuple[str, ...]:
    notes = []
    number = sum(kinds.values())
    if len(kinds) > 1:
        parts = ', '.join(f'{kinds[kind]} as {kind}' for kind in sorted(kinds))
        notes.append(f'films are measured in two ways: {parts}')
    if 0 < num_own < number:
        notes.append(
            f'{num_own} of {number} films have an image score of their own, the others the highest of '
            'their map or boxes: AUROC compares the two'
        )
    return tuple(notes)
