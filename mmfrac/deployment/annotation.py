# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings to annotators and back: Label Studio, CVAT and COCO.

Images come in the order of their uncertainty: of the calibrated probability p (of the image score, where
there is no temperature) it is 1 - |2 p - 1|, 1 at p = 0.5 and 0 at 0 and 1; equal ones stand by name.

``export_annotations`` writes what an annotation tool reads, and ``export.json``, which says what stood
there before anybody looked. ``import_annotations`` reads the corrected file and writes mmfrac's COCO
JSON: each image says who corrected it, when, and how many boxes were kept, moved, added and removed.
"""

import math
import os
import re
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.datasets.labels import is_ignored, labels_of_films
from mmfrac.datasets.radiographs.read import image_size, read_radiograph
from mmfrac.deployment.archive_inputs import entry_of, file_of
from mmfrac.deployment.results import ResultError, ResultLine, read_results
from mmfrac.utils.errors import one_line, raise_problems
from mmfrac.utils.io import (
    OutputFolder,
    check_not_an_input,
    listed_output,
    parse_json,
    read_json,
    write_image,
    write_json,
    write_text,
)
from mmfrac.utils.text import printable

TOOLS = ('label-studio', 'cvat', 'coco')
EXPORT = 'export.json'
_FILES = {'label-studio': 'tasks.json', 'cvat': 'annotations.xml', 'coco': 'instances.json'}
_VERSION = 1
# overlap of a box with what it was, from which on it counts as kept, and as moved
_KEPT, _MOVED = 0.98, 0.1
# px, by which a box of a tool may differ from the exported one: CVAT writes two decimals
_ROUNDED = 0.02
_NOBODY = 'not said'
# of Label Studio: what a drawn shape has of its geometry
_SHAPES = ('x', 'points', 'vertices', 'rle')


class AnnotationFileError(ValueError):
    """A file of an annotation tool that cannot be taken over; the message says where and why."""


@dataclass(frozen=True)
class Found:
    """What a model found on an image.

    Args:
        image (str): Its file.
        width (int): px.
        height (int): px.
        probability (float): Calibrated, or the image score.
        boxes (list): ``[x1, y1, x2, y2]``, px.
        scores (list): One a box.
        model (str): What found it.
    """

    image: str
    width: int
    height: int
    probability: float
    boxes: list
    scores: list
    model: str = ''

    @property
    def uncertainty(self) -> float:
        """In [0, 1], see above."""
        return 1 - abs(2 * min(max(self.probability, 0.0), 1.0) - 1)


def read_found(path: str | os.PathLike) -> Iterator[Found]:
    """Images that a model was asked about.

    Args:
        path (str or PathLike): ``results.jsonl`` of ``mmfrac archive``, or ``predictions.json`` of
            ``mmfrac infer``, whose images are read for their sizes.

    Yields:
        Found: One an image that was scored.

    Raises:
        ValueError: If it is neither.
        FileNotFoundError: If it is not there.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no results {path}')
    if Path(path).suffix == '.jsonl':
        yield from filter(None, map(_of_result, read_results(path)))
        return
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get('predictions'), list):
        raise ValueError(f'{path} is neither results.jsonl nor predictions.json of mmfrac infer')
    model = Path(str(content.get('checkpoint', ''))).name
    for number, one in enumerate(content['predictions']):
        try:
            width, height = image_size(one['film'])
            # the same checks as of a result
            yield _of_result(  # type: ignore[misc]
                ResultLine(
                    one['film'],
                    dict(name=model, sha256=''),
                    width=width,
                    height=height,
                    scored=True,
                    score=one['score'],
                    boxes=one['boxes'],
                    scores=one['scores'],
                )
            )
        except (KeyError, TypeError, ResultError) as error:
            raise ValueError(f'{path}, predictions[{number}]: {one_line(error)}') from error


def _of_result(result: ResultLine) -> Found | None:
    if not result.scored or result.score is None:
        return None
    probability = result.score if result.probability is None else result.probability
    boxes, scores = [list(box) for box in result.boxes], list(result.scores)
    name = result.model['name']
    return Found(result.image, result.width, result.height, probability, boxes, scores, name)


