# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where a film that a table names lies below the image folder."""

import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock

from mmfrac.datasets.radiographs.read import IMAGE_SUFFIXES
from mmfrac.preparation.tables.values import ImageRow
from mmfrac.utils.walk import files_below


class ImageFinder:
    """Finds films by the names that tables give them.

    A name is tried as it is, with other slashes and in the other Unicode form. Tables name films from
    the root of their release, which may lie deeper or have another name here: the first films decide
    which first folders are taken off, and no others are, or where films of several folders lie in one
    here, how many. Where the set's file names are unique, the folder is searched for them last.

    Args:
        image_dir (str): Folder with the films.
        unique_names (bool): Whether no two films of the set have the same file name.

    Attributes:
        is_settled (bool): Whether a film has been found: from then on the order in which films are asked
            for does not matter.
        prefix (str, optional): First folders of the names that are taken off, with the slash behind
            them; '' for none, None as long as no film has been found by its name.
        is_flattened (bool): Whether other folders, as many, are taken off, too.
    """

    def __init__(self, image_dir: str, unique_names: bool) -> None:
        self.image_dir = image_dir
        self._unique = unique_names
        self.prefix: str | None = None
        self.is_flattened = False
        # by which name each film was asked for, where several may mean it
        self._claims: dict[str, str] = {}
        self._index: dict[str, list[str]] | None = None
        self._lock = Lock()
        self.is_settled = False

    def settle(self, batch: Iterable[Sequence[str]]) -> None:
        """Decide which first folders are taken off: none if a film is here under its whole name.

        Else those whose last one is the image folder itself, or those without which most films are here;
        with them as many others, unless two names would then mean one film.

        Args:
            batch (Iterable[Sequence[str]]): Names of each of several films.
        """
        if self.prefix is not None:
            return
        counts: Counter[str] = Counter()
        meant: dict[str, set[str]] = {}
        for names in batch:
            found = ('', '') if any(map(self._exists, names)) else self._nearly_as_named(names)
            if found is not None:
                counts[found[0]] += 1
                meant.setdefault(found[1], set()).add(found[0])
            if '' in counts or (self._unique and counts):
                break
        here = os.path.basename(os.path.abspath(self.image_dir))

        def likelihood(prefix: str) -> tuple[bool, bool, int, int]:
            is_here = posixpath.basename(prefix.rstrip('/')) == here
            return not prefix, is_here, counts[prefix], -prefix.count('/')

        self.prefix = max(counts, key=likelihood, default=None)
        is_apart = all(len(prefixes) == 1 for prefixes in meant.values())
        self.is_flattened = bool(self.prefix) and is_apart and not likelihood(self.prefix or '')[1]

    def find(self, names: Sequence[str]) -> str | None:
        """Path of a film.

        Args:
            names (Sequence[str]): Names that it may have, the likeliest first.

        Returns:
            str or None: Path below the image folder, or absolute where it lies elsewhere; None if
                there is no such file.

        Raises:
            ValueError: If a file of that name is in several folders, if another name means it, too, or
                if it is here under its whole name, and films before it are not.
        """
        if not self.is_settled:
            self.settle([names])
        path = self._as_named(names) or self._indexed(names)
        if path is None:
            prefix, path = self._nearly_as_named(names) or ('', None)
            if path is not None and self.is_flattened:
                self._claim(prefix, path)
        if path is None and self._unique:
            path = self._search(names)
        self.is_settled = self.is_settled or path is not None
        return path

    def _claim(self, prefix: str, path: str) -> None:
        first = self._claims.setdefault(path, prefix)
        if first != prefix:
            raise ValueError(
                f'{prefix + path!r} and {first + path!r} would both be {path} of {self.image_dir}: name '
                'the image folder in which the names of the table begin'
            )

    def _exists(self, path: str) -> bool:
        return os.path.isfile(os.path.join(self.image_dir, path))

    def _as_named(self, names: Sequence[str]) -> str | None:
        found = next((name for name in names if self._exists(name)), None)
        if found is None:
            return None
        if self.prefix and not self._unique:
            raise ValueError(
                f'{found} is in {self.image_dir}, but films before it only without the {self.prefix!r} '
                'of their names, so they may be others: name the image folder in which the names of the '
                'table begin'
            )
        return relative(found, self.image_dir)

    def _indexed(self, names: Sequence[str]) -> str | None:
        """A quick answer, once the folder has been searched."""
        found = self._index.get(_stem(names[0]), []) if self._index is not None else []
        return found[0] if len(found) == 1 else None

    def _nearly_as_named(self, names: Sequence[str]) -> tuple[str, str] | None:
        """What names may mean that are no path here: first folders that are taken off, and the path."""
        for name in names:
            for form in _forms(name):
                for prefix, path in _endings(form):
                    if self._takes_off(prefix) and self._exists(path):
                        return prefix, relative(path, self.image_dir)
        return None

    def _takes_off(self, prefix: str) -> bool:
        if self.prefix is None or prefix == self.prefix:
            return True
        return self.is_flattened and prefix.count('/') == self.prefix.count('/')

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


