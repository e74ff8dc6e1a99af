# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A phantom data set: which films it consists of, and how they are written."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from mmfrac.preparation.phantom.dicom_file import write_dicom
from mmfrac.preparation.phantom.render import image_truth, render_image
from mmfrac.utils.io import foreign_files, remove_files, remove_temporary_files, write_json
from mmfrac.utils.processes import map_files

SPLITS = ('train', 'val', 'test')

ROLES = ('P_hos', 'N_hos', 'P_pub', 'N_pub')

_PAPER_COUNTS = {'P_hos': 580, 'N_hos': 9858, 'P_pub': 4825, 'N_pub': 16921}

FEWEST = 4

_PATIENTS_PER_SEED = 1_000_000


class ImagePlan(NamedTuple):
    """All that is needed to render one film."""

    file_name: str
    patient_id: str
    role: str  # one of ROLES
    patient_seed: int
    image_seed: int
    num_fractures: int
    monochrome1: bool
    modality: str


def paper_counts(num_train: int) -> dict[str, int]:
    """Training counts in the paper's proportions.

    Args:
        num_train: Number of training films, at least 16.

    Returns:
        P_hos, N_hos, P_pub, N_pub; they sum to `num_train`, each at least 4.

    Raises:
        ValueError: If `num_train` is too small.
    """
    if num_train < FEWEST * len(ROLES):
        raise ValueError(f'num_train={num_train}: at least {FEWEST * len(ROLES)} films are needed')
    total = sum(_PAPER_COUNTS.values())
    counts = {r: max(FEWEST, round(num_train * n / total)) for r, n in _PAPER_COUNTS.items()}
    surplus = sum(counts.values()) - num_train
    for role in ('N_pub', 'N_hos', 'P_pub'):
        taken = min(surplus, counts[role] - FEWEST)
        counts[role] -= taken
        surplus -= taken
    return counts


