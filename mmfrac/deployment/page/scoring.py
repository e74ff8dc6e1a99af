# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From an image that was sent to what the page shows of it."""

import json
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmfrac.apis.inferencer import FracInferencer
from mmfrac.deployment.memory_file import memory_file
from mmfrac.deployment.package import ModelPackage, curve_thresholds
from mmfrac.deployment.page.uploads import Upload
from mmfrac.deployment.results import Scored
from mmfrac.deployment.scorer import LoadedModel, ReadImage
from mmfrac.deployment.selection import UNREADABLE, ImageFacts, Selection
from mmfrac.utils.errors import one_line
from mmfrac.visualization.overlay import heat_colours

# longest side of a picture in a browser, px
_SHOWN = 2048
_LARGEST = 65535


class ShownImage(NamedTuple):
    """An image and what was found on it.

    Attributes:
        scored (Scored): What the model says, at the operating point.
        plane (np.ndarray | None): ``(h, w)`` uint16, bright bone on dark lung, for a browser; None where
            it cannot be read.
    """

    scored: Scored
    plane: np.ndarray | None = None


class PageScorer(LoadedModel):
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
        super().__init__(package, inferencer, package.operating_point(point))
        self.selection = selection or Selection()
        self.thresholds = curve_thresholds(package.operating_points)

    def score(self, upload: Upload) -> ShownImage:
        """Score an image.

        Args:
            upload (Upload): The image.

        Returns:
            ShownImage: Never raises: what goes wrong is a reason.
        """
        if upload.refusal:
            return ShownImage(self.left_out(upload.name, ImageFacts('refused'), upload.refusal))
        with memory_file(upload.content) as path:
            return self._score(path, upload.name)

    def _score(self, path: str, name: str) -> ShownImage:
        facts = self.selection.facts(path)
        try:
            loaded = self.inferencer.load(path, name)
        except (OSError, ValueError) as error:
            # the path is none that anybody knows
            text = one_line(error).replace(path, name)
            unread = facts._replace(reason=facts.reason or UNREADABLE)
            return ShownImage(self.left_out(name, unread, text))
        facts = self.selection.facts_of_pixels(facts, loaded.image.shape, loaded.notes)
        # one that is left out is shown, too
        image = ReadImage(name, facts, None, None if facts.reason else loaded)
        try:
            (scored,) = self.results([image])
        except ValueError as error:
            scored = self.left_out(name, facts._replace(reason=UNREADABLE), one_line(error))
        return ShownImage(scored, _shown(loaded.image))

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


def frame(shown: ShownImage, thresholds: Sequence[float]) -> bytes:
    """An image as it is sent to a browser.

    Args:
        shown (ShownImage): The image.
        thresholds (Sequence[float]): For which it gets its boxes.

    Returns:
        bytes: Length of the header (4 bytes, least first), header (JSON), plane (uint16), map (float32).
    """
    plane, (result, prob_map, _) = shown.plane, shown.scored
    findings = []
    if result.scored:
        findings = [
            dict(zip(('boxes', 'scores'), shown.scored.findings(one))) for one in thresholds
        ]
    header = dict(
        result=result.as_dict(),
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
