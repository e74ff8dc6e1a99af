# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A film of the output, as a record and as COCO; and the counts of a conversion."""

from dataclasses import dataclass, field

CATEGORY = dict(id=1, name='fracture')


@dataclass
class Lesion:
    """One fracture.

    Attributes:
        box (tuple): (x1, y1, x2, y2), px of the film.
        polygon (list[float], optional): [x1, y1, x2, y2, ...], px of the film.
        site (str, optional): 'rib', 'clavicle', ...
    """

    box: tuple[float, float, float, float]
    polygon: list[float] | None = None
    site: str | None = None


@dataclass
class FilmRecord:
    """One film of the output.

    Attributes:
        file_name (str): Path below the image folder.
        width, height (int): Size, px.
        label (int): 1 fracture, 0 none, -1 unknown.
        regions (bool): Whether ``lesions`` is complete.
        source (str): Data set or hospital.
        patient_id (str): Splits keep a patient's films together.
        lesions (list[Lesion]): Default: none.
        extra (dict[str, str]): More fields of its image, e.g. ``view``. Default: none.
    """

    file_name: str
    width: int
    height: int
    label: int
    regions: bool
    source: str
    patient_id: str
    lesions: list[Lesion] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)


@dataclass
class ConversionSummary:
    """Counts of one conversion; ``str()`` is a table.

    Attributes:
        out_file (str): What was written.
        films, boxes, polygons, patients (int): In the output.
        subsets (dict[str, int]): Films in each of 'P_hos', 'N', 'P_pub', 'U'.
        left_out (dict[str, int]): What of the input is not in the output, and why.
        changed (dict[str, int]): What was altered on the way, e.g. boxes clipped.
        noted (dict[str, int]): What else there is to know, e.g. films of an unknown view.
    """

    out_file: str
    films: int
    boxes: int
    polygons: int
    patients: int
    subsets: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)

    @property
    def positives(self) -> int:
        """Films with label 1."""
        return self.subsets['P_hos'] + self.subsets['P_pub']

    def __str__(self) -> str:
        rows = [
            ('films', self.films),
            ('positives', self.positives),
            ('  with fracture and boxes (P_hos)', self.subsets['P_hos']),
            ('  with fracture, label only (P_pub)', self.subsets['P_pub']),
            ('  without fracture (N)', self.subsets['N']),
            ('  unknown (U)', self.subsets['U']),
            ('patients', self.patients),
            ('fracture boxes', self.boxes),
            ('  of them with polygon', self.polygons),
            *((f'left out: {reason}', count) for reason, count in self.left_out.items()),
            *((f'changed: {reason}', count) for reason, count in self.changed.items()),
            *((f'noted: {reason}', count) for reason, count in self.noted.items()),
        ]
        wide = max(len(name) for name, _ in rows)
        table = [f'{name:<{wide}} {count:>8}' for name, count in rows]
        return '\n'.join([f'wrote {self.out_file}', *table])


def coco_film(film: FilmRecord, image_id: int, first_id: int) -> tuple[dict, list[dict]]:
    """A film as a COCO image and its annotations.

    Args:
        film (FilmRecord): The film.
        image_id (int): Its id.
        first_id (int): Id of its first annotation; the others count on.

    Returns:
        tuple[dict, list[dict]]: Image and annotations.
    """
    image = dict(
        id=image_id,
        file_name=film.file_name,
        width=film.width,
        height=film.height,
        label=film.label,
        regions=film.regions,
        source=film.source,
        patient_id=film.patient_id,
        **film.extra,
    )
    annotations = []
    for annotation_id, lesion in enumerate(film.lesions, first_id):
        x1, y1, x2, y2 = lesion.box
        annotation = dict(
            id=annotation_id,
            image_id=image_id,
            category_id=CATEGORY['id'],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            area=(x2 - x1) * (y2 - y1),
            iscrowd=0,
        )
        if lesion.polygon is not None:
            annotation['segmentation'] = [lesion.polygon]
        if lesion.site is not None:
            annotation['site'] = lesion.site
        annotations.append(annotation)
    return image, annotations
