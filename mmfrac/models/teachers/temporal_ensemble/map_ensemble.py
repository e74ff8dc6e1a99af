# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A map for each training film, on a folder that all ranks share."""

import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast_object_list,
    get_rank,
    is_main_process,
)
from torch import Tensor

from mmfrac.utils.device import HostBuffers, HostCopy

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


def check_shared_folder(folder: Path, patience: float = 5.0) -> None:
    """Make a folder and raise unless all ranks see the same one. All ranks have to call it.

    Args:
        folder (Path): Made, with its parents, by the main rank.
        patience (float): Seconds that a network file system has to show a new file. Defaults to 5.

    Raises:
        ValueError: When a rank does not see what the main rank wrote there.
    """
    token = [uuid.uuid4().hex[:16]]
    broadcast_object_list(token)
    # a name as of a file that is being written: a killed run's is removed like one
    sign = folder / f'.sign.{token[0]}.tmp'
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        sign.touch()
    # the main rank's part of the exchange comes after it has written
    all_gather_object(None)
    deadline = time.monotonic() + patience
    while not sign.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    sees = all_gather_object(sign.exists())
    if is_main_process():
        sign.unlink()
    if not all(sees):
        blind = [rank for rank, sees_it in enumerate(sees) if not sees_it]
        raise ValueError(
            f'ranks {blind} do not see what rank 0 wrote to {folder.resolve()}: the film memory is '
            'shared by all ranks, so on several machines work_dir (or model.teacher.folder) has to be '
            'on a file system that all of them mount'
        )


_BUFFERS = dict(updated=0, count=0, map_shape=2, films_digest=32)


