# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A hold-out set and folds (paper, section 2.4) of annotation files, by patient and stratified."""

import os
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mmfrac.datasets.coco_checks import check_annotations, image_name, read_annotations
from mmfrac.datasets.labels import (
    SUBSETS,
    FilmLabels,
    counted_annotations,
    counted_classes,
    is_ignored,
    labels_of_films,
    patient_notes,
)
from mmfrac.utils.errors import MAX_LINES, AnnotationError
from mmfrac.utils.io import atomic_folder, check_replaceable, plain_path, read_json, write_json
from mmfrac.version import __version__


def read_checked(
    files: Sequence[str | os.PathLike], category: str | Sequence[str] | None = None
) -> list[tuple[str, dict]]:
    """Read annotation files and check all of them.

    Args:
        files (Sequence[str or PathLike]): JSON files.
        category (str or Sequence[str], optional): Categories whose boxes are lesions, see
            ``counted_classes``. Defaults to None.

    Returns:
        list[tuple[str, dict]]: Path and content of each.

    Raises:
        FileNotFoundError: If one is missing.
        AnnotationError: With every problem of every file, and every film that is in two of them.
    """
    if not files:
        raise ValueError('no annotation file given')
    missing = [os.fspath(file) for file in files if not os.path.isfile(file)]
    if missing:
        raise FileNotFoundError(f'no annotation file {", ".join(missing)}')
    contents: list[tuple[str, dict]] = []
    problems: list[str] = []
    read: list[tuple[str, Any]] = []
    for number, file in enumerate(files):
        path = os.fspath(file)
        if any(os.path.samefile(path, other) for other in files[:number]):
            problems.append(f'{path}: the same file is given twice')
        else:
            read.append((path, read_annotations(path)))
    present = {name for _, data in read for name in _category_names(data)}
    classes = counted_classes(present, category)
    first_in: dict[str, str] = {}
    for path, data in read:
        # of several files one may lack a class that another one has; no image is opened here: whoever
        # does decides about names out of the folder
        whole = _with_categories(data, present & set(classes or ()))
        found = check_annotations(whole, classes, outside=True)
        problems += [f'{path}: {problem}' for problem in found]
        if found:
            continue
        for index, image in enumerate(data['images']):
            other = first_in.setdefault(plain_path(image['file_name']), path)
            if other != path:
                problems.append(f'{path}: {image_name(index, image)}: also in {other}')
        contents.append((path, data))
    if problems:
        more = [f'... and {len(problems) - MAX_LINES} more'] if len(problems) > MAX_LINES else []
        lines = '\n  '.join([*problems[:MAX_LINES], *more])
        raise AnnotationError(
            f'{len(problems)} problem(s) in the annotation files:\n  {lines}', problems
        )
    return contents


def _category_names(data: Any) -> list[str]:
    """Names of the categories of a file that has not been checked."""
    found = data.get('categories') if isinstance(data, dict) else None
    records = found if isinstance(found, list) else []
    names = [one.get('name') for one in records if isinstance(one, dict)]
    return [name for name in names if isinstance(name, str)]


def _with_categories(data: Any, wanted: Collection[str]) -> Any:
    """A file that has not been checked, with the categories ``wanted``."""
    absent = sorted(set(wanted) - set(_category_names(data)))
    if not absent or not isinstance(data, dict) or not isinstance(data.get('categories'), list):
        return data
    ids = [one.get('id') for one in data['categories'] if isinstance(one, dict)]
    free = max((key for key in ids if type(key) is int), default=0) + 1
    added = [dict(id=free + index, name=name) for index, name in enumerate(absent)]
    return dict(data, categories=[*data['categories'], *added])