class FoundFolders:
    """Folders in which films of a set were found, and films that may be others of the same file name.

    Folders whose names differ in numbers alone are of one kind: images_001/images and images_002/images.
    """

    def __init__(self) -> None:
        # of films that are where their names say, and of those that were searched for: by kind of folder
        self._named: Counter[str] = Counter()
        self._searched: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._rows: dict[str, ImageRow] = {}

    def add(self, row: ImageRow, path: str) -> None:
        """Count a film.

        Args:
            row (ImageRow): What its table says of it.
            path (str): Where it was found, below the image folder.
        """
        folder = posixpath.dirname(path)
        kind = _NUMBERS.sub('#', _UUIDS.sub('#', folder))
        named = [posixpath.dirname(plain_name(name)) for name in row.names]
        if any(one and _ends_in(one, folder) for one in named):
            self._named[kind] += 1
        else:
            self._searched[kind] += 1
            self._first.setdefault(kind, path)
            self._rows.setdefault(kind, row)

    def masks(self) -> Iterator[tuple[str, int | str, str]]:
        """What is wrong with films that were searched for, and found in folders of masks alone.

        Yields:
            tuple[str, int | str, str]: Table and location of the first film of each kind of folders,
                and the fault.
        """
        for kind, row in self._rows.items():
            if kind not in self._named and _MASKS.search(kind):
                fault = (
                    f'{self._first[kind]}: {_counted(self._searched[kind], kind)}: is it the film, or a '
                    'mask of one that is missing? Name the folder of the films alone, or move the masks '
                    'out of it'
                )
                yield row.table, row.location, fault

    @property
    def notes(self) -> list[str]:
        """A sentence if films that were searched for lie in folders of several kinds, or elsewhere than
        those that are where their table names them.
        """
        kinds = {kind: count for kind, count in self._searched.items() if kind not in self._named}
        if not kinds or len(self._searched) + len(self._named) < 2:
            return []
        everywhere = self._named + self._searched
        told = '; '.join(_counted(count, kind) for kind, count in everywhere.most_common(_SHOWN))
        rarest = min(kinds, key=lambda kind: kinds[kind])
        return [
            f'the folders of the films are unlike: {told}; are all of them films of the set, as '
            f'{self._first[rarest]}, or masks or copies of films that are missing?'
        ]


_NUMBERS = re.compile(r'\d+')
_MASKS = re.compile(r'mask|segment|annotat|heat_?map', re.IGNORECASE)
_UUIDS = re.compile(r'\b[0-9a-fA-F]{8,}(-[0-9a-fA-F]+)*\b')

# Kinds of folders in a note.
_SHOWN = 10


def _counted(count: int, kind: str) -> str:
    where = f'folders like {kind!r}' if kind else 'the image folder itself'
    return f'{count} in {where}'


def _ends_in(folder: str, end: str) -> bool:
    return not end or f'/{folder}'.endswith(f'/{end}')


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


def _endings(path: str) -> Iterator[tuple[str, str]]:
    """('', a/b/c), (a/, b/c), (a/b/, c)."""
    prefix = ''
    yield prefix, path
    while '/' in path:
        first, path = path.split('/', 1)
        prefix += unicodedata.normalize('NFC', first) + '/'
        yield prefix, path


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