class MapEnsemble(HostBuffers):
    """A map for each training film that is updated at most once an epoch, shared by all ranks.

    The maps are on disk (``MapMemory``); which epoch updated a film last and how often it was updated
    are buffers, which stay on the host: saved, resumed and rolled back with the checkpoint. An update
    is in force from the next epoch on. It is the one of the first step of the epoch that saw the film,
    and of the lowest rank where several did in that step, so that it does not depend on which rank is
    faster.

    Args:
        keep_checkpoints (int): Checkpoints whose files are kept.

    Attributes:
        updated (Tensor): ``(films,)`` int32, epoch of the last update, counted from 1; 0 for none.
        count (Tensor): ``(films,)`` int32, number of updates.

    Raises:
        ValueError: When ``keep_checkpoints`` is not positive.
    """

    host_buffers = tuple(_BUFFERS)
    updated: Tensor
    count: Tensor
    map_shape: Tensor
    films_digest: Tensor

    def __init__(self, keep_checkpoints: int) -> None:
        super().__init__()
        if keep_checkpoints < 1:
            raise ValueError(f'keep_checkpoints must be at least 1, got {keep_checkpoints}')
        self.keep_checkpoints = keep_checkpoints
        for name, size in _BUFFERS.items():
            # no int64: SyncBuffersHook averages buffers over the ranks in float32
            self.register_buffer(name, torch.zeros(size, dtype=torch.int32))
        self.folder: Path | None = None
        self._rows: dict[str, int] = {}
        self._is_resumed = False
        self._epoch = 0
        self._seen: set[int] = set()
        self._staged: dict[int, tuple[HostCopy, int]] = {}
        self._needed_by_checkpoint: dict[int, set[int]] = {}

    def open(self, images: Sequence[tuple[str, str]], folder: Path, resume: bool) -> None:
        """Make room for the films of a training, before weights are loaded.

        Args:
            images (Sequence[tuple[str, str]]): ``img_path`` and name in the annotation file of each.
                Before a run is resumed the paths may change, the names and their order may not.
            folder (Path): Where the files are; made if need be.
            resume (bool): Go on with the memory of the checkpoint; else begin with an empty one.

        Raises:
            ValueError: When a rank does not see the folder.
        """
        check_shared_folder(folder)
        self.folder = folder
        self._is_resumed = resume
        names = dict(images)
        self._rows = {path: row for row, path in enumerate(names)}
        self.updated = self.updated.new_zeros(len(names))
        self.count = self.count.new_zeros(len(names))
        digest = hashlib.sha256('\n'.join(names.values()).encode()).digest()
        self.films_digest.copy_(torch.tensor(list(digest)))
        if not resume:
            self._delete(stored_epochs(folder))

    def check_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Raise a ``ValueError`` unless these buffers of a checkpoint are of the same films."""
        digest = state.get('films_digest')
        if digest is not None and not torch.equal(digest.cpu(), self.films_digest.cpu()):
            raise ValueError(
                f'the checkpoint remembers {len(state["updated"])} training films, this run has '
                f'{len(self.updated)}, and they are not the same: resume with the same annotations'
            )

    def start(self) -> None:
        """Check that the files of the loaded state are there, and delete those of later epochs.

        Raises:
            FileNotFoundError: When a file is missing.
        """
        needed = self._needed()
        missing = [str(path) for path in self._memory().missing(needed)] if needed else []
        if missing:
            raise FileNotFoundError(
                f'the film memory of this checkpoint is incomplete: {", ".join(missing)} missing or of '
                f'another size. A run keeps what its last {self.keep_checkpoints} checkpoints need, '
                'and one resumed from an older checkpoint replaces what came later: resume from '
                'another one. Where the work dir was moved, its folder of the memory has to come '
                'along, or is named by model.teacher.folder'
            )
        last = max(needed, default=0)
        if needed:
            self._needed_by_checkpoint = {last: needed}
        barrier()
        self._delete([epoch for epoch in stored_epochs(self._folder()) if epoch > last])

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 1."""
        self._epoch = epoch
        self._seen.clear()
        self._staged.clear()

    def row(self, path: str) -> int:
        """Row of the film with this ``img_path``.

        Raises:
            ValueError: When it is no training film.
        """
        if path not in self._rows:
            raise ValueError(
                f'{path} is none of the {len(self._rows)} training films of the film memory'
                + ('' if self._rows else ', which TeacherHook opens before a training')
            )
        return self._rows[path]

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise a ``ValueError`` unless maps are ``(h, w)`` as all others; the first one decides."""
        if not self.map_shape.any():
            self.map_shape.copy_(torch.tensor(shape))
        elif self.map_shape.tolist() != list(shape):
            height, width = self.map_shape.tolist()
            raise ValueError(
                f'a map of {shape[0]} x {shape[1]} cells, but the film memory holds maps of '
                f'{height} x {width}: all films need one input size, the same when a run is resumed'
            )

    def read(self, rows: Sequence[int]) -> np.ndarray:
        """Maps ``(N, h, w)`` float16 of images, 0 of those that have had no update."""
        memory = self._memory()
        maps = np.zeros((len(rows), *memory.shape), np.float16)
        for index, (row, epoch) in enumerate(zip(rows, self.updated[rows].tolist())):
            if epoch:
                maps[index] = memory.read(epoch, row)
        return maps

    def _wants(self, row: int) -> bool:
        return row not in self._seen and row not in self._staged

    def stage(self, rows: Sequence[int], maps: Tensor) -> None:
        """Note the updates ``(N, h, w)`` of images until ``commit``; the first of an epoch counts."""
        wanted = [index for index, row in enumerate(rows) if self._wants(row)]
        if wanted:
            copy = HostCopy(maps.half())
            for index in reversed(wanted):  # of an image that is there twice the first one stays
                self._staged[rows[index]] = copy, index

    def commit(self) -> None:
        """Write what was staged in this step. All ranks have to call it."""
        rank = get_rank()
        for one, rows in enumerate(all_gather_object(list(self._staged))):
            for row in rows:
                if row not in self._seen and one == rank:
                    copy, index = self._staged[row]
                    self._memory().write(self._epoch, row, copy.numpy()[index])
                self._seen.add(row)
        self._staged.clear()

    def end_epoch(self) -> None:
        """Put the epoch's updates in force. All ranks have to call it."""
        if not self._seen:
            return
        self._memory().flush(self._epoch)
        barrier()
        rows = torch.tensor(sorted(self._seen))
        self.updated[rows] = self._epoch
        self.count[rows] += 1
        self._seen.clear()
        self._collect()

    def note_checkpoint(self) -> None:
        """Keep the files that the checkpoint needs that is saved now (main rank alone)."""
        needed = self._needed()
        self._needed_by_checkpoint[max(needed, default=0)] = needed
        while len(self._needed_by_checkpoint) > self.keep_checkpoints:
            self._needed_by_checkpoint.pop(min(self._needed_by_checkpoint))
        self._collect()

    def _collect(self) -> None:
        """Delete the files that neither the memory nor a kept checkpoint needs."""
        # after a resume the checkpoints saved before it are kept, too, until new ones replace them
        if self._is_resumed and len(self._needed_by_checkpoint) < self.keep_checkpoints:
            return
        needed = self._needed().union(*self._needed_by_checkpoint.values())
        if is_main_process():
            delete_epochs(self._folder(), set(stored_epochs(self._folder())) - needed)

    def _delete(self, epochs: Sequence[int]) -> None:
        if is_main_process():
            delete_epochs(self._folder(), epochs)
        barrier()

    def _needed(self) -> set[int]:
        return set(self.updated[self.updated > 0].tolist())

    def _folder(self) -> Path:
        if self.folder is None:
            raise ValueError('the film memory is not open: TeacherHook has to be in default_hooks')
        return self.folder

    def _memory(self) -> MapMemory:
        height, width = self.map_shape.tolist()
        return MapMemory(self._folder(), len(self.updated), (height, width))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        if not self._is_resumed:
            # the memory belongs to the run: neither a test nor a new training takes it over
            own = {prefix + name: getattr(self, name) for name in _BUFFERS}
            state_dict = {**state_dict, **own}
        super()._load_from_state_dict(state_dict, prefix, *args)