def most_uncertain_first(found: Iterable[Found], number: int | None = None) -> list[Found]:
    """Images in the order in which they are worth an annotator's time.

    Args:
        found (Iterable[Found]): Images.
        number (int, optional): How many of them. Defaults to None, all.

    Returns:
        list[Found]: The most uncertain first.
    """
    return sorted(found, key=lambda one: (-one.uncertainty, one.image))[:number]


# ---- to an annotation tool ------------------------------------------------------------------------


def export_annotations(
    found: Sequence[Found],
    out_dir: str | os.PathLike,
    tool: str,
    root: str | os.PathLike = '',
    min_score: float = 0.2,
    category: str = 'fracture',
    pictures: bool = True,
    url: str = '/data/local-files/?d=',
) -> Path:
    """Write images with what was found on them for an annotation tool.

    Args:
        found (Sequence[Found]): Images, in the order in which they are to be shown.
        out_dir (str or PathLike): Gets ``tasks.json`` and ``label_config.xml`` (Label Studio),
            ``annotations.xml`` (CVAT) or ``instances.json`` (COCO), ``export.json``, and ``images/``.
        tool (str): One of ``TOOLS``.
        root (str or PathLike): Folder that the file names of annotations begin at; of images of a
            server they are URLs all the same. Defaults to '', the names are paths.
        min_score (float): In [0, 1]; boxes below it are left out. Defaults to 0.2.
        category (str): What the boxes are. Defaults to 'fracture'.
        pictures (bool): Whether the images are written as PNG of 8 bits, which every tool shows.
            Defaults to True.
        url (str): Before the names of images in Label Studio. Defaults to '/data/local-files/?d=', its
            local storage.

    Returns:
        Path: The file for the tool.

    Raises:
        ValueError: If the tool does not exist, there is no image, one lies outside of ``root``, the
            least score is not in [0, 1], or the folder holds an export of other images.
        OSError: If an image cannot be read.
    """
    if tool not in TOOLS:
        raise ValueError(f'tool must be one of {TOOLS}, got {tool!r}')
    _check_min_score(min_score)
    if not found:
        raise ValueError('there is no image to annotate: none was scored')
    output = OutputFolder(out_dir)
    records = []
    for number, one in enumerate(found):
        kept = [(b, s) for b, s in zip(one.boxes, one.scores) if s >= min_score]
        name = _name_below(one.image, root)
        records.append(
            asdict(one)
            | dict(
                file_name=name,
                picture=_picture(number, one.image),
                boxes=[_inside(box, one) for box, _ in kept],
                scores=[score for _, score in kept],
                uncertainty=one.uncertainty,
            )
        )
    output.check([EXPORT])
    _check_earlier(output.folder / EXPORT, records)
    for record in records if pictures else ():
        with file_of(entry_of(record['image'])) as file:
            plane = read_radiograph(file)
        write_image(output.path(record['picture']), (plane * 255).round().astype(np.uint8))
    write_json(
        output.path(EXPORT),
        dict(version=_VERSION, tool=tool, category=category, images=records),
    )
    path = output.path(_FILES[tool])
    if tool == 'label-studio':
        write_json(path, [_task(record, category, url) for record in records])
        write_text(output.path('label_config.xml'), _label_config(category))
    elif tool == 'cvat':
        write_text(path, _cvat(records, category))
    else:
        write_json(path, coco_of_found(records, category))
    return path


def _check_min_score(min_score: float) -> None:
    if not 0 <= min_score <= 1:
        raise ValueError(f'min_score (--min-score) must lie in [0, 1], got {min_score}')


def _picture(number: int, image: str) -> str:
    """Name of an image's picture, which no other image has in any export."""
    # numbered by uncertainty: tools show files by name; of a path only the last part, if it is plain
    stem = re.sub(r'[^\w.-]', '_', Path(image).stem)[:60]
    # images of several folders may have one stem
    checksum = zlib.crc32(image.encode('utf-8', 'surrogatepass'))
    return f'images/{number:06d}_{checksum:08x}_{stem}.png'


