# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Results as a COCO file, which annotation tools read."""

from collections.abc import Sequence
from typing import Any

from mmfrac.deployment.results import ImageResult


def coco_of_results(results: Sequence[ImageResult], classes: Sequence[str]) -> dict[str, Any]:
    """Results as COCO, boxes with their scores.

    Args:
        results (Sequence[ImageResult]): Of images; those that were not scored have no entry.
        classes (Sequence[str]): Of the model, of which the first names its boxes.

    Returns:
        dict: ``images``, ``annotations``, ``categories`` and ``info``.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for result in results:
        if not result.scored:
            continue
        images.append(
            dict(
                id=len(images) + 1,
                file_name=result.image,
                width=result.width,
                height=result.height,
                score=result.score,
            )
        )
        for (x1, y1, x2, y2), score in zip(result.boxes, result.scores):
            width, height = x2 - x1, y2 - y1
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=len(images),
                    category_id=1,
                    bbox=[x1, y1, width, height],
                    area=width * height,
                    iscrowd=0,
                    score=score,
                )
            )
    return dict(
        info=dict(description='Found by a model. Research use only, not a medical device.'),
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name=classes[0] if classes else 'fracture')],
    )
