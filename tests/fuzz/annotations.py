# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Annotation files: the checks, the loader and the converter agree on each, or all refuse it."""

import copy
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from mmfrac.datasets import CXRDataset
from mmfrac.datasets.coco_checks import check_annotations, read_annotations
from mmfrac.preparation.checks.split_file import read_split
from mmfrac.preparation.converters import ConvertOptions, convert_coco
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.io import leads_outside
from tests.fuzz.engine import Kind, WrongError, damage_bytes, register

_ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 1.0, 0.0, 0.5, 1.5, 10**12, 10**400, -(2**63), 1e308),
    *(
        float('nan'),
        float('inf'),
        '',
        '0',
        '1',
        'false',
        'nan',
        ' ',
        '../x.png',
        '/x.png',
        'a\x1b[2J',
    ),
    *(
        [],
        {},
        [[]],
        [0.1, 0.1, 0.2, 0.2],
        [50, 50, 70, 70],
        [1, 1, 5, 1, 5, 5],
        [[1, 1, 5, 1, 5, 5]],
    ),
    dict(size=[96, 80], counts=[7680]),
]


def seeds(folder: Path) -> list[Path]:
    """A file of mmfrac, a plain COCO file, and one with boxes that are ignored."""
    images = [
        dict(id=k, file_name=f'{k}.png', width=80, height=96, patient_id=f'p{k}', source='s')
        for k in range(1, 6)
    ]
    boxes = [
        dict(id=k, image_id=1 + k % 3, category_id=1, bbox=[10 + k, 20, 20, 30.5], area=610)
        | dict(iscrowd=int(k == 2), segmentation=[[10, 20, 30, 20, 30, 50]], site='rib')
        for k in range(1, 5)
    ]
    names = [dict(id=1, name='fracture')]
    full = json.loads(json.dumps(images))
    for image, label in zip(full, (1, 1, 1, 0, -1)):
        image |= dict(label=label, regions=label >= 0)
    plain = [{key: one[key] for key in ('id', 'file_name', 'width', 'height')} for one in images]
    two = [*names, dict(id=2, name='nodule')]
    other = dict(id=9, image_id=4, category_id=2, bbox=[1, 1, 9, 9], ignore=0, area=81)
    files = {
        'full.json': dict(images=full, annotations=boxes, categories=names),
        'plain.json': dict(images=plain, annotations=boxes, categories=names),
        'two.json': dict(images=images, annotations=[*boxes, other], categories=two),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return [folder / name for name in files]


def damage(content: bytes, dice: random.Random) -> bytes:
    """Bytes, or some of the values that the file holds."""
    if dice.random() < 0.3:
        return damage_bytes(content, dice)
    data = json.loads(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _change(data, dice)
    if dice.random() < 0.01:
        return b'[' * dice.choice((10, 10_000, 1_000_000))
    return json.dumps(data).encode()


def _change(data: Any, dice: random.Random) -> None:
    """Replace, take out, add or repeat something in a place at random."""
    here: Any = data
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return
        key = dice.choice(keys)
        if not isinstance(here[key], dict | list) or not here[key] or dice.random() < 0.08:
            break
        here = here[key]
    match dice.randrange(8):
        case 0:
            del here[key]
        case 1 if isinstance(here, list):
            here.append(json.loads(json.dumps(here[key])))
        case 2 if isinstance(here, dict):
            added = ('iscrowd', 'ignore', 'label', 'regions', 'site', 'area', 'patient_id')
            here[dice.choice(added)] = copy.deepcopy(dice.choice(_ODD))
        case 3 if isinstance(here[key], int | float):
            here[key] = dice.choice((-here[key], here[key] + 1, str(here[key]), here[key] * 10))
        case _:
            here[key] = copy.deepcopy(dice.choice(_ODD))


def read(path: Path, source: Path) -> tuple[str, int]:
    """Check, load and convert, and hold the three against each other."""
    size = path.stat().st_size
    read_split('train', str(path), 'images')  # never raises
    with tempfile.TemporaryDirectory() as folder:
        loaded, refusal = _loaded(path)
        try:
            convert_coco(path, 'no', f'{folder}/out.json', ConvertOptions(size='table'))
            converted = json.loads(Path(folder, 'out.json').read_text())
        except AnnotationError as error:
            converted = None
            _check_message(error, path)
    if refusal is not None:
        raise AnnotationError(f'{path.name}: {str(refusal).splitlines()[0]}') from refusal
    if converted is not None:
        if check_annotations(converted):
            raise WrongError(f'the converter writes {check_annotations(converted)[0]}')
        _compare(loaded, converted)
    return 'read', size


def _loaded(path: Path) -> tuple[list[dict], Exception | None]:
    try:
        data = read_annotations(str(path))
        problems = check_annotations(data, ('fracture',))
    except AnnotationError as error:
        _check_message(error, path)
        return [], error
    try:
        dataset = CXRDataset(ann_file=str(path), check_files=False, serialize_data=False)
    except ValueError as error:
        _check_message(error, path)
        if not problems and not str(error).startswith('nothing left of'):
            raise WrongError(f'the checks find nothing, the loader: {error}') from error
        return [], error
    if problems:
        raise WrongError(f'the loader takes it, the checks find {problems[0]}')
    for index, info in enumerate(dataset.data_list):
        _check_info(info, data['images'][index])
    return dataset.data_list, None


def _check_info(info: dict, image: dict) -> None:
    found = [one for one in info['instances'] if not one['ignore_flag']]
    ignored = len(info['instances']) - len(found)
    if info['label'] not in (-1, 0, 1) or type(info['regions']) is not bool:
        raise WrongError(f'label {info["label"]!r}, regions {info["regions"]!r}')
    if found and info['label'] != 1:
        raise WrongError(f'label {info["label"]} with {len(found)} lesions')
    if 'label' not in image and ignored and not found and info['label'] == 0:
        raise WrongError('only ignored boxes, and label 0')
    if leads_outside(info['file_name']):
        raise WrongError(f'{info["file_name"]} leads outside')
    for one in info['instances']:
        x1, y1, x2, y2 = one['bbox']
        if not (-1 <= x1 < x2 <= info['width'] + 1 and -1 <= y1 < y2 <= info['height'] + 1):
            raise WrongError(f'box {one["bbox"]} on {info["width"]} x {info["height"]}')


def _compare(loaded: list[dict], converted: dict) -> None:
    """Label, regions and lesions of the images that both have; the loader knows one class alone."""
    lesions: dict[int, int] = {}
    for one in converted['annotations']:
        lesions[one['image_id']] = lesions.get(one['image_id'], 0) + (not one['iscrowd'])
    infos = {info['file_name']: info for info in loaded}
    for image in converted['images']:
        info = infos.get(image['file_name'])
        if info is None:
            continue
        mine = sum(not one['ignore_flag'] for one in info['instances'])
        if (image['label'], lesions.get(image['id'], 0)) != (info['label'], mine):
            raise WrongError(
                f'{image["file_name"]}: the converter gives label {image["label"]} and '
                f'{lesions.get(image["id"], 0)} lesions, the loader {info["label"]} and {mine}'
            )


def _check_message(error: Exception, path: Path) -> None:
    text = str(error)
    if path.name not in text or 'Traceback' in text or len(text) > 60_000:
        raise WrongError(f'no sentence that names the file: {text[:200]}') from error


KIND = register(Kind('annotations', seeds, damage, read, (AnnotationError,), '.json'))