def _check_earlier(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    if not path.exists():
        return
    left_out = set(_read_export(path)) - {_key(record['picture']) for record in records}
    if left_out:
        raise ValueError(
            f'{path} lists other pictures, e.g. {min(left_out)!r}, whose corrections may be on '
            'their way; name another folder, or import them and remove that file'
        )


def _name_below(image: str, root: str | os.PathLike) -> str:
    if not os.fspath(root) or image.startswith(('http://', 'https://')):
        return image
    name = os.path.relpath(os.path.abspath(image), os.path.abspath(root))
    if name.split(os.sep)[0] == os.pardir:
        raise ValueError(f"image '{image}' does not lie in {os.fspath(root)}: name another root")
    return name.replace(os.sep, '/')


def _inside(box: Sequence[float], one: Found) -> list[float]:
    x1, x2 = (min(max(float(x), 0.0), float(one.width)) for x in (box[0], box[2]))
    y1, y2 = (min(max(float(y), 0.0), float(one.height)) for y in (box[1], box[3]))
    return [x1, y1, x2, y2]


def _is_empty(box: Sequence[float]) -> bool:
    return box[2] <= box[0] or box[3] <= box[1]


def _task(record: Mapping[str, Any], category: str, url: str) -> dict:
    width, height = record['width'], record['height']
    result = []
    for number, (box, score) in enumerate(zip(record['boxes'], record['scores'])):
        x1, y1, x2, y2 = box
        value = dict(
            x=100 * x1 / width,
            y=100 * y1 / height,
            width=100 * (x2 - x1) / width,
            height=100 * (y2 - y1) / height,
            rotation=0,
            rectanglelabels=[category],
        )
        # the same in each export of the same findings
        key = uuid.uuid5(uuid.NAMESPACE_URL, f'{record["picture"]} {number}')
        result.append(
            dict(
                id=key.hex[:10],
                type='rectanglelabels',
                from_name='label',
                to_name='image',
                original_width=width,
                original_height=height,
                image_rotation=0,
                value=value,
                score=score,
            )
        )
    return dict(
        data=dict(
            image=url + quote(record['picture']),
            file_name=printable(record['file_name']),
            picture=record['picture'],
            uncertainty=record['uncertainty'],
        ),
        predictions=[
            dict(model_version=record['model'], score=record['probability'], result=result)
        ],
    )


def _label_config(category: str) -> str:
    view = ElementTree.Element('View')
    ElementTree.SubElement(
        view, 'Image', name='image', value='$image', zoom='true', brightnessControl='true'
    )
    labels = ElementTree.SubElement(view, 'RectangleLabels', name='label', toName='image')
    ElementTree.SubElement(labels, 'Label', value=category, background='#d95f02')
    return ElementTree.tostring(view, encoding='unicode') + '\n'


def _cvat(records: Sequence[Mapping[str, Any]], category: str) -> str:
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    for number, record in enumerate(records):
        image = ElementTree.SubElement(
            root,
            'image',
            id=str(number),
            name=record['picture'],
            width=str(record['width']),
            height=str(record['height']),
        )
        for box in record['boxes']:
            corners = dict(zip(('xtl', 'ytl', 'xbr', 'ybr'), (f'{side:.2f}' for side in box)))
            facts = dict(label=category, source='auto', occluded='0', z_order='0')
            ElementTree.SubElement(image, 'box', facts | corners)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(
        root, encoding='unicode'
    )


def coco_of_found(records: Sequence[Mapping[str, Any]], category: str) -> dict:
    """Findings as COCO, boxes with their scores.

    Args:
        records (Sequence[Mapping]): One an image: ``picture`` (its file name), ``width``, ``height``,
            ``boxes`` ``[x1, y1, x2, y2]`` and ``scores``.
        category (str): What the boxes are.
    """
    images: list[dict] = []
    annotations: list[dict] = []
    for number, record in enumerate(records, 1):
        images.append(
            dict(
                id=number,
                file_name=record['picture'],
                width=record['width'],
                height=record['height'],
            )
        )
        for box, score in zip(record['boxes'], record['scores']):
            annotations.append(_annotation(len(annotations) + 1, number, box) | dict(score=score))
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name=category)])