def _merge_annotations(contents: Sequence[tuple[str, dict]]) -> dict:
    """One COCO dict of several; categories are joined by name.

    Args:
        contents (Sequence[tuple[str, dict]]): Path and content; of one file the ids are kept.

    Returns:
        dict: ``images``, ``annotations``, ``categories``; fields of films and boxes are all kept.
    """
    if len(contents) == 1:
        return {key: contents[0][1][key] for key in ('images', 'annotations', 'categories')}
    images: list[dict] = []
    annotations: list[dict] = []
    categories: dict[str, dict] = {}
    for _, data in contents:
        category_ids = {}
        for category in data['categories']:
            merged = categories.setdefault(
                category['name'], {**category, 'id': len(categories) + 1}
            )
            category_ids[category['id']] = merged['id']
        image_ids = {}
        for image in data['images']:
            image_ids[image['id']] = len(images) + 1
            images.append({**image, 'id': len(images) + 1})
        for annotation in data['annotations']:
            annotations.append(
                {
                    **annotation,
                    'id': len(annotations) + 1,
                    'image_id': image_ids[annotation['image_id']],
                    'category_id': category_ids[annotation['category_id']],
                }
            )
    return dict(images=images, annotations=annotations, categories=list(categories.values()))


def _beside_test(pool: dict, test: dict, drop: bool = False) -> dict:
    """Films to split beside a test set that is kept.

    A film that is in the test set makes its patient one of the test set's, whatever id it has there.

    Args:
        pool (dict): COCO dict of the films to split.
        test (dict): COCO dict of the test films.
        drop (bool): Whether the test films, and films of their patients, are left out. Defaults to
            False.

    Returns:
        dict: ``pool`` without them.

    Raises:
        ValueError: If there are such films and ``drop`` is false.
    """
    test_names = _file_names(test)
    test_patients = {record.patient for record in labels_of_films(test['images'], ())}
    records = labels_of_films(pool['images'], ())
    names = [plain_path(image['file_name']) for image in pool['images']]
    same = [name for name in names if name in test_names]
    test_patients |= {record.patient for record, name in zip(records, names) if name in test_names}
    shared = [record.patient in test_patients for record in records]
    if not any(shared):
        return pool
    if not drop and same:
        raise ValueError(
            f'{len(same)} films to split are in the test file, too, e.g. {sorted(same)[:5]}: '
            '--drop-shared leaves out these and all others of their patients'
        )
    if not drop:
        patients = sorted(
            {record.patient for record, is_shared in zip(records, shared) if is_shared}
        )
        raise ValueError(
            f'{sum(shared)} films to split are of {len(patients)} patients of the test file, e.g. '
            f'{patients[:5]}: --drop-shared leaves these films out'
        )
    return _subset(pool, ~np.array(shared))


def _file_names(data: Mapping) -> set[str]:
    return {plain_path(image['file_name']) for image in data['images']}


HOLD_OUT = -1


def hold_out_and_folds(
    patients: Sequence[str],
    strata: Sequence[str],
    labels: Sequence[int],
    num_folds: int = 5,
    hold_out: int | float = 344,
    seed: int = 0,
) -> np.ndarray:
    """Where each film is tested or validated.

    Args:
        patients (Sequence[str]): (n,) patient of each film; a patient is never parted.
        strata (Sequence[str]): (n,) what is to be as frequent everywhere, e.g. label and source.
        labels (Sequence[int]): (n,) image-level labels; every part has films with 1 and with 0.
        num_folds (int): Defaults to 5, validation shares of 20 %.
        hold_out (int or float): Films of the hold-out set; below 1: their share; 0: none. Patients are
            not parted, so where they have several films the number is met nearly. Defaults to 344.
        seed (int): The same seed gives the same split. Defaults to 0.

    Returns:
        np.ndarray: (n,) int64, ``HOLD_OUT`` or the fold whose validation set the film is in.

    Raises:
        ValueError: If an option is out of range, or there are too few patients.
    """
    if num_folds < 2:
        raise ValueError(f'cross-validation needs at least 2 folds, got {num_folds}')
    groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1].ravel()
    classes = np.unique(np.asarray(strata, dtype=str), return_inverse=True)[1].ravel()
    truth = np.asarray(labels)
    wanted = _hold_out_size(hold_out, len(groups))
    _check_patients(groups, truth, num_folds + (wanted > 0))
    assigned = np.full(len(groups), HOLD_OUT, np.int64)
    rest = np.arange(len(groups))
    if wanted:
        rest = np.flatnonzero(~choose_hold_out(groups, classes, wanted, seed)[groups])
        _check_patients(groups[rest], truth[rest], num_folds, f' after a hold-out of {wanted}')
    assigned[rest] = _stratified_group_folds(groups[rest], classes[rest], num_folds, seed)
    parts = [HOLD_OUT] * (wanted > 0) + list(range(num_folds))
    for part in parts:
        present = set(truth[assigned == part])
        if not {0, 1} <= present:
            name = 'the hold-out set' if part == HOLD_OUT else f'fold {part}'
            raise ValueError(
                f'{name} got {np.count_nonzero(assigned == part)} films, not both with and without '
                'fracture, so it has no AUROC: take fewer folds, another hold-out or another seed'
            )
    return assigned


