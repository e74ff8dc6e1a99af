# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The films and lesions of a COCO annotation file, as an offline evaluation needs them."""

import os
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np

from mmfrac.datasets.coco_checks import read_annotations
from mmfrac.datasets.cxr_dataset import CXRDataset
from mmfrac.datasets.labels import lesions

_COCO_FIELDS = {'id', 'file_name', 'width', 'height', 'license', 'date_captured', 'flickr_url'}


@dataclass(frozen=True, eq=False)
class TrueFilm:
    """What is known of a film.

    Attributes:
        name (str): ``file_name``.
        image_id (int): COCO id.
        shape (tuple[int, int]): (height, width) px.
        label (int): 1 fracture, 0 none, -1 unknown.
        regions (bool): Whether the boxes are complete.
        source (str): Data set or hospital.
        patient (str): Patient.
        boxes (np.ndarray): (n, 4) xyxy px, without ignored ones.
        sites (tuple[str, ...]): (n) of each box, 'unknown' where not given.
        fields (dict): Other fields of the image, such as ``sex`` and ``age``.
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


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """All films of an annotation file, in its order.

    Attributes:
        file (str): Annotation file.
        films (list[TrueFilm]): Films.
        category_ids (tuple[int, ...]): COCO ids of the categories that are lesions.
    """

    file: str
    films: list[TrueFilm]
    category_ids: tuple[int, ...]


def read_ground_truth(ann_file: str | os.PathLike, category: str = 'fracture') -> GroundTruth:
    """Read and check an annotation file; what is absent has the defaults of ``CXRDataset``.

    Args:
        ann_file (str or PathLike): COCO JSON.
        category (str): Name of the category whose boxes are lesions. Defaults to 'fracture'.

    Returns:
        GroundTruth: Every film.

    Raises:
        FileNotFoundError: If there is no such file.
        AnnotationError: With all that is wrong with it.
    """
    path = os.fspath(ann_file)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no annotation file {path}')
    dataset = CXRDataset(
        ann_file=path,
        metainfo=dict(classes=(category,)),
        check_files=False,
        test_mode=True,
        serialize_data=False,
        pipeline=[],
    )
    images = {image['id']: image for image in read_annotations(path)['images']}
    films = [_film(info, images[info['img_id']]) for info in dataset.data_list]
    return GroundTruth(path, films, tuple(dataset.cat_ids))


class ImageIndex:
    """Finds the film that a path or a COCO id means.

    A path means the film whose ``file_name`` is its end, of several the longest: so absolute paths and
    other image folders do not matter.

    Args:
        truth (GroundTruth): The films.
    """

    def __init__(self, truth: GroundTruth) -> None:
        self._by_parts = {PurePath(film.name).parts: film for film in truth.films}
        self._by_id = {film.image_id: film for film in truth.films}

    def by_path(self, path: str) -> TrueFilm | None:
        """The film of a path; None if there is none."""
        parts = PurePath(path).parts
        ends = (self._by_parts.get(parts[start:]) for start in range(len(parts)))
        return next((film for film in ends if film is not None), None)

    def by_id(self, image_id: Any) -> TrueFilm | None:
        """The film of a COCO id; None if there is none."""
        return self._by_id.get(image_id) if type(image_id) is int else None


def _film(info: dict, image: dict) -> TrueFilm:
    found = lesions(info['instances'])
    known = {'label', 'regions', 'source', 'patient_id'} | _COCO_FIELDS
    return TrueFilm(
        name=info['file_name'],
        image_id=info['img_id'],
        shape=(info['height'], info['width']),
        label=info['label'],
        regions=info['regions'],
        source=info['source'],
        patient=info['patient_id'],
        boxes=np.array([item['bbox'] for item in found], np.float64).reshape(-1, 4),
        sites=tuple(str(item['site'] or 'unknown') for item in found),
        fields={key: value for key, value in image.items() if key not in known},
    )