def _annotation(number: int, image_id: int, box: Sequence[float]) -> dict:
    x1, y1, x2, y2 = box
    bbox = [x1, y1, x2 - x1, y2 - y1]
    return dict(
        id=number, image_id=image_id, category_id=1, bbox=bbox, area=bbox[2] * bbox[3], iscrowd=0
    )


# ---- and back -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corrected:
    """What an annotator left on an image.

    Args:
        boxes (list): ``[x1, y1, x2, y2]``, px.
        by (str): Who; 'not said' where the file does not tell.
        at (str): When, as the tool writes it; '' where it does not.
        sizes (Sequence[tuple]): ``(width, height)`` of the image, px, as often as the file says it; None
            is a side that it does not give.
        is_submitted (bool): Whether the file says that somebody has done with it. Defaults to False.
        is_disputed (bool): Whether another annotator disagrees that there is a fracture, or that there
            is none. Defaults to False.
    """

    boxes: list
    by: str = _NOBODY
    at: str = ''
    sizes: Sequence[tuple[Any, Any]] = ()
    is_submitted: bool = False
    is_disputed: bool = False


def import_annotations(
    file: str | os.PathLike,
    export: str | os.PathLike,
    out_file: str | os.PathLike,
    base: str | os.PathLike | None = None,
    annotator: str | None = None,
    reviewed_all: bool = False,
) -> Counter:
    """Write what annotators corrected as mmfrac's annotations.

    An image that the file does not hold, or that nobody submitted, is left out: it was not looked at.
    So is one whose boxes are all clicks, without an area: where its fracture ends is not said.
    Files of CVAT and COCO do not say that; an image of theirs is left out where its boxes are exactly
    those of the export.

    One without boxes has no fracture (label 0); the boxes of others are complete (``regions``). Shapes
    that are no boxes, and boxes of another label than the exported one, are refused: an image with them
    alone is none without a fracture. So are boxes drawn on a copy of another size, and boxes that do not
    meet their image, and ignored ones (``iscrowd``); those that reach over its edge are clipped, and
    those without an area left out.

    Args:
        file (str or PathLike): JSON that Label Studio exports, CVAT's XML 1.1 for images, or COCO.
        export (str or PathLike): ``export.json`` of the images, or its folder.
        out_file (str or PathLike): COCO JSON to write.
        base (str or PathLike, optional): Annotations that the corrected images belong to: all of its
            images are written, those that were corrected with their new label and boxes, and patient,
            source and other fields stay, and so do ignored boxes and boxes of other categories. Defaults
            to None, the corrected images alone.
        annotator (str, optional): Who, where the file does not tell. Defaults to None.
        reviewed_all (bool): Whether all images of a file of CVAT or COCO were looked at, also those that
            are exactly as exported. Defaults to False.

    Returns:
        Counter: Images, and boxes 'kept', 'moved', 'added', 'removed', and 'empty', which were left out;
        'as exported' and 'clicks', images that were left out; 'disputed', images on which annotators
        disagree whether there is a fracture, of whom the last one counts; with a base 'to positive' and
        'to negative', images that had the other label.

    Raises:
        AnnotationFileError: If the file is none of these, or holds an image that was not exported or is
            of another size, a shape or a label, or a box that is inside out or lies off its image; if
            all of its images are left out.
    """
    path = Path(export)
    check_not_an_input(out_file, file, path, path / EXPORT, *([] if base is None else [base]))
    before = _read_export(path / EXPORT if path.is_dir() else path)
    corrected = _read_corrected(Path(file), before)
    if not corrected:
        raise AnnotationFileError(f'{file} holds no image that was submitted')
    who = {
        key: _named(one, annotator)
        for key, one in corrected.items()
        if reviewed_all or one.is_submitted or not _is_same(before[key]['boxes'], one.boxes)
    }
    if not who:
        raise AnnotationFileError(
            f'all {len(corrected)} images of {file} are exactly as they were exported: if somebody has '
            'looked at each of them, take them over with --reviewed-all (reviewed_all)'
        )
    counts: Counter = Counter(images=len(who))
    if len(who) < len(corrected):
        counts['as exported'] = len(corrected) - len(who)
    new: dict[str, tuple[dict, list]] = {}
    for key, one in who.items():
        record = before[key]
        boxes = [box for box in one.boxes if not _is_empty(box)]
        if one.boxes and not boxes:
            counts.update(clicks=1, images=-1)
            continue
        if one.is_disputed:
            counts['disputed'] += 1
        changes = compare_boxes(record['boxes'], boxes)
        counts.update(changes, empty=len(one.boxes) - len(boxes))
        fields = dict(
            width=record['width'],
            height=record['height'],
            label=int(bool(boxes)),
            regions=True,
            corrected=dict(by=one.by, at=one.at, model=record['model'], **changes),
        )
        new[record['file_name']] = (fields, boxes)
    if not new:
        fault = f'{file}: all boxes are without an area, clicks; draw them around the fractures'
        if counts['as exported']:
            fault = (
                f'{file}: of the {len(who)} images that were changed all boxes are without an area, '
                f'clicks; draw them around the fractures. {counts["as exported"]} are left out, exactly '
                'as they were exported: if somebody has looked at each of them, take them over with '
                '--reviewed-all (reviewed_all)'
            )
        raise AnnotationFileError(fault)
    content, old_labels = _content(new, base, next(iter(before.values()))['category'])
    for name, (fields, _) in new.items():
        if old_labels.get(name) == 1 - fields['label']:
            counts['to positive' if fields['label'] else 'to negative'] += 1
    _write_checked(out_file, content)
    return counts


