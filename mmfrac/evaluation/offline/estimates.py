# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Metrics with intervals from the results of images, of all of them and of groups of them."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.afroc import afroc_area, bootstrap_afroc_area
from mmfrac.evaluation.functional.bootstrap import (
    bootstrap_figures,
    bootstrap_recalls,
    interval,
    patient_weights,
    weights_of_images,
)
from mmfrac.evaluation.functional.froc import ImageRecord
from mmfrac.evaluation.offline.ground_truth import TrueImage
from mmfrac.evaluation.offline.model_results import ModelResults


@dataclass(frozen=True, eq=False)
class Estimate:
    """A metric with its percentile interval.

    Attributes:
        value (float): On the images as they are.
        low (float): Lower end; NaN if no replicate can be measured.
        high (float): Upper end.
        replicates (np.ndarray): (r,) values of the replicates.
        held (bool): Whether the FROC curve ended before an FPPI that was asked for.
    """

    value: float
    low: float
    high: float
    replicates: np.ndarray
    held: bool = False

    @classmethod
    def of(
        cls, value: float, replicates: np.ndarray, level: float, held: bool = False
    ) -> 'Estimate':
        """Estimate from a value and its replicates."""
        return cls(float(value), *interval(replicates, level), replicates, held)


def draw(results: ModelResults, definitions: Definitions) -> np.ndarray:
    """How often each replicate takes each image, (r, n); the same for all models on the same images."""
    if definitions.cluster == 'patient':
        clusters: Sequence = [image.patient for image in results.images]
    else:
        clusters = range(len(results.images))
    return patient_weights(clusters, definitions.replicates, definitions.seed)


def estimate_metrics(
    results: ModelResults, replicates: np.ndarray, definitions: Definitions
) -> dict[str, Estimate]:
    """AUROC, FROC score, recall at each FPPI and JAFROC figures of merit, with intervals.

    Args:
        results (ModelResults): Of a model.
        replicates (np.ndarray): (r, n) of :func:`draw`.
        definitions (Definitions): See there.

    Returns:
        dict[str, Estimate]: 'AUROC', 'FROC', 'Recall@...', 'AFROC' and 'wAFROC'. NaN where a class or
        lesions are missing.
    """
    level = definitions.level
    with warnings.catch_warnings():
        # NaN says it, and the table marks it
        warnings.simplefilter('ignore')
        values, _ = froc.figures(results.results, definitions)
    drawn = bootstrap_figures(results.results, replicates, definitions)
    found = {
        name: Estimate.of(value, drawn[name], level, value.held) for name, value in values.items()
    }
    records = results.measured
    of_measured = weights_of_images(replicates, np.asarray(results.with_regions))
    for name, weights in (('AFROC', 'lesions'), ('wAFROC', 'films')):
        area = (definitions.afroc_films, weights)
        found[name] = Estimate.of(
            afroc_area(records, *area), bootstrap_afroc_area(records, of_measured, *area), level
        )
    return found


AGE_EDGES = (40.0, 60.0, 80.0)

SIZE_NAMES = ('small', 'medium', 'large')


@dataclass(frozen=True, eq=False)
class Group:
    """Metrics of one part.

    Attributes:
        name (str): Part, e.g. 'hospital'.
        num_images (int): Images of the part; of lesions: images that have one of them.
        num_lesions (int): Lesions of the part, on images with complete regions.
        metrics (dict[str, Estimate]): By name.
    """

    name: str
    num_images: int
    num_lesions: int
    metrics: dict[str, Estimate]


def image_groups(
    results: ModelResults, parts: Sequence[str], replicates: np.ndarray, definitions: Definitions
) -> list[Group]:
    """Metrics of parts of the images, each as if there were no others.

    Args:
        results (ModelResults): Of a model.
        parts (Sequence[str]): (n) part of each image.
        replicates (np.ndarray): (r, n) of :func:`estimates.draw`.
        definitions (Definitions): See there.

    Returns:
        list[Group]: AUROC, FROC and the first recall of each part, by name.
    """
    groups = []
    names = np.asarray(parts, dtype=object)
    for name in sorted(set(parts)):
        chosen = names == name
        part = ModelResults(
            [image for image, is_in in zip(results.images, chosen) if is_in],
            results.labels[chosen],
            results.scores[chosen],
            [record for record, is_in in zip(results.records, chosen) if is_in],
            results.kinds,
        )
        found = estimate_metrics(part, replicates[:, chosen], definitions)
        shown = {key: found[key] for key in ('AUROC', 'FROC', _first_recall(definitions))}
        num_lesions = sum(record.lesion_scores.size for record in part.measured)
        groups.append(Group(name, int(chosen.sum()), num_lesions, shown))
    return groups


