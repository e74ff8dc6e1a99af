# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Films to choose methods by: a fold of train and validation films in the place of the test films."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmfrac.preparation.splits.folds import read_checked, write_folds
from mmfrac.utils.io import read_json, write_json
from mmfrac.utils.lock import locked

NUM_FOLDS = 5


def write_fold_films(
    data_root: str | os.PathLike, out_dir: str | os.PathLike, fold: int, num_folds: int = NUM_FOLDS
) -> Path:
    """Make a folder of films whose validation and test films are one fold of train and validation films.

    The test films stay unseen. If there is ``train_truth.json``, its boxes are those that the fold is
    tested with, and that pseudo maps are compared with; training goes without them as before.

    Args:
        data_root (str or PathLike): Holds ``images/`` and ``annotations/{train,val,test}.json``.
        out_dir (str or PathLike): Gets ``annotations/`` and a link to ``images/``.
        fold (int): From 0.
        num_folds (int): By patient, as ``tools/split_folds.py`` makes them with seed 0. Defaults to 5.

    Returns:
        Path: ``out_dir``.

    Raises:
        AnnotationError: With all that is wrong with a file.
        FileNotFoundError: If there is none.
        ValueError: If there is no such fold, there are too few patients, a patient is in the test
            films, too, or the truth is that of other images.
    """
    if not 0 <= fold < num_folds:
        raise ValueError(f'there are the folds 0 to {num_folds - 1}, got {fold}')
    given = Path(data_root) / 'annotations'
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    truth = given / 'train_truth.json'
    train = truth if truth.is_file() else given / 'train.json'
    # read and checked before anything is written
    contents = [content for _, content in read_checked([given / 'train.json', given / 'val.json'])]
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
        known, held_out = (
            read_json(folds / f'fold{fold}' / f'{part}.json') for part in ('train', 'val')
        )
        _check_same_images([known, held_out], contents, train)
        written = dict(train=_as_given(known, contents))
        if truth.is_file():
            written['train_truth'] = known
            # their boxes count
            images = [{**image, 'regions': True} for image in held_out['images']]
            held_out = {**held_out, 'images': images}
        written |= dict(val=held_out, test=held_out)
        for part, content in written.items():
            write_json(out / 'annotations' / f'{part}.json', content, indent=None)
    link, films = out / 'images', (Path(data_root) / 'images').resolve()
    if link.is_symlink() and link.resolve() != films:
        link.unlink()  # the films have moved
    if not link.exists():
        link.symlink_to(films, target_is_directory=True)
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


def _as_given(known: dict[str, Any], contents: Sequence[dict]) -> dict[str, Any]:
    """Films as their own files give them: without boxes that only the truth has.

    Args:
        known (dict): COCO dict with all boxes.
        contents (Sequence[dict]): COCO dicts of the files that its films stand in.

    Returns:
        dict: COCO dict.
    """
    given: dict[str, Any] = {}
    boxed: set[str] = set()
    for content in contents:
        names = {image['id']: image['file_name'] for image in content['images']}
        given |= {image['file_name']: image for image in content['images']}
        boxed |= {names[box['image_id']] for box in content['annotations']}
    images = [{**given[image['file_name']], 'id': image['id']} for image in known['images']]
    shown = {image['id'] for image in images if image['file_name'] in boxed}
    boxes = [box for box in known['annotations'] if box['image_id'] in shown]
    return {**known, 'images': images, 'annotations': boxes}