def check_counts(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Fill in zeros and reject what cannot be meant.

    Args:
        counts: Films per split and role. 'val' and 'test' have P_hos and N_hos only.

    Returns:
        A plain copy with every split and role.

    Raises:
        ValueError: On an unknown split or role, a negative or fractional count, or no film at all.
    """
    full = {split: dict.fromkeys(ROLES, 0) for split in SPLITS}
    for split, roles in counts.items():
        if split not in full:
            raise ValueError(f'counts[{split!r}]: unknown split; choose from {SPLITS}')
        allowed = ROLES if split == 'train' else ROLES[:2]
        for role, count in roles.items():
            if role not in allowed:
                raise ValueError(f'counts[{split!r}][{role!r}]: unknown; choose from {allowed}')
            if int(count) != count or count < 0:
                raise ValueError(f'counts[{split!r}][{role!r}]={count!r}: not a number of films')
            full[split][role] = int(count)
    if not any(any(roles.values()) for roles in full.values()):
        raise ValueError('counts: no film asked for')
    return full


def plan_phantom(
    counts: Mapping[str, Mapping[str, int]], seed: int, lesions_per_film: tuple[int, int]
) -> dict[str, list[ImagePlan]]:
    """Deal the films of each split to patients of 1 to 3 films.

    A patient is of one split and one source, but may have films with and without a fracture.

    Args:
        counts: As `check_counts` returns them.
        seed: Seed of the set.
        lesions_per_film: Fewest and most fractures of a positive film.

    Returns:
        Films per split.
    """
    plans: dict[str, list[ImagePlan]] = {}
    patient = 0
    for index, split in enumerate(SPLITS):
        rng = np.random.default_rng([6, seed, index])
        plans[split] = []
        for source in ('hos', 'pub'):
            roles = [f'{sign}_{source}' for sign in 'PN']
            kinds = np.repeat(np.arange(2), [counts[split][role] for role in roles])
            deck = rng.permutation(kinds).tolist()
            while deck:
                patient += 1
                number = int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
                for image_index in range(min(number, len(deck))):
                    positive = deck.pop() == 0
                    some = int(rng.integers(lesions_per_film[0], lesions_per_film[1] + 1))
                    chance = rng.random(2)
                    plans[split].append(
                        ImagePlan(
                            file_name=f'P{patient:06d}_{image_index}.dcm',
                            patient_id=f'P{patient:06d}',
                            role=roles[0] if positive else roles[1],
                            patient_seed=seed * _PATIENTS_PER_SEED + patient,
                            image_seed=image_index,
                            num_fractures=some if positive else 0,
                            monochrome1=bool(chance[0] < 1.0 / 3.0),
                            modality='DX' if chance[1] < 0.7 else 'CR',
                        )
                    )
    return plans


FORMAT_VERSION = 1

_PARAMETERS_NAME = 'phantom.json'

_ANNOTATION_NAMES = ('train.json', 'val.json', 'test.json', 'train_truth.json')


def write_phantom(
    out_dir: str | os.PathLike[str],
    counts: Mapping[str, Mapping[str, int]],
    size: int = 320,
    seed: int = 0,
    difficulty: float = 0.3,
    workers: int = 2,
    lesions_per_film: tuple[int, int] = (1, 3),
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, dict[str, int]]:
    """Write a phantom set, or what is missing of it.

    Args:
        out_dir: Folder of the set; gets `images/`, `annotations/` and `phantom.json`.
        counts: Films per split ('train', 'val', 'test') and role (P_hos, N_hos, P_pub, N_pub;
            'val' and 'test' have the first two).
        size: Edge of the films in px, default 320.
        seed: Seed of the set, default 0.
        difficulty: 0 obvious to 1 subtle fractures, default 0.3.
        workers: Processes; the result does not depend on it, default 2.
        lesions_per_film: Fewest and most fractures of a positive film, default (1, 3).
        overwrite: Replace a set of other parameters, default False.
        progress: Show a progress bar, default True.

    Returns:
        films, positives, boxes and patients per split (train: boxes of `train_truth.json`).

    Raises:
        ValueError: On impossible parameters, or if the folder holds something else.
    """
    low, high = lesions_per_film
    if not 1 <= low <= high:
        raise ValueError(f'lesions_per_film={lesions_per_film}: 1 <= fewest <= most must hold')
    if seed < 0 or size < 32 or not 0.0 <= difficulty <= 1.0 or workers < 0:
        raise ValueError(
            f'seed={seed}, size={size}, difficulty={difficulty}, workers={workers}: needed are '
            'seed >= 0, size >= 32, difficulty in [0, 1], workers >= 0'
        )
    parameters: dict[str, Any] = {
        'format_version': FORMAT_VERSION,
        'counts': check_counts(counts),
        'size': int(size),
        'seed': int(seed),
        'difficulty': float(difficulty),
        'lesions_per_film': [int(low), int(high)],
    }
    root = Path(out_dir)
    _claim(root, parameters, overwrite)
    plans = plan_phantom(parameters['counts'], parameters['seed'], (int(low), int(high)))
    tasks = [plan for split in SPLITS for plan in plans[split]]
    if _is_complete(root, tasks):
        return _summary_of(root)
    make = partial(_make_image, root / 'images', int(size), float(difficulty))
    if workers > 1:
        # Compiles and caches the kernels once, before the processes part.
        render_image(0, 0, size=32)
    results = tqdm(
        map_files(make, tasks, workers if workers > 1 else 0, _not_drawn),
        total=len(tasks),
        desc=f'phantom {root.name}',
        unit='film',
        disable=not progress,
        mininterval=0.2 if sys.stderr.isatty() else 15.0,
    )
    truths = {plan.file_name: truth for plan, truth in zip(tasks, results)}

    for split in SPLITS:
        content = _coco(plans[split], truths, int(size), hide_public=False)
        if split == 'train':
            write_json(root / 'annotations' / 'train_truth.json', content)
            content = _coco(plans[split], truths, int(size), hide_public=True)
        write_json(root / 'annotations' / f'{split}.json', content)
    return _summary_of(root)


def _is_complete(root: Path, tasks: list[ImagePlan]) -> bool:
    """Whether nothing is left to do; the annotation files are written last, with these parameters."""
    annotations = [root / 'annotations' / name for name in _ANNOTATION_NAMES]
    if not all(path.is_file() for path in annotations):
        return False
    there = {entry.name for entry in os.scandir(root / 'images')}
    return all(plan.file_name in there for plan in tasks)


def _summary_of(root: Path) -> dict[str, dict[str, int]]:
    summary = {}
    for split in SPLITS:
        name = 'train_truth.json' if split == 'train' else f'{split}.json'
        content = json.loads((root / 'annotations' / name).read_text(encoding='utf-8'))
        summary[split] = {
            'films': len(content['images']),
            'positives': sum(image['label'] for image in content['images']),
            'boxes': len(content['annotations']),
            'patients': len({image['patient_id'] for image in content['images']}),
        }
    return summary


def _claim(root: Path, parameters: dict[str, Any], overwrite: bool) -> None:
    """Make the folder ours, or stop if it is somebody else's."""
    record = root / _PARAMETERS_NAME
    known = None
    if record.is_file():
        try:
            known = json.loads(record.read_text(encoding='utf-8'))
        except ValueError:
            known = {'unreadable': True}
    taken = known is not None or any(
        folder.is_dir() and any(folder.iterdir())
        for folder in (root / 'images', root / 'annotations')
    )
    if taken and known != parameters:
        if not overwrite:
            found = 'no phantom.json' if known is None else _difference(known, parameters)
            raise ValueError(
                f'{root} already holds another data set ({found}): choose another folder or pass '
                'overwrite=True (--overwrite)'
            )
        _remove_set(root, known)
    (root / 'images').mkdir(parents=True, exist_ok=True)
    (root / 'annotations').mkdir(exist_ok=True)
    remove_temporary_files(root / 'images')
    write_json(record, parameters)


def _remove_set(root: Path, known: dict[str, Any] | None) -> None:
    """Remove the films and annotations of a phantom set; its parameters tell their names."""
    try:
        if known is None:
            raise ValueError(f'no {_PARAMETERS_NAME}')
        low, high = known['lesions_per_film']
        plans = plan_phantom(known['counts'], known['seed'], (low, high))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{root} holds a data set that is no phantom ({error}), which is never overwritten: choose '
            'another folder'
        ) from error
    own = {f'images/{plan.file_name}' for split in SPLITS for plan in plans[split]}
    own |= {f'annotations/{name}' for name in _ANNOTATION_NAMES}
    for name in ('images', 'annotations'):
        foreign = [one for one in foreign_files(root / name) if f'{name}/{one}' not in own]
        if foreign:
            raise ValueError(
                f'{root / name} holds {foreign[0]!r}, which is not of the phantom set there: move it '
                'away, or choose another folder'
            )
    remove_files(root, own)


