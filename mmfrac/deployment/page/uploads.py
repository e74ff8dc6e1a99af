# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What somebody sent: its name, and the images in it."""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from mmfrac.deployment.zip_members import directory_bytes, read_member
from mmfrac.utils.io import ZIP_ERRORS

_ZIP = b'PK\x03\x04'
_PIECE = 2**20
# of path, drive or stream, of markup, and what a terminal obeys
_NO_NAME = re.compile(r'[/\\<>:\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]')
_LONGEST_NAME = 255
# of the directory of a ZIP file, which takes some ten times its size of memory
_LARGEST_DIRECTORY = 2**22
# of what a packer leaves in a ZIP file for itself
_NO_IMAGE = ('__MACOSX', '.DS_Store', 'Thumbs.db', 'DICOMDIR')


class UploadError(ValueError):
    """Something that is not taken; the message says why, and holds no text of the file."""


@dataclass(frozen=True)
class UploadLimits:
    """What is taken.

    Args:
        request_bytes (int): Of one request. Defaults to 512 MiB.
        image_bytes (int): Of an image, unpacked. Defaults to 256 MiB.
        images (int): Of one request. Defaults to 500.
        unpacked_bytes (int): Of all images of a ZIP file. Defaults to 4 GiB.
        ratio (int): Bytes unpacked for each byte of a ZIP file. Defaults to 200.
        requests (int): That send or wait at the same time. Defaults to 64.
        seconds (float): Between two pieces of a request. Defaults to 30.
        request_seconds (float): Of a whole request, until it has arrived. Defaults to 1800.
        answer_seconds (float): In which a piece of an answer, some MiB, is read. Defaults to 300.
    """

    request_bytes: int = 2**29
    image_bytes: int = 2**28
    images: int = 500
    unpacked_bytes: int = 2**32
    ratio: int = 200
    requests: int = 64
    seconds: float = 30.0
    request_seconds: float = 1800.0
    answer_seconds: float = 300.0


class Upload(NamedTuple):
    """An image that was sent.

    Attributes:
        name (str): What it is called there.
        content (bytes): Its bytes; empty where it is refused.
        refusal (str): Why it is refused; '' if it is not.
    """

    name: str
    content: bytes
    refusal: str = ''


def checked_name(name: str | None) -> str:
    """The name of a file that was sent.

    Args:
        name (str, optional): As it was sent.

    Returns:
        str: The same.

    Raises:
        UploadError: If it is none, too long, a path, or markup.
    """
    if not name:
        raise UploadError('a file without a name is refused')
    if len(name) > _LONGEST_NAME:
        raise UploadError(f'a name of more than {_LONGEST_NAME} characters is refused')
    if _NO_NAME.search(name) or name in ('.', '..'):
        raise UploadError('a name that holds a path, markup or control characters is refused')
    return name


def images_of(file: BinaryIO, name: str, limits: UploadLimits) -> Iterator[Upload]:
    """Images of a file, one at a time: itself, or what a ZIP file holds.

    Args:
        file (BinaryIO): At its start.
        name (str): Checked.
        limits (UploadLimits): What is taken.

    Yields:
        Upload: In the order of the file; one that is refused says why, and the others follow.
    """
    head = file.read(len(_ZIP))
    file.seek(0)
    if head != _ZIP:
        content = file.read(limits.image_bytes + 1)
        if len(content) > limits.image_bytes:
            yield Upload(name, b'', f'it has more than {limits.image_bytes} bytes')
        else:
            yield Upload(name, content)
        return
    try:
        if directory_bytes(file) > _LARGEST_DIRECTORY:
            text = f'its directory has more than {_LARGEST_DIRECTORY} bytes'
            yield Upload(name, b'', f'{text}, {limits.images} files are taken')
            return
        with zipfile.ZipFile(file) as archive:
            yield from _members(archive, name, limits)
    except (EOFError, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        yield Upload(name, b'', f'the ZIP file cannot be read ({type(error).__name__})')
    except zipfile.BadZipFile:
        yield Upload(name, b'', 'the ZIP file is damaged')


def _members(archive: zipfile.ZipFile, name: str, limits: UploadLimits) -> Iterator[Upload]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    members = [one for one in members if not _is_of_packer(one.filename)]
    if len(members) > limits.images:
        yield Upload(name, b'', f'it holds {len(members)} files, {limits.images} are taken')
        return
    left = limits.unpacked_bytes
    for member in members:
        # folders of the file are no folders here: what is shown is a name, and nothing is unpacked to it
        shown, refusal = _member_name(member.filename)
        if not refusal:
            refusal = _member_fault(member, left, limits)
        content = b''
        if not refusal:
            try:
                content = read_member(archive, member)
            except ZIP_ERRORS:
                refusal = 'it cannot be unpacked: damaged, or packed in another way'
            left -= len(content)
        if content.startswith(_ZIP):
            content, refusal = b'', 'a ZIP file in a ZIP file is refused'
        yield Upload(shown, content, refusal)


def _is_of_packer(path: str) -> bool:
    return any(part in _NO_IMAGE or part.startswith('._') for part in path.split('/'))


def _member_name(path: str) -> tuple[str, str]:
    parts = path.split('/')
    try:
        for part in parts:
            checked_name(part)
    except UploadError as error:
        return 'a file of the ZIP', str(error)
    return path[-_LONGEST_NAME:], ''


def _member_fault(member: zipfile.ZipInfo, left: int, limits: UploadLimits) -> str:
    """Why a member is not unpacked, by what the ZIP file says of it."""
    size = member.file_size
    if member.flag_bits & 1:
        return 'it is encrypted'
    if size > limits.image_bytes:
        return f'it has {size} bytes unpacked, {limits.image_bytes} are taken'
    if size > limits.ratio * max(member.compress_size, 1) and size > _PIECE:
        return f'it is packed by more than 1 : {limits.ratio}, as no image is'
    if size > left:
        return f'the ZIP file has more than {limits.unpacked_bytes} bytes unpacked'
    return ''
