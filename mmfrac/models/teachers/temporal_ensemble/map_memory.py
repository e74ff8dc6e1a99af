# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_NAME = re.compile(r'epoch_(\d+)\.f16')


class MapMemory:
    """Maps of films on disk: one sparse float16 file for each epoch in which films were updated.

    What an epoch writes never touches what an earlier one wrote, so a checkpoint that names for each
    film the epoch of its last update describes the memory as it was then, also after a run was killed in
    the middle of a later epoch. A map is mapped into memory only while it is copied: the memory of the
    process does not grow with the films.

    Args:
        folder (Path): Where the files ``epoch_<n>.f16`` are; shared by all ranks.
        num_images (int): Rows of each file; only rows that are written take space on disk.
        shape (tuple): ``(h, w)`` cells of every map.
    """

    def __init__(self, folder: Path, num_images: int, shape: tuple[int, int]) -> None:
        self.folder = folder
        self.num_images = num_images
        self.shape = shape

    def file(self, epoch: int) -> Path:
        """File of an epoch, counted from 1."""
        return self.folder / f'epoch_{epoch}.f16'

    def read(self, epoch: int, row: int) -> np.ndarray:
        """Map of a film as an epoch wrote it.

        Args:
            epoch (int): Counted from 1.
            row (int): Row of the image.

        Returns:
            np.ndarray: ``(h, w)`` float16, a copy.
        """
        return np.array(self._mapped(epoch, row))

    def write(self, epoch: int, row: int, values: np.ndarray) -> None:
        """Write the map of a film.

        Args:
            epoch (int): Counted from 1.
            row (int): Row of the image.
            values (np.ndarray): ``(h, w)``; stored as float16.
        """
        path = self.file(epoch)
        if not path.is_file() or path.stat().st_size != self._row_bytes * self.num_images:
            with open(path, 'ab') as file:
                file.truncate(self._row_bytes * self.num_images)
        self._mapped(epoch, row)[:] = values

    def flush(self, epoch: int) -> None:
        """Bring what was written in an epoch to the disk; other machines see it then, too."""
        path = self.file(epoch)
        if path.is_file():
            with open(path, 'rb+') as file:
                os.fsync(file.fileno())

    def missing(self, epochs: Iterable[int]) -> list[Path]:
        """Files of these epochs that are not there with the right size."""
        size = self._row_bytes * self.num_images
        files = [self.file(epoch) for epoch in sorted(epochs)]
        return [file for file in files if not file.is_file() or file.stat().st_size != size]

    @property
    def _row_bytes(self) -> int:
        return self.shape[0] * self.shape[1] * np.dtype(np.float16).itemsize

    def _mapped(self, epoch: int, row: int) -> np.memmap:
        return np.memmap(
            self.file(epoch), np.float16, 'r+', offset=row * self._row_bytes, shape=self.shape
        )


def stored_epochs(folder: Path) -> list[int]:
    """Epochs of which a folder holds a file, ascending."""
    matches = (_NAME.fullmatch(path.name) for path in folder.glob('epoch_*.f16'))
    return sorted(int(match[1]) for match in matches if match)


def delete_epochs(folder: Path, epochs: Iterable[int]) -> None:
    """Delete the files of these epochs."""
    for epoch in epochs:
        (folder / f'epoch_{epoch}.f16').unlink(missing_ok=True)
