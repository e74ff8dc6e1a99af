# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The user's own films without fractures, and whose they are."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath

from mmfrac.datasets.coco_checks import (
    check_annotations,
    find_missing,
    image_name,
    read_annotations,
)
from mmfrac.datasets.labels import labels_of_films
from mmfrac.datasets.radiographs.read import is_image
from mmfrac.preparation.tables.table import Problems, Table
from mmfrac.preparation.tables.values import read_label, read_patient
from mmfrac.utils.errors import AnnotationError, MissingImageError, raise_problems
from mmfrac.utils.walk import files_below

# Columns that say that a film of the table of patients has a fracture.
_LABEL = ('label', 'fracture')

# What labellers of reports write for a film without any finding.
_NO_FINDING = re.compile(r'no[\s_-]*findings?', re.IGNORECASE)

# Columns that a message names.
_SHOWN = 20


@dataclass(frozen=True)
class NegativeImage:
    """One film without a fracture.

    Attributes:
        path (str): The file.
        name (str): Its path below the folder of films, with '/'.
        patient_id (str): Splits keep a patient's films together.
    """

    path: str
    name: str
    patient_id: str


def negatives_of_annotations(
    annotation_file: str | os.PathLike,
    image_dir: str | os.PathLike,
    allow_outside: bool = False,
) -> tuple[list[NegativeImage], dict[str, int]]:
    """Films with label 0 of an annotation file.

    Args:
        annotation_file (str or os.PathLike): COCO JSON with mmfrac's fields; every negative needs its
            `patient_id`.
        image_dir (str or os.PathLike): Folder of its file names.
        allow_outside (bool): Take names that lead out of that folder. Defaults to False.

    Returns:
        tuple[list[NegativeImage], dict[str, int]]: Films by name, and how many films were left out why.

    Raises:
        FileNotFoundError: If file or folder is missing.
        AnnotationError: With all that is wrong with the file; films that are missing included.
    """
    file, folder = os.fspath(annotation_file), os.fspath(image_dir)
    _need_folder(folder)
    if not os.path.isfile(file):
        raise FileNotFoundError(f"no annotation file '{file}'")
    data = read_annotations(file)
    raise_problems(file, check_annotations(data, outside=allow_outside))
    boxed = {annotation['image_id'] for annotation in data['annotations']}
    labels = labels_of_films(data['images'], data['annotations'])
    left_out: Counter[str] = Counter()
    negatives = []
    for index, (image, of_image) in enumerate(zip(data['images'], labels)):
        label = of_image.label
        if label == 0 and image['id'] in boxed:
            left_out['label 0, has a box that is ignored'] += 1
        elif label == 0:
            negatives.append((image_name(index, image), image))
        else:
            left_out['label 1, has a fracture' if label == 1 else 'label -1, unknown'] += 1
    unknown = [
        f"{name}: no 'patient_id'; splits keep a patient's films together"
        for name, image in negatives
        if 'patient_id' not in image
    ]
    raise_problems(file, unknown)
    raise_problems(file, find_missing(negatives, folder), MissingImageError)
    images = [
        NegativeImage(
            os.path.join(folder, image['file_name']),
            _below(image['file_name']),
            str(image['patient_id']),
        )
        for _, image in negatives
    ]
    return _sorted(images, file), dict(left_out)


def negatives_of_folder(
    image_dir: str | os.PathLike,
    patients: str | os.PathLike | None = None,
    columns: tuple[str, str] = ('file_name', 'patient_id'),
    pattern: str | None = None,
) -> tuple[list[NegativeImage], dict[str, int]]:
    """Films of a folder and its subfolders, none of which shows a fracture.

    Args:
        image_dir (str or os.PathLike): The folder.
        patients (str or os.PathLike, optional): CSV, see ``Table``, with a row for each film that is
            wanted; films are named by their path below the folder or, if that is unique, by their file
            name. Where it has one column ``label`` or ``fracture``, that is 0, 'No Finding' or blank
            in each row. Defaults to None.
        columns (tuple[str, str]): Its columns of film and patient. Defaults to 'file_name',
            'patient_id'.
        pattern (str, optional): In place of the CSV: regular expression that is searched in the film's
            path below the folder; its first group is the patient. Defaults to None.

    Returns:
        tuple[list[NegativeImage], dict[str, int]]: Films by name, and how many files were left out why.

    Raises:
        FileNotFoundError: If folder or CSV is missing.
        ValueError: If there is neither CSV nor pattern, or no film is left.
        AnnotationError: With all that is wrong with the CSV, or all films the pattern does not fit.
    """
    folder = os.fspath(image_dir)
    _need_folder(folder)
    if (patients is None) == (pattern is None):
        raise ValueError(
            'whose the films are must be known: give either a CSV of the patients (--patients) or a '
            r"pattern of the file names (--patient-pattern '(\d{8})_\d{3}' for NIH ChestX-ray14)"
        )
    left_out: Counter[str] = Counter()
    names = _image_names(folder, left_out)
    if patients is not None:
        owners = _read_owners(os.fspath(patients), columns, names, left_out)
    else:
        owners = _match_owners(str(pattern), names, folder)
    images = [
        NegativeImage(os.path.join(folder, name), name, owners[name])
        for name in names
        if name in owners
    ]
    return _sorted(images, folder), dict(left_out)


