# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import math
import os
from pathlib import Path
from typing import Any

from mmfrac.evaluation.functional.froc import FrocCurve


def write_metrics(
    out_file: str | Path, metrics: dict[str, float], curve: FrocCurve, options: dict[str, Any]
) -> None:
    """Write an evaluation as JSON; what is not finite becomes null.

    Args:
        out_file (str | Path): Written under a temporary name and renamed; its folder is made.
        metrics (dict[str, float]): Values by name.
        curve (FrocCurve): The pooled curve.
        options (dict): Definitions that were used.
    """
    content = dict(
        metrics={name: _finite(value) for name, value in metrics.items()},
        num_images=int(curve.num_images),
        num_lesions=int(curve.num_lesions),
        options=options,
        curve=curve_content(curve),
    )
    path = Path(out_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


def curve_content(curve: FrocCurve) -> dict[str, list[float | None]]:
    """A curve for JSON: ``thresholds``, ``fppi``, ``recall``; what is not finite is None.

    Args:
        curve (FrocCurve): The curve.

    Returns:
        dict[str, list]: By name.
    """
    return {
        name: [_finite(value) for value in getattr(curve, name).tolist()]
        for name in ('thresholds', 'fppi', 'recall')
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