def _difference(known: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in wanted if known.get(name) != wanted[name]]
    return ', '.join(f'{name} {known.get(name)!r} instead of {wanted[name]!r}' for name in names)


def _not_drawn(plan: ImagePlan) -> Any:
    raise ChildProcessError(
        f'the process that drew {plan.file_name} died twice, for want of memory perhaps: take fewer '
        'workers; films that are written stay, run the command again to go on'
    )


def _make_image(
    folder: Path, size: int, difficulty: float, plan: ImagePlan
) -> list[dict[str, Any]]:
    """Write one film unless it is there; its fractures either way."""
    path = folder / plan.file_name
    request = (plan.patient_seed, plan.image_seed, size, plan.num_fractures, difficulty)
    if path.is_file():
        boxes, sites, kinds = image_truth(*request)
    else:
        made = render_image(*request)
        boxes, sites, kinds = made.boxes, made.sites, made.kinds
        write_dicom(
            path, made.image, plan.patient_id, made.pixel_mm, plan.monochrome1, plan.modality
        )
    return [
        {'box': [round(float(v), 2) for v in box], 'site': site, 'kind': kind}
        for box, site, kind in zip(boxes, sites, kinds)
    ]


def _coco(
    plans: Iterable[ImagePlan],
    truths: Mapping[str, list[dict[str, Any]]],
    size: int,
    hide_public: bool,
) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, plan in enumerate(plans, start=1):
        images.append(
            {
                'id': image_id,
                'file_name': plan.file_name,
                'width': size,
                'height': size,
                'label': int(plan.role.startswith('P')),
                'regions': plan.role != 'P_pub',
                'source': 'hospital' if plan.role.endswith('hos') else 'public',
                'patient_id': plan.patient_id,
            }
        )
        if hide_public and plan.role == 'P_pub':
            continue
        for truth in truths[plan.file_name]:
            x1, y1, x2, y2 = truth['box']
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': 1,
                    'bbox': [x1, y1, width, height],
                    'area': round(width * height, 2),
                    'iscrowd': 0,
                    'site': truth['site'],
                    'kind': truth['kind'],
                }
            )
    categories = [{'id': 1, 'name': 'fracture'}]
    return {'categories': categories, 'images': images, 'annotations': annotations}
