# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Everything that is said of models on the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.bootstrap import bootstrap_recalls, interval
from mmfrac.evaluation.functional.calibration import (
    Reliability,
    apply_temperature,
    fit_temperature,
    reliability,
)
from mmfrac.evaluation.functional.froc import FrocCurve, froc_curve
from mmfrac.evaluation.functional.operating_point import Target, choose_threshold, rates_at
from mmfrac.evaluation.functional.roc import PairedTest, delong_interval, delong_test
from mmfrac.evaluation.offline import estimates as breakdown
from mmfrac.evaluation.offline.estimates import Estimate, Group, draw, estimate_metrics
from mmfrac.evaluation.offline.ground_truth import TrueImage
from mmfrac.evaluation.offline.model_results import ModelResults


def paired_bootstrap_test(
    first: float,
    second: float,
    first_replicates: ArrayLike,
    second_replicates: ArrayLike,
    level: float = 0.95,
) -> PairedTest:
    """Whether a metric differs between two models on the same images.

    p is the smallest 1 - level whose percentile interval of the difference leaves out 0: twice the
    smaller share of replicates on either side of 0, with one added so that it is never 0 (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).

    Args:
        first (float): Metric of one model.
        second (float): Metric of the other.
        first_replicates (ArrayLike): (r,) its replicates.
        second_replicates (ArrayLike): (r,) those of the other under the same draws; a replicate in which
            either is NaN is left out.
        level (float): Nominal coverage of the interval. Defaults to 0.95.

    Returns:
        PairedTest: NaN where nothing can be compared.

    Raises:
        ValueError: If the replicates differ in number.
    """
    one, other = np.asarray(first_replicates), np.asarray(second_replicates)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f'replicates must be (r,) alike, got {one.shape} and {other.shape}')
    differences = one - other
    differences = differences[np.isfinite(differences)]
    # what rounding leaves of two equal sums is no difference
    differences[np.abs(differences) < 1e-12] = 0
    low, high = interval(differences, level)
    if not differences.size:
        return PairedTest(first - second, low, high, float('nan'))
    smaller = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    p_value = min(1.0, 2 * (smaller + 1) / (differences.size + 1))
    return PairedTest(first - second, low, high, float(p_value))


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A threshold and what it achieves.

    Attributes:
        target (Target): What it was chosen for.
        threshold (float): NaN where none reaches the target, infinity where nothing may be kept.
        on_own (dict[str, float]): Rates on the images that it was chosen on.
        achieved (dict[str, Estimate]): Rates on the test images; empty where there is no threshold.
    """

    target: Target
    threshold: float
    on_own: dict[str, float]
    achieved: dict[str, Estimate]


@dataclass(frozen=True, eq=False)
class Band:
    """FROC curve at given FPPI with pointwise intervals.

    Attributes:
        fppi (np.ndarray): (k,) ascending.
        low (np.ndarray): (k,) lower ends of the recall.
        high (np.ndarray): (k,) upper ends.
    """

    fppi: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class ModelSummary:
    """What is said of one model.

    Attributes:
        results (ModelResults): Of the test images.
        metrics (dict[str, Estimate]): See :func:`estimates.estimate_metrics`.
        delong (tuple[float, float]): Interval of AUROC without resampling.
        curve (FrocCurve): Pooled curve.
        band (Band): Intervals around it.
        points (list[OperatingPoint]): One a target.
        calibration (dict[str, Reliability]): 'as it is' and, with validation images, 'with temperature';
            empty where image scores are no probabilities.
        temperature (float | None): Fitted on the validation images.
        groups (dict[str, list[Group]]): By what the images or lesions are parted.
        precisions (tuple[str, ...]): In which test and validation images were predicted, as far as
            their predictions say.
        weights (dict[str, tuple[str, ...]]): SHA-256 of the weights that predicted the 'test' and the
            'validation' images; empty where their predictions do not say.
    """

    results: ModelResults
    metrics: dict[str, Estimate]
    delong: tuple[float, float]
    curve: FrocCurve
    band: Band
    points: list[OperatingPoint]
    calibration: dict[str, Reliability]
    temperature: float | None
    groups: dict[str, list[Group]]
    precisions: tuple[str, ...]
    weights: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Difference:
    """A paired test of two models.

    Attributes:
        first (str): Model.
        second (str): Model.
        metric (str): Metric.
        method (str): 'bootstrap' or 'DeLong'.
        test (PairedTest): First minus second.
    """

    first: str
    second: str
    metric: str
    method: str
    test: PairedTest


@dataclass(frozen=True, eq=False)
class Summary:
    """What is said of all models.

    Attributes:
        definitions (Definitions): All choices.
        models (dict[str, ModelSummary]): By name.
        differences (list[Difference]): Of every pair.
        chosen_on (str): Images that thresholds were chosen on: 'validation' or 'test'.
        lesion_sizes (tuple[float, float]): Sizes between small, medium and large lesions, see
            :func:`breakdown.size_parts`.
    """

    definitions: Definitions
    models: dict[str, ModelSummary]
    differences: list[Difference]
    chosen_on: str
    lesion_sizes: tuple[float, float]


IMAGE_FIELDS = ('source', 'sex', 'age')

MAX_FPPI = 8.0


def summarise(
    models: Mapping[str, ModelResults],
    definitions: Definitions,
    targets: Sequence[Target] = (),
    validation: Mapping[str, ModelResults] | None = None,
    fields: Sequence[str] = IMAGE_FIELDS,
    max_fppi: float = MAX_FPPI,
) -> Summary:
    """Summarise models on the same images.

    Args:
        models (Mapping[str, ModelResults]): Test images of each model.
        definitions (Definitions): All choices.
        targets (Sequence[Target]): Of operating points. Defaults to none.
        validation (Mapping[str, ModelResults], optional): Validation images of each model; thresholds
            and temperature are chosen on them. Defaults to None, thresholds are chosen on the test
            images.
        fields (Sequence[str]): Fields of the images to part them by, where there are any; see
            :func:`breakdown.image_parts`. Defaults to source, sex and age.
        max_fppi (float): End of the bands. Defaults to 8.

    Returns:
        Summary: All of it.

    Raises:
        ValueError: If there is no model, or one without validation images where others have them; if
            most validation images are test images.
    """
    if not models:
        raise ValueError('there is no model to summarise')
    if validation is not None and set(validation) != set(models):
        raise ValueError(
            f'validation images are needed of the same models: {sorted(models)}, got '
            f'{sorted(validation)}'
        )
    images = next(iter(models.values())).images
    if validation is not None:
        _check_apart(images, next(iter(validation.values())).images)
    weights = draw(next(iter(models.values())), definitions)
    summaries = {
        name: _summarise_model(
            results,
            definitions,
            weights,
            targets,
            validation[name] if validation is not None else None,
            fields,
            max_fppi,
        )
        for name, results in models.items()
    }
    return Summary(
        definitions,
        summaries,
        _differences(summaries, definitions),
        'test' if validation is None else 'validation',
        breakdown.size_parts(images)[1],
    )


def _check_apart(test: Sequence[TrueImage], validation: Sequence[TrueImage]) -> None:
    """Raise where thresholds would be chosen on the images that they are tested on.

    Images of another hospital may have some of the names, hardly most of them.
    """
    keys = [
        {(one.name, one.patient, one.shape, one.label, one.boxes.tobytes()) for one in images}
        for images in (test, validation)
    ]
    both = set.intersection(*keys)
    if 2 * len(both) > len(keys[1]):
        raise ValueError(
            f'{len(both)} of {len(keys[1])} validation images are among the test images, e.g. '
            f'{min(both)[0]!r}: thresholds would be chosen on what they are tested on; name images that '
            'were parted from them by patient, or none'
        )


def _summarise_model(
    results: ModelResults,
    definitions: Definitions,
    weights: np.ndarray,
    targets: Sequence[Target],
    validation: ModelResults | None,
    fields: Sequence[str],
    max_fppi: float,
) -> ModelSummary:
    curve = froc_curve(results.measured, definitions.denominator)
    calibration, temperature = _calibrate(results, validation, definitions)
    patients = [image.patient for image in results.images]
    is_clustered = definitions.cluster == 'patient'
    known = dict(test=results) | ({} if validation is None else dict(validation=validation))
    return ModelSummary(
        results=results,
        metrics=estimate_metrics(results, weights, definitions),
        delong=delong_interval(
            results.labels, results.scores, definitions.level, patients if is_clustered else None
        ),
        curve=curve,
        band=_band(results, weights, definitions, max_fppi),
        points=[
            _operating_point(results, validation, target, weights, definitions)
            for target in targets
        ],
        calibration=calibration,
        temperature=temperature,
        groups=_groups(results, weights, definitions, fields),
        precisions=tuple(
            sorted({one.precision for one in known.values() if one.precision is not None})
        ),
        weights={part: one.weights for part, one in known.items()},
    )


def _band(
    results: ModelResults, weights: np.ndarray, definitions: Definitions, max_fppi: float
) -> Band:
    # dense enough for a linear axis up to 1, and for a logarithmic one
    fppi = np.unique(
        np.concatenate([np.linspace(0, min(1, max_fppi), 51), np.geomspace(0.01, max_fppi, 60)])
    )
    drawn = bootstrap_recalls(
        results.measured,
        weights[:, results.with_regions],
        fppi.tolist(),
        definitions.denominator,
        definitions.crossing,
        definitions.interpolation,
    )
    ends = [(1 - definitions.level) / 2, (1 + definitions.level) / 2]
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(drawn):
        return Band(fppi, *np.full((2, fppi.size), np.nan))
    return Band(fppi, *np.quantile(drawn, ends, axis=0))


def _operating_point(
    results: ModelResults,
    validation: ModelResults | None,
    target: Target,
    weights: np.ndarray,
    definitions: Definitions,
) -> OperatingPoint:
    own = results if validation is None else validation
    threshold = choose_threshold(
        froc_curve(own.measured, definitions.denominator), target, definitions.crossing
    )
    if not threshold > 0:
        return OperatingPoint(target, threshold, {}, {})
    on_own = rates_at(own.records, own.labels, own.scores, threshold)
    values = rates_at(results.records, results.labels, results.scores, threshold)
    drawn = rates_at(results.records, results.labels, results.scores, threshold, weights)
    return OperatingPoint(
        target,
        threshold,
        {name: float(rate[0]) for name, rate in on_own.items()},
        {name: Estimate.of(values[name][0], drawn[name], definitions.level) for name in values},
    )


def _calibrate(
    results: ModelResults, validation: ModelResults | None, definitions: Definitions
) -> tuple[dict[str, Reliability], float | None]:
    bins = (definitions.calibration_bins, definitions.calibration_kind)
    scores = results.scores
    if not ((scores >= 0) & (scores <= 1)).all():
        return {}, None
    found = {'as it is': reliability(results.labels, scores, *bins)}
    if validation is None:
        return found, None
    known = validation.labels[validation.labels != -1]
    if not 0 < known.sum() < known.size:
        return found, None
    temperature = fit_temperature(validation.labels, validation.scores)
    scaled = apply_temperature(scores, temperature)
    found['with temperature'] = reliability(results.labels, scaled, *bins)
    return found, temperature


def _groups(
    results: ModelResults, weights: np.ndarray, definitions: Definitions, fields: Sequence[str]
) -> dict[str, list[Group]]:
    found = {}
    for name in fields:
        parts = breakdown.image_parts(results.images, name)
        if parts is not None and len(set(parts)) > 1:
            found[name] = breakdown.image_groups(results, parts, weights, definitions)
    sites = [image.sites for image in results.images]
    if len({site for names in sites for site in names}) > 1:
        found['site'] = breakdown.lesion_groups(results, sites, weights, definitions)
    sizes, _ = breakdown.size_parts(results.images)
    if any(sizes):
        found['lesion size'] = breakdown.lesion_groups(results, sizes, weights, definitions)
    # lesions of images without complete regions make no group
    return {name: groups for name, groups in found.items() if groups}


def _differences(models: Mapping[str, ModelSummary], definitions: Definitions) -> list[Difference]:
    found = []
    for first, second in combinations(models, 2):
        one, other = models[first], models[second]
        for metric, estimate in one.metrics.items():
            against = other.metrics[metric]
            test = paired_bootstrap_test(
                estimate.value,
                against.value,
                estimate.replicates,
                against.replicates,
                definitions.level,
            )
            found.append(Difference(first, second, metric, 'bootstrap', test))
        images = one.results.images
        test = delong_test(
            one.results.labels,
            one.results.scores,
            other.results.scores,
            definitions.level,
            [image.patient for image in images] if definitions.cluster == 'patient' else None,
        )
        found.append(Difference(first, second, 'AUROC', 'DeLong', test))
    return found
