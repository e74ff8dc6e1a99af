# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A phantom set on disk: DICOM films and COCO JSONs, resumable, the same for any number of workers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmfrac.preparation.phantom.dicom import write_dicom
from mmfrac.preparation.phantom.plan import SPLITS, FilmPlan, check_counts, plan_films
from mmfrac.preparation.phantom.render import film_truth, render_film
from mmfrac.utils.film_pool import map_films

FORMAT_VERSION = 1
PARAMETERS_NAME = 'phantom.json'
ANNOTATION_NAMES = ('train.json', 'val.json', 'test.json', 'train_truth.json')


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
    plans = plan_films(parameters['counts'], parameters['seed'], (int(low), int(high)))
    tasks = [film for split in SPLITS for film in plans[split]]
    if _is_complete(root, tasks):
        return _summary_of(root)
    make = partial(_make_film, root / 'images', int(size), float(difficulty))
    if workers > 1:
        # Compiles and caches the kernels once, before the processes part.
        render_film(0, 0, size=32)
    results = tqdm(
        map_films(make, tasks, workers if workers > 1 else 0, _not_drawn),
        total=len(tasks),
        desc=f'phantom {root.name}',
        unit='film',
        disable=not progress,
        mininterval=0.2 if sys.stderr.isatty() else 15.0,
    )
    truths = {film.file_name: truth for film, truth in zip(tasks, results)}

    for split in SPLITS:
        content = _coco(plans[split], truths, int(size), hide_public=False)
        if split == 'train':
            _write_json(root / 'annotations' / 'train_truth.json', content)
            content = _coco(plans[split], truths, int(size), hide_public=True)
        _write_json(root / 'annotations' / f'{split}.json', content)
    return _summary_of(root)


def _is_complete(root: Path, tasks: list[FilmPlan]) -> bool:
    """Whether nothing is left to do; the annotation files are written last, with these parameters."""
    annotations = [root / 'annotations' / name for name in ANNOTATION_NAMES]
    if not all(path.is_file() for path in annotations):
        return False
    there = {entry.name for entry in os.scandir(root / 'images')}
    return all(film.file_name in there for film in tasks)


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
    record = root / PARAMETERS_NAME
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
        for name in ANNOTATION_NAMES:
            (root / 'annotations' / name).unlink(missing_ok=True)
        for film in (root / 'images').glob('*.dcm'):
            film.unlink()
    (root / 'images').mkdir(parents=True, exist_ok=True)
    (root / 'annotations').mkdir(exist_ok=True)
    for rest in (root / 'images').glob('.*.tmp'):
        rest.unlink()
    _write_json(record, parameters)


def _difference(known: dict[str, Any], wanted: dict[str, Any]) -> str:
    names = [name for name in wanted if known.get(name) != wanted[name]]
    return ', '.join(f'{name} {known.get(name)!r} instead of {wanted[name]!r}' for name in names)


def _not_drawn(plan: FilmPlan) -> Any:
    raise ChildProcessError(
        f'the process that drew {plan.file_name} died twice, for want of memory perhaps: take fewer '
        'workers; films that are written stay, run the command again to go on'
    )


def _make_film(folder: Path, size: int, difficulty: float, film: FilmPlan) -> list[dict[str, Any]]:
    """Write one film unless it is there; its fractures either way."""
    path = folder / film.file_name
    request = (film.patient_seed, film.film_seed, size, film.num_fractures, difficulty)
    if path.is_file():
        boxes, sites, kinds = film_truth(*request)
    else:
        made = render_film(*request)
        boxes, sites, kinds = made.boxes, made.sites, made.kinds
        write_dicom(
            path, made.image, film.patient_id, made.pixel_mm, film.monochrome1, film.modality
        )
    return [
        {'box': [round(float(v), 2) for v in box], 'site': site, 'kind': kind}
        for box, site, kind in zip(boxes, sites, kinds)
    ]


def _coco(
    films: Iterable[FilmPlan],
    truths: Mapping[str, list[dict[str, Any]]],
    size: int,
    hide_public: bool,
) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, film in enumerate(films, start=1):
        images.append(
            {
                'id': image_id,
                'file_name': film.file_name,
                'width': size,
                'height': size,
                'label': int(film.role.startswith('P')),
                'regions': film.role != 'P_pub',
                'source': 'hospital' if film.role.endswith('hos') else 'public',
                'patient_id': film.patient_id,
            }
        )
        if hide_public and film.role == 'P_pub':
            continue
        for truth in truths[film.file_name]:
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


def _write_json(path: Path, content: Any) -> None:
    partial_path = path.with_name(f'.{path.name}.tmp')
    partial_path.write_text(json.dumps(content, indent=1), encoding='utf-8')
    os.replace(partial_path, path)
