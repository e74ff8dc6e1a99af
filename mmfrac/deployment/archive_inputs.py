# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Images of an archive, one at a time: folders, lists, CSV columns, ZIP files, a DICOMweb query."""

import io
import os
import re
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmfrac.datasets.radiographs.limits import max_bytes
from mmfrac.datasets.radiographs.read import (
    IMAGE_SUFFIXES,
    OTHER_SUFFIX,
    is_image,
    is_marked_image,
)
from mmfrac.deployment.dicomweb import check_url, login_session
from mmfrac.deployment.memory_file import memory_file
from mmfrac.deployment.zip_members import read_head, read_member
from mmfrac.preparation.tables.table import Problems, Table, open_table
from mmfrac.utils.errors import RadiographError, one_line
from mmfrac.utils.io import ZIP_ERRORS
from mmfrac.utils.walk import files_below

TOKEN_VARIABLE, AUTH_VARIABLE = 'MMFRAC_DICOMWEB_TOKEN', 'MMFRAC_DICOMWEB_AUTH'

Entry = dict[str, Any]
"""An image: ``image``, what it is called; ``path`` where it lies, if that is another one; of a ZIP file
``zip`` and ``member``; of a DICOMweb server ``server`` and ``uids`` (study, series, SOP), and
``modality`` where it names one."""

# of a DICOM file as far as its mark
_HEAD = 132
_URL = ('http://', 'https://')
# what an instance of a server is called
_INSTANCE = re.compile(r'(https?://.+)/studies/([^/]+)/series/([^/]+)/instances/([^/]+)')
_TRIES = 3
# of the server as a whole; another answer is one about an image
_REFUSALS = ('busy', 401, 403, 407, 408, 429, 502, 503, 504)


class ServerError(OSError):
    """A server that does not answer, or refuses to: nothing is said of its images."""


