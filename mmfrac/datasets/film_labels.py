# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What an annotation file says of a film beside its boxes, absent fields filled in."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mmfrac.datasets.subsets import subset_of


class FilmLabels(NamedTuple):
    """Fields of a COCO image that plain COCO lacks.

    Attributes:
        label (int): 1 fracture, 0 none, -1 unknown; without it 1 for a film with a box, else 0.
        regions (bool): Whether its boxes are complete; without it so for label 0 and with a box.
        source (str): Where the film comes from; without it 'unknown'.
        patient (str): Without one the file name.
    """

    label: int
    regions: bool
    source: str
    patient: str

    @property
    def subset(self) -> str:
        """See ``subset_of``."""
        return subset_of(self.label, self.regions)


def film_labels(image: Mapping[str, Any], boxes: int) -> FilmLabels:
    """Labels of one film.

    Args:
        image (Mapping): COCO image.
        boxes (int): How many annotations it has.

    Returns:
        FilmLabels: With nothing absent.
    """
    label = image.get('label', int(boxes > 0))
    return FilmLabels(
        label=label,
        regions=image.get('regions', label == 0 or boxes > 0),
        source=image.get('source', 'unknown'),
        patient=str(image.get('patient_id', image['file_name'])),
    )


def labels_of_films(images: Iterable[dict], annotations: Iterable[dict]) -> list[FilmLabels]:
    """Labels of each film, in their order.

    Args:
        images (Iterable[dict]): COCO images.
        annotations (Iterable[dict]): COCO annotations.

    Returns:
        list[FilmLabels]: Of ``film_labels``.
    """
    boxes = Counter(annotation['image_id'] for annotation in annotations)
    return [film_labels(image, boxes[image['id']]) for image in images]
