# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The HTML page of a report: one file that needs nothing else."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmfrac.evaluation.offline.summary import Summary
from mmfrac.evaluation.report.findings import Finding
from mmfrac.evaluation.report.tables import with_interval


def render_page(
    summary: Summary,
    plain: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    findings: Mapping[str, Mapping[str, Sequence[Finding]]],
) -> str:
    """Render a report.

    Args:
        summary (Summary): What is shown.
        plain (Mapping[str, Any]): The same as plain values, with ``inputs``.
        pictures (Mapping[str, bytes]): SVG of ``froc_linear``, ``froc_log`` and, if there is one,
            ``reliability``.
        findings (Mapping): Worst false positives and misses by model.

    Returns:
        str: HTML.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(
        estimate=with_interval,
        svg=lambda content: _data_url('image/svg+xml', content),
        jpeg=lambda content: _data_url('image/jpeg', content),
        number=_number,
        pretty=lambda value: json.dumps(value, indent=1),
    )
    return environment.get_template('page.html.j2').render(
        summary=summary,
        definitions=plain['definitions'],
        inputs=plain['inputs'],
        lesion_size=plain['lesion_size'],
        pictures=pictures,
        findings=findings,
    )


def _data_url(kind: str, content: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or math.isnan(value):
        return 'n/a'
    return 'infinity' if value == math.inf else f'{value:.{digits}g}'