def _hold_out_size(hold_out: int | float, num_images: int) -> int:
    """Number of hold-out films of a number or a share.

    Args:
        hold_out (int or float): Films, or a share below 1.
        num_images (int): Films there are.

    Returns:
        int: Films.

    Raises:
        ValueError: If it is negative, no number of films, a share of less than one, or nothing would be
            left.
    """
    if not 0 <= hold_out < float('inf') or (hold_out >= 1 and hold_out != int(hold_out)):
        raise ValueError(f'a hold-out is a number of films or a share below 1, got {hold_out}')
    wanted = int(hold_out) if hold_out >= 1 else round(hold_out * num_images)
    if hold_out and not wanted:
        raise ValueError(
            f'a hold-out of {hold_out} of {num_images} films is none: give a larger share, a number of '
            'films (--holdout 10) or none (--holdout 0)'
        )
    if wanted >= num_images:
        raise ValueError(
            f'a hold-out of {wanted} leaves nothing of {num_images} films: give a smaller number, a '
            'share (--holdout 0.1) or none (--holdout 0)'
        )
    return wanted


def choose_hold_out(groups: np.ndarray, classes: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Random patients whose films come nearest to the wanted number of each class.

    Scikit-learn's splitters make equal parts and do not meet a number of films. The patients are offered
    in random order, and taken when all their films are still missing; what is missing in the end is
    filled up by those who bring the classes nearer to their numbers.

    Args:
        groups (np.ndarray): (n,) patient of each film, 0 to g - 1.
        classes (np.ndarray): (n,) class of each film, 0 to c - 1.
        wanted (int): Films; each class gets its share by largest remainder.
        seed (int): Of the order in which the patients are offered.

    Returns:
        np.ndarray: (g,) bool, whether a patient is chosen.
    """
    counts = np.zeros((groups.max() + 1, classes.max() + 1), np.int64)
    np.add.at(counts, (groups, classes), 1)
    share = counts.sum(axis=0) * wanted / counts.sum()
    missing = np.floor(share).astype(np.int64)
    missing[np.argsort(missing - share, kind='stable')[: wanted - missing.sum()]] += 1
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = np.zeros(len(counts), bool)
    for exact in (True, False):
        for patient in order[~chosen[order]]:
            added = counts[patient]
            if exact:
                fits = (added <= missing).all()
            else:  # nearer in squared distance: |missing - added|^2 < |missing|^2
                nearer = added @ added < 2 * (added @ missing)
                fits = nearer and added.sum() <= missing.sum()
            if fits:
                chosen[patient] = True
                missing = missing - added
    return chosen


def _stratified_group_folds(
    groups: np.ndarray, classes: np.ndarray, num_folds: int, seed: int
) -> np.ndarray:
    """Scikit-learn's ``StratifiedGroupKFold``, shuffled.

    Args:
        groups (np.ndarray): (n,) patient of each film.
        classes (np.ndarray): (n,) class of each film.
        num_folds (int): Folds.
        seed (int): Of the shuffle.

    Returns:
        np.ndarray: (n,) fold in whose validation set the film is.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fold_of = np.zeros(len(groups), np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # of a class with fewer films than folds, which a rare source may well have
        warnings.filterwarnings('ignore', 'The least populated class', UserWarning)
        for fold, (_, held) in enumerate(splitter.split(groups, classes, groups)):
            fold_of[held] = fold
    return fold_of


def _check_patients(groups: np.ndarray, truth: np.ndarray, parts: int, when: str = '') -> None:
    for label, what in ((1, 'with fracture'), (0, 'without fracture')):
        found = len(np.unique(groups[truth == label]))
        if found < parts:
            raise ValueError(
                f'too few patients{when}: {found} have a film {what}, and {parts} parts '
                '(folds and hold-out) each need one; take fewer folds or no hold-out (--holdout 0)'
            )


COLUMNS = ('films', 'positives', *SUBSETS, 'boxes', 'patients')


def _labels(data: Mapping, classes: Collection[str] | None) -> list[FilmLabels]:
    """Labels of each film; boxes of ``classes`` alone are lesions, None: all."""
    return labels_of_films(data['images'], _counted(data, classes))


def _counted(data: Mapping, classes: Collection[str] | None) -> list[dict]:
    names = {category['id']: category['name'] for category in data['categories']}
    return counted_annotations(data['annotations'], names, classes)


def _other_boxes_note(data: Mapping, classes: Collection[str] | None) -> list[str]:
    """A sentence on boxes that are no lesions by their category; none if there are none."""
    if classes is None:
        return []
    names = {category['id']: category['name'] for category in data['categories']}
    found = Counter(names[annotation['category_id']] for annotation in data['annotations'])
    others = [f'{name!r} ({found[name]})' for name in sorted(set(found) - set(classes))]
    if not others:
        return []
    return [
        f'boxes of {", ".join(others)} are no lesions, those of {", ".join(map(repr, classes))} are; '
        '--category names others, as metainfo of a config does'
    ]


def _count_split(data: Mapping, classes: Collection[str] | None) -> dict[str, int]:
    """Counts of one split.

    Args:
        data (Mapping): COCO dict in the format of tools/README.md.
        classes (Collection[str], optional): Categories whose boxes are lesions; None: all.

    Returns:
        dict[str, int]: ``films``, ``positives`` (label 1), films of each subset, ``boxes``,
            ``patients``.
    """
    records = _labels(data, classes)
    subsets = Counter(record.subset for record in records)
    return dict(
        films=len(records),
        positives=sum(record.label == 1 for record in records),
        **{name: subsets[name] for name in SUBSETS},
        boxes=sum(not is_ignored(annotation) for annotation in _counted(data, classes)),
        patients=len({record.patient for record in records}),
    )


def split_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A line for each split.

    Args:
        counts (Mapping): Name of the split to its counts.

    Returns:
        str: The table.
    """
    wide = max(len(name) for name in ['split', *counts])
    lines = [f'{"split":{wide}}' + ''.join(f'{column:>10}' for column in COLUMNS)]
    for name, row in counts.items():
        lines.append(f'{name:{wide}}' + ''.join(f'{row[column]:10d}' for column in COLUMNS))
    return '\n'.join(lines)


_FOLDS_FILE = 'folds.json'

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
    category: str | Sequence[str] | None = None,
) -> dict[str, dict[str, int]]:
    """Split annotation files into a hold-out set and folds (paper, section 2.4).

    Writes ``test.json``, ``fold<k>/train.json``, ``fold<k>/val.json`` and ``folds.json`` (seed, options,
    sizes, strata, and ``notes`` on images without a patient and patients that may be one). Films are
    stratified by subset and source; a patient is in one part alone. The folder appears under its name
    when it is complete.

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
        drop_shared (bool): Whether films of ``test_file``, and of its patients, are left out; otherwise
            they are an error. Defaults to False.
        overwrite (bool): Whether folds that are there are replaced. Defaults to False.
        category (str or Sequence[str], optional): Categories whose boxes are lesions, as
            ``metainfo.classes`` of a config names them. Defaults to 'fracture', or to all where the
            files have no category of that name.

    Returns:
        dict[str, dict[str, int]]: Split ('test', 'fold0/train', ...) to its counts.

    Raises:
        AnnotationError: With all that is wrong with the files.
        ValueError: If there are too few patients, an option is out of range, or there are folds already.
    """
    out = Path(out_dir)
    _check_out(out, overwrite)
    _check_inputs(out, [*files, *([] if test_file is None else [test_file])])
    pool = _merge_annotations(read_checked(files, category))
    classes = counted_classes(_category_names(pool), category)
    notes = _other_boxes_note(pool, classes)
    test = None
    if test_file is not None:
        test = _merge_annotations(read_checked([test_file], classes))
        if not set(classes or ()) & set(_category_names(test)):
            # negatives alone: data sets of earlier versions want one of their classes in each file
            test = _with_categories(test, classes or ())
        pool = _beside_test(pool, test, drop=drop_shared)
        hold_out = 0
    records = _labels(pool, classes)
    evaluated = np.ones(len(records), bool)
    if eval_sources is not None:
        present = Counter(record.source for record in records)
        unknown = sorted(set(eval_sources) - set(present))
        if unknown:
            raise ValueError(f'no film of source {unknown}, the sources are {dict(present)}')
        evaluated = np.array([record.source in set(eval_sources) for record in records])
    assigned = _assigned(records, evaluated, num_folds, hold_out, seed)
    held = assigned == HOLD_OUT
    splits = {} if test is None else {'test': test}
    if held.any():
        splits['test'] = _subset(pool, held & evaluated)
    for fold in range(num_folds):
        splits[f'fold{fold}/train'] = _subset(pool, (assigned != fold) & ~held)
        splits[f'fold{fold}/val'] = _subset(pool, (assigned == fold) & evaluated)
    counts = {name: _count_split(data, classes) for name, data in splits.items()}
    about = dict(
        mmfrac=__version__,
        scikit_learn=metadata.version('scikit-learn'),
        files=[os.fspath(file) for file in files],
        test_file=None if test_file is None else os.fspath(test_file),
        folds=num_folds,
        hold_out=None if test_file is not None else hold_out,
        seed=seed,
        eval_sources=None if eval_sources is None else list(eval_sources),
        categories=classes,
        sizes=counts,
        strata={name: _strata(data, classes) for name, data in splits.items()},
        notes=notes
        + patient_notes(
            image.get('patient_id')
            for data in (pool, test or {})
            for image in data.get('images', ())
        ),
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
    path = Path(folder) / _FOLDS_FILE
    if not path.is_file():
        raise FileNotFoundError(f'no folds in {folder}: tools/split_folds.py writes them')
    try:
        about = read_json(path)
        _check_about(about)
        wanted = [f'{name}.json' for name in about['sizes']]
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        what = f'no {error}' if isinstance(error, KeyError) else str(error)
        raise ValueError(f'{path} is no list of folds ({what}): split again') from error
    missing = [name for name in wanted if not (Path(folder) / name).is_file()]
    if missing:
        raise ValueError(f'{folder} lacks {missing}: split again with --overwrite')
    return about


def check_folds(folder: PathLike, about: Mapping[str, Any]) -> None:
    """Raise an error unless the splits hold what ``folds.json`` says.

    No film and no patient of a training split may be in its validation or test split, either. Somebody
    may have edited them, or copied those of another split.

    Args:
        folder (str or PathLike): Written by ``write_folds``.
        about (Mapping): Of ``read_folds``.

    Raises:
        AnnotationError: With all that is wrong with one of the files.
        ValueError: If a count differs, or a film or a patient of a training split is in its validation
            or test split.
    """
    # folds of earlier versions do not say which categories count: all
    classes = about.get('categories')
    categories: list[str] | None = classes
    patients: dict[str, set[str]] = {}
    films: dict[str, set[str]] = {}
    for name, counts in about['sizes'].items():
        path = Path(folder) / f'{name}.json'
        if classes is None:
            categories = _category_names(read_annotations(os.fspath(path))) or None
        ((_, data),) = read_checked([path], categories)
        found = _count_split(data, classes)
        wrong = [
            f'{key} {counts[key]}' for key in found if counts.get(key, found[key]) != found[key]
        ]
        if wrong:
            raise ValueError(
                f'{path} is not that of {_FOLDS_FILE}, which says {", ".join(wrong)} of it: split again'
            )
        patients[name] = {record.patient for record in labels_of_films(data['images'], ())}
        films[name] = _file_names(data)
    for fold in range(about['folds']):
        for held in (f'fold{fold}/val', 'test'):
            for what, of_split in (('films', films), ('patients', patients)):
                shared = of_split[f'fold{fold}/train'] & of_split.get(held, set())
                if shared:
                    raise ValueError(
                        f'{folder}: {len(shared)} {what} of fold{fold}/train.json are in {held}.json, '
                        f'too, e.g. {min(shared)!r}: split again'
                    )


def _check_about(about: Any) -> None:
    """Raise an error if a field that is used has another type, or an impossible value."""

    def is_count(value: Any) -> bool:
        return type(value) is int and value >= 0

    if not isinstance(about, dict):
        raise ValueError(f'it holds a {type(about).__name__}')
    sizes, folds = about['sizes'], about['folds']
    for name, counts in sizes.items() if isinstance(sizes, dict) else [('sizes', sizes)]:
        if not isinstance(counts, dict) or not all(map(is_count, counts.values())):
            raise ValueError(f'{name} is {counts!r}, counts are wanted')
        films = counts.get('films', 0)
        parts = {key: counts.get(key, 0) for key in ('positives', 'patients')}
        if any(number > films for number in parts.values()):
            raise ValueError(f'{name} has {films} films and {parts}')
    if not is_count(folds) or not 2 <= folds <= len(sizes):
        raise ValueError(f'folds is {folds!r}')
    absent = [
        name
        for fold in range(folds)
        for name in (f'fold{fold}/train', f'fold{fold}/val')
        if name not in sizes
    ]
    known = {f'fold{fold}/{part}' for fold in range(folds) for part in ('train', 'val')}
    foreign = [name for name in sizes if name not in known | {'test'}]
    if absent or foreign:
        raise ValueError(f'sizes lacks {absent}' if absent else f'sizes has {foreign[0]!r}')
    notes = about.get('notes', [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise ValueError('notes are no sentences')
    classes = about.get('categories')
    if classes is not None and (
        not isinstance(classes, list) or not all(isinstance(name, str) for name in classes)
    ):
        raise ValueError(f'categories is {classes!r}')
    if not is_count(about['seed']):
        raise ValueError(f'seed is {about["seed"]!r}')
    held = about.get('hold_out')
    is_number = isinstance(held, (int, float)) and not isinstance(held, bool)
    if held is not None and not (is_number and 0 <= held < float('inf')):
        raise ValueError(f'hold_out is {held!r}')


def _assigned(
    records: Sequence[FilmLabels],
    evaluated: np.ndarray,
    num_folds: int,
    hold_out: int | float,
    seed: int,
) -> np.ndarray:
    """Place of each film; one of another source is where its patient is, or always trained on."""
    chosen = [record for record, wanted in zip(records, evaluated) if wanted]
    assigned = hold_out_and_folds(
        [record.patient for record in chosen],
        [f'{record.subset} {record.source}' for record in chosen],
        [record.label for record in chosen],
        num_folds,
        hold_out,
        seed,
    )
    of_patient = {record.patient: part for record, part in zip(chosen, assigned.tolist())}
    never_held_out = num_folds
    return np.array([of_patient.get(record.patient, never_held_out) for record in records])


def _subset(data: dict, wanted: np.ndarray) -> dict:
    images = [image for image, is_wanted in zip(data['images'], wanted) if is_wanted]
    ids = {image['id'] for image in images}
    annotations = [one for one in data['annotations'] if one['image_id'] in ids]
    return dict(images=images, annotations=annotations, categories=data['categories'])


def _strata(data: dict, classes: Collection[str] | None) -> dict[str, int]:
    records = _labels(data, classes)
    return dict(sorted(Counter(f'{record.subset} {record.source}' for record in records).items()))


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / _FOLDS_FILE).is_file():
        raise ValueError(f'{out} exists and holds no folds: name another folder')
    if not overwrite:
        raise ValueError(f'{out} holds folds already: --overwrite replaces them')
    check_replaceable(out)


def _check_inputs(out: Path, files: Sequence[str | os.PathLike]) -> None:
    """Files in the folder of the folds would go with those that were there before."""
    place = out.resolve()
    for file in files:
        if place in Path(file).resolve().parents:
            raise ValueError(
                f'{file} is read, and would be replaced with {out}: name another folder'
            )


def _write(out: Path, splits: dict[str, dict], about: dict) -> None:
    with atomic_folder(out) as folder:
        for name, data in splits.items():
            write_json(folder / f'{name}.json', data, indent=None)
        write_json(folder / _FOLDS_FILE, about)
