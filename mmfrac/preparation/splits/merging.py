# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Several annotation files as one."""

import os
from collections.abc import Sequence

from mmfrac.datasets.coco_checks import check_annotations, film_name, read_annotations
from mmfrac.datasets.labels import labels_of_films
from mmfrac.utils.errors import MAX_LINES, AnnotationError


def read_checked(files: Sequence[str | os.PathLike]) -> list[tuple[str, dict]]:
    """Read annotation files and check all of them.

    Args:
        files (Sequence[str or PathLike]): JSON files.

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
    first_in: dict[str, str] = {}
    for file in files:
        path = os.fspath(file)
        data = read_annotations(path)
        found = check_annotations(data)
        problems += [f'{path}: {problem}' for problem in found]
        if found:
            continue
        for index, image in enumerate(data['images']):
            other = first_in.setdefault(image['file_name'], path)
            if other != path:
                problems.append(f'{path}: {film_name(index, image)}: also in {other}')
        contents.append((path, data))
    if problems:
        more = [f'... and {len(problems) - MAX_LINES} more'] if len(problems) > MAX_LINES else []
        lines = '\n  '.join([*problems[:MAX_LINES], *more])
        raise AnnotationError(
            f'{len(problems)} problem(s) in the annotation files:\n  {lines}', problems
        )
    return contents


def merge_annotations(contents: Sequence[tuple[str, dict]]) -> dict:
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


def shared_patients(pool: dict, test: dict, drop: bool = False) -> dict:
    """Films to split beside a test set that is kept.

    Args:
        pool (dict): COCO dict of the films to split.
        test (dict): COCO dict of the test films.
        drop (bool): Whether films of the test set's patients are left out. Defaults to False.

    Returns:
        dict: ``pool`` without them.

    Raises:
        ValueError: If there are such films and ``drop`` is false.
    """
    tested = {film.patient for film in labels_of_films(test['images'], test['annotations'])}
    films = labels_of_films(pool['images'], pool['annotations'])
    shared = [film.patient in tested for film in films]
    if not any(shared):
        return pool
    if not drop:
        patients = sorted({film.patient for film, is_shared in zip(films, shared) if is_shared})
        raise ValueError(
            f'{sum(shared)} films to split are of {len(patients)} patients of the test file, e.g. '
            f'{patients[:5]}: --drop-shared leaves these films out'
        )
    images = [image for image, is_shared in zip(pool['images'], shared) if not is_shared]
    kept = {image['id'] for image in images}
    annotations = [one for one in pool['annotations'] if one['image_id'] in kept]
    return dict(images=images, annotations=annotations, categories=pool['categories'])
