# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Images of an archive, one at a time: folders, lists, CSV columns, ZIP files, a DICOMweb query."""

import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmfrac.datasets.radiographs.limits import max_bytes
from mmfrac.datasets.radiographs.read import IMAGE_SUFFIXES, is_image
from mmfrac.deployment.dicomweb import check_url, login_session
from mmfrac.deployment.memory_file import memory_file
from mmfrac.deployment.zip_members import read_member
from mmfrac.preparation.tables.table import Problems, Table
from mmfrac.utils.errors import RadiographError, one_line
from mmfrac.utils.walk import files_below

TOKEN_VARIABLE, AUTH_VARIABLE = 'MMFRAC_DICOMWEB_TOKEN', 'MMFRAC_DICOMWEB_AUTH'

Entry = dict[str, Any]
"""An image: ``image``, what it is called; of a ZIP file ``zip`` and ``member``; of a DICOMweb server
``server`` and ``uids`` (study, series, SOP), and ``modality`` where it names one."""

# of files that are none, e.g. .txt; a UID ends with a number
_OTHER_SUFFIX = re.compile(r'\.[A-Za-z]\w{0,5}')
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

    Yields:
        Entry: One an image.

    Raises:
        FileNotFoundError: If a source is not there.
        ValueError: If a list is none, there is no image, or a URL holds a password.
        ServerError: If a server does not answer.
    """
    seen: set[str] = set()
    for source in sources:
        for entry in _entries_of(os.fspath(source), column, root, query or {}):
            image = entry['image']
            # a file is one under each of its paths
            key = image if 'uids' in entry else os.path.abspath(image)
            if key not in seen:
                seen.add(key)
                yield entry
    if not seen:
        raise ValueError(f'no image in {", ".join(map(str, sources))}')


def _entries_of(
    source: str, column: str | None, root: str | os.PathLike | None, query: Mapping[str, str]
) -> Iterator[Entry]:
    if source.startswith(('http://', 'https://')):
        check_url(source, AUTH_VARIABLE)
        yield from _of_server(source, query)
        return
    suffix = Path(source).suffix.lower()
    if os.path.isdir(source):
        yield from ({'image': path} for path in files_below(source) if is_image(path))
    elif suffix == '.zip':
        yield from _of_zip(source)
    elif suffix in ('.txt', '.csv'):
        below = os.path.dirname(source) if root is None else os.fspath(root)
        for path in _of_table(source, column) if suffix == '.csv' else _of_list(source):
            yield {'image': os.path.join(below, path)}
    else:
        # what is wrong with a file that is named is said in its result
        yield {'image': source}


def _of_list(path: str) -> Iterator[str]:
    try:
        with open(path, encoding='utf-8-sig', errors='surrogateescape') as file:
            for line in file:
                if line.strip():
                    yield line.rstrip('\r\n')
    except FileNotFoundError as error:
        raise FileNotFoundError(f'no list of images {path}') from error


def _of_table(path: str, column: str | None) -> Iterator[str]:
    problems = Problems()
    table = Table(path, dict(path=(column or 'path',)), problems)
    for _, (name,) in table.rows():
        if name:
            yield name
    problems.raise_any([path])


# ---- ZIP files ------------------------------------------------------------------------------------


def _of_zip(path: str) -> Iterator[Entry]:
    for member in _archive(path, os.getpid()).infolist():
        name = member.filename
        parts = name.split('/')
        if member.is_dir() or parts[-1].startswith('.') or '__MACOSX' in parts:
            continue
        suffix = Path(name).suffix.lower()
        is_other = bool(_OTHER_SUFFIX.fullmatch(suffix)) and suffix not in IMAGE_SUFFIXES
        if not is_other and parts[-1].upper() != 'DICOMDIR':
            yield {'image': f'{path}!/{name}', 'zip': path, 'member': name}


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
        raise ImportError('a DICOMweb query needs: pip install mmfrac[deploy]') from error
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
        yield entry['image']
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
