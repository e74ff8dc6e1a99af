# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The files of a batch of films: found, measured and, if asked for, decoded."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from mmfrac.datasets.radiographs.radiograph_io import film_size, read_radiograph
from mmfrac.preparation.converters.film_finder import FilmFinder, plain_name, relative
from mmfrac.preparation.converters.options import ConvertOptions, Size
from mmfrac.preparation.tables.film_row import FilmRow
from mmfrac.utils.film_pool import FilmPool, crash_text

# Headers are read by threads, which wait for the storage at the same time, so many a task.
_THREADS = 8
_CHUNK = 64
_HOW_WITHOUT = (
    'the sizes of the films are read from there; without films give --size table (where the tables '
    'have sizes) or --size WIDTHxHEIGHT'
)


@dataclass(frozen=True, slots=True)
class FoundFilm:
    """What is known of a film's file.

    Attributes:
        name (str): Path below the image folder.
        size (tuple[int, int], optional): Width and height, px.
        fault (str, optional): Why it cannot be used.
        is_missing (bool): There is no such file.
    """

    name: str
    size: Size | None = None
    fault: str | None = None
    is_missing: bool = False


class FilmFiles:
    """Looks films up on disk, batch by batch; a context manager.

    Args:
        image_dir (str or os.PathLike): Folder with the films.
        options (ConvertOptions): Where sizes come from, and whether films are decoded.
        unique_names (bool): Whether no two films of the set have the same file name.

    Raises:
        FileNotFoundError: If films are to be looked at and there is no such folder.
    """

    def __init__(
        self, image_dir: str | os.PathLike, options: ConvertOptions, unique_names: bool
    ) -> None:
        self.image_dir = os.fspath(image_dir)
        self.options = options
        self._finder = FilmFinder(self.image_dir, unique_names)
        self._stack = ExitStack()
        if options.looks_at_files and not os.path.isdir(self.image_dir):
            raise FileNotFoundError(f"no image folder '{self.image_dir}': {_HOW_WITHOUT}")

    def __enter__(self) -> 'FilmFiles':
        if self.options.verify:
            # small chunks: processes wait for the last one of each batch
            pool = FilmPool(decode_film, self.options.workers, crashed_film, chunk=4)
            self._pool = self._stack.enter_context(pool)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def look_up(self, rows: Sequence[FilmRow]) -> list[FoundFilm]:
        """Find and measure the films of a batch.

        Args:
            rows (Sequence[FilmRow]): As the tables name them.

        Returns:
            list[FoundFilm]: In the same order.
        """
        if not self.options.looks_at_files:
            return [self._unseen(row) for row in rows]
        found: list[FoundFilm] = []
        for row in rows:
            if self._finder.is_settled:
                break
            found.append(self._measure(row))
        rest = rows[len(found) :]
        chunks = [rest[start : start + _CHUNK] for start in range(0, len(rest), _CHUNK)]
        # threads end with their batch: none lives when processes are forked
        with ThreadPoolExecutor(_THREADS) as threads:
            for some in threads.map(lambda chunk: [self._measure(row) for row in chunk], chunks):
                found += some
        return list(self._decode(found)) if self.options.verify else found

    def _unseen(self, row: FilmRow) -> FoundFilm:
        name = relative(plain_name(row.names[0]), self.image_dir)
        return self._with_size(row, name, None)

    def _with_size(self, row: FilmRow, name: str, size: Size | None) -> FoundFilm:
        """Takes the size that the options want; ``size`` is that of the file."""
        if not isinstance(self.options.size, str):
            return FoundFilm(name, self.options.size)
        if self.options.size == 'files':
            return FoundFilm(name, size)
        if row.size is None:
            return FoundFilm(
                name, None, 'the table gives no size: use --size files or WIDTHxHEIGHT'
            )
        return FoundFilm(name, row.size)

    def _measure(self, row: FilmRow) -> FoundFilm:
        try:
            name = self._finder.find(row.names)
            if name is None:
                path = os.path.join(self.image_dir, row.names[0])
                return FoundFilm(row.names[0], fault=f'missing file {path}', is_missing=True)
            size = None
            if self.options.size == 'files':
                size = film_size(os.path.join(self.image_dir, name))
            return self._with_size(row, name, size)
        except (OSError, ValueError) as error:
            return FoundFilm(row.names[0], fault=str(error))

    def _decode(self, found: Sequence[FoundFilm]) -> Iterator[FoundFilm]:
        sound = (os.path.join(self.image_dir, one.name) for one in found if not one.fault)
        decoded = self._pool.map(sound)
        for one in found:
            if one.fault:
                yield one
                continue
            fault, size = next(decoded)
            if not fault and size != one.size:
                fault = f'its pixels are {size}, not {one.size} (width, height)'
            yield FoundFilm(one.name, one.size, fault)


def decode_film(path: str) -> tuple[str | None, Size | None]:
    """Whether a film decodes.

    Args:
        path (str): Its file.

    Returns:
        tuple[str | None, tuple[int, int] | None]: What is wrong with it, None if nothing is; and the
            width and height (px) of its pixels.
    """
    try:
        height, width = read_radiograph(path).shape
    except (OSError, ValueError, MemoryError) as error:
        return str(error) or type(error).__name__, None
    return None, (width, height)


def crashed_film(path: str) -> tuple[str | None, Size | None]:
    """What ``decode_film`` gives for a film that takes its process with it."""
    return crash_text(path), None
