# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A report as one HTML page that needs nothing else: text, and pictures of the worst films."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined

from mmfrac.datasets.radiographs.radiograph_io import read_radiograph
from mmfrac.preparation.checks.annotated_film import draw_annotated
from mmfrac.preparation.checks.finding import CHECKS
from mmfrac.preparation.checks.report import Report, printable
from mmfrac.preparation.checks.split_file import Film
from mmfrac.utils.film_pool import default_workers, map_films
from mmfrac.utils.io import AtomicLocalBackend

_TEMPLATE = Path(__file__).with_name('page.html.jinja')
_JPEG_QUALITY = 85


@dataclass
class _Picture:
    film: str
    message: str
    data: str


@dataclass
class _Section:
    name: str
    title: str
    advice: str
    severity: str
    found: int
    messages: list[str]
    pictures: list[_Picture] = field(default_factory=list)


def write_page(
    report: Report,
    films: Mapping[str, Film],
    out_file: str | os.PathLike,
    films_a_check: int = 24,
    lines_a_check: int = 200,
    size: int = 256,
    workers: int | None = None,
) -> None:
    """Write a report as a self-contained HTML page, under a temporary name that is then renamed.

    Args:
        report (Report): Of :func:`check_data`.
        films (Mapping[str, Film]): Films that can be drawn, of :func:`check_data`.
        out_file (str or os.PathLike): HTML; its folder is made.
        films_a_check (int): Pictures of the worst films of each check. Default: 24.
        lines_a_check (int): Findings of each check that are written out. Default: 200.
        size (int): Longest side of a picture, px. Default: 256.
        workers (int, optional): Processes that draw; 0: this one. Default: one a processor.
    """
    sections = []
    wanted: list[tuple[_Section, str, str]] = []
    for name, found in report.counts.items():
        findings, check = report.of_check(name), CHECKS[name]
        messages = [printable(finding.message) for finding in findings[:lines_a_check]]
        severity = report.severity[name]
        section = _Section(name, check.title, check.advice, severity, found, messages)
        sections.append(section)
        keys: dict[str, str] = {}
        for finding in findings:
            key = f'{finding.split}/{finding.film}'
            if key in films and len(keys) < films_a_check:
                keys.setdefault(key, finding.message)
        wanted += [(section, key, message) for key, message in keys.items()]
    draw = partial(_drawn, size=size)
    count = default_workers() if workers is None else workers
    drawn = map_films(draw, (films[key] for _, key, _ in wanted), count, _not_drawn)
    for (section, key, message), data in zip(wanted, drawn, strict=True):
        if data:
            section.pictures.append(_Picture(printable(key), printable(message), data))
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding='utf-8'))
    page = template.render(report=report, checks=CHECKS, sections=sections)
    AtomicLocalBackend().put_text(printable(page), os.fspath(out_file))


def _drawn(film: Film, size: int) -> str:
    """A film with its boxes as base64 JPEG; '' if it cannot be drawn."""
    try:
        plane = read_radiograph(film.path)
        boxes = [[x, y, x + w, y + h] for x, y, w, h in film.boxes]
        picture = draw_annotated(plane, np.array(boxes).reshape(-1, 4), size=size)
        encoded, content = cv2.imencode(
            '.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        return base64.b64encode(content.tobytes()).decode() if encoded else ''
    except Exception:  # the file may have changed since it was checked; the page goes without it
        return ''


def _not_drawn(film: Film) -> str:
    return ''
