# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The one way to write a file, and to replace or remove one that is there.

A file is written whole under a temporary name, then renamed: whoever is killed while it writes leaves
the file that was there before, never half of a new one. Files that grow line by line (journals, logs)
are appended to and have no part in this.

In a folder that gets files of names that its user did not choose, mmfrac keeps a list of what it wrote
there (``.mmfrac_written``). Only what the list names is ever replaced or removed; anything else in the
place of an output is an error.
"""

import errno
import gc
import json
import os
import posixpath
import re
import socket
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from mmengine.fileio import LocalBackend, register_backend

PathLike = str | os.PathLike

# what zipfile raises on a damaged archive, or on one that it cannot read
ZIP_ERRORS = (
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
# Ends the temporary names, which begin with a dot; a killed writer leaves such a file.
TEMPORARY_SUFFIX = '.tmp'
_TEMPORARY = re.compile(rf'\..+\.(?:[0-9a-f]{{16}}|\d+){re.escape(TEMPORARY_SUFFIX)}', re.DOTALL)

_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# Seconds after which nobody writes to a file any more
_ABANDONED = 24 * 3600.0

_DRIVE = re.compile(r'[A-Za-z]:(/|$)')

# Lists what mmfrac wrote to the folder that it lies in, a JSON string a line.
WRITTEN_LIST = '.mmfrac_written'


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

    Raises:
        OSError: If it cannot be written, e.g. to a full disk; it names ``path``.
    """
    target = Path(path)
    temporary = _temporary(target)
    try:
        yield temporary
        _sync(temporary)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, target)
    except OSError as error:
        # a write to a full disk does not say of which file
        if error.errno in _OF_A_DISK and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
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


def read_json(path: PathLike) -> Any:
    """Read a JSON file.

    Args:
        path (str or os.PathLike): UTF-8, UTF-16 or UTF-32.

    Raises:
        ValueError: If it is none, or an object of it has a key twice.
    """
    try:
        return parse_json(Path(path).read_bytes())
    except DuplicateKeyError as error:
        raise ValueError(f'{path}: {error}') from error
    except RecursionError as error:
        raise ValueError(f'{path} is no JSON that can be read: it is nested too deeply') from error
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error


class DuplicateKeyError(ValueError):
    """A key that an object of a JSON file has twice: one of its values would be lost."""


def parse_json(content: bytes | str) -> Any:
    """Parse JSON, each key of an object once.

    Args:
        content (bytes or str): Of bytes JSON tells UTF-8, also with a byte-order mark, from UTF-16.

    Returns:
        Any: What it holds.

    Raises:
        DuplicateKeyError: If an object has a key twice.
        ValueError: If it is no JSON.
        RecursionError: If it is nested too deeply.
    """
    is_collecting = gc.isenabled()
    # nothing of what is made here is garbage: the hook costs less than that search
    gc.disable()
    try:
        return json.loads(content, object_pairs_hook=_object)
    finally:
        if is_collecting:
            gc.enable()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) == len(pairs):
        return record
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    names = [
        f'{key} {record[key]!r:.60}' for key in ('id', 'image_id', 'file_name') if key in record
    ]
    where = f' of {", ".join(names)}' if names else f' with the keys {", ".join(record)[:200]}'
    raise DuplicateKeyError(
        f'key {twice!r} is there {keys.count(twice)} times in the object{where}, and all but the last '
        'of its values would be lost: keep one of them'
    )


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
    """A folder that appears whole, in the place of one that was written likewise.

    Args:
        path (str or os.PathLike): Folder to write, its parent is made.

    Yields:
        Path: An empty folder of a temporary name to write to; renamed when the block ends, removed
            with all that it holds when the block raises.

    Raises:
        ValueError: If the folder is there and holds what mmfrac did not write; nothing is changed then.
    """
    # of '.' or 'a/..' too the name has to be known
    folder = Path(os.path.realpath(path))
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(folder)
    temporary.mkdir()
    try:
        yield temporary
        replace_folder(temporary, folder)
    finally:
        if temporary.is_dir():
            note_written(temporary, foreign_files(temporary))
            remove_written(temporary)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a folder that mmfrac has written its name; what it wrote there before is removed.

    Args:
        new (Path): The folder; all that it holds is noted as written.
        folder (Path): Its name, in the same file system.

    Raises:
        ValueError: If a folder of the name holds what mmfrac did not write; both are left as they are.
    """
    note_written(new, foreign_files(new))
    check_replaceable(folder)
    if not os.path.lexists(folder):
        os.rename(new, folder)
        return
    old = _temporary(folder)
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(old, folder)
        raise
    # what somebody put there in this very moment stays
    remove_written(old)


def check_replaceable(folder: Path) -> None:
    """Raise a ``ValueError`` unless there is no such folder, or all that it holds was written by mmfrac.

    Args:
        folder (Path): The folder.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise ValueError(f'{folder} is there and is no folder: name another one')
    foreign = foreign_files(folder)
    if foreign:
        named = ', '.join(map(repr, foreign[:3])) + (', ...' if len(foreign) > 3 else '')
        raise ValueError(
            f'{folder} holds {len(foreign)} files that mmfrac did not write ({named}; its list there is '
            f'{WRITTEN_LIST}), and would be replaced: name another folder, or move them away'
        )


