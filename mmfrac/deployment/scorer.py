# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A packaged model at work: files or predictions in, results and prob maps out."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from mmdet.structures import DetDataSample

from mmfrac.apis.inferencer import FracInferencer, LoadedImage, prediction_of_image
from mmfrac.deployment.package import ModelPackage, OperatingPoint, package_inferencer
from mmfrac.deployment.results import ImageResult, ResultError
from mmfrac.deployment.selection import UNREADABLE, ImageFacts, Selection
from mmfrac.utils.prob_map import component_boxes

# of a detector whose config says nothing
_COMPONENTS: dict[str, Any] = dict(component_thr=0.2, max_per_img=100)


class Scored(NamedTuple):
    """What a model says of an image.

    Attributes:
        result (ImageResult): The result, or why there is none.
        prob_map (np.ndarray, optional): ``(h', w')``; None of a box detector.
    """

    result: ImageResult
    prob_map: np.ndarray | None = None


class PackageScorer:
    """Scores images that a selection takes, in batches.

    Args:
        package (ModelPackage): The model.
        selection (Selection, optional): Defaults to None, frontal radiographs of the chest.
        point (str, optional): Operating point. Defaults to None, the first of the package.
        device (str, optional): Defaults to None, what there is.
        precision (str, optional): Defaults to None, that of the package.
        batch_size (int): Defaults to 4.

    Raises:
        ValueError: If there is no such operating point, or the device cannot have the precision.
    """

    def __init__(
        self,
        package: ModelPackage,
        selection: Selection | None = None,
        point: str | None = None,
        device: str | None = None,
        precision: str | None = None,
        batch_size: int = 4,
    ) -> None:
        self.package, self.batch_size = package, batch_size
        self.selection = selection or Selection()
        self.point: OperatingPoint | None = package.operating_point(point)
        self.inferencer: FracInferencer = package_inferencer(package, device, precision)

    def __call__(self, paths: Sequence[str]) -> list[Scored]:
        """Score images.

        Args:
            paths (Sequence[str]): DICOM files.

        Returns:
            list[Scored]: One each, in their order; what is not scored has a reason.
        """
        found: dict[int, Scored] = {}
        wanted: list[tuple[int, ImageFacts, LoadedImage]] = []
        for index, path in enumerate(paths):
            facts = self.selection.facts(path)
            if not facts.reason:
                try:
                    loaded = self.inferencer.load(path)
                except (OSError, ValueError) as error:
                    found[index] = self._left_out(
                        path, facts._replace(reason=UNREADABLE), type(error).__name__
                    )
                    continue
                facts = self.selection.facts_of_pixels(facts, loaded.image.shape, loaded.notes)
            if facts.reason:
                found[index] = self._left_out(path, facts, facts.error(path))
            else:
                wanted.append((index, facts, loaded))
            if len(wanted) == self.batch_size:
                found |= dict(self._batch(wanted))
                wanted = []
        if wanted:
            found |= dict(self._batch(wanted))
        return [found[index] for index in range(len(paths))]

    def prob_map(self, path: str) -> np.ndarray | None:
        """Prob map of one image, whatever the selection says of it.

        Args:
            path (str): The file.

        Returns:
            np.ndarray or None: ``(h', w')`` float32; None of a box detector.

        Raises:
            ValueError: If it cannot be read.
        """
        (sample,) = self.inferencer.predict([self.inferencer.load(path)])
        return map_of_sample(sample)

    def _batch(
        self, wanted: list[tuple[int, ImageFacts, LoadedImage]]
    ) -> Iterator[tuple[int, Scored]]:
        samples = self.inferencer.predict([loaded for _, _, loaded in wanted])
        for (index, facts, loaded), sample in zip(wanted, samples):
            try:
                result = result_of_sample(
                    self.package,
                    self.inferencer,
                    sample,
                    self.point,
                    loaded.name,
                    facts.fields(),
                )
            except ResultError as error:
                # NaN of a network on an image that nobody foresaw
                facts = facts._replace(reason=UNREADABLE)
                yield index, self._left_out(loaded.name, facts, str(error))
                continue
            yield index, Scored(result, map_of_sample(sample))

    def _left_out(self, path: str, facts: ImageFacts, error: str | None = None) -> Scored:
        result = ImageResult(
            image=path,
            model=self.package.identity,
            precision=self.inferencer.precision,
            reason=facts.reason,
            error=error,
            **facts.fields(),
        )
        return Scored(result)


def result_of_sample(
    package: ModelPackage,
    inferencer: FracInferencer,
    sample: DetDataSample,
    point: OperatingPoint | None,
    name: str,
    fields: dict[str, Any],
) -> ImageResult:
    """The result of a prediction.

    Its boxes are those of ``tools/test.py``, components of the map at the detector's ``component_thr``.
    Where the operating point lies below that, they are the components at the point: what is flagged has
    a box.

    Args:
        package (ModelPackage): The model.
        inferencer (FracInferencer): The same, which predicted.
        sample (DetDataSample): The prediction.
        point (OperatingPoint, optional): For the flag.
        name (str): What the image is called.
        fields (dict): ``width`` and ``height``, and what else is known of the image.

    Returns:
        ImageResult: The result.

    Raises:
        ResultError: If it is none, e.g. NaN.
    """
    prediction = prediction_of_image(name, sample)
    prob_map, scale = map_of_sample(sample), prediction['map_scale']
    settings = component_settings(inferencer)
    if point is not None and prob_map is not None and point.threshold < settings['component_thr']:
        boxes, scores = component_boxes(
            prob_map,
            (scale[0], scale[1]),
            (fields['height'], fields['width']),
            point.threshold,
            settings['max_per_img'],
        )
        prediction |= dict(boxes=boxes.tolist(), scores=scores.tolist())
    return package.result(prediction, inferencer.precision, point, image=name, **fields)


def component_settings(inferencer: FracInferencer) -> dict[str, Any]:
    """``component_thr`` and ``max_per_img`` of a detector of prob maps.

    Args:
        inferencer (FracInferencer): The detector.
    """
    model = getattr(inferencer.model, 'student', inferencer.model)
    own = getattr(model, 'test_cfg', None) or {}
    return {key: own.get(key, usual) for key, usual in _COMPONENTS.items()}


def map_of_sample(sample: DetDataSample) -> np.ndarray | None:
    """Prob map ``(h', w')`` float32 of a prediction; None of a box detector's.

    Args:
        sample (DetDataSample): The prediction.
    """
    return sample.pred_prob_map.data[0].float().numpy() if 'pred_prob_map' in sample else None