def list_entries(
    sources: Sequence[str | os.PathLike],
    column: str | None = None,
    root: str | os.PathLike | None = None,
    query: Mapping[str, str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Entry]:
    """Images of everything that is named, each once, in the order given; folders sorted by path.

    Args:
        sources (Sequence[str or PathLike]): Files; folders, searched with those below them; ``.txt``, a
            path a line; ``.csv`` with paths in a column; ``.zip``; URLs of DICOMweb servers.
        column (str, optional): Column of the CSV. Defaults to None, 'path'.
        root (str or PathLike, optional): Where relative paths of lists and tables begin. Defaults to
            None, the folder of the list.
        query (Mapping[str, str], optional): What studies of a server are searched by, e.g.
            ``StudyDate``. Defaults to None, all of them.
        say (Callable, optional): Told what is left out of a folder or a ZIP file. Defaults to None.

    Yields:
        Entry: One an image.

    Raises:
        FileNotFoundError: If a source is not there.
        ValueError: If a list is none, there is no image, or a URL holds a password.
        ServerError: If a server does not answer.
    """
    is_empty = True
    names = [os.fspath(source) for source in sources]
    for _, entry in _distinct(names, column, root, query or {}, (), say):
        is_empty = False
        yield entry
    if is_empty:
        raise ValueError(f'no image in {", ".join(map(str, sources))}')


def count_changes(
    listed: Iterable[Entry],
    sources: Sequence[str | os.PathLike],
    column: str | None = None,
    root: str | os.PathLike | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[int, int]:
    """Images that came to sources since they were listed, and those that are gone.

    Servers are not asked again. No file is opened of images that were listed, nor of those whose suffix
    is that of another kind of file: an image that came under one does not count.

    Args:
        listed (Iterable[Entry]): What ``list_entries`` gave.
        sources (Sequence[str or PathLike]): Likewise of the others, see there.
        column (str, optional): Defaults to None.
        root (str or PathLike, optional): Defaults to None.
        say (Callable, optional): Told of ZIP files that are not opened. Defaults to None.

    Returns:
        tuple[int, int]: Both numbers.

    Raises:
        OSError: If a list or ZIP file is not there any more, or a folder cannot be listed.
        ValueError: If a list is none.
    """
    before = {_key(entry) for entry in listed if 'uids' not in entry}
    local = [os.fspath(source) for source in sources if not is_url(os.fspath(source))]
    found, added = 0, 0
    for key, entry in _distinct(local, column, root, {}, before, say):
        if key in before:
            found += 1
        else:
            # a file that a list or the command itself names need not be there
            added += 'member' in entry or os.path.lexists(key)
    return added, len(before) - found


def is_url(source: str) -> bool:
    """Whether a source is a DICOMweb server."""
    return source.startswith(_URL)


def absolute_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Where a list of images comes from, whatever folder it is told in.

    Args:
        inputs (Mapping): ``sources`` and ``root`` as ``list_entries`` takes them, and others.

    Returns:
        dict: The same with absolute paths; URLs stay.
    """
    found = dict(inputs)
    if 'sources' in inputs:
        names = [os.fspath(source) for source in inputs['sources']]
        found['sources'] = [one if is_url(one) else os.path.abspath(one) for one in names]
    if inputs.get('root') is not None:
        found['root'] = os.path.abspath(inputs['root'])
    return found


def located(entry: Entry, folder: str | os.PathLike) -> Entry:
    """An entry whose relative path begins in a folder, under the name that it had.

    Args:
        entry (Entry): See ``list_entries``.
        folder (str or PathLike): That in which it was listed.
    """
    if 'uids' in entry:
        return entry
    key = 'zip' if 'member' in entry else 'path'
    path = entry['zip'] if 'member' in entry else _path(entry)
    return entry | {key: os.path.join(folder, path)}


def _path(entry: Entry) -> str:
    return entry['path'] if 'path' in entry else entry['image']


def _key(entry: Entry) -> str:
    """What an image is told by: a file is one under each of its paths."""
    if 'uids' in entry:
        return entry['image']
    is_member = 'member' in entry
    return os.path.abspath(f'{entry["zip"]}!/{entry["member"]}' if is_member else _path(entry))


def _distinct(
    sources: Iterable[str],
    column: str | None,
    root: str | os.PathLike | None,
    query: Mapping[str, str],
    known: Collection[str],
    say: Callable[[str], None] | None,
) -> Iterator[tuple[str, Entry]]:
    """Images of sources, each once, with what each is told by; those that are known are not opened."""
    seen: set[str] = set()
    for source in sources:
        for entry in _entries_of(source, column, root, query, known, say or (lambda text: None)):
            key = _key(entry)
            if key not in seen:
                seen.add(key)
                yield key, entry


def _entries_of(
    source: str,
    column: str | None,
    root: str | os.PathLike | None,
    query: Mapping[str, str],
    known: Collection[str],
    say: Callable[[str], None],
) -> Iterator[Entry]:
    if is_url(source):
        check_url(source, AUTH_VARIABLE)
        yield from _of_server(source, query)
        return
    suffix = Path(source).suffix.lower()
    if os.path.isdir(source):
        yield from _of_folder(source, known, say)
    elif suffix == '.zip':
        yield from _of_zip(source, known, say)
    elif suffix in ('.txt', '.csv'):
        below = os.path.dirname(source) if root is None else os.fspath(root)
        for path in _of_table(source, column) if suffix == '.csv' else _of_list(source):
            yield {'image': os.path.join(below, path)}
    else:
        # what is wrong with a file that is named is said in its result
        yield {'image': source}


class _LeftOut:
    """What is left out of a folder or a ZIP file."""

    def __init__(self, source: str, say: Callable[[str], None], is_zip: bool = False) -> None:
        self._source, self._say, self._is_zip = source, say, is_zip
        self._counts = [0, 0]
        self._first = ['', '']

    def add(self, path: str) -> None:
        """Take down a file; those that no image is ever called do not count."""
        name = path.rpartition('/')[2]
        if name.startswith('.') or name.upper() == 'DICOMDIR':
            return
        kind = int(name.lower().endswith('.zip'))
        self._first[kind] = self._first[kind] or path
        self._counts[kind] += 1

    def end(self, archives_alone: bool = False) -> None:
        """Say what it was."""
        (others, archives), (other, archive) = self._counts, self._first
        if archives:
            # one in a ZIP file has no path that could be named
            remedy = 'unpack them' if self._is_zip else 'name them as inputs, or unpack them'
            self._say(
                f'warning: ZIP files in {self._source} are not opened ({archives}, the first is '
                f'{archive}): {remedy}'
            )
        if others and not archives_alone:
            self._say(
                f'left out of {self._source} is what is no image ({others}, the first is {other})'
            )


def _is_other(path: str) -> bool:
    """Whether a file has the suffix of another kind than images."""
    suffix = Path(path).suffix.lower()
    return suffix not in IMAGE_SUFFIXES and bool(OTHER_SUFFIX.fullmatch(suffix))


def _of_folder(folder: str, known: Collection[str], say: Callable[[str], None]) -> Iterator[Entry]:
    left_out = _LeftOut(folder, say)
    for path in files_below(folder):
        is_known = bool(known) and os.path.abspath(path) in known
        # the others of a listed folder are not opened for what they are called
        if is_known or (not (known and _is_other(path)) and is_image(path)):
            yield {'image': path}
        else:
            left_out.add(path)
    left_out.end(archives_alone=bool(known))


def _of_list(path: str) -> Iterator[str]:
    if not os.path.exists(path):
        raise FileNotFoundError(f'no list of images {path}')
    # of UTF-16, too, as PowerShell writes it
    with open_table(path) as (file, _):
        for line in file:
            if '\0' in line:
                raise ValueError(
                    f'the list of images {path} holds NUL: it is UTF-16 without a byte-order mark, or '
                    'no text; save it as UTF-8'
                )
            if line.strip():
                yield line.rstrip('\r\n')


def _of_table(path: str, column: str | None) -> Iterator[str]:
    problems = Problems()
    table = Table(path, dict(path=(column or 'path',)), problems)
    for _, (name,) in table.rows():
        if name:
            yield name
    problems.raise_any([path])


# ---- ZIP files ------------------------------------------------------------------------------------


def _of_zip(path: str, known: Collection[str], say: Callable[[str], None]) -> Iterator[Entry]:
    archive, left_out = _archive(path, os.getpid()), _LeftOut(path, say, is_zip=True)
    for member in archive.infolist():
        name = member.filename
        parts = name.split('/')
        if member.is_dir() or '__MACOSX' in parts:
            continue
        entry = {'image': f'{path}!/{name}', 'zip': path, 'member': name}
        is_known = bool(known) and _key(entry) in known
        if is_known or (not (known and _is_other(name)) and _is_member_image(archive, member)):
            yield entry
        else:
            left_out.add(entry['image'])
    left_out.end(archives_alone=bool(known))


def _is_member_image(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether a member is taken for an image: by its suffix, or because it begins as one does.

    All without a suffix are, as DICOM files often are, for which a folder would read more of them.
    """
    name = member.filename.rpartition('/')[2]
    if name.startswith('.') or name.upper() == 'DICOMDIR':
        return False
    if not _is_other(name):
        return True
    try:
        head = read_head(archive, member, _HEAD)
    except ZIP_ERRORS:
        return False
    with memory_file(head) as path:
        return is_marked_image(path)


@lru_cache(maxsize=4)
def _archive(path: str, pid: int) -> zipfile.ZipFile:
    # its directory of a hundred thousand members is read once in each process
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'no ZIP file {path}') from error
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f'{path} is no ZIP file, or damaged: {one_line(error)}') from error


