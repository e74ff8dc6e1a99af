# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""mmfrac's own form of saved predictions: a folder with one ``.npz`` an image, and ``run.json``.

Members of an image's file, all of them plain arrays (nothing is pickled):

- ``film`` (str): path of the image; may be absent, then it is the file's own path below the folder,
  without ``.npz``
- ``prob_map`` (h, w) floats, cropped to the image, and ``map_scale`` (sx, sy), image px per cell; both
  may be absent (a box detector)
- ``score`` (float): image score; may be absent
- ``boxes`` (m, 4) xyxy px of the image, ``box_scores`` (m,); both may be absent
- ``box_classes`` (m,) names of the boxes' categories; absent: all are of those that are measured

``run.json`` says where they come from (config, checkpoint, SHA-256 of its weights, versions) and may be
absent.
"""

import io
import json
import lzma
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np

from mmfrac.evaluation.offline.image_prediction import ImagePrediction, no_boxes
from mmfrac.utils.io import (
    check_replaceable,
    foreign_files,
    note_written,
    read_json,
    remove_written,
    replace_folder,
    write_bytes,
    write_json,
)
from mmfrac.utils.lock import locked

RUN_FILE = 'run.json'
_LOCK = '.lock'
_WRITTEN = re.compile(r'.+\.[0-9a-f]{8}\.npz', re.DOTALL)


class MapFolderWriter:
    """Writes predictions image by image; the folder appears whole, when :meth:`finish` is called.

    Until then they are in ``.<name>.partial`` beside it, so several processes may write to it. Earlier
    predictions in the folder are replaced if it wrote them itself, see ``mmfrac.utils.io``.

    Args:
        folder (str or PathLike): Folder to write.

    Raises:
        ValueError: If it is there and holds anything that mmfrac did not write.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        # of '.' or 'a/..' too the name has to be known
        self.folder = Path(os.path.realpath(folder))
        self._partial = self.folder.with_name(f'.{self.folder.name}.partial')
        self._held = ExitStack()
        check_replaceable(self.folder)

    def start(self) -> None:
        """Remove what an interrupted run left. In one process, before any other writes.

        Raises:
            ValueError: If another process writes to the same folder, or the partial one holds what no
                run has left.
        """
        # inside, so that it goes with what it guards
        self._held.enter_context(locked(self.folder, file=self._partial / _LOCK))
        names = set(foreign_files(self._partial)) - {_LOCK}
        left = {name for name in names if _WRITTEN.fullmatch(name) or name == RUN_FILE}
        if left < names:
            raise ValueError(
                f'{self._partial}, which an interrupted run may leave, holds {min(names - left)!r} that '
                'none has written: move it away'
            )
        note_written(self._partial, left)
        remove_written(self._partial)

    def write(self, prediction: ImagePrediction) -> Path:
        """Write one image. Processes that both have it, as DDP's samplers do, write the same file.

        Args:
            prediction (ImagePrediction): Of an image.

        Returns:
            Path: Where it is for now.
        """
        name = PurePath(prediction.img_path).name
        # the same in every process, and different for images of one name in two folders
        path = self._partial / f'{name}.{zlib.crc32(prediction.img_path.encode()):08x}.npz'
        write_prediction(path, prediction)
        return path

    def finish(self, run: dict[str, Any]) -> Path:
        """Write ``run.json`` and give the folder its name. In one process, when all have written.

        Args:
            run (dict): Where the predictions come from.

        Returns:
            Path: The folder.
        """
        write_json(self._partial / RUN_FILE, run)
        (self._partial / _LOCK).unlink(missing_ok=True)
        replace_folder(self._partial, self.folder)
        self._held.close()
        return self.folder


