# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The report of a data check as text, JSON and HTML page."""

import base64
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, StrictUndefined

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.checks.finding import CHECKS, Finding
from mmfrac.preparation.checks.split_file import ImageEntry
from mmfrac.utils.io import check_output, write_json, write_text
from mmfrac.utils.processes import default_workers, map_files
from mmfrac.utils.text import printable, printable_line
from mmfrac.visualization.overlay import GT_GREEN, Canvas, Colour, grey_picture


def _draw_annotated(
    image: np.ndarray,
    boxes: np.ndarray | Sequence = (),
    polygons: Sequence[np.ndarray] = (),
    size: int | None = None,
    box_colour: Colour = GT_GREEN,
    polygon_colour: Colour = GT_GREEN,
    texts: Sequence[str] = (),
) -> np.ndarray:
    """Draw boxes and outlines on a film.

    Args:
        image (np.ndarray): Film (h, w), float in [0, 1].
        boxes (np.ndarray): (n, 4) xyxy, px of the plane. Defaults to none.
        polygons (Sequence[np.ndarray]): (k, 2) xy each, px of the plane. Defaults to none.
        size (int, optional): Longest side of the picture, px. Defaults to that of the plane.
        box_colour, polygon_colour (tuple): RGB. Defaults to green.
        texts (Sequence[str]): One for each box. Defaults to none.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    zoom = 1.0 if size is None else size / max(image.shape)
    canvas = Canvas(np.repeat(grey_picture(image, zoom)[..., None], 3, axis=2), zoom)
    for polygon in polygons:
        canvas.polygon(polygon, polygon_colour, width=2)
    for index, box in enumerate(np.asarray(boxes, np.float64).reshape(-1, 4)):
        canvas.box(box, box_colour, width=2, text=texts[index] if texts else '')
    return canvas.picture()


_SHOWN_LINES = 10


@dataclass
class SplitCounts:
    """Size of a split.

    Attributes:
        ann_file (str): Its annotation file.
        films, positives, negatives, unknown, boxes, patients (int): Counts of what could be read.
    """

    ann_file: str
    films: int = 0
    positives: int = 0
    negatives: int = 0
    unknown: int = 0
    boxes: int = 0
    patients: int = 0


@dataclass
class Report:
    """Everything wrong with a data set.

    Attributes:
        data_root (str): Its folder.
        severity (dict[str, str]): Of each check: 'error', 'warning' or 'off'.
        splits (dict[str, SplitCounts]): By name.
        findings (list[Finding]): Errors first, the worst of each check first.
        decoded (int): ImageEntry files whose pixels were looked at.
    """

    data_root: str
    severity: dict[str, str]
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    decoded: int = 0

    def add(self, findings: list[Finding]) -> None:
        """Keep the findings of checks that are not off."""
        self.findings += [f for f in findings if self.severity[f.check] != 'off']

    def sort(self) -> None:
        """Errors first, then in the order of the checks, the worst of each first."""
        ranks = {name: rank for rank, name in enumerate(CHECKS)}

        def key(finding: Finding) -> tuple:
            check = finding.check
            return self.severity[check] != 'error', ranks[check], -finding.weight

        self.findings.sort(key=key)

    @property
    def counts(self) -> dict[str, int]:
        """Findings of each check that has any, in the order of the findings."""
        return dict(Counter(finding.check for finding in self.findings))

    @property
    def num_errors(self) -> int:
        """Findings that count as errors."""
        return sum(self.severity[finding.check] == 'error' for finding in self.findings)

    @property
    def num_warnings(self) -> int:
        """Findings that count as warnings."""
        return len(self.findings) - self.num_errors

    def of_check(self, check: str) -> list[Finding]:
        """Findings of one check."""
        return [finding for finding in self.findings if finding.check == check]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data: ``ok``, ``splits``, ``checks`` and ``findings``."""
        return dict(
            data_root=self.data_root,
            ok=not self.num_errors,
            errors=self.num_errors,
            warnings=self.num_warnings,
            decoded=self.decoded,
            splits={name: vars(counts) for name, counts in self.splits.items()},
            checks={
                name: dict(severity=severity, title=CHECKS[name].title, found=self.counts[name])
                if name in self.counts
                else dict(severity=severity, title=CHECKS[name].title, found=0)
                for name, severity in self.severity.items()
            },
            findings=[
                dict(
                    check=finding.check,
                    severity=self.severity[finding.check],
                    split=finding.split,
                    film=finding.image,
                    message=finding.message,
                )
                for finding in self.findings
            ],
        )

    def __str__(self) -> str:
        head = (
            f'{"split":<12}{"films":>8}{"label 1":>9}{"0":>8}{"-1":>8}{"boxes":>8}{"patients":>10}'
        )
        lines = [head]
        for name, n in self.splits.items():
            numbers = f'{n.films:>8}{n.positives:>9}{n.negatives:>8}{n.unknown:>8}'
            lines.append(f'{printable(name):<12}{numbers}{n.boxes:>8}{n.patients:>10}')
        lines.append(f'{self.decoded} film files decoded')
        for check, count in self.counts.items():
            lines.append(f'{self.severity[check]}: {CHECKS[check].title}: {count} ({check})')
            messages = [finding.message for finding in self.of_check(check)]
            lines += [f'  {printable_line(message)}' for message in messages[:_SHOWN_LINES]]
            if count > _SHOWN_LINES:
                lines.append(f'  ... and {count - _SHOWN_LINES} more')
            lines.append(f'  -> {CHECKS[check].advice}')
        lines.append(f'{self.num_errors} errors, {self.num_warnings} warnings')
        return '\n'.join(lines)


