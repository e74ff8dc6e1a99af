# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The images and lesions of a COCO annotation file, as an offline evaluation needs them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from mmfrac.datasets.coco_checks import read_annotations
from mmfrac.datasets.cxr_dataset import CXRDataset
from mmfrac.datasets.labels import ignored, lesions, names_of

_COCO_FIELDS = {'id', 'file_name', 'width', 'height', 'license', 'date_captured', 'flickr_url'}


@dataclass(frozen=True, eq=False)
class TrueImage:
    """What is known of an image.

    Attributes:
        name (str): ``file_name``.
        image_id (int): COCO id.
        shape (tuple[int, int]): (height, width) px.
        label (int): 1 fracture, 0 none, -1 unknown.
        regions (bool): Whether the boxes are complete.
        source (str): Data set or hospital.
        patient (str): Patient.
        boxes (np.ndarray): (n, 4) xyxy px, of the lesions.
        sites (tuple[str, ...]): (n) of each box, 'unknown' where not given.
        fields (dict): Other fields of the image, such as ``sex`` and ``age``.
        ignore_boxes (np.ndarray): (k, 4) xyxy px of boxes with ``iscrowd`` or ``ignore``.
    """

    name: str
    image_id: int
    shape: tuple[int, int]
    label: int
    regions: bool
    source: str
    patient: str
    boxes: np.ndarray
    sites: tuple[str, ...]
    fields: dict[str, Any] = field(default_factory=dict)
    ignore_boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """All images of an annotation file, in its order.

    Attributes:
        file (str): Annotation file.
        images (list[TrueImage]): Images.
        category_ids (tuple[int, ...]): COCO ids of the categories that are lesions.
        categories (dict[int, str]): Name of every category of the file, by its id.
    """

    file: str
    images: list[TrueImage]
    category_ids: tuple[int, ...]
    categories: dict[int, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the categories that are lesions; empty where they are not known."""
        return [self.categories[one] for one in self.category_ids if one in self.categories]


def read_ground_truth(
    ann_file: str | os.PathLike, category: str | Sequence[str] = 'fracture'
) -> GroundTruth:
    """Read and check an annotation file; what is absent has the defaults of ``CXRDataset``.

    Args:
        ann_file (str or PathLike): COCO JSON.
        category (str or Sequence[str]): Name of the category whose boxes are lesions, or of several,
            as ``metainfo.classes`` of a config names them. Defaults to 'fracture'.

    Returns:
        GroundTruth: Every image.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: With all that is wrong with it.
    """
    path = os.fspath(ann_file)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no annotation file {path}')
    dataset = CXRDataset(
        ann_file=path,
        metainfo=dict(classes=tuple(names_of(category) or ())),
        check_files=False,
        test_mode=True,
        serialize_data=False,
        pipeline=[],
    )
    content = read_annotations(path)
    fields = {image['id']: image for image in content['images']}
    images = [_image(info, fields[info['img_id']]) for info in dataset.data_list]
    names = {one['id']: one['name'] for one in content['categories']}
    return GroundTruth(path, images, tuple(dataset.cat_ids), names)


class ImageIndex:
    """Finds the image that a path or a COCO id means.

    A path means the image whose ``file_name`` is its end, of several the longest: so absolute paths and
    other image folders do not matter.

    Args:
        truth (GroundTruth): The images.
    """

    def __init__(self, truth: GroundTruth) -> None:
        self._by_parts = {PurePath(image.name).parts: image for image in truth.images}
        self._by_id = {image.image_id: image for image in truth.images}

    def by_path(self, path: str) -> TrueImage | None:
        """The image of a path; None if there is none."""
        parts = PurePath(path).parts
        ends = (self._by_parts.get(parts[start:]) for start in range(len(parts)))
        return next((image for image in ends if image is not None), None)

    def by_id(self, image_id: Any) -> TrueImage | None:
        """The image of a COCO id; None if there is none."""
        return self._by_id.get(image_id) if type(image_id) is int else None


def _image(info: dict, image: dict) -> TrueImage:
    found = lesions(info['instances'])
    known = {'label', 'regions', 'source', 'patient_id'} | _COCO_FIELDS
    return TrueImage(
        name=info['file_name'],
        image_id=info['img_id'],
        shape=(info['height'], info['width']),
        label=info['label'],
        regions=info['regions'],
        source=info['source'],
        patient=info['patient_id'],
        boxes=_boxes(found),
        ignore_boxes=_boxes(ignored(info['instances'])),
        sites=tuple(str(item['site'] or 'unknown') for item in found),
        fields={key: value for key, value in image.items() if key not in known},
    )


def _boxes(instances: list[dict]) -> np.ndarray:
    return np.array([item['bbox'] for item in instances], np.float64).reshape(-1, 4)