class MapFolder:
    """Reads a folder of predictions, an image at a time.

    Args:
        folder (str or PathLike): Folder of ``.npz`` files, also in subfolders.

    Attributes:
        run (dict): Content of ``run.json``; empty without one.

    Raises:
        FileNotFoundError: If there is no such folder, or no ``.npz`` in it.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self._files = sorted(self.folder.rglob('*.npz'))
        if not self._files:
            raise FileNotFoundError(
                f'no .npz of predictions in the folder {folder}; tools/test.py --out FOLDER writes them'
            )
        run_file = self.folder / RUN_FILE
        self.run: dict = _read_run(run_file) if run_file.is_file() else {}

    def images(self) -> Iterator[tuple[Path, str]]:
        """Every file, and the image that it is about.

        Raises:
            ValueError: If a file is damaged.
        """
        for path in self._files:
            members = _members(path, ('film',))
            named = members.get('film')
            if named is not None:
                yield path, str(named)
            else:
                yield path, path.relative_to(self.folder).as_posix().removesuffix('.npz')


def read_prediction(path: Path, img_path: str) -> ImagePrediction:
    """Read one file of a :class:`MapFolder`.

    Args:
        path (Path): The ``.npz``.
        img_path (str): Image that it is about.

    Returns:
        ImagePrediction: Unchecked, see there.

    Raises:
        ValueError: If the file is damaged, or holds neither a map nor boxes.
    """
    members = _members(path)
    if 'prob_map' not in members and 'boxes' not in members:
        raise ValueError(f'{path} holds neither prob_map nor boxes, it holds {sorted(members)}')
    for name, array in members.items():
        if name not in ('film', 'box_classes') and array.dtype.kind not in 'fiub':
            raise ValueError(f'{path}: {name} must be numbers, it is of type {array.dtype}')
    boxes, scores = no_boxes()
    scale = members.get('map_scale')
    score = members.get('score')
    classes = members.get('box_classes')
    if score is not None and score.size != 1:
        raise ValueError(f'{path}: score must be one number, it is of shape {score.shape}')
    return ImagePrediction(
        img_path=img_path,
        boxes=members.get('boxes', boxes),
        box_scores=members.get('box_scores', scores),
        score=None if score is None else float(score.item()),
        prob_map=members.get('prob_map'),
        map_scale=None if scale is None else tuple(scale.ravel().tolist()),
        box_classes=None if classes is None else tuple(map(str, classes.ravel().tolist())),
    )


def write_prediction(path: Path, prediction: ImagePrediction) -> None:
    """Write one image's file under a temporary name, then rename it.

    Args:
        path (Path): The ``.npz``.
        prediction (ImagePrediction): Of the image.
    """
    members: dict[str, Any] = dict(
        film=np.asarray(prediction.img_path),
        boxes=prediction.boxes.astype(np.float32),
        box_scores=prediction.box_scores.astype(np.float32),
    )
    if prediction.box_classes is not None:
        members['box_classes'] = np.array(prediction.box_classes, np.str_)
    if prediction.score is not None:
        members['score'] = np.float64(prediction.score)
    if prediction.prob_map is not None:
        members['prob_map'] = prediction.prob_map
        members['map_scale'] = np.asarray(prediction.map_scale, np.float64)
    content = io.BytesIO()
    np.savez_compressed(content, **members)
    write_bytes(path, content.getvalue())


def _members(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Arrays of a file, or those of ``names`` that it has."""
    fault = _archive_fault(path)
    if fault:
        raise ValueError(f'{path} is no sound .npz: {fault}')
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.lib.npyio.NpzFile):
            raise ValueError('it holds one array without a name, np.savez writes names')
        with content:
            return {name: content[name] for name in content if names is None or name in names}
    # an archive is damaged in many ways, and each member is decompressed when it is asked for
    except (
        OSError,
        EOFError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        # a header with brackets without end, or that is no header at all
        RecursionError,
        SyntaxError,
        MemoryError,
        RuntimeError,
        TypeError,
        KeyError,
        OverflowError,
        AttributeError,
        UnicodeError,
        # of a member that was packed by another method
        lzma.LZMAError,
    ) as error:
        raise ValueError(f'{path} is no sound .npz: {error}') from error


# of a map, boxes or scores of one image
_MAX_BYTES = 1 << 30
_MAX_HEADER = 1 << 16


def _archive_fault(path: Path) -> str:
    """What is wrong with a file before anything of it is unpacked; '' if nothing is."""
    if not zipfile.is_zipfile(path):
        # said by whoever reads it
        return ''
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.flag_bits & 1:
                    return f'{member.filename} is encrypted'
                if member.file_size > _MAX_BYTES:
                    return f'{member.filename} claims {member.file_size} bytes'
                with archive.open(member) as part:
                    fault = _header_fault(part, member.file_size)
                if fault:
                    return f'{member.filename} {fault}'
    except (
        *(OSError, EOFError, ValueError, RuntimeError, NotImplementedError, KeyError),
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    ) as error:
        return str(error) or type(error).__name__
    return ''


def _header_fault(part: IO[bytes], size: int) -> str:
    start = part.read(8)
    if len(start) < 8 or start[:6] != b'\x93NUMPY' or start[6] not in (1, 2, 3):
        return 'is no array'
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(part.read(width), 'little')
    if length > _MAX_HEADER or length > size:
        return f'has a header of {length} bytes'
    text = part.read(length).decode('latin1')
    match = _HEADER.fullmatch(text)
    if match is None:
        return f'has a header that is none: {text.strip()[:60]!r}'
    numbers = [int(one) for one in re.findall(r'\d+', match['shape'])]
    kind = re.fullmatch(r"'[<>|=]?([fiubU])(\d+)'", match['descr'])
    if kind is None:
        return f'is of type {match["descr"][:40]}'
    item = int(kind[2]) * (4 if kind[1] == 'U' else 1)
    if math.prod(numbers) * item != size - 8 - width - length:
        return f'says {" x ".join(map(str, numbers)) or 1} of {item} bytes, and has not so many'
    return ''


_HEADER = re.compile(
    r"\{'descr': (?P<descr>'[^']{1,20}'), 'fortran_order': (True|False), "
    r"'shape': \((?P<shape>(\d{1,12}(, ?\d{1,12})*,?)?)\), ?\} *\n?"
)


_RUN_FIELDS: dict[str, tuple[type, ...]] = dict(
    config=(str,),
    checkpoint=(str, type(None)),
    seed=(int, type(None)),
    versions=(dict,),
    config_text=(str,),
    num_films=(int,),
    precision=(str, type(None)),
    weights=(list,),
)


def _read_run(path: Path) -> dict:
    try:
        run = read_json(path)
    except ValueError as error:
        raise ValueError(f'{error}; remove it or copy it anew') from error
    if not isinstance(run, dict):
        raise ValueError(f'{path} must hold a JSON object, it holds a {type(run).__name__}')
    for name, kinds in _RUN_FIELDS.items():
        # a bool is an int in Python
        if name in run and (not isinstance(run[name], kinds) or isinstance(run[name], bool)):
            raise ValueError(
                f'{path}: {name} is a {type(run[name]).__name__}; remove it or copy it anew'
            )
    number = run.get('num_films', 0)
    if number < 0:
        raise ValueError(f'{path}: num_films is {number!r}; remove it or copy it anew')
    try:
        json.dumps(run, allow_nan=False)
    except ValueError as error:
        raise ValueError(f'{path} holds NaN or infinity; remove it or copy it anew') from error
    return run