def foreign_files(folder: Path) -> list[str]:
    """What a folder and those below hold besides what mmfrac wrote there.

    Args:
        folder (Path): The folder.

    Returns:
        list[str]: Paths below the folder, sorted. A folder without files counts for nothing.
    """
    known = written_files(folder) | {WRITTEN_LIST}
    found = []
    for inner, folders, names in os.walk(folder):
        # a link to a folder is a file of its own
        links = [name for name in folders if os.path.islink(os.path.join(inner, name))]
        for name in (*names, *links):
            path = os.path.relpath(os.path.join(inner, name), folder)
            if Path(path).as_posix() not in known and not is_temporary(name):
                found.append(Path(path).as_posix())
    return sorted(found)


def written_files(folder: Path) -> set[str]:
    """Paths below a folder that its list names as written by mmfrac; none without a list."""
    path = folder / WRITTEN_LIST
    if not path.is_file():
        return set()
    found = set()
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            name = json.loads(line)
        except ValueError:
            # cut off when the writer was killed
            continue
        if isinstance(name, str) and name and not leads_outside(name):
            found.add(name)
    return found


def leads_outside(file_name: str) -> bool:
    """Whether a file name is absolute, or climbs out of the folder that it is joined to.

    Args:
        file_name (str): With slashes or backslashes.
    """
    # most names are plain, and there are many
    if '..' not in file_name and not file_name.startswith(('/', '\\')) and file_name[1:2] != ':':
        return False
    plain = file_name.replace('\\', '/')
    return plain.startswith('/') or bool(_DRIVE.match(plain)) or '..' in plain.split('/')


def plain_path(file_name: str) -> str:
    """A file name in the one spelling of its path: ``./a//b.png`` is ``a/b.png``.

    Args:
        file_name (str): With slashes.
    """
    # most names are plain, and there are many
    if './' in file_name or '//' in file_name or file_name.endswith(('/', '/.', '/..')):
        return posixpath.normpath(file_name)
    return file_name


def note_written(folder: Path, names: Iterable[str]) -> None:
    """Put names into the list of what mmfrac wrote to a folder, which is made.

    Args:
        folder (Path): The folder.
        names (Iterable[str]): Paths below it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ''.join(json.dumps(name) + '\n' for name in names)
    path = folder / WRITTEN_LIST
    # half a line of a killed writer must not join the next one
    start = '' if not path.is_file() or path.read_bytes()[-1:] in (b'', b'\n') else '\n'
    with open(path, 'a', encoding='utf-8') as file:
        file.write(start + lines)


def remove_written(folder: Path) -> None:
    """Remove what mmfrac wrote to a folder, and the folder if nothing else is in it.

    Args:
        folder (Path): The folder.
    """
    remove_files(folder, [*written_files(folder), WRITTEN_LIST])


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a folder, leftovers of killed writers, and what holds nothing else then.

    Args:
        folder (Path): The folder.
        names (Iterable[str]): Paths below it, which mmfrac wrote.
    """
    for name in names:
        (folder / name).unlink(missing_ok=True)
    remove_temporary_files(folder)
    for inner, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(inner)
        except OSError:
            # somebody else's
            continue


