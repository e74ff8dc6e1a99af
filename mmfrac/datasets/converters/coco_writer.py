# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What every converter ends with: films to one COCO JSON, and a table of what became of them."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..annotation_checks import check_annotations
from ..annotation_error import raise_problems
from ..subsets import SUBSETS, subset_of

CATEGORY = 'fracture'


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
    """

    file_name: str
    width: int
    height: int
    label: int
    regions: bool
    source: str
    patient_id: str
    lesions: list[Lesion] = field(default_factory=list)


@dataclass
class ConversionSummary:
    """Counts of one conversion; ``str()`` is a table.

    Attributes:
        out_file (str): What was written.
        films, boxes, polygons, patients (int): In the output.
        subsets (dict[str, int]): Films in each of 'P_hos', 'N', 'P_pub', 'U'.
        left_out (dict[str, int]): What of the input is not in the output, and why.
        changed (dict[str, int]): What was altered on the way, e.g. boxes clipped.
    """

    out_file: str
    films: int
    boxes: int
    polygons: int
    patients: int
    subsets: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)

    @property
    def positives(self) -> int:
        """Films with label 1."""
        return self.subsets['P_hos'] + self.subsets['P_pub']

    def __str__(self) -> str:
        rows = [
            ('films', self.films),
            ('  with fracture and boxes (P_hos)', self.subsets['P_hos']),
            ('  with fracture, label only (P_pub)', self.subsets['P_pub']),
            ('  without fracture (N)', self.subsets['N']),
            ('  unknown (U)', self.subsets['U']),
            ('patients', self.patients),
            ('fracture boxes', self.boxes),
            ('  of them with polygon', self.polygons),
            *((f'left out: {reason}', count) for reason, count in self.left_out.items()),
            *((f'changed: {reason}', count) for reason, count in self.changed.items()),
        ]
        wide = max(len(name) for name, _ in rows)
        table = [f'{name:<{wide}} {count:>8}' for name, count in rows]
        return '\n'.join([f'wrote {self.out_file}', *table])


def write_films(
    films: Sequence[FilmRecord],
    out_file: str | os.PathLike,
    left_out: dict[str, int] | None = None,
    changed: dict[str, int] | None = None,
) -> ConversionSummary:
    """Write films as the COCO JSON that ``CXRDataset`` and any mmdet detector read.

    The file appears under its name only when it is complete and has passed the checks of the
    loader.

    Args:
        films (Sequence[FilmRecord]): In the order of the output; ids count from 1.
        out_file (str or os.PathLike): JSON to write; its folder is made.
        left_out (dict[str, int], optional): For the summary.
        changed (dict[str, int], optional): For the summary.

    Returns:
        ConversionSummary: The counts.

    Raises:
        AnnotationError: If the loader would refuse the file; nothing is written.
    """
    out_file = os.fspath(out_file)
    data = coco_of(films)
    raise_problems(out_file, check_annotations(data))
    os.makedirs(os.path.dirname(out_file) or '.', exist_ok=True)
    part = f'{out_file}.{os.getpid()}.part'
    try:
        with open(part, 'w', encoding='utf-8') as file:
            json.dump(data, file)
        os.replace(part, out_file)
    finally:
        if os.path.exists(part):
            os.remove(part)
    groups = Counter(subset_of(film.label, film.regions) for film in films)
    lesions = [lesion for film in films for lesion in film.lesions]
    return ConversionSummary(
        out_file=out_file,
        films=len(films),
        boxes=len(lesions),
        polygons=sum(lesion.polygon is not None for lesion in lesions),
        patients=len({film.patient_id for film in films}),
        subsets={name: groups[name] for name in SUBSETS},
        left_out=dict(left_out or {}),
        changed=dict(changed or {}),
    )


def coco_of(films: Sequence[FilmRecord]) -> dict:
    """Films as a COCO dict.

    Args:
        films (Sequence[FilmRecord]): The films.

    Returns:
        dict: ``images``, ``annotations``, ``categories``.
    """
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, film in enumerate(films, 1):
        images.append(
            dict(
                id=image_id,
                file_name=film.file_name,
                width=film.width,
                height=film.height,
                label=film.label,
                regions=film.regions,
                source=film.source,
                patient_id=film.patient_id,
            )
        )
        for lesion in film.lesions:
            x1, y1, x2, y2 = lesion.box
            annotation = dict(
                id=len(annotations) + 1,
                image_id=image_id,
                category_id=1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
            )
            if lesion.polygon is not None:
                annotation['segmentation'] = [lesion.polygon]
            if lesion.site is not None:
                annotation['site'] = lesion.site
            annotations.append(annotation)
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name=CATEGORY)])
