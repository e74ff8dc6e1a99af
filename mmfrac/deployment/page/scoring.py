# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From an image that was sent to what the page shows of it."""

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmfrac.apis.inferencer import FracInferencer
from mmfrac.deployment.memory_file import memory_file
from mmfrac.deployment.package import ModelPackage, curve_thresholds
from mmfrac.deployment.page.uploads import Upload
from mmfrac.deployment.results import ImageResult
from mmfrac.deployment.scorer import component_settings, map_of_sample, result_of_sample
from mmfrac.deployment.selection import UNREADABLE, Selection
from mmfrac.utils.errors import one_line
from mmfrac.utils.prob_map import component_boxes
from mmfrac.visualization.overlay import heat_colours

# longest side of a picture in a browser, px
_SHOWN = 2048
_LARGEST = 65535


class ShownImage(NamedTuple):
    """An image and what was found on it.

    Attributes:
        result (ImageResult): That of ``PackageScorer``, at the operating point.
        plane (np.ndarray | None): ``(h, w)`` uint16, bright bone on dark lung, for a browser; None where
            it cannot be read.
        prob_map (np.ndarray | None): ``(h, w)`` float32; None where the model gives none.
        max_per_img (int): Boxes at most.
    """

    result: ImageResult
    plane: np.ndarray | None = None
    prob_map: np.ndarray | None = None
    max_per_img: int = 100

    def at(self, threshold: float) -> ImageResult:
        """The result at another threshold, with the boxes that are shown.

        Args:
            threshold (float): Of the flag and of the components, none of which lies below it.
        """
        result = self.result
        if not result.scored or result.score is None:
            return result
        point = result.operating_point
        if point is None or point['threshold'] != threshold:
            point = dict(name=f'{threshold:g}', threshold=threshold)
        boxes, scores = self.boxes(threshold)
        return replace(
            result,
            boxes=boxes,
            scores=scores,
            flag=result.score >= threshold,
            operating_point=point,
        )

    def boxes(self, threshold: float) -> tuple[list, list]:
        """Boxes and scores of the components at a threshold."""
        result = self.result
        if self.prob_map is None or result.map_scale is None:
            kept = [
                (box, score)
                for box, score in zip(result.boxes, result.scores)
                if score >= threshold
            ]
            return [list(box) for box, _ in kept], [score for _, score in kept]
        scale = (float(result.map_scale[0]), float(result.map_scale[1]))
        size = (result.height, result.width)
        found = component_boxes(self.prob_map, scale, size, threshold, self.max_per_img)
        return found[0].tolist(), found[1].tolist()