def _write_checked(path: str | os.PathLike, content: dict) -> None:
    # without a folder that they begin at names are paths
    raise_problems(os.fspath(path), check_annotations(content, outside=True))
    write_json(listed_output(path), content)


def _named(one: Corrected, annotator: str | None) -> Corrected:
    if one.by != _NOBODY or annotator is None:
        return one
    return replace(one, by=annotator)


def _content(
    new: Mapping[str, tuple[dict, list]], base: Any, category: str
) -> tuple[dict, dict[str, int]]:
    """The annotations, and the labels of the base by file name."""
    labels: dict[str, int] = {}
    if base is None:
        images = [
            dict(id=number, file_name=name, **fields)
            for number, (name, (fields, _)) in enumerate(new.items(), 1)
        ]
        category_id, categories, kept = 1, [dict(id=1, name=category)], []
    else:
        content = read_json(base)
        raise_problems(os.fspath(base), check_annotations(content, outside=True))
        images, categories = content['images'], content['categories']
        known = {image['file_name'] for image in images}
        missing = sorted(set(new) - known)
        if missing:
            raise AnnotationFileError(
                f'{base} has no image {missing[0]!r}: give the export the folder that its names begin at'
            )
        found = [one['id'] for one in categories if one['name'] == category]
        if not found:
            raise AnnotationFileError(f'{base} has no category {category!r}')
        category_id = found[0]
        ids = {image['id'] for image in images if image['file_name'] in new}
        kept = [
            one
            for one in content['annotations']
            if one['image_id'] not in ids or one['category_id'] != category_id or is_ignored(one)
        ]
        own = [one for one in content['annotations'] if one['category_id'] == category_id]
        old = labels_of_films(images, own)
        labels = {image['file_name']: one.label for image, one in zip(images, old)}
        images = [image | new.get(image['file_name'], ({}, []))[0] for image in images]
    number = max((one['id'] for one in kept), default=0)
    annotations = list(kept)
    for image in images:
        for box in new.get(image['file_name'], ({}, []))[1]:
            number += 1
            one = _annotation(number, image['id'], box)
            annotations.append(one | dict(category_id=category_id))
    return dict(images=images, annotations=annotations, categories=categories), labels


