# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A packaged model as the node asks it: files in, results and prob maps out."""

from collections.abc import Iterator, Sequence

import numpy as np
from mmdet.structures import DetDataSample

from mmfrac.apis.inferencer import FracInferencer, LoadedImage, prediction_of_image
from mmfrac.deployment.node import Scored
from mmfrac.deployment.package import ModelPackage, OperatingPoint, package_inferencer
from mmfrac.deployment.results import ImageResult, ResultError
from mmfrac.deployment.selection import UNREADABLE, ImageFacts, Selection


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
                    wanted.append((index, facts, self.inferencer.load(path)))
                except (OSError, ValueError) as error:
                    found[index] = self._left_out(
                        path, facts._replace(reason=UNREADABLE), type(error).__name__
                    )
            else:
                found[index] = self._left_out(path, facts)
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
            height, width = loaded.image.shape
            facts = facts._replace(width=width, height=height)
            try:
                result = self.package.result(
                    prediction_of_image(loaded.name, sample),
                    self.inferencer.precision,
                    self.point,
                    image=loaded.name,
                    **facts.fields(),
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


def map_of_sample(sample: DetDataSample) -> np.ndarray | None:
    """Prob map ``(h', w')`` float32 of a prediction; None of a box detector's.

    Args:
        sample (DetDataSample): The prediction.
    """
    return sample.pred_prob_map.data[0].float().numpy() if 'pred_prob_map' in sample else None