def _unpacked(entry: Entry) -> bytes:
    try:
        archive = _archive(entry['zip'], os.getpid())
        member = archive.getinfo(entry['member'])
        if member.file_size <= max_bytes():
            return read_member(archive, member)
        fault = f'it has more than {max_bytes()} bytes, no image'
    except Exception as error:  # zipfile raises what its parts raise
        fault = one_line(error)
    raise RadiographError(f"cannot read film '{entry['image']}' of a ZIP file: {fault}")


# ---- DICOMweb -------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _client(url: str, pid: int) -> Any:
    try:
        from dicomweb_client.api import DICOMwebClient
    except ImportError as error:
        raise ImportError(
            "a DICOMweb query needs: pip install '.[deploy]' in a checkout"
        ) from error
    token = os.environ.get(TOKEN_VARIABLE)
    headers = {'Authorization': f'Bearer {token}'} if token else None
    session = login_session(AUTH_VARIABLE)
    client = DICOMwebClient(url, session, headers=headers, timeout=60)
    client.set_http_retry_params(retry=True, max_attempts=_TRIES, wait_exponential_multiplier=200)
    return client


def _asked(url: str, name: str, *arguments: Any, **options: Any) -> Any:
    """Answer of a server; a ServerError where it gives none."""
    import requests
    import retrying

    try:
        return getattr(_client(url, os.getpid()), name)(*arguments, **options)
    except (requests.HTTPError, retrying.RetryError) as error:
        response = getattr(error, 'response', None)
        status = 'busy' if response is None else response.status_code
        if name == 'retrieve_instance' and status not in _REFUSALS:
            raise RadiographError(f'the server {url} does not give it ({status})') from error
        raise ServerError(
            f'the DICOMweb server {url} refuses ({status}): start again when it answers; a bearer token '
            f'is taken from {TOKEN_VARIABLE}, user:password from {AUTH_VARIABLE}'
        ) from error
    except (requests.RequestException, OSError) as error:
        kind = type(error).__name__
        raise ServerError(
            f'the DICOMweb server {url} does not answer ({kind}): start again when it does'
        ) from error
    except ImportError:
        raise
    except Exception as error:  # an answer that is none
        raise RadiographError(f'the answer of the server {url} cannot be read') from error


