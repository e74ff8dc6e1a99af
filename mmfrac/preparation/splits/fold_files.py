# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Folds as annotation files."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from mmfrac.datasets.film_labels import FilmLabels, labels_of_films
from mmfrac.preparation.splits.folds import HOLD_OUT, hold_out_and_folds
from mmfrac.preparation.splits.merging import merge_annotations, read_checked, shared_patients
from mmfrac.preparation.splits.split_counts import count_split
from mmfrac.version import __version__

FOLDS_FILE = 'folds.json'
PathLike = str | os.PathLike


def write_folds(
    files: Sequence[PathLike],
    out_dir: PathLike,
    num_folds: int = 5,
    hold_out: int | float = 344,
    seed: int = 0,
    test_file: PathLike | None = None,
    eval_sources: Sequence[str] | None = None,
    drop_shared: bool = False,
    overwrite: bool = False,
) -> dict[str, dict[str, int]]:
    """Split annotation files into a hold-out set and folds (paper, section 2.4).

    Writes ``test.json``, ``fold<k>/train.json``, ``fold<k>/val.json`` and ``folds.json`` (seed, options,
    sizes, strata). Films are stratified by subset and source; a patient is in one part alone. The folder
    appears under its name when it is complete.

    Args:
        files (Sequence[str or PathLike]): Annotation files whose films are split; all of one data root.
        out_dir (str or PathLike): Folder to write.
        num_folds (int): Defaults to 5.
        hold_out (int or float): Films, or a share below 1, of the hold-out set. Defaults to 344.
        seed (int): Defaults to 0.
        test_file (str or PathLike, optional): Hold-out set that exists and is kept as it is, in place of
            another one. Defaults to None.
        eval_sources (Sequence[str], optional): Sources that are validated and tested on. The other films
            are in every training set, except those of the patients that are held back. Defaults to all.
        drop_shared (bool): Whether films of ``test_file``'s patients are left out; otherwise they are an
            error. Defaults to False.
        overwrite (bool): Whether folds that are there are replaced. Defaults to False.

    Returns:
        dict[str, dict[str, int]]: Split ('test', 'fold0/train', ...) to its counts.

    Raises:
        AnnotationError: With all that is wrong with the files.
        ValueError: If there are too few patients, an option is out of range, or there are folds already.
    """
    out = Path(out_dir)
    _check_out(out, overwrite)
    pool = merge_annotations(read_checked(files))
    test = None
    if test_file is not None:
        test = merge_annotations(read_checked([test_file]))
        pool = shared_patients(pool, test, drop=drop_shared)
        hold_out = 0
    films = labels_of_films(pool['images'], pool['annotations'])
    evaluated = np.ones(len(films), bool)
    if eval_sources is not None:
        present = Counter(film.source for film in films)
        unknown = sorted(set(eval_sources) - set(present))
        if unknown:
            raise ValueError(f'no film of source {unknown}, the sources are {dict(present)}')
        evaluated = np.array([film.source in set(eval_sources) for film in films])
    places = _places(films, evaluated, num_folds, hold_out, seed)
    held = places == HOLD_OUT
    splits = {} if test is None else {'test': test}
    if held.any():
        splits['test'] = _take(pool, held & evaluated)
    for fold in range(num_folds):
        splits[f'fold{fold}/train'] = _take(pool, (places != fold) & ~held)
        splits[f'fold{fold}/val'] = _take(pool, (places == fold) & evaluated)
    counts = {name: count_split(data) for name, data in splits.items()}
    about = dict(
        mmfrac=__version__,
        scikit_learn=metadata.version('scikit-learn'),
        files=[os.fspath(file) for file in files],
        test_file=None if test_file is None else os.fspath(test_file),
        folds=num_folds,
        hold_out=None if test_file is not None else hold_out,
        seed=seed,
        eval_sources=None if eval_sources is None else list(eval_sources),
        sizes=counts,
        strata={name: _strata(data) for name, data in splits.items()},
    )
    _write(out, splits, about)
    return counts


def read_folds(folder: PathLike) -> dict:
    """What ``folds.json`` says.

    Args:
        folder (str or PathLike): Written by ``write_folds``.

    Returns:
        dict: ``folds``, ``seed``, ``sizes``, ...

    Raises:
        FileNotFoundError: If there are no folds.
        ValueError: If the file is damaged or a split is missing.
    """
    path = Path(folder) / FOLDS_FILE
    if not path.is_file():
        raise FileNotFoundError(f'no folds in {folder}: tools/split_folds.py writes them')
    try:
        about = json.loads(path.read_text(encoding='utf-8'))
        wanted = [f'{name}.json' for name in about['sizes']]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is no list of folds ({error}): split again') from error
    missing = [name for name in wanted if not (Path(folder) / name).is_file()]
    if missing:
        raise ValueError(f'{folder} lacks {missing}: split again with --overwrite')
    return about


def _places(
    films: Sequence[FilmLabels],
    evaluated: np.ndarray,
    num_folds: int,
    hold_out: int | float,
    seed: int,
) -> np.ndarray:
    """Place of each film; one of another source is where its patient is, or always trained on."""
    chosen = [film for film, wanted in zip(films, evaluated) if wanted]
    place = hold_out_and_folds(
        [film.patient for film in chosen],
        [f'{film.subset} {film.source}' for film in chosen],
        [film.label for film in chosen],
        num_folds,
        hold_out,
        seed,
    )
    of_patient = {film.patient: part for film, part in zip(chosen, place.tolist())}
    always_trained = num_folds
    return np.array([of_patient.get(film.patient, always_trained) for film in films])


def _take(data: dict, wanted: np.ndarray) -> dict:
    images = [image for image, taken in zip(data['images'], wanted) if taken]
    ids = {image['id'] for image in images}
    annotations = [one for one in data['annotations'] if one['image_id'] in ids]
    return dict(images=images, annotations=annotations, categories=data['categories'])


def _strata(data: dict) -> dict[str, int]:
    films = labels_of_films(data['images'], data['annotations'])
    return dict(sorted(Counter(f'{film.subset} {film.source}' for film in films).items()))


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / FOLDS_FILE).is_file():
        raise ValueError(f'{out} exists and holds no folds: name another folder')
    if not overwrite:
        raise ValueError(f'{out} holds folds already: --overwrite replaces them')


def _write(out: Path, splits: dict[str, dict], about: dict) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f'.{out.name}.{os.getpid()}.part')
    old = out.with_name(f'.{out.name}.{os.getpid()}.old')
    try:
        for name, data in splits.items():
            _dump(part / f'{name}.json', data)
        _dump(part / FOLDS_FILE, about, indent=1)
        if out.exists():
            os.rename(out, old)
        os.rename(part, out)
    finally:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)


def _dump(path: Path, data: dict, indent: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(data, file, indent=indent)
