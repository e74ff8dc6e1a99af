# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What every converter ends with: films to one COCO JSON, and a table of what became of them."""

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

from mmfrac.datasets.annotation_checks import bbox_fault, film_name, image_faults, label_fault
from mmfrac.datasets.subsets import SUBSETS, subset_of
from mmfrac.preparation.converters.film_record import (
    CATEGORY,
    ConversionSummary,
    FilmRecord,
    Lesion,
    coco_film,
)
from mmfrac.utils.annotation_error import raise_problems

__all__ = ['ConversionSummary', 'FilmRecord', 'FilmWriter', 'Lesion', 'write_films']

# Annotations wait in memory up to this many bytes, then in a temporary file.
_IN_MEMORY = 16 * 2**20


class FilmWriter:
    """Writes films one by one as the COCO JSON that ``CXRDataset`` and any mmdet detector read.

    A context manager. Films are checked as the loader would, and written to a temporary file that
    takes its name in :meth:`finish`; without it, nothing is left behind. Memory grows by the names of
    films and patients only.

    Args:
        out_file (str or os.PathLike): JSON to write; its folder is made.

    Raises:
        ValueError: If ``out_file`` is a folder, or lies below a file.

    Examples:
        >>> with FilmWriter('train.json') as writer:
        ...     faults = writer.add(FilmRecord('a.png', 512, 512, 0, True, 'here', 'p1'))
        ...     summary = writer.finish()
    """

    def __init__(self, out_file: str | os.PathLike) -> None:
        self.out_file = os.fspath(out_file)
        folder = os.path.dirname(self.out_file) or '.'
        while not os.path.exists(folder):
            folder = os.path.dirname(folder) or '.'
        if os.path.isdir(self.out_file):
            raise ValueError(f"cannot write '{self.out_file}': it is a folder, name a JSON file")
        if not os.path.isdir(folder):
            raise ValueError(f"cannot write '{self.out_file}': '{folder}' is not a folder")
        # The folder of the output is made last: a failed conversion leaves nothing.
        name = f'.{os.path.basename(self.out_file)}.{os.getpid()}.part'
        self._part = os.path.join(folder, name)
        self._places: dict[str, int] = {}
        self._patients: set[str] = set()
        self._groups: Counter[str] = Counter()
        self._boxes = self._polygons = 0
        self._faulty = False

    def __enter__(self) -> 'FilmWriter':
        self._images: TextIO = open(self._part, 'w', encoding='utf-8')
        self._annotations = tempfile.SpooledTemporaryFile(_IN_MEMORY, 'w+', encoding='utf-8')
        self._images.write('{"images": [')
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._images.close()
        self._annotations.close()
        if os.path.exists(self._part):
            os.remove(self._part)

    def __len__(self) -> int:
        return sum(self._groups.values())

    def add(self, film: FilmRecord) -> list[str]:
        """Check and write one film; ids count from 1.

        Args:
            film (FilmRecord): The film.

        Returns:
            list[str]: What is wrong with it; if anything is, the file cannot be finished.
        """
        place = len(self)
        image, annotations = coco_film(film, place + 1, self._boxes + 1)
        faults = image_faults(image)
        if not faults:
            boxes = (bbox_fault(a['bbox'], film.width, film.height) for a in annotations)
            faults = [fault for fault in boxes if fault]
            first = self._places.setdefault(film.file_name, place)
            if first != place:
                faults.append(f'duplicate file_name, also images[{first}]')
            contradiction = label_fault(film.label, film.regions, len(annotations))
            faults += [contradiction] if contradiction else []
        self._groups[subset_of(film.label, film.regions)] += 1
        self._faulty = self._faulty or bool(faults)
        if self._faulty:
            return faults
        self._images.write((', ' if place else '') + json.dumps(image))
        for annotation in annotations:
            self._annotations.write((', ' if self._boxes else '') + json.dumps(annotation))
            self._boxes += 1
            self._polygons += 'segmentation' in annotation
        self._patients.add(film.patient_id)
        return []

    def finish(
        self,
        left_out: dict[str, int] | None = None,
        changed: dict[str, int] | None = None,
        noted: dict[str, int] | None = None,
    ) -> ConversionSummary:
        """Give the file its name.

        Args:
            left_out (dict[str, int], optional): For the summary. Default: None.
            changed (dict[str, int], optional): For the summary. Default: None.
            noted (dict[str, int], optional): For the summary. Default: None.

        Returns:
            ConversionSummary: The counts.

        Raises:
            ValueError: If a film had a fault.
        """
        if self._faulty:
            raise ValueError(f'{self.out_file} is not written: a film of it has a fault')
        self._images.write('], "annotations": [')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, self._images)
        self._images.write('], "categories": ' + json.dumps([CATEGORY]) + '}')
        self._images.close()
        os.makedirs(os.path.dirname(self.out_file) or '.', exist_ok=True)
        os.replace(self._part, self.out_file)
        return ConversionSummary(
            out_file=self.out_file,
            films=len(self),
            boxes=self._boxes,
            polygons=self._polygons,
            patients=len(self._patients),
            subsets={name: self._groups[name] for name in SUBSETS},
            left_out=dict(left_out or {}),
            changed=dict(changed or {}),
            noted=dict(noted or {}),
        )


def write_films(
    films: Iterable[FilmRecord],
    out_file: str | os.PathLike,
    left_out: dict[str, int] | None = None,
    changed: dict[str, int] | None = None,
) -> ConversionSummary:
    """Write films in one go, see :class:`FilmWriter`.

    Args:
        films (Iterable[FilmRecord]): In the order of the output; ids count from 1.
        out_file (str or os.PathLike): JSON to write; its folder is made.
        left_out (dict[str, int], optional): For the summary. Default: None.
        changed (dict[str, int], optional): For the summary. Default: None.

    Returns:
        ConversionSummary: The counts.

    Raises:
        AnnotationError: If the loader would refuse the file; nothing is written.
    """
    problems = []
    with FilmWriter(out_file) as writer:
        for index, film in enumerate(films):
            name = film_name(index, dict(id=index + 1, file_name=film.file_name))
            problems += [f'{name}: {fault}' for fault in writer.add(film)]
        raise_problems(os.fspath(out_file), problems)
        return writer.finish(left_out, changed)
