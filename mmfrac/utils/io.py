# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The one way to write a file: whole under a temporary name, then renamed.

Whoever is killed while it writes leaves the file that was there before, never half of a new one. Files
that grow line by line (journals, logs) are appended to and have no part in this.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from mmengine.fileio import LocalBackend, register_backend

PathLike = str | os.PathLike

# Ends the temporary names, which begin with a dot; a killed writer leaves such a file.
TEMPORARY_SUFFIX = '.tmp'


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """A temporary name for a writer that takes a name; its file replaces ``path`` in the end.

    Any number of processes may write one file: the last one wins. After an error there is neither the
    temporary file nor a folder that was not there before.

    Args:
        path (str or os.PathLike): File or link to write; its folder is made.

    Yields:
        Path: The temporary name, on the same file system. What is made there takes the place of
            ``path`` when the block ends, and is removed when it raises.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        yield temporary
        _sync(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_open(
    path: PathLike,
    mode: str = 'w',
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> Iterator[IO]:
    """``open`` for a file that appears whole or not at all.

    Args:
        path (str or os.PathLike): File to write; its folder is made.
        mode (str): 'w' for text, 'wb' for bytes. Defaults to 'w'.
        encoding (str, optional): Of text. Defaults to None, UTF-8.
        errors (str, optional): As ``open`` takes it. Defaults to None.
        newline (str, optional): As ``open`` takes it. Defaults to None.

    Yields:
        IO: The file; it has its name when the block ends, and is removed when the block raises.

    Raises:
        ValueError: If the mode is another one.

    Examples:
        >>> with atomic_open('weights.pth', 'wb') as file:
        ...     torch.save(weights, file)
    """
    if mode not in ('w', 'wb'):
        raise ValueError(f"mode {mode!r} of {path}: a file is written whole, choose 'w' or 'wb'")
    if mode == 'w' and encoding is None:
        encoding = 'utf-8'
    with (
        atomic_path(path) as temporary,
        open(temporary, mode, encoding=encoding, errors=errors, newline=newline) as file,
    ):
        yield file


def write_bytes(path: PathLike, content: bytes | bytearray | memoryview) -> None:
    """Write bytes.

    Args:
        path (str or os.PathLike): File to write; its folder is made.
        content (bytes): All of it.
    """
    with atomic_open(path, 'wb') as file:
        file.write(content)


def write_text(path: PathLike, text: str, encoding: str = 'utf-8') -> None:
    """Write text, its line ends as they are.

    Args:
        path (str or os.PathLike): File to write; its folder is made.
        text (str): All of it.
        encoding (str): Defaults to 'utf-8'.
    """
    write_bytes(path, text.encode(encoding))


def write_json(
    path: PathLike,
    content: Any,
    indent: int | None = 1,
    compact: bool = False,
    allow_nan: bool = True,
    end: str = '',
) -> None:
    """Write JSON: equal content gives equal bytes, keys stand in the order of the content.

    Args:
        path (str or os.PathLike): File to write; its folder is made.
        content (Any): Plain data.
        indent (int, optional): Blanks a level; None: all in one line. Defaults to 1.
        compact (bool): One line without blanks, for large files. Defaults to False.
        allow_nan (bool): Whether NaN and infinity may be written, which is no JSON. Defaults to True.
        end (str): What follows, e.g. a line end. Defaults to ''.

    Raises:
        TypeError: If the content is no plain data.
        ValueError: If it has NaN or infinity and must not.
    """
    shape: dict[str, Any] = dict(separators=(',', ':')) if compact else dict(indent=indent)
    write_text(path, json.dumps(content, allow_nan=allow_nan, **shape) + end)


def write_image(path: PathLike, image: np.ndarray) -> None:
    """Write an image file, its format by its suffix.

    Args:
        path (str or os.PathLike): File to write, e.g. ``.png`` or ``.jpg``; its folder is made.
        image (np.ndarray): (h, w) grey or (h, w, 3) RGB; uint8, or uint16 where the format has it.

    Raises:
        ValueError: If the format is unknown or cannot hold such an image.
    """
    stored = image[..., ::-1] if image.ndim == 3 else image
    try:
        encoded, content = cv2.imencode(Path(path).suffix, stored)
    except cv2.error:
        encoded = False
    if not encoded:
        raise ValueError(
            f"cannot write the picture '{path}' of shape {image.shape}: name a .png or .jpg file"
        )
    write_bytes(path, content.tobytes())


def write_private(path: PathLike, text: str) -> None:
    """Write a new file that its user alone can read, e.g. a key.

    Args:
        path (str or os.PathLike): File that must not be there; its folder is made.
        text (str): All of it.

    Raises:
        FileExistsError: If it is there, also if another process has just made it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            file.write(text)
        _sync(temporary)
        # a second name, where a rename would replace the key of another process
        os.link(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: PathLike) -> Iterator[Path]:
    """A folder that appears whole, in the place of the one that was there.

    Args:
        path (str or os.PathLike): Folder to write, its parent is made.

    Yields:
        Path: An empty folder of a temporary name to write to; renamed when the block ends, removed
            with all that it holds when the block raises.
    """
    # of '.' or 'a/..' too the name has to be known
    folder = Path(os.path.abspath(path))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder)
    temporary.mkdir()
    try:
        yield temporary
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a folder that is written its name; one that has the name already is removed.

    Args:
        new (Path): The folder.
        folder (Path): Its name, in the same file system.
    """
    if not folder.exists():
        os.rename(new, folder)
        return
    old = _temporary(folder)
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove_temporary_files(folder: PathLike) -> None:
    """Remove what killed writers left in a folder and below; no other writer may be at work there.

    Args:
        folder (str or os.PathLike): The folder.
    """
    for path in Path(folder).rglob(f'.*{TEMPORARY_SUFFIX}'):
        path.unlink(missing_ok=True)


class AtomicLocalBackend(LocalBackend):
    """Local file backend of MMEngine that writes as this module does.

    Used by the checkpoint hook through ``backend_args=dict(backend='atomic')``.
    """

    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes; the parent folder is made if need be."""
        write_bytes(filepath, obj)

    def put_text(self, obj: str, filepath: PathLike, encoding: str = 'utf-8') -> None:
        """Write text."""
        write_text(filepath, obj, encoding)


register_backend('atomic', AtomicLocalBackend, force=True)


def _temporary(target: Path) -> Path:
    """A name in the nearest folder that is there, for this writer alone among all machines."""
    folder = target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder / f'.{target.name[:48]}.{uuid.uuid4().hex[:16]}{TEMPORARY_SUFFIX}'


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: a rename must not get there before what it names."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
