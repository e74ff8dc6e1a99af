# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset


class FilmColumns(BaseDataset):
    """Part of a data set that has its films' labels and names at hand.

    MMEngine serialises the infos into one buffer; samplers and teachers ask for these of every film.
    """

    _labels: np.ndarray
    _films: np.ndarray

    def labels(self) -> np.ndarray:
        """Image-level labels (N,), int8, in the order of the data set."""
        return self._column('label', '_labels').astype(np.int8)

    def films(self) -> list[str]:
        """File names (N) as in the annotation file, in the order of the data set."""
        return [name.decode() for name in self._column('file_name', '_films').tolist()]

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """See ``BaseDataset.get_subset_``."""
        super().get_subset_(indices)
        self._take(indices)

    def get_subset(self, indices: Sequence[int] | int) -> 'FilmColumns':
        """See ``BaseDataset.get_subset``."""
        subset = super().get_subset(indices)
        subset._take(indices)
        return subset

    def _take(self, indices: Sequence[int] | int) -> None:
        if not self.serialize_data:
            return
        places = np.arange(len(self._labels))
        if isinstance(indices, int):
            places = places[:indices] if indices >= 0 else places[indices:]
        else:
            places = places[np.asarray(indices, dtype=np.int64)]
        self._labels, self._films = self._labels[places], self._films[places]

    def _column(self, key: str, cached: str) -> np.ndarray:
        if not self._fully_initialized:
            self.full_init()
        if self.serialize_data:
            return getattr(self, cached)
        return _column_of(self.data_list, key)

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        # The infos are emptied into one buffer: what samplers ask for is set aside before.
        self._labels = _column_of(self.data_list, 'label')
        self._films = _column_of(self.data_list, 'file_name')
        return super()._serialize_data()


def _column_of(infos: list[dict], key: str) -> np.ndarray:
    if key == 'label':
        return np.array([info[key] for info in infos], np.int8)
    return np.array([info[key].encode() for info in infos], np.bytes_)
