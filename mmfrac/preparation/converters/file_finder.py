# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where a film that a table names lies below the image folder."""

import os
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence
from threading import Lock

from mmfrac.datasets.radiographs.read import IMAGE_SUFFIXES
from mmfrac.utils.walk import files_below


class ImageFinder:
    """Finds films by the names that tables give them.

    A name is tried as it is, with other slashes and in the other Unicode form. Tables name films from
    the root of their release, which may lie deeper or have another name here: the first film that is
    found without its first folders decides how many of them are taken off. Where the set's file names
    are unique, the folder is searched for them last.

    Args:
        image_dir (str): Folder with the films.
        unique_names (bool): Whether no two films of the set have the same file name.

    Attributes:
        is_settled (bool): Whether a film has been found: from then on the order in which films are asked
            for does not matter.
    """

    def __init__(self, image_dir: str, unique_names: bool) -> None:
        self.image_dir = image_dir
        self._unique = unique_names
        self._depth: int | None = None
        self._index: dict[str, list[str]] | None = None
        self._lock = Lock()
        self.is_settled = False

    def find(self, names: Sequence[str]) -> str | None:
        """Path of a film.

        Args:
            names (Sequence[str]): Names that it may have, the likeliest first.

        Returns:
            str or None: Path below the image folder, or absolute where it lies elsewhere; None if
                there is no such file.

        Raises:
            ValueError: If a file of that name is in several folders.
        """
        path = self._as_named(names) or self._indexed(names) or self._nearly_as_named(names)
        if path is None and self._unique:
            path = self._search(names)
        self.is_settled = self.is_settled or path is not None
        return path

    def _exists(self, path: str) -> bool:
        return os.path.isfile(os.path.join(self.image_dir, path))

    def _as_named(self, names: Sequence[str]) -> str | None:
        found = next((name for name in names if self._exists(name)), None)
        if found is None:
            return None
        # a set whose names are found whole has its root here
        self._depth = self._depth or 0
        return relative(found, self.image_dir)

    def _indexed(self, names: Sequence[str]) -> str | None:
        """A quick answer, once the folder has been searched."""
        found = self._index.get(_stem(names[0]), []) if self._index is not None else []
        return found[0] if len(found) == 1 else None

    def _nearly_as_named(self, names: Sequence[str]) -> str | None:
        for name in names:
            for form in _forms(name):
                for depth, path in enumerate(_endings(form)):
                    if depth and self._depth not in (None, depth):
                        continue
                    if self._exists(path):
                        self._depth = self._depth or depth
                        return relative(path, self.image_dir)
        return None

    def _search(self, names: Sequence[str]) -> str | None:
        with self._lock:
            if self._index is None:
                self._index = _index_of(self.image_dir)
        found = self._index.get(_stem(names[0]), [])
        same_suffix = [path for path in found if path.endswith(os.path.splitext(names[0])[1])]
        if len(found) > 1:
            found = same_suffix or found
        if len(found) > 1:
            raise ValueError(
                f'{names[0]} is in {self.image_dir} {len(found)} times, as {", ".join(sorted(found))}: '
                'name the folder that is meant'
            )
        return found[0] if found else None


def relative(path: str, image_dir: str) -> str:
    """A path as it is written: below the image folder where it lies there, else absolute."""
    if os.path.isabs(path):
        root = os.path.abspath(image_dir)
        path = os.path.normpath(path)
        if not path.startswith(root.rstrip(os.sep) + os.sep):
            return path
        path = os.path.relpath(path, root)
    return posixpath.normpath(path)


def plain_name(name: str) -> str:
    """A name as it is written when no file is looked at: with slashes."""
    return name.replace('\\', '/') if '/' not in name else name


def with_suffixes(stem: str, release: str, suffix: str | None) -> tuple[str, ...]:
    """Names of a film that its set names without suffix; releases are repacked as other files.

    Args:
        stem (str): Its name.
        release (str): Suffix in the release.
        suffix (str, optional): Suffix that the user named; the only one then.
    """
    if suffix is not None:
        return (stem + suffix,)
    return (stem + release, *(stem + one for one in IMAGE_SUFFIXES if one != release))


def _forms(name: str) -> list[str]:
    forms = [name]
    if '\\' in name:
        forms.append(name.replace('\\', '/'))
    if not name.isascii():
        forms += [unicodedata.normalize(form, one) for form in ('NFC', 'NFD') for one in forms]
    for stem, suffix in map(os.path.splitext, forms.copy()):
        forms += [stem + suffix.lower(), stem + suffix.upper()]
    return list(dict.fromkeys(forms))


def _endings(path: str) -> Iterator[str]:
    """a/b/c, b/c, c."""
    yield path
    while '/' in path:
        path = path.split('/', 1)[1]
        yield path


def _stem(path: str) -> str:
    return os.path.splitext(posixpath.basename(path))[0]


def _index_of(folder: str) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    above = os.path.join(folder, '')
    for path in files_below(folder):
        stem, suffix = os.path.splitext(os.path.basename(path))
        if suffix.lower() in IMAGE_SUFFIXES:
            index.setdefault(stem, []).append(posixpath.normpath(path.removeprefix(above)))
    return index
