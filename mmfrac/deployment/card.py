# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The model card of a package, in Markdown and HTML, from its manifest.

Its headings are those of CLAIM (Checklist for Artificial Intelligence in Medical Imaging) and
TRIPOD+AI, as far as a training and its evaluation can tell; what nobody told is 'not given', so that
it is seen to be missing.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmfrac.utils.text import printable

# what no run knows: key of ``about`` -> its row in the card
TEXTS = {
    'intended_use': 'Intended use and users',
    'out_of_scope': 'Out of scope',
    'contact': 'Contact',
    'study_design': 'Study design and period',
    'data_source': 'Source of the data',
    'eligibility': 'Inclusion and exclusion',
    'reference_standard': 'Reference standard and annotators',
    'acquisition': 'Image acquisition',
    'partition': 'How training, validation and test images were parted',
    'fairness': 'Groups looked at for fairness',
    'limitations': 'Limitations and known failures',
    'ethics': 'Ethics approval',
    'registration': 'Registration and protocol',
    'availability': 'Availability of data and code',
    'funding': 'Funding and conflicts of interest',
}
NOT_GIVEN = 'not given'


class Table(NamedTuple):
    """A table of a section.

    Attributes:
        head (tuple[str, ...]): Names of its columns.
        rows (list[tuple]): Their cells.
    """

    head: tuple[str, ...]
    rows: list[tuple]


class Section(NamedTuple):
    """A section of a card.

    Attributes:
        title (str): Heading.
        rows (list[tuple[str, str]]): What and its value.
        tables (list[Table]): Tables below them.
    """

    title: str
    rows: list[tuple[str, str]]
    tables: list[Table] = []


def render_card(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Model card of a manifest.

    Args:
        manifest (Mapping): See ``mmfrac.deployment.package``.

    Returns:
        tuple[str, str]: Markdown and HTML.
    """
    content = dict(
        name=_text(manifest['name']),
        limits=_text(manifest['limits']),
        sections=card_sections(manifest),
    )
    folder = FileSystemLoader(Path(__file__).parent)
    shape: dict[str, Any] = dict(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages = Environment(loader=folder, autoescape=True, **shape)
    texts = Environment(loader=folder, autoescape=False, **shape)
    texts.filters['cell'] = _markdown_cell
    markdown = texts.get_template('card.md.j2').render(content)
    return markdown, pages.get_template('card.html.j2').render(content)


def card_sections(manifest: Mapping[str, Any]) -> list[Section]:
    """What a card says, section by section.

    Args:
        manifest (Mapping): See ``mmfrac.deployment.package``.

    Returns:
        list[Section]: In the order of the card.
    """
    about = manifest.get('about', {})

    def told(*keys: str) -> list[tuple[str, str]]:
        return [(TEXTS[key], _text(about.get(key) or NOT_GIVEN)) for key in keys]

    training = dict(manifest.get('training', {}))
    images = training.pop('images', None)
    return [
        Section(
            'Model',
            [
                ('Written on', _text(manifest.get('created', NOT_GIVEN))),
                *_rows(manifest.get('model', {})),
                ('Classes', ', '.join(map(_text, manifest['classes']))),
                ('Licence', _text(manifest.get('licence') or NOT_GIVEN)),
                *told('intended_use', 'out_of_scope', 'contact'),
            ],
        ),
        Section(
            'Training data',
            [
                *_rows(images or {}),
                *([] if images else [('Images', NOT_GIVEN)]),
                *told('study_design', 'data_source', 'eligibility', 'acquisition'),
                *told('reference_standard', 'partition'),
            ],
        ),
        Section(
            'Training and preprocessing',
            [
                *_rows(training),
                *((f'Step {n}', _text(one)) for n, one in enumerate(_steps(manifest), 1)),
                ('Precision', _text(manifest.get('precision', NOT_GIVEN))),
            ],
        ),
        _performance(manifest),
        Section('Limitations and fairness', told('limitations', 'fairness')),
        Section('Other information', told('ethics', 'registration', 'availability', 'funding')),
        Section(
            'Files and versions',
            [(name, _text(version)) for name, version in manifest.get('versions', {}).items()],
            [
                Table(
                    ('file', 'checkpoint', 'parameters', 'SHA-256'),
                    [
                        (
                            _text(one['file']),
                            _text(one.get('checkpoint', '')),
                            _text(one.get('parameters', '')),
                            _text(manifest.get('sha256', {}).get(one['file'], '')),
                        )
                        for one in manifest['members']
                    ],
                )
            ],
        ),
    ]


def _performance(manifest: Mapping[str, Any]) -> Section:
    metrics = manifest.get('metrics', {})
    points = manifest.get('operating_points', [])
    temperature = manifest.get('temperature')
    rows = _rows(manifest.get('evaluation', {}))
    rows.append(
        (
            'Calibration',
            NOT_GIVEN
            if temperature is None
            else f'temperature {_number(temperature)}, chosen on validation images',
        )
    )
    tables = []
    if metrics:
        held = [(_text(key), *_interval(value)) for key, value in metrics.items()]
        tables.append(Table(('metric', 'value', 'low', 'high'), held))
    else:
        rows.append(('Metrics', NOT_GIVEN))
    for point in points:
        rows.append(
            (
                f'Operating point {_text(point["name"])}',
                f'threshold {_number(point["threshold"])}, chosen for {_text(point["chosen_for"])}',
            )
        )
        achieved = [
            (_text(where), _text(rate), *_interval(value))
            for where, rates in point['achieved'].items()
            if isinstance(rates, Mapping)
            for rate, value in rates.items()
        ]
        if achieved:
            tables.append(
                Table((f'{_text(point["name"])} on', 'rate', 'value', 'low', 'high'), achieved)
            )
    if not points:
        rows.append(('Operating points', NOT_GIVEN))
    return Section('Performance', rows, tables)


def _steps(manifest: Mapping[str, Any]) -> list:
    return manifest.get('preprocessing') or []


def _rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A row a value; mappings within become rows of their own."""
    rows = []
    for key, value in values.items():
        name = str(key).replace('_', ' ')
        name = name[:1].upper() + name[1:]
        if isinstance(value, Mapping):
            rows += [(_text(f'{name}: {inner}'), shown) for inner, shown in _rows(value)]
        elif isinstance(value, (list, tuple)):
            rows.append((_text(name), ', '.join(map(_text, value))))
        else:
            rows.append((_text(name), _number(value) if isinstance(value, float) else _text(value)))
    return rows


def _interval(value: Any) -> tuple[str, str, str]:
    """Value, low and high of a number or of an estimate."""
    if isinstance(value, Mapping):
        ends = (value.get('value'), value.get('low'), value.get('high'))
        return tuple(map(_number, ends))  # type: ignore[return-value]
    return _number(value), '', ''


def _number(value: Any) -> str:
    if value is None:
        return 'n/a'
    if not isinstance(value, (int, float)):
        return _text(value)
    return f'{value:.4g}' if math.isfinite(value) else 'n/a'


def _text(value: Any) -> str:
    return ' '.join(printable(value).split())


def _markdown_cell(text: str) -> str:
    """Text of others within a table of Markdown, without what ends a cell or begins HTML."""
    for sign in '\\`*_[]|':
        text = text.replace(sign, f'\\{sign}')
    return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')
