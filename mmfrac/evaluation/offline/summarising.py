# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From film results to everything that is said of the models."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.bootstrap import bootstrap_recalls
from mmfrac.evaluation.functional.calibration import (
    Reliability,
    apply_temperature,
    fit_temperature,
    reliability,
)
from mmfrac.evaluation.functional.delong import delong_interval, delong_test
from mmfrac.evaluation.functional.froc import froc_curve
from mmfrac.evaluation.functional.operating_point import Target, choose_threshold, rates_at
from mmfrac.evaluation.offline import breakdown
from mmfrac.evaluation.offline.breakdown import Group
from mmfrac.evaluation.offline.comparison import paired_bootstrap_test
from mmfrac.evaluation.offline.estimates import Estimate, draw, estimate_metrics
from mmfrac.evaluation.offline.film_results import FilmResults
from mmfrac.evaluation.offline.summary import (
    Band,
    Difference,
    ModelSummary,
    OperatingPoint,
    Summary,
)

FILM_FIELDS = ('source', 'sex', 'age')
MAX_FPPI = 8.0


def summarise(
    models: Mapping[str, FilmResults],
    definitions: Definitions,
    targets: Sequence[Target] = (),
    validation: Mapping[str, FilmResults] | None = None,
    fields: Sequence[str] = FILM_FIELDS,
    max_fppi: float = MAX_FPPI,
) -> Summary:
    """Summarise models on the same films.

    Args:
        models (Mapping[str, FilmResults]): Test films of each model.
        definitions (Definitions): All choices.
        targets (Sequence[Target]): Of operating points. Defaults to none.
        validation (Mapping[str, FilmResults], optional): Validation films of each model; thresholds and
            temperature are chosen on them. Defaults to None, thresholds are chosen on the test films.
        fields (Sequence[str]): Fields of the films to part them by, where there are any; see
            :func:`breakdown.film_parts`. Defaults to source, sex and age.
        max_fppi (float): End of the bands. Defaults to 8.

    Returns:
        Summary: All of it.

    Raises:
        ValueError: If there is no model, or one without validation films where others have them.
    """
    if not models:
        raise ValueError('there is no model to summarise')
    if validation is not None and set(validation) != set(models):
        raise ValueError(
            f'validation films are needed of the same models: {sorted(models)}, got '
            f'{sorted(validation)}'
        )
    films = next(iter(models.values())).films
    takes = draw(next(iter(models.values())), definitions)
    summaries = {
        name: _summarise_model(
            results,
            definitions,
            takes,
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
        breakdown.size_parts(films)[1],
    )


def _summarise_model(
    results: FilmResults,
    definitions: Definitions,
    takes: np.ndarray,
    targets: Sequence[Target],
    validation: FilmResults | None,
    fields: Sequence[str],
    max_fppi: float,
) -> ModelSummary:
    curve = froc_curve(results.measured, definitions.denominator)
    calibration, temperature = _calibrate(results, validation, definitions)
    patients = [film.patient for film in results.films]
    is_clustered = definitions.cluster == 'patient'
    return ModelSummary(
        results=results,
        metrics=estimate_metrics(results, takes, definitions),
        delong=delong_interval(
            results.labels, results.scores, definitions.level, patients if is_clustered else None
        ),
        curve=curve,
        band=_band(results, takes, definitions, max_fppi),
        points=[
            _operating_point(results, validation, target, takes, definitions) for target in targets
        ],
        calibration=calibration,
        temperature=temperature,
        groups=_groups(results, takes, definitions, fields),
    )


def _band(
    results: FilmResults, takes: np.ndarray, definitions: Definitions, max_fppi: float
) -> Band:
    # dense enough for a linear axis up to 1, and for a logarithmic one
    fppi = np.unique(
        np.concatenate([np.linspace(0, min(1, max_fppi), 51), np.geomspace(0.01, max_fppi, 60)])
    )
    drawn = bootstrap_recalls(
        results.measured,
        takes[:, results.with_regions],
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
    results: FilmResults,
    validation: FilmResults | None,
    target: Target,
    takes: np.ndarray,
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
    drawn = rates_at(results.records, results.labels, results.scores, threshold, takes)
    return OperatingPoint(
        target,
        threshold,
        {name: float(rate[0]) for name, rate in on_own.items()},
        {name: Estimate.of(values[name][0], drawn[name], definitions.level) for name in values},
    )


def _calibrate(
    results: FilmResults, validation: FilmResults | None, definitions: Definitions
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
    results: FilmResults, takes: np.ndarray, definitions: Definitions, fields: Sequence[str]
) -> dict[str, list[Group]]:
    found = {}
    for name in fields:
        parts = breakdown.film_parts(results.films, name)
        if parts is not None and len(set(parts)) > 1:
            found[name] = breakdown.film_groups(results, parts, takes, definitions)
    sites = [film.sites for film in results.films]
    if len({site for names in sites for site in names}) > 1:
        found['site'] = breakdown.lesion_groups(results, sites, takes, definitions)
    sizes, _ = breakdown.size_parts(results.films)
    if any(sizes):
        found['lesion size'] = breakdown.lesion_groups(results, sizes, takes, definitions)
    return found


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
        films = one.results.films
        test = delong_test(
            one.results.labels,
            one.results.scores,
            other.results.scores,
            definitions.level,
            [film.patient for film in films] if definitions.cluster == 'patient' else None,
        )
        found.append(Difference(first, second, 'AUROC', 'DeLong', test))
    return found