class PageScorer:
    """A model, and what images of it are shown.

    Args:
        package (ModelPackage): The model.
        inferencer (FracInferencer): The same, ready to predict.
        selection (Selection, optional): Which images are scored. Defaults to None, frontal radiographs
            of the chest and images that say nothing of themselves.
        point (str, optional): Operating point that the page begins with. Defaults to None, the first.
    """

    def __init__(
        self,
        package: ModelPackage,
        inferencer: FracInferencer,
        selection: Selection | None = None,
        point: str | None = None,
    ) -> None:
        self.package, self.inferencer = package, inferencer
        self.selection = selection or Selection()
        self.point = package.operating_point(point)
        self.thresholds = curve_thresholds(package.operating_points)

    def score(self, upload: Upload) -> ShownImage:
        """Score an image.

        Args:
            upload (Upload): The image.

        Returns:
            ShownImage: Never raises: what goes wrong is a reason.
        """
        package, name, precision = self.package, upload.name, self.inferencer.precision
        if upload.refusal:
            result = ImageResult(
                name, package.identity, precision, reason='refused', error=upload.refusal
            )
            return ShownImage(result)
        with memory_file(upload.content) as path:
            return self._score(path, name)

    def _score(self, path: str, name: str) -> ShownImage:
        package, precision = self.package, self.inferencer.precision
        facts = self.selection.facts(path)
        try:
            loaded = self.inferencer.load(path, name)
        except (OSError, ValueError) as error:
            # the path is none that anybody knows
            text = one_line(error).replace(path, name)
            reason = facts.reason or UNREADABLE
            unread = ImageResult(
                name, package.identity, precision, reason=reason, error=text, **facts.fields()
            )
            return ShownImage(unread)
        plane = _shown(loaded.image)
        facts = self.selection.facts_of_pixels(facts, loaded.image.shape, loaded.notes)
        fields = facts.fields()
        if facts.reason:
            left_out = ImageResult(name, package.identity, precision, reason=facts.reason, **fields)
            return ShownImage(left_out, plane)
        try:
            sample = self.inferencer.predict([loaded])[0]
            result = result_of_sample(package, self.inferencer, sample, self.point, name, fields)
        except ValueError as error:
            unread = ImageResult(
                name,
                package.identity,
                precision,
                reason=UNREADABLE,
                error=one_line(error),
                **fields,
            )
            return ShownImage(unread, plane)
        prob_map = map_of_sample(sample)
        if prob_map is None:
            return ShownImage(result, plane)
        most = component_settings(self.inferencer)['max_per_img']
        return ShownImage(result, plane, np.ascontiguousarray(prob_map), most)

    def about(self) -> dict[str, Any]:
        """What the page says of the model."""
        package = self.package
        return dict(
            name=package.name,
            sha256=package.sha256,
            limits=package.limits,
            classes=list(package.classes),
            precision=self.inferencer.precision,
            thresholds=self.thresholds,
            operating_points=[point.as_dict() for point in package.operating_points],
            chosen=None if self.point is None else self.point.name,
            curve=self._curve(),
            # of a probability from 0 to 1
            palette=heat_colours(np.linspace(0, 1, 256)[:, None])[:, 0].tolist(),
        )

    def _curve(self) -> dict[str, Any] | None:
        """Rates at the thresholds; None if they were not measured."""
        curve = self.package.manifest.get('curve')
        names = ('thresholds', 'fppi', 'sensitivity')
        if not isinstance(curve, dict) or not all(
            isinstance(curve.get(one), list) for one in names
        ):
            return None
        rows = {row[0]: row[1:] for row in zip(*(curve[one] for one in names))}
        found = [rows.get(one, (None, None)) for one in self.thresholds]
        rates = [[one if isinstance(one, (int, float)) else None for one in row] for row in found]
        return dict(
            fppi=[row[0] for row in rates],
            sensitivity=[row[1] for row in rates],
            images=curve.get('images'),
            lesions=curve.get('lesions'),
        )


def frame(scored: ShownImage, thresholds: Sequence[float]) -> bytes:
    """An image as it is sent to a browser.

    Args:
        scored (ShownImage): The image.
        thresholds (Sequence[float]): For which it gets its boxes.

    Returns:
        bytes: Length of the header (4 bytes, least first), header (JSON), plane (uint16), map (float32).
    """
    plane, prob_map = scored.plane, scored.prob_map
    findings = []
    if scored.result.scored:
        findings = [dict(zip(('boxes', 'scores'), scored.boxes(one))) for one in thresholds]
    header = dict(
        result=scored.result.as_dict(),
        plane=None if plane is None else list(plane.shape[::-1]),
        map=None if prob_map is None else list(prob_map.shape[::-1]),
        findings=findings,
    )
    text = json.dumps(header, allow_nan=False).encode()
    parts = [struct.pack('<L', len(text)), text]
    if plane is not None:
        parts.append(plane.astype('<u2').tobytes())
    if prob_map is not None:
        parts.append(prob_map.astype('<f4').tobytes())
    return b''.join(parts)


def _shown(image: np.ndarray) -> np.ndarray:
    zoom = _SHOWN / max(image.shape)
    if zoom < 1:
        size = [max(1, round(side * zoom)) for side in image.shape[::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return (image.clip(0, 1) * _LARGEST).round().astype(np.uint16)
