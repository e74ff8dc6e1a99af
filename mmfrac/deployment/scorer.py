# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A packaged model at work: files or predictions in, results and prob maps out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmdet.structures import DetDataSample

from mmfrac.apis.inferencer import FracInferencer, LoadedImage, prediction_of_image
from mmfrac.deployment.package import ModelPackage, PackagePoint, package_inferencer
from mmfrac.deployment.results import ResultError, ResultLine, Scored
from mmfrac.deployment.selection import UNREADABLE, ImageFacts, Selection


class ReadImage(NamedTuple):
    """An image that was read, or why it is not scored.

    Attributes:
        name (str): What it is called.
        facts (ImageFacts): What is known of it, with the reason not to score it.
        error (str | None): Why it cannot be read. Defaults to None.
        loaded (LoadedImage | None): What the model gets; None where it is not scored. Defaults to None.
    """

    name: str
    facts: ImageFacts
    error: str | None = None
    loaded: LoadedImage | None = None


class LoadedModel:
    """A packaged model, ready to predict: from images that were read to their results.

    Args:
        package (ModelPackage): The model.
        inferencer (FracInferencer): The same.
        point (PackagePoint, optional): For the flags. Defaults to None, none.
    """

    def __init__(
        self,
        package: ModelPackage,
        inferencer: FracInferencer,
        point: PackagePoint | None = None,
    ) -> None:
        self.package, self.inferencer, self.point = package, inferencer, point

    def results(self, images: Sequence[ReadImage], names_errors: bool = False) -> list[Scored]:
        """Results of images, those that are scored in one forward pass.

        Boxes are those of ``tools/test.py``, components of the map at the detector's ``component_thr``.
        Where the operating point lies below that, they are the components at the point: what is flagged
        has a box.

        Args:
            images (Sequence[ReadImage]): Images.
            names_errors (bool): Whether the error of an image that the model gives no result for names
                it. Defaults to False.

        Returns:
            list[Scored]: One each, in their order; what is not scored has a reason.
        """
        loaded = [one.loaded for one in images if one.loaded is not None]
        samples = iter(self.inferencer.predict(loaded) if loaded else ())
        found = []
        for name, facts, error, one in images:
            if one is None:
                found.append(self.left_out(name, facts, error))
                continue
            try:
                found.append(self._scored(next(samples), name, facts))
            except ResultError as fault:
                # NaN of a network on an image that nobody foresaw
                what = f"the model gives no result for film '{name}': " if names_errors else ''
                unread = facts._replace(reason=UNREADABLE)
                found.append(self.left_out(name, unread, f'{what}{fault}'))
        return found

    def left_out(self, name: str, facts: ImageFacts, error: str | None = None) -> Scored:
        """What there is to say of an image that is not scored.

        Args:
            name (str): What it is called.
            facts (ImageFacts): With the reason.
            error (str, optional): What went wrong. Defaults to None.
        """
        model, precision = self.package.identity, self.inferencer.precision
        return Scored(
            ResultLine(name, model, precision, reason=facts.reason, error=error, **facts.fields())
        )

    def _scored(self, sample: DetDataSample, name: str, facts: ImageFacts) -> Scored:
        prediction, precision = prediction_of_image(name, sample), self.inferencer.precision
        result = self.package.result(
            prediction, precision, self.point, image=name, **facts.fields()
        )
        options = self.inferencer.component_options
        scored = Scored(result, map_of_sample(sample), options['max_per_img'])
        threshold = options['component_thr'] if self.point is None else self.point.threshold
        if scored.prob_map is None or threshold >= options['component_thr']:
            return scored
        return scored._replace(result=scored.at(threshold))


class PackageScorer(LoadedModel):
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
        inferencer = package_inferencer(package, device, precision)
        super().__init__(package, inferencer, package.operating_point(point))
        self.selection, self.batch_size = selection or Selection(), batch_size

    def __call__(self, paths: Sequence[str]) -> list[Scored]:
        """Score images.

        Args:
            paths (Sequence[str]): DICOM files.

        Returns:
            list[Scored]: One each, in their order; what is not scored has a reason.
        """
        scored: list[Scored] = []
        batch: list[ReadImage] = []
        for path in paths:
            batch.append(self._read(path))
            if sum(one.loaded is not None for one in batch) == self.batch_size:
                scored += self.results(batch)
                batch = []
        return scored + self.results(batch)

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

    def _read(self, path: str) -> ReadImage:
        facts = self.selection.facts(path)
        if facts.reason:
            return ReadImage(path, facts, facts.error(path))
        try:
            loaded = self.inferencer.load(path)
        except (OSError, ValueError) as error:
            # its text may quote the header
            return ReadImage(path, facts._replace(reason=UNREADABLE), type(error).__name__)
        facts = self.selection.facts_of_pixels(facts, loaded.image.shape, loaded.notes)
        return ReadImage(path, facts, None, None if facts.reason else loaded)


def map_of_sample(sample: DetDataSample) -> np.ndarray | None:
    """Prob map ``(h', w')`` float32 of a prediction; None of a box detector's.

    Args:
        sample (DetDataSample): The prediction.
    """
    return sample.pred_prob_map.data[0].float().numpy() if 'pred_prob_map' in sample else None