def lesion_groups(
    results: ModelResults,
    parts: Sequence[Sequence[str]],
    replicates: np.ndarray,
    definitions: Definitions,
) -> list[Group]:
    """Recall of parts of the lesions, beside the false positives of all images.

    Args:
        results (ModelResults): Of a model.
        parts (Sequence[Sequence[str]]): (n) part of each lesion of each image.
        replicates (np.ndarray): (r, n) of :func:`estimates.draw`.
        definitions (Definitions): See there.

    Returns:
        list[Group]: FROC and the recalls of each part, by name.
    """
    measured = results.with_regions
    of_measured = weights_of_images(replicates, np.asarray(measured))
    kept = [names for names, is_measured in zip(parts, measured) if is_measured]
    counting = froc.counting_images(results.measured, definitions.denominator)
    options = (definitions.crossing, definitions.interpolation)
    fppi = list(definitions.recall_fppi)
    groups = []
    names = {name for names in kept for name in names}
    for name in sorted(names, key=_rank):
        chosen = [np.array([other == name for other in names], bool) for names in kept]
        records = [_with_lesions(r, mask) for r, mask in zip(results.measured, chosen)]
        curve = froc.froc_curve(records, definitions.denominator, counting)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            recalls = froc.recall_at(curve, fppi, *options)
            score = froc.froc_score(curve, definitions.targets, *options)
        wanted = [*definitions.targets, *fppi]
        drawn = bootstrap_recalls(
            records, of_measured, wanted, definitions.denominator, *options, counting=counting
        )
        num_targets = len(definitions.targets)
        level = definitions.level
        metrics = {
            'FROC': Estimate.of(score, drawn[:, :num_targets].mean(axis=1), level, score.held)
        }
        rows = zip(definitions.recall_names, recalls, drawn[:, num_targets:].T)
        for recall_name, recall, values in rows:
            metrics[recall_name] = Estimate.of(recall, values, level, recall.held)
        num_images = sum(bool(mask.any()) for mask in chosen)
        groups.append(Group(name, num_images, curve.num_lesions, metrics))
    return groups


def image_parts(images: Sequence[TrueImage], field: str) -> list[str] | None:
    """Part of each image by a field of the annotation file.

    Args:
        images (Sequence[TrueImage]): (n) images.
        field (str): 'source', 'age' (in bands; years, or as DICOM's '045Y') or any field of the images,
            e.g. 'sex'.

    Returns:
        list[str] | None: (n) 'unknown' where an image has no such field; None where no image has it.
    """
    if field == 'source':
        return [image.source for image in images]
    values = [image.fields.get(field) for image in images]
    if all(value is None for value in values):
        return None
    return [_age_band(value) if field == 'age' else _text(value) for value in values]


def size_parts(images: Sequence[TrueImage]) -> tuple[list[list[str]], tuple[float, float]]:
    """Part of each lesion by size: thirds of all lesions.

    The size of a lesion is the root of its box's area over the root of its image's.

    Args:
        images (Sequence[TrueImage]): (n) images.

    Returns:
        tuple: (n) 'small', 'medium' or 'large' of each lesion, and the two sizes between them.
    """
    sizes = [
        np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) / np.prod(image.shape))
        for image in images
        for box in [image.boxes]
    ]
    pooled = np.concatenate(sizes) if sizes else np.zeros(0)
    if not pooled.size:
        return [[] for _ in images], (float('nan'), float('nan'))
    low, high = np.quantile(pooled, [1 / 3, 2 / 3])
    thirds = [np.searchsorted([low, high], size, side='right') for size in sizes]
    return [[SIZE_NAMES[third] for third in one] for one in thirds], (float(low), float(high))


def _with_lesions(record: ImageRecord, mask: np.ndarray) -> ImageRecord:
    return ImageRecord(
        record.thresholds, record.false_positives, record.lesion_scores[mask], record.image_score
    )


def _rank(name: str) -> tuple[int, str]:
    return (SIZE_NAMES.index(name) if name in SIZE_NAMES else 0), name


def _first_recall(definitions: Definitions) -> str:
    return definitions.recall_names[0]


def _text(value: Any) -> str:
    return 'unknown' if value is None or value == '' else str(value)


# age as DICOM writes it: days, weeks, months or years
_DICOM_AGE = re.compile(r'(\d{3})([DWMY])')
_PER_YEAR = dict(D=365.25, W=52.18, M=12, Y=1)


def _age_band(value: Any) -> str:
    dicom = _DICOM_AGE.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        age = int(dicom[1]) / _PER_YEAR[dicom[2]] if dicom else float(value)
    except (TypeError, ValueError):
        return 'unknown'
    if not np.isfinite(age):
        return 'unknown'
    edges = [0.0, *AGE_EDGES]
    band = int(np.searchsorted(AGE_EDGES, age, side='right'))
    if band == len(AGE_EDGES):
        return f'{edges[-1]:g} and over'
    return f'{edges[band]:g} to under {AGE_EDGES[band]:g}'