def compare_boxes(before: Sequence, after: Sequence) -> dict[str, int]:
    """How boxes were corrected.

    Args:
        before (Sequence): ``[x1, y1, x2, y2]`` each.
        after (Sequence): Likewise.

    Returns:
        dict[str, int]: ``kept`` (overlap, IoU, at least 0.98), ``moved`` (at least 0.1), ``added`` and
        ``removed``; each box counts once, those that overlap most first.
    """
    pairs = sorted(
        ((_iou(one, other), i, j) for i, one in enumerate(before) for j, other in enumerate(after)),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    old, new = set(range(len(before))), set(range(len(after)))
    counts: Counter = Counter()
    for overlap, i, j in pairs:
        if overlap >= _MOVED and i in old and j in new:
            counts['kept' if overlap >= _KEPT else 'moved'] += 1
            old.remove(i)
            new.remove(j)
    return dict(kept=counts['kept'], moved=counts['moved'], added=len(new), removed=len(old))


def _is_same(before: Sequence, after: Sequence) -> bool:
    """Whether boxes are the same but for their order, and for what tools round."""
    left = list(after)
    for box in before:
        same = (
            index
            for index, other in enumerate(left)
            if all(abs(one - two) <= _ROUNDED for one, two in zip(box, other))
        )
        index = next(same, None)
        if index is None:
            return False
        left.pop(index)
    return not left


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def _read_export(path: Path) -> dict[str, dict]:
    if not path.is_file():
        raise FileNotFoundError(f'no {path}: it lies beside what mmfrac annotate export wrote')
    content = read_json(path)
    if not isinstance(content, dict) or content.get('version') != _VERSION:
        raise AnnotationFileError(f'{path} is no {EXPORT} of this version of mmfrac')
    try:
        return {
            _key(one['picture']): one | dict(category=content['category'])
            for one in content['images']
        }
    except (KeyError, TypeError) as error:
        raise AnnotationFileError(f'{path} is damaged: {one_line(error)}') from error


def _key(name: str) -> str:
    # tools put folders, and Label Studio characters of its own, before a name
    found = re.search(r'\d{6}_[^/\\]*\.png$', PurePosixPath(str(name).replace('\\', '/')).name)
    return found[0] if found else str(name)


def _read_corrected(path: Path, before: Mapping[str, dict]) -> dict[str, Corrected]:
    try:
        text = path.read_text(encoding='utf-8-sig')
    except FileNotFoundError as error:
        raise FileNotFoundError(f'no annotations {path}') from error
    except UnicodeDecodeError as error:
        raise AnnotationFileError(f'{path} is no text') from error
    category = next((one['category'] for one in before.values()), '')
    if text.lstrip().startswith('<'):
        return _checked(path, _of_cvat(path, text, category), before)
    try:
        content = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise AnnotationFileError(f'{path} is neither JSON nor XML: {one_line(error)}') from error
    try:
        if isinstance(content, list):
            return _checked(path, _of_label_studio(path, content, before, category), before)
        if isinstance(content, dict) and 'images' in content and 'annotations' in content:
            return _checked(path, _of_coco(path, content, category), before)
    except AnnotationFileError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise AnnotationFileError(
            f'{path} cannot be taken over: {type(error).__name__} {one_line(error)}'
        ) from error
    raise AnnotationFileError(
        f'{path} is none of: JSON of Label Studio (a list of tasks), XML of CVAT, COCO'
    )


def _checked(
    path: Path, found: Iterable[tuple[str, Corrected]], before: Mapping[str, dict]
) -> dict[str, Corrected]:
    corrected: dict[str, Corrected] = {}
    for name, one in found:
        key = _key(name)
        if key not in before:
            raise AnnotationFileError(f'{path} has an image {name!r} that was not exported')
        if key in corrected:
            raise AnnotationFileError(f'{path} has image {name!r} twice')
        size = Found('', before[key]['width'], before[key]['height'], 0.0, [], [])
        _check_sizes(path, name, one.sizes, size)
        numbers = [side for box in one.boxes for side in box]
        if not all(type(side) in (int, float) and math.isfinite(side) for side in numbers):
            raise AnnotationFileError(f'{path}, image {name!r}: a box has a side that is no number')
        boxes = [_on_image(path, name, box, size) for box in one.boxes]
        corrected[key] = replace(one, boxes=boxes)
    return corrected


def _check_sizes(path: Path, image: str, sizes: Iterable[tuple[Any, Any]], exported: Found) -> None:
    for size in sizes:
        sides = zip(size, (exported.width, exported.height))
        # tools write 0 or nothing where they do not know; XML has text
        if any(said and str(said) not in (str(side), f'{side}.0') for said, side in sides):
            raise AnnotationFileError(
                f'{path}, image {image!r}: its size is {size[0]} x {size[1]}, '
                f'{exported.width} x {exported.height} was exported; annotate the exported picture in '
                'its size, or scale size and boxes back'
            )


def _on_image(path: Path, image: str, box: Sequence[float], size: Found) -> list[float]:
    clipped = _inside(box, size)
    if _is_inside_out(box):
        problem = 'is inside out (its end lies before its beginning)'
    elif _is_empty(clipped) and not _is_empty(box):
        problem = f'lies off its {size.width} x {size.height} px'
    else:
        return clipped
    raise AnnotationFileError(
        f'{path}, image {image!r}: box {[round(side, 2) for side in box]} (x1, y1, x2, y2) {problem}; '
        'draw it anew, or take it out of the file'
    )


def _is_inside_out(box: Sequence[float]) -> bool:
    return box[2] < box[0] or box[3] < box[1]


def _check_label(path: Path, image: str, labels: Sequence[Any], category: str) -> None:
    others = [label for label in labels if label != category]
    if others:
        raise AnnotationFileError(
            f'{path}, image {image!r}: a box of label {others[0]!r}, {category!r} was exported; take it '
            'out of the file, or name it so'
        )


def _other_shape(path: Path, image: str, shape: Any) -> AnnotationFileError:
    return AnnotationFileError(
        f'{path}, image {image!r}: a shape {shape!r}, boxes are taken over; draw a box around it'
    )


def _of_label_studio(
    path: Path, tasks: Sequence[Mapping], before: Mapping[str, dict], category: str
) -> Iterator[tuple[str, Corrected]]:
    for task in tasks:
        name = task['data'].get('picture') or task['data']['image']
        submitted = [one for one in task.get('annotations') or () if not one.get('was_cancelled')]
        if not submitted:
            continue
        # the last word counts
        last = max(submitted, key=lambda one: str(one.get('updated_at') or ''))
        record = before.get(_key(name), dict(width=1, height=1))
        boxes = []
        for one in last['result']:
            value = one.get('value') or {}
            if _is_rectangle(one):
                _check_label(path, name, value.get('rectanglelabels') or (), category)
                boxes.append(_box_of(value, record['width'], record['height']))
            elif any(key in value for key in _SHAPES):
                raise _other_shape(path, name, one.get('type'))
        is_disputed = len({any(map(_is_rectangle, one['result'])) for one in submitted}) > 1
        who, at = _person(last.get('completed_by')), str(last.get('updated_at') or '')
        sizes = [(one.get('original_width'), one.get('original_height')) for one in last['result']]
        yield name, Corrected(boxes, who, at, sizes, is_submitted=True, is_disputed=is_disputed)


def _is_rectangle(one: Mapping[str, Any]) -> bool:
    return one.get('type') == 'rectanglelabels'


def _box_of(value: Mapping[str, Any], width: int, height: int) -> list[float]:
    """Hull of a rectangle, which may be turned about its upper left corner."""
    x, y = value['x'] * width / 100, value['y'] * height / 100
    w, h = value['width'] * width / 100, value['height'] * height / 100
    angle = math.radians(value.get('rotation') or 0)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(x + a * cos - b * sin, y + a * sin + b * cos) for a in (0, w) for b in (0, h)]
    xs, ys = zip(*corners)
    return [min(xs), min(ys), max(xs), max(ys)]


