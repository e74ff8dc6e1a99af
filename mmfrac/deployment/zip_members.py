# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Members of a ZIP file that somebody else packed, without more memory than they say they need."""

import zipfile

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# of the end of the directory, as zipfile finds it
_DIRECTORY_BYTES = 5


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Bytes of a member, as many as it says of itself.

    ``ZipFile.read`` inflates whatever there is and cuts it then; LZMA and BZIP2 can be inflated in no
    other way, and are refused.

    Args:
        archive (zipfile.ZipFile): The file.
        member (zipfile.ZipInfo): One of its members.

    Returns:
        bytes: All of it.

    Raises:
        NotImplementedError: If it is packed in another way than stored or deflated.
        zipfile.BadZipFile: If it is not what its size and its checksum say. What else damaged files
            raise is in ``mmfrac.utils.io.ZIP_ERRORS``.
    """
    if member.compress_type not in _METHODS:
        raise NotImplementedError('it is neither stored nor deflated')
    with archive.open(member) as file:
        content = file.read(member.file_size)
    if len(content) != member.file_size:
        raise zipfile.BadZipFile('it ends before its size')
    return content


def read_head(archive: zipfile.ZipFile, member: zipfile.ZipInfo, size: int) -> bytes:
    """The first bytes of a member, by which its kind is told.

    Args:
        archive (zipfile.ZipFile): The file.
        member (zipfile.ZipInfo): One of its members.
        size (int): Bytes at most.

    Raises:
        NotImplementedError: See ``read_member``, as for what damaged files raise.
    """
    if member.compress_type not in _METHODS:
        raise NotImplementedError('it is neither stored nor deflated')
    with archive.open(member) as file:
        return file.read(size)


def directory_bytes(file: object) -> int:
    """Bytes of the directory of a ZIP file, which ``ZipFile`` reads as a whole; 0 if it has none.

    Args:
        file (BinaryIO): The file.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    return int(end[_DIRECTORY_BYTES]) if end else 0
