# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The HTML page of a report, with the worst false positives and misses drawn on their images."""

import base64
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.afroc import highest_false_positive
from mmfrac.evaluation.offline.ground_truth import TrueImage
from mmfrac.evaluation.offline.image_prediction import ImagePrediction
from mmfrac.evaluation.offline.model_results import ModelResults
from mmfrac.evaluation.offline.predictions import SavedPredictions
from mmfrac.evaluation.offline.summary import Summary
from mmfrac.evaluation.report.tables import with_interval
from mmfrac.utils.prob_map import component_boxes
from mmfrac.visualization.overlay import draw_overlay

PICTURE_SIZE = 512


@dataclass(frozen=True, eq=False)
class ErrorExample:
    """An image that a model does badly on.

    Attributes:
        title (str): Image and score.
        jpeg (bytes): Overlay; empty where the image cannot be read.
        note (str): Why there is no overlay.
    """

    title: str
    jpeg: bytes
    note: str = ''


def worst_false_positives(results: ModelResults, number: int) -> list[tuple[int, float]]:
    """Images with the highest false positives: (index, its score), highest first."""
    found = [
        (index, highest_false_positive(record))
        for index, record in enumerate(results.records)
        if record is not None and record.thresholds.size
    ]
    return sorted(found, key=lambda item: -item[1])[:number]


def worst_misses(results: ModelResults, number: int) -> list[tuple[int, float]]:
    """Images of the lesions with the lowest scores: (index, score), lowest first, each once."""
    found = [
        (index, float(record.lesion_scores.min()))
        for index, record in enumerate(results.records)
        if record is not None and record.lesion_scores.size
    ]
    return sorted(found, key=lambda item: item[1])[:number]


def draw_findings(
    chosen: Sequence[tuple[int, float]],
    results: ModelResults,
    predictions: SavedPredictions,
    threshold_of: Callable[[float], float],
    image_folder: Path | None,
    definitions: Definitions,
) -> Iterator[ErrorExample]:
    """Overlays of chosen images.

    Args:
        chosen (Sequence): (index of an image, score) as above.
        results (ModelResults): Of the model.
        predictions (SavedPredictions): Its predictions.
        threshold_of (Callable): Threshold of an overlay from the score.
        image_folder (Path, optional): Where the image names start; None: images are named only.
        definitions (Definitions): ``source`` and ``connectivity`` of what was measured are drawn.

    Yields:
        ErrorExample: One for each.
    """
    for index, score in chosen:
        image = results.images[index]
        title = f'{image.name}, score {score:.3f}'
        if image_folder is None:
            yield ErrorExample(title, b'', 'no films: --data-root was not given')
            continue
        try:
            pixels = read_radiograph(str(image_folder / image.name))
        except (OSError, ValueError) as error:
            yield ErrorExample(title, b'', str(error))
            continue
        measured = predictions[image.name].measured_as(definitions.source)
        picture = _overlay(pixels, image, measured, threshold_of(score), definitions.connectivity)
        yield ErrorExample(title, _jpeg(picture))


def _overlay(
    pixels: np.ndarray,
    image: TrueImage,
    prediction: ImagePrediction,
    threshold: float,
    connectivity: int = 8,
) -> np.ndarray:
    boxes, scores = prediction.boxes, prediction.box_scores
    cells, scale = prediction.prob_map, prediction.map_scale
    if cells is not None and scale is not None:
        boxes, scores = component_boxes(
            cells.astype(np.float32),
            scale,
            pixels.shape,
            threshold,
            connectivity=connectivity,
        )
    return draw_overlay(
        pixels,
        cells,
        scale,
        image.boxes,
        dict(bboxes=boxes, scores=scores),
        PICTURE_SIZE,
        threshold,
        image.ignore_boxes,
    )


def _jpeg(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format='JPEG', quality=90, subsampling=0)
    return content.getvalue()


def render_page(
    summary: Summary,
    plain: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    findings: Mapping[str, Mapping[str, Sequence[ErrorExample]]],
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