def _person(who: Any) -> str:
    if isinstance(who, Mapping):
        who = who.get('email') or who.get('username') or who.get('id')
    if who is None or who == '':
        return _NOBODY
    return f'user {who}' if isinstance(who, int) else printable(who)


def _turned(box: list[float], degrees: float) -> list[float]:
    """Hull of a box that is turned about its centre."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    cos, sin = (abs(f(math.radians(degrees))) for f in (math.cos, math.sin))
    w, h = box[2] - box[0], box[3] - box[1]
    half_w, half_h = (w * cos + h * sin) / 2, (w * sin + h * cos) / 2
    return [x - half_w, y - half_h, x + half_w, y + half_h]


def _of_cvat(path: Path, text: str, category: str) -> Iterator[tuple[str, Corrected]]:
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise AnnotationFileError(f'{path} defines entities, which CVAT does not write: refused')
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise AnnotationFileError(f'{path} is no XML: {error}') from error
    if root.tag != 'annotations':
        raise AnnotationFileError(f'{path} is no XML of CVAT for images: it holds {root.tag!r}')
    people = ('assignee/username', 'owner/username')
    who = next(
        (
            found
            for kind in ('task', 'job', 'project')
            for person in people
            if (found := root.findtext(f'meta/{kind}/{person}'))
        ),
        _NOBODY,
    )
    at = root.findtext('meta/dumped') or ''
    for image in root.iter('image'):
        boxes = []
        for box in image:
            if box.tag == 'tag':
                continue
            if box.tag != 'box':
                raise _other_shape(path, image.get('name', ''), box.tag)
            if 'label' in box.attrib:
                _check_label(path, image.get('name', ''), [box.attrib['label']], category)
            try:
                sides = [float(box.attrib[side]) for side in ('xtl', 'ytl', 'xbr', 'ybr')]
                turned = float(box.get('rotation') or 0)
                # the hull of one that is inside out would not show it
                boxes.append(
                    _turned(sides, turned) if turned and not _is_inside_out(sides) else sides
                )
            except (KeyError, ValueError) as error:
                raise AnnotationFileError(
                    f'{path}, image {image.get("name")!r}: a box lacks a side ({one_line(error)})'
                ) from error
        size = (image.get('width'), image.get('height'))
        yield image.get('name', ''), Corrected(boxes, printable(who), at, [size])


def _of_coco(
    path: Path, content: Mapping[str, Any], category: str
) -> Iterator[tuple[str, Corrected]]:
    names = {one['id']: one['name'] for one in content.get('categories') or ()}
    files = {image['id']: image['file_name'] for image in content['images']}
    boxes: dict[Any, list] = {image['id']: [] for image in content['images']}
    for one in content['annotations']:
        x, y, w, h = one['bbox']
        if is_ignored(one):
            raise AnnotationFileError(
                f'{path}, image {files[one["image_id"]]!r}: a box that is ignored (iscrowd or ignore), '
                'and corrections are of fractures: set it to 0, or take the box out'
            )
        if names:
            image_id = one['image_id']
            _check_label(path, files[image_id], [names[one['category_id']]], category)
        boxes[one['image_id']].append([x, y, x + w, y + h])
    for image in content['images']:
        size = (image.get('width'), image.get('height'))
        yield image['file_name'], Corrected(boxes[image['id']], sizes=[size])


# ---- as annotations of a model --------------------------------------------------------------------


def convert_found(
    found: Iterable[Found],
    out_file: str | os.PathLike,
    root: str | os.PathLike = '',
    min_score: float = 0.5,
    category: str = 'fracture',
) -> Counter:
    """Write what a model found as annotations that say that a model made them.

    Images with a box have label 1 and ``regions`` false: their boxes are nobody's truth, and training
    takes the label alone. Images without are of an unknown label.

    Args:
        found (Iterable[Found]): Images.
        out_file (str or PathLike): COCO JSON to write.
        root (str or PathLike): Folder that file names begin at. Defaults to '', they are paths.
        min_score (float): In [0, 1]; boxes below it are left out. Defaults to 0.5.
        category (str): What the boxes are. Defaults to 'fracture'.

    Returns:
        Counter: 'images', 'boxes', 'with a box'.

    Raises:
        ValueError: If the least score is not in [0, 1].
    """
    _check_min_score(min_score)
    images: list[dict] = []
    annotations: list[dict] = []
    for one in found:
        kept = [(b, s) for b, s in zip(one.boxes, one.scores) if s >= min_score]
        images.append(
            dict(
                id=len(images) + 1,
                file_name=_name_below(one.image, root),
                width=one.width,
                height=one.height,
                label=1 if kept else -1,
                regions=False,
                source=f'model {one.model}'.strip(),
                score=one.probability,
            )
        )
        for box, score in kept:
            made = _annotation(len(annotations) + 1, len(images), _inside(box, one))
            annotations.append(made | dict(score=score))
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name=category)])
    _write_checked(out_file, content)
    with_box = sum(image['label'] == 1 for image in images)
    return Counter({'images': len(images), 'boxes': len(annotations), 'with a box': with_box})
