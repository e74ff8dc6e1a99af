# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Films to choose methods by: a fold of train and validation films in the place of the test films."""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmfrac.experiments.benchmark import Benchmark, Method
from mmfrac.preparation.splits.folds import read_checked, read_folds, write_folds
from mmfrac.utils.io import read_json, write_json
from mmfrac.utils.lock import locked

NUM_FOLDS = 5


def check_choices(benchmark: Benchmark, methods: Sequence[Method]) -> None:
    """Raise a ``ValueError`` for what would be chosen by the films of the fold that tests it.

    Args:
        benchmark (Benchmark): The benchmark.
        methods (Sequence[Method]): Those of its methods that are to be run.
    """
    searched = [method.name for method in methods if len(benchmark.values(method)) > 1]
    if searched or not benchmark.last_epoch:
        what = f'the search of {searched[0]}' if searched else 'the epoch'
        raise ValueError(
            f'{benchmark.name} chooses {what} by the validation films, and of a fold these are the test '
            'films: take a benchmark file with last_epoch = True, and methods without a search'
        )


def write_fold_films(
    data_root: str | os.PathLike,
    out_dir: str | os.PathLike,
    fold: int,
    num_folds: int = NUM_FOLDS,
    report: Callable[[str], Any] = print,
) -> Path:
    """Make a folder of films whose validation and test films are one fold of train and validation films.

    The test films stay unseen. If there is ``train_truth.json``, its boxes are those that the fold is
    tested with, and that pseudo maps are compared with; training goes without them as before. It has
    four of five folds of the boxes of both files, so more than the training films alone have where many
    of the validation films have some.

    Args:
        data_root (str or PathLike): Holds ``images/`` and ``annotations/{train,val,test}.json``.
        out_dir (str or PathLike): Gets ``annotations/`` and a link to ``images/``.
        fold (int): From 0.
        num_folds (int): By patient, as ``tools/split_folds.py`` makes them with seed 0. Defaults to 5.
        report (Callable): Is given a line for each note on patients. Defaults to ``print``.

    Returns:
        Path: ``out_dir``.

    Raises:
        AnnotationError: With all that is wrong with a file.
        FileNotFoundError: If there is none, or no ``images/``.
        ValueError: If there is no such fold, there are too few patients, a patient is in the test
            films, too, or the truth is that of other images.
    """
    if not 0 <= fold < num_folds:
        raise ValueError(f'there are the folds 0 to {num_folds - 1}, got {fold}')
    given = Path(data_root) / 'annotations'
    out = Path(out_dir)
    truth = given / 'train_truth.json'
    train = truth if truth.is_file() else given / 'train.json'
    images = (Path(data_root) / 'images').resolve()
    if not images.is_dir():
        raise FileNotFoundError(f'no folder {images}; is {os.fspath(data_root)} the data root?')
    # read and checked before anything is written
    contents = [content for _, content in read_checked([given / 'train.json', given / 'val.json'])]
    out.mkdir(parents=True, exist_ok=True)
    with (
        locked(out / 'annotations', lambda line: None),
        tempfile.TemporaryDirectory(dir=out) as scratch,
    ):
        folds = Path(scratch) / 'folds'
        write_folds(
            [train, given / 'val.json'],
            folds,
            num_folds=num_folds,
            test_file=given / 'test.json',
        )
        for note in read_folds(folds).get('notes', ()):
            report(f'note: {note}')
        known, held_out = (
            read_json(folds / f'fold{fold}' / f'{part}.json') for part in ('train', 'val')
        )
        _check_same_images([known, held_out], contents, train)
        if truth.is_file():
            held_out = _with_known_boxes(held_out, contents[0])
        written = dict(train=_as_given(known, contents, train), val=held_out, test=held_out)
        if truth.is_file():
            written['train_truth'] = known
        else:
            (out / 'annotations' / truth.name).unlink(missing_ok=True)
        for part, content in written.items():
            write_json(out / 'annotations' / f'{part}.json', content, indent=None)
        link = out / 'images'
        if link.is_symlink() and link.resolve() != images:
            link.unlink()  # the films have moved
        if not link.exists():
            link.symlink_to(images, target_is_directory=True)
    return out


def _check_same_images(split: Sequence[dict], given: Sequence[dict], truth: Path) -> None:
    """Raise a ``ValueError`` unless a truth is of the same images as the training file."""
    names, wanted = (
        {image['file_name'] for content in contents for image in content['images']}
        for contents in (split, given)
    )
    if names != wanted:
        raise ValueError(
            f'{truth} is not the truth of train.json beside it: {min(names ^ wanted)!r} is in one of '
            'them alone'
        )


def _with_known_boxes(content: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    """COCO dict whose films with boxes of the truth say so: FROC leaves out what is not known.

    Args:
        content (dict): COCO dict of a fold.
        train (dict): COCO dict of the films that the truth is of.

    Returns:
        dict: COCO dict; other films, which may have some of their boxes, stay as they are.
    """
    boxed = {box['image_id'] for box in content['annotations']}
    of_truth = {image['file_name'] for image in train['images']}
    images = [
        {**image, 'regions': True}
        if image['id'] in boxed and image['file_name'] in of_truth
        else image
        for image in content['images']
    ]
    return {**content, 'images': images}


def _as_given(known: dict[str, Any], contents: Sequence[dict], truth: Path) -> dict[str, Any]:
    """Films as their own files give them: without boxes that only the truth has.

    Args:
        known (dict): COCO dict with all boxes.
        contents (Sequence[dict]): COCO dicts of the files that its films stand in.
        truth (Path): Named where it lacks one of their boxes.

    Returns:
        dict: COCO dict.

    Raises:
        ValueError: If it does.
    """
    given: dict[str, Any] = {}
    boxes_of: dict[str, list[list[float]]] = {}
    for content in contents:
        names = {image['id']: image['file_name'] for image in content['images']}
        given |= {image['file_name']: image for image in content['images']}
        for box in content['annotations']:
            boxes_of.setdefault(names[box['image_id']], []).append(_place(box))
    images = [{**given[image['file_name']], 'id': image['id']} for image in known['images']]
    names = {image['id']: image['file_name'] for image in images}
    boxes = []
    for box in known['annotations']:
        own = boxes_of.get(names[box['image_id']], [])
        if _place(box) in own:
            own.remove(_place(box))
            boxes.append(box)
    lost = [name for name in names.values() if boxes_of.get(name)]
    if lost:
        raise ValueError(f'{truth} lacks a box that {lost[0]!r} has in its own annotation file')
    return {**known, 'images': images, 'annotations': boxes}


def _place(box: dict) -> list[float]:
    return [*box['bbox'], bool(box.get('iscrowd')), bool(box.get('ignore'))]