def _of_server(url: str, query: Mapping[str, str]) -> Iterator[Entry]:
    url = url.rstrip('/')
    studies = _asked(
        url, 'search_for_studies', search_filters=dict(query) or None, get_remaining=True
    )
    for study in sorted(filter(None, (_value(one, '0020000D') for one in studies))):
        found = _asked(url, 'search_for_instances', study, get_remaining=True)
        tags = ('0020000E', '00080018', '00080060')
        for series, instance, modality in sorted(
            {tuple(_value(one, tag) for tag in tags) for one in found}
        ):
            if series and instance:
                image = f'{url}/studies/{study}/series/{series}/instances/{instance}'
                entry = {'image': image, 'server': url, 'uids': [study, series, instance]}
                yield entry | ({'modality': modality.strip().upper()} if modality else {})


def _value(answer: Any, tag: str) -> str:
    try:
        return str(answer[tag]['Value'][0])
    except (IndexError, KeyError, TypeError):
        return ''


# ---- one image ------------------------------------------------------------------------------------


def entry_of(image: str, root: str | os.PathLike = '') -> Entry:
    """The entry that an image of a result was listed as, by what it is called.

    Args:
        image (str): Path, ``ZIP!/MEMBER``, or URL of an instance of a DICOMweb server.
        root (str or PathLike): Where relative paths begin. Defaults to '', here.

    Returns:
        Entry: For ``file_of``.
    """
    found = _INSTANCE.fullmatch(image)
    if found:
        server, *uids = found.groups()
        return {'image': image, 'server': server, 'uids': uids}
    path = os.path.join(root, image)
    for mark in re.finditer('!/', path):
        archive = path[: mark.start()]
        if archive.lower().endswith('.zip') and os.path.isfile(archive):
            return {'image': image, 'zip': archive, 'member': path[mark.end() :]}
    return {'image': path}


@contextmanager
def file_of(entry: Entry) -> Iterator[str]:
    """A file with the image of an entry, for the time of the block.

    Args:
        entry (Entry): See ``list_entries``.

    Yields:
        str: Its path; where the image lies in a ZIP file or on a server, of a copy in memory.

    Raises:
        RadiographError: If there is none.
        ServerError: If a server does not answer.
    """
    if 'member' not in entry and 'uids' not in entry:
        yield _path(entry)
        return
    if 'member' in entry:
        content = _unpacked(entry)
    else:
        dataset, file = _asked(entry['server'], 'retrieve_instance', *entry['uids']), io.BytesIO()
        try:
            dataset.save_as(file)
        except Exception as error:  # of a data set that nobody can write
            raise RadiographError('what the server sent is no DICOM image') from error
        content = file.getvalue()
    with memory_file(content) as path:
        yield path
