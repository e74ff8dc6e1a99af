# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where the film cache keeps what, and what an image in it depends on besides its file."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import pydicom
from mmdet.datasets.transforms import Resize

from mmfrac.datasets.film_cache.cached_file import (
    SUFFIX,
    CachedFile,
    CachedFileError,
    CachedImage,
    SourceState,
    content_checksum,
    source_state,
)
from mmfrac.datasets.radiographs.read import VALUES_VERSION
from mmfrac.datasets.transforms.load_radiograph import LoadRadiograph
from mmfrac.utils.io import write_json

# Decoders that pydicom finds; another version of a lossy one may give other values.
_CODECS = ('pylibjpeg', 'pylibjpeg-libjpeg', 'pylibjpeg-openjpeg', 'python-gdcm')

# Attributes that change no pixel.
_OTHERS = ('on_error', 'skipped', 'noted', 'clip_object_border')


def settings_of(load: LoadRadiograph, resize: Resize) -> dict[str, Any]:
    """All that the plane of a film depends on: options of both steps, and versions.

    Args:
        load (LoadRadiograph): First step.
        resize (Resize): The step that resizes; with a fixed scale.

    Returns:
        dict: Plain data; two caches with equal settings hold equal planes.

    Raises:
        ValueError: If the scale is not fixed.
    """
    if not resize.scale:
        raise ValueError(
            f'the film cache needs a Resize of fixed scale, got {resize}: set scale=(width, height)'
        )
    settings = {
        'values_version': VALUES_VERSION,
        'LoadRadiograph': _options(load),
        'Resize': _options(resize),
        'versions': _versions(),
    }
    return json.loads(json.dumps(settings))


def settings_name(settings: dict[str, Any]) -> str:
    """Folder name of the films of some settings, e.g. '1024x1024_5f0c7a12'."""
    width, height = settings['Resize']['scale']
    text = json.dumps(settings, sort_keys=True)
    return f'{width}x{height}_{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}'


def difference(one: Any, other: Any, where: str = '') -> list[str]:
    """What differs between two settings.

    Args:
        one, other (Any): Settings, or parts of them.
        where (str): Name of the part. Defaults to ''.

    Returns:
        list[str]: E.g. 'versions opencv: 5.0.0, here 4.13.0'.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys((*one, *other))
        found = [difference(one.get(k), other.get(k), f'{where} {k}'.strip()) for k in keys]
        return [line for lines in found for line in lines]
    return [] if one == other else [f'{where}: {one}, here {other}']


def _options(step: object) -> dict[str, Any]:
    return {name: value for name, value in vars(step).items() if name not in _OTHERS}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        'opencv': cv2.__version__,
        'numpy': np.__version__,
        'pillow': PIL.__version__,
        'pydicom': pydicom.__version__,
    }
    for name in _CODECS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


_SETTINGS = 'settings.json'


class FilmCacheError(ValueError):
    """The cache cannot be written."""


class NotCachedError(LookupError):
    """A film that has to be decoded: not in the cache, changed since, or damaged there."""


class FilmCache:
    """Folder of decoded and resized films, one sub-folder for each kind of settings.

    A film is found by its path relative to the folder, so data and cache can be moved together. No
    index is needed: a file is there or not, and is complete when it is there.

    Args:
        folder (str or os.PathLike): The folder.
        settings (dict): Of ``settings_of``.
    """

    def __init__(self, folder: str | os.PathLike, settings: dict[str, Any]) -> None:
        self.folder = os.path.realpath(folder)
        self.settings = settings
        self.image_dir = os.path.join(self.folder, settings_name(settings))
        # sources under another inode whose bytes were compared in this process
        self._compared: set[tuple[str, SourceState, int]] = set()

    def path_of(self, source: str) -> str:
        """File of a film, whether it is there or not.

        Args:
            source (str): Path of the source film.
        """
        parent, name = os.path.split(os.path.abspath(source))
        relative = f'{_relative(parent, self.folder)}/{name}'
        key = hashlib.blake2b(os.fsencode(relative), digest_size=16).hexdigest()
        return f'{self.image_dir}/{key[:2]}/{key[2:]}{SUFFIX}'

    def open(self, source: str) -> CachedFile:
        """File of a film of which the source has not changed.

        Args:
            source (str): Path of the source film.

        Returns:
            CachedFile: Its pixels are not read yet.

        Raises:
            NotCachedError: If it is not there, or its source has another size, time of change or,
                moved or copied since, other bytes.
        """
        try:
            file = CachedFile(self.path_of(source))
        except FileNotFoundError as error:
            raise NotCachedError('it is not in the cache') from error
        except (CachedFileError, OSError) as error:
            raise NotCachedError(f'its file in the cache is damaged ({error})') from error
        try:
            state = source_state(source)
            is_same = state[:2] == file.source[:2] and self._is_same(source, state, file)
        except OSError as error:
            raise NotCachedError(f'the source cannot be looked at ({error})') from error
        if not is_same:
            raise NotCachedError('the source has changed since it was cached')
        return file

    def _is_same(self, source: str, state: SourceState, file: CachedFile) -> bool:
        """Whether a source of the same size and time of change is the file that was cached.

        A file that keeps its inode and its time is. Another one may be a copy, or another film under
        this name: its bytes are read, once in a process, which is far less than to decode them. A film
        that was cached before inodes were noted is the same if the source was neither written nor
        renamed since.
        """
        if state == file.source:
            return True
        if file.content is None:
            return state.ctime_ns <= file.written_ns
        key = (source, state, file.content)
        if key not in self._compared:
            if content_checksum(source) != file.content:
                return False
            self._compared.add(key)
        return True

    def read(self, source: str) -> CachedImage:
        """A film of which the source has not changed.

        Args:
            source (str): Path of the source film.

        Returns:
            CachedImage: The film.

        Raises:
            NotCachedError: See ``open``; if its file was altered since it was written, too.
        """
        file = self.open(source)
        try:
            return file.read()
        except CachedFileError as error:
            path = self.path_of(source)
            raise NotCachedError(
                f'its file in the cache is damaged ({error}): remove {path} and run '
                'tools/cache_films.py again'
            ) from error

    def is_made(self) -> bool:
        """Whether there is a cache of these settings."""
        return os.path.isfile(os.path.join(self.image_dir, _SETTINGS))

    def make(self) -> None:
        """Make the folder, with ``settings.json``; nothing if it is there."""
        if not self.is_made():
            write_json(os.path.join(self.image_dir, _SETTINGS), self.settings, end='\n')

    def require(self) -> None:
        """Do nothing if there is a cache of these settings.

        Raises:
            FileNotFoundError: If there is none; says what there is, and how it differs.
        """
        if self.is_made():
            return
        others = [f'  {name}: {"; ".join(lines)}' for name, lines in self._others()]
        found = '; there are\n' + '\n'.join(others) if others else ''
        raise FileNotFoundError(
            f'no films {settings_name(self.settings)} in the film cache {self.folder}{found}\n'
            'write them with tools/cache_films.py and the config that reads them, or leave out '
            'film_cache'
        )

    def _others(self) -> Iterator[tuple[str, list[str]]]:
        for path in sorted(Path(self.folder).glob(f'*/{_SETTINGS}')):
            try:
                yield path.parent.name, difference(json.loads(path.read_text()), self.settings)
            except ValueError:
                yield path.parent.name, [f'{_SETTINGS} is damaged']


@functools.lru_cache(maxsize=2**16)
def _relative(parent: str, folder: str) -> str:
    # The film itself may be a link (git-annex): its name counts, not that of what it points to.
    return os.path.relpath(os.path.realpath(parent), folder)