def _below(file_name: str) -> str:
    """A name that stays below the folder it is joined to: file names may be absolute."""
    parts = PurePath(file_name).parts
    return '/'.join(part for part in parts if part not in (os.sep, os.pardir))


def _need_folder(folder: str) -> None:
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no folder of films '{folder}'")


def _sorted(images: list[NegativeImage], where: str) -> list[NegativeImage]:
    if not images:
        raise ValueError(f'no film without fracture in {where}')
    return sorted(images, key=lambda image: image.name)


def _image_names(folder: str, left_out: Counter[str]) -> list[str]:
    """Paths of films below the folder, but for hidden folders."""
    names = []
    for path in files_below(folder, hidden=False):
        if is_image(path):
            names.append(os.path.relpath(path, folder).replace(os.sep, '/'))
        else:
            left_out['file that is no film'] += 1
    return names


def _match_owners(pattern: str, names: list[str], folder: str) -> dict[str, str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f'{pattern!r} is no regular expression: {error}') from error
    if compiled.groups < 1:
        raise ValueError(f'{pattern!r} has no group (...): the first group is the patient')
    owners, problems = {}, []
    for name in names:
        match = compiled.search(name)
        if not match or not match.group(1):
            problems.append(f'{name}: the pattern {pattern!r} finds no patient')
            continue
        try:
            owners[name] = read_patient(match.group(1))
        except ValueError as error:
            problems.append(f'{name}: the pattern {pattern!r} finds {match.group(1)!r}: {error}')
    raise_problems(folder, problems)
    return owners


def _read_owners(
    file: str, columns: tuple[str, str], names: list[str], left_out: Counter[str]
) -> dict[str, str]:
    if not os.path.isfile(file):
        raise FileNotFoundError(f"no CSV of the patients '{file}'")
    known = {name: [name] for name in names}
    for name in names:
        base = name.rsplit('/', 1)[-1]
        if base != name:
            known.setdefault(base, []).append(name)
    problems = Problems()
    wanted = dict(film=columns[:1], patient=columns[1:])
    table = Table(file, {}, problems, wanted)
    problems.raise_any([file])
    absent = [column for key, (column,) in wanted.items() if not table.has(key)]
    if absent:
        raise AnnotationError(
            f'{file}: no column {absent}; those that nobody reads are {list(table.unread[:_SHOWN])}; '
            'name yours with --columns'
        )
    unread = [column.lower() for column in table.unread]
    labels = {name: (name,) for name in _LABEL if unread.count(name) == 1}
    table = Table(file, {}, problems, {**wanted, **labels})
    owners: dict[str, str] = {}
    for line, (film, patient, *said) in table.rows():
        try:
            path = _film_of_row(film, known)
            doubts = [label for label in said if not _may_be_negative(label)]
            if path is None:
                left_out['row of a film that is not in the folder'] += 1
            elif doubts:
                raise ValueError(
                    f'film {film!r} has label {doubts[0]!r}, and fractures are drawn into films of '
                    "label 0, 'No Finding' or blank alone: take the row out"
                )
            elif owners.setdefault(path, read_patient(patient)) != patient:
                raise ValueError(f'{film!r} of patient {patient!r} is of {owners[path]!r} above')
        except ValueError as error:
            problems.add(table.name, line, str(error))
    problems.raise_any([file])
    without = len(names) - len(owners)
    if without:
        left_out['film without a row'] += without
    return owners


def _film_of_row(film: str, known: dict[str, list[str]]) -> str | None:
    """Path of the film that a row names; None if it is not in the folder."""
    if not film:
        raise ValueError('no film')
    found = known.get(film.replace('\\', '/'), [])
    if len(found) > 1:
        raise ValueError(f'{film!r} is any of {found[:3]}')
    return found[0] if found else None


def _may_be_negative(label: str) -> bool:
    """Whether a label says that there is no fracture, or nothing."""
    if _NO_FINDING.fullmatch(label):
        return True
    try:
        return read_label(label) in (0, None)
    except ValueError:
        return False