# How earlier reports and pages begin.
_REPORT_HEAD = rb'\{\s*"data_root": "(?:[^"\\]|\\.)*",\s*"ok": '
_PAGE_HEAD = rb'<!doctype html>[^\0]{,500}<title>Data check: '


def check_report_output(out_file: str | os.PathLike, *inputs: str | os.PathLike) -> None:
    """Raise a ``ValueError`` unless ``out_file`` is free, or such a report and none of the inputs."""
    check_output(out_file, 'report of check_data', _REPORT_HEAD, *inputs)


def check_page_output(out_file: str | os.PathLike, *inputs: str | os.PathLike) -> None:
    """Raise a ``ValueError`` unless ``out_file`` is free, or such a page and none of the inputs."""
    check_output(out_file, 'page of check_data', _PAGE_HEAD, *inputs)


def write_check_report(report: Report, out_file: str | os.PathLike) -> None:
    """Write a report as JSON, under a temporary name that is then renamed.

    Args:
        report (Report): Of :func:`check_data`.
        out_file (str or os.PathLike): JSON; its folder is made.
    """
    check_report_output(out_file)
    write_json(out_file, report.to_dict())


_TEMPLATE = Path(__file__).with_name('page.html.jinja')

_JPEG_QUALITY = 85


@dataclass
class _Picture:
    image: str
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
    entries: Mapping[str, ImageEntry],
    out_file: str | os.PathLike,
    images_a_check: int = 24,
    lines_a_check: int = 200,
    size: int = 256,
    workers: int | None = None,
) -> None:
    """Write a report as a self-contained HTML page, under a temporary name that is then renamed.

    Args:
        report (Report): Of :func:`check_data`.
        entries (Mapping[str, ImageEntry]): Films that can be drawn, of :func:`check_data`.
        out_file (str or os.PathLike): HTML; its folder is made.
        images_a_check (int): Pictures of the worst films of each check. Defaults to 24.
        lines_a_check (int): Findings of each check that are written out. Defaults to 200.
        size (int): Longest side of a picture, px. Defaults to 256.
        workers (int, optional): Processes that draw; 0: this one. Defaults to one a processor.
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
            key = f'{finding.split}/{finding.image}'
            if key in entries and len(keys) < images_a_check:
                keys.setdefault(key, finding.message)
        wanted += [(section, key, message) for key, message in keys.items()]
    draw = partial(_drawn, size=size)
    count = default_workers() if workers is None else workers
    drawn = map_files(draw, (entries[key] for _, key, _ in wanted), count, _not_drawn)
    for (section, key, message), data in zip(wanted, drawn, strict=True):
        if data:
            section.pictures.append(_Picture(printable(key), printable(message), data))
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(_TEMPLATE.read_text(encoding='utf-8'))
    page = template.render(report=report, checks=CHECKS, sections=sections)
    check_page_output(out_file)
    write_text(out_file, page)


def _drawn(entry: ImageEntry, size: int) -> str:
    """A film with its boxes as base64 JPEG; '' if it cannot be drawn."""
    try:
        image = read_radiograph(entry.path)
        boxes = [[x, y, x + w, y + h] for x, y, w, h in entry.boxes]
        picture = _draw_annotated(image, np.array(boxes).reshape(-1, 4), size=size)
        encoded, content = cv2.imencode(
            '.jpg', picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        return base64.b64encode(content.tobytes()).decode() if encoded else ''
    except Exception:  # the file may have changed since it was checked; the page goes without it
        return ''


def _not_drawn(entry: ImageEntry) -> str:
    return ''