class OutputFolder:
    """A folder for files of given names, which may hold other files, too.

    Args:
        folder (str or os.PathLike): The folder; it is made with its first file.
    """

    def __init__(self, folder: PathLike) -> None:
        self.folder = Path(folder)
        self._known: set[str] | None = None

    def path(self, name: str) -> Path:
        """Where to write a file: it is noted as written by mmfrac.

        Args:
            name (str): Path below the folder.

        Raises:
            ValueError: See ``check``.
        """
        self.check([name])
        path = self.folder / name
        name = Path(name).as_posix()
        if name not in self._written:
            note_written(self.folder, [name])
            self._written.add(name)
        return path

    def check(self, names: Iterable[str]) -> None:
        """Raise one error if files cannot be written, before work begins that ends with them.

        Args:
            names (Iterable[str]): Paths below the folder.

        Raises:
            ValueError: If there is a file of that name which mmfrac did not write, or one where a folder
                is wanted.
        """
        names = [Path(name).as_posix() for name in names]
        inner = {folder for name in names for folder in Path(name).parents}
        for folder in sorted(self.folder / one for one in inner):
            if os.path.lexists(folder) and not folder.is_dir():
                raise ValueError(
                    f'{folder} is there and is no folder: name another folder, or move it away'
                )
        taken = [
            self.folder / name
            for name in names
            if name not in self._written and os.path.lexists(self.folder / name)
        ]
        if taken:
            others = f' (and {len(taken) - 1} others)' if len(taken) > 1 else ''
            raise ValueError(
                f'{taken[0]}{others} is there and was not written by mmfrac (what was is in '
                f'{self.folder / WRITTEN_LIST}): it stays; name another folder, or move it away'
            )

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, of which those stay that mmfrac did not write.

        Args:
            names (Iterable[str]): Paths below the folder; there need be none of them.
        """
        for name in self._written.intersection(Path(name).as_posix() for name in names):
            (self.folder / name).unlink(missing_ok=True)

    @property
    def _written(self) -> set[str]:
        if self._known is None:
            self._known = written_files(self.folder)
        return self._known


def check_not_an_input(out: PathLike, *inputs: PathLike) -> None:
    """Raise a ``ValueError`` if a file to be written is one that is read."""
    for path in inputs:
        if os.path.exists(out) and os.path.exists(path) and os.path.samefile(out, path):
            raise ValueError(f'{out} is what is read, and would be replaced: name another file')


# Bytes at either end of a file by which its kind is told.
_HEAD = 2**16


def check_output(
    out: PathLike, what: str, head: bytes, *inputs: PathLike, tail: bytes = b''
) -> None:
    """Raise a ``ValueError`` if a file to be written takes the place of anything but its like.

    Called before the work, so that nobody waits for what cannot be written. An empty file is replaced.

    Args:
        out (str or os.PathLike): File to write, which its user named.
        what (str): What is written, for the message, e.g. 'report of check_data'.
        head (bytes): Regular expression of how such files begin.
        *inputs (str or os.PathLike): What is read.
        tail (bytes): Regular expression of how they end. Defaults to any end.

    Raises:
        ValueError: If there is a folder, an input, or a file of another kind in its place.
    """
    if not os.path.lexists(out):
        return
    if os.path.isdir(out):
        raise ValueError(f"cannot write '{out}': it is a folder, name a file")
    if os.path.exists(out) and not os.path.isfile(out):
        # a pipe would be waited for, and /dev/null would become a file
        raise ValueError(f"cannot write '{out}': it is a device or a pipe, name a file")
    check_not_an_input(out, *inputs)
    try:
        with open(out, 'rb') as file:
            begin = file.read(_HEAD)
            file.seek(max(0, file.seek(0, os.SEEK_END) - _HEAD))
            is_like = bool(re.match(head, begin) and re.search(tail + rb'\s*\Z', file.read()))
    except FileNotFoundError:  # a link to nothing
        return
    except OSError:
        begin, is_like = b'?', False
    if begin and not is_like:
        raise ValueError(
            f'{out} is there and is no {what}: it is not replaced; name another file, or move it away'
        )


def listed_output(out: PathLike) -> Path:
    """Where to write a file that its user named and whose bytes do not tell who wrote it.

    Args:
        out (str or os.PathLike): File to write; it is noted in its folder as written by mmfrac.

    Raises:
        ValueError: If there is a file of that name which mmfrac did not write.
    """
    path = Path(out)
    if path.is_dir():
        raise ValueError(f"cannot write '{out}': it is a folder, name a file")
    return OutputFolder(path.parent).path(path.name)


def is_temporary(name: str) -> bool:
    """Whether a file name is one under which this module writes."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_temporary_files(
    folder: PathLike, min_age: float = 0.0, of_dead_writers: bool = False
) -> None:
    """Remove what killed writers left in a folder and below.

    Args:
        folder (str or os.PathLike): The folder.
        min_age (float): Seconds for which nobody has written to a file. Defaults to 0: no other writer
            may be at work there.
        of_dead_writers (bool): Only those whose process on this machine is gone, and of other machines
            those of yesterday and before: others may be at work there. Defaults to False.
    """
    now = time.time()
    for path in Path(folder).rglob(f'.*{TEMPORARY_SUFFIX}'):
        try:
            age = now - path.lstat().st_mtime
            is_old = not min_age or age > min_age
            if not is_temporary(path.name) or not (path.is_symlink() or path.is_file()):
                continue
            if of_dead_writers:
                is_old = _writer_is_gone(path.name) or age > _ABANDONED
            if is_old:
                path.unlink()
        except FileNotFoundError:
            # another process does the same
            continue


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
    number = f'{_machine():04x}{os.getpid():07x}{uuid.uuid4().int % 16**5:05x}'
    return folder / f'.{target.name[:48]}.{number}{TEMPORARY_SUFFIX}'


@cache
def _machine() -> int:
    """Number of this machine, since it was started, and of the processes that it shows."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path('/proc/sys/kernel/random/boot_id').read_text(),
        lambda: os.readlink('/proc/self/ns/pid'),
    ):
        with suppress(OSError):
            parts.append(read())
    return zlib.crc32('\n'.join(parts).encode()) % 16**4


def _writer_is_gone(name: str) -> bool:
    number = name.removesuffix(TEMPORARY_SUFFIX).rpartition('.')[2]
    if len(number) != 16 or int(number[:4], 16) != _machine():
        return False
    try:
        os.kill(int(number[4:11], 16), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: a rename must not get there before what it names."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
