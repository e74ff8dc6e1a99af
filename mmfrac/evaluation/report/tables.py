# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A summary as plain values, as rows and as text."""

import math
from collections.abc import Iterator
from typing import Any

from mmfrac.evaluation.functional.froc import curve_until
from mmfrac.evaluation.offline.estimates import Estimate
from mmfrac.evaluation.offline.summary import ModelSummary, OperatingPoint, Summary

Row = dict[str, Any]
CURVE_END = 8.0
"""FPPI up to which curves are written; of noise a curve has a point for nearly every map cell."""
COLUMNS = (
    'model',
    'part',
    'group',
    'metric',
    'value',
    'low',
    'high',
    'held',
    'films',
    'lesions',
    'definitions',
)


def as_plain(summary: Summary) -> dict[str, Any]:
    """Everything but the replicates, for JSON; what is not finite becomes None."""
    return dict(
        definitions=summary.definitions.as_dict(),
        thresholds_chosen_on=summary.chosen_on,
        lesion_size=dict(
            measure='root of box area over root of film area, thirds of all lesions',
            between=[finite(size) for size in summary.lesion_sizes],
        ),
        models={name: _model(model) for name, model in summary.models.items()},
        differences=[
            dict(
                first=item.first,
                second=item.second,
                metric=item.metric,
                method=item.method,
                **{key: finite(value) for key, value in item.test._asdict().items()},
            )
            for item in summary.differences
        ],
    )


def as_rows(summary: Summary) -> Iterator[Row]:
    """One row a figure, for CSV; each names the definitions."""
    named = '; '.join(f'{key}={value}' for key, value in summary.definitions.as_dict().items())
    for name, model in summary.models.items():
        for part, group, metric, estimate, num_images, lesions in _figures(summary, model):
            yield dict(
                model=name,
                part=part,
                group=group,
                metric=metric,
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                held=estimate.held,
                films=num_images,
                lesions=lesions,
                definitions=named,
            )


def as_text(summary: Summary) -> str:
    """What is printed: metrics with intervals, a column a model; operating points; paired tests."""
    models = summary.models
    width = max(24, *(len(name) + 2 for name in models))
    lines = [f'{"metric":12}' + ''.join(f'{name:>{width}}' for name in models)]
    for key in next(iter(models.values())).metrics:
        cells = (with_interval(model.metrics[key]) for model in models.values())
        lines.append(f'{key:12}' + ''.join(f'{cell:>{width}}' for cell in cells))
    if any(e.held for model in models.values() for e in model.metrics.values()):
        lines.append('*: the curve ends before an FPPI that was asked for; its last recall is held')
    for name, model in models.items():
        for point in model.points:
            lines += [
                '',
                f'{name}, {point.target} on the {summary.chosen_on} films: ' + _head(point),
            ]
            lines += [f'  {key:15}{with_interval(rate)}' for key, rate in point.achieved.items()]
    if summary.differences:
        lines += ['', 'paired tests on the same films']
    for item in summary.differences:
        test = item.test
        lines.append(
            f'{item.metric:12}{item.first} - {item.second}: {test.difference:+.3f} '
            f'[{test.low:+.3f}, {test.high:+.3f}]  p = {test.p_value:.4f}  ({item.method})'
        )
    definitions = summary.definitions.as_dict()
    named = ', '.join(f'{key} {value}' for key, value in definitions.items())
    return '\n'.join([*lines, '', f'definitions: {named}'])


def with_interval(estimate: Estimate) -> str:
    """Value and interval in brackets; a star where the curve was held."""
    if not math.isfinite(estimate.value):
        return 'n/a'
    star = '*' if estimate.held else ''
    return f'{estimate.value:.3f}{star} [{estimate.low:.3f}, {estimate.high:.3f}]'


def finite(value: float) -> float | None:
    """The value; None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def _head(point: OperatingPoint) -> str:
    if not point.achieved:
        return 'no threshold reaches it'
    return f'threshold {point.threshold:.4g}, on the test films'


def _figures(summary: Summary, model: ModelSummary) -> Iterator[tuple]:
    results = model.results
    lesions = sum(record.lesion_scores.size for record in results.measured)
    num_images = len(results.images)
    for metric, estimate in model.metrics.items():
        yield 'all', 'all', metric, estimate, num_images, lesions
    for part, groups in model.groups.items():
        for group in groups:
            for metric, estimate in group.metrics.items():
                yield part, group.name, metric, estimate, group.num_images, group.num_lesions
    for point in model.points:
        for metric, estimate in point.achieved.items():
            where = f'{point.target} on {summary.chosen_on}, threshold {point.threshold:.6g}'
            yield 'operating point', where, metric, estimate, num_images, lesions


def _model(model: ModelSummary) -> dict[str, Any]:
    results, curve = model.results, curve_until(model.curve, CURVE_END)
    return dict(
        num_films=len(results.images),
        num_films_with_regions=int(results.with_regions.sum()),
        num_lesions=int(curve.num_lesions),
        evaluated=list(results.kinds),
        metrics={name: _estimate(estimate) for name, estimate in model.metrics.items()},
        auroc_interval_delong=[finite(end) for end in model.delong],
        curve_until_fppi=CURVE_END,
        curve={
            name: [finite(value) for value in getattr(curve, name).tolist()]
            for name in ('thresholds', 'fppi', 'recall')
        },
        band={
            name: [finite(value) for value in getattr(model.band, name).tolist()]
            for name in ('fppi', 'low', 'high')
        },
        operating_points=[
            dict(
                target=str(point.target),
                threshold=finite(point.threshold),
                keeps_nothing=point.threshold == math.inf,
                where_chosen={name: finite(value) for name, value in point.on_own.items()},
                achieved={name: _estimate(rate) for name, rate in point.achieved.items()},
            )
            for point in model.points
        ],
        calibration={
            kind: dict(
                ece=finite(diagram.ece),
                brier=finite(diagram.brier),
                confidence=diagram.confidence.tolist(),
                frequency=diagram.frequency.tolist(),
                counts=diagram.counts.tolist(),
            )
            for kind, diagram in model.calibration.items()
        },
        temperature=model.temperature,
        groups={
            part: [
                dict(
                    name=group.name,
                    num_films=group.num_images,
                    num_lesions=group.num_lesions,
                    metrics={name: _estimate(value) for name, value in group.metrics.items()},
                )
                for group in groups
            ]
            for part, groups in model.groups.items()
        },
    )


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return dict(
        value=finite(estimate.value),
        low=finite(estimate.low),
        high=finite(estimate.high),
        held=estimate.held,
    )
