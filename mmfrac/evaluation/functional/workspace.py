# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Memory that is used again from film to film."""

import math
import threading

import numpy as np
from numpy.typing import DTypeLike


class Workspace:
    """Named scratch arrays that keep their memory between calls.

    Fresh pages cost a quarter of the time of a large map. What is held are the pages of the largest map
    so far, about 60 bytes a cell at worst.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: int | tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """An array with arbitrary content; an earlier one of the same name is overwritten.

        Args:
            name (str): Which of the arrays.
            shape (int | tuple[int, ...]): Its shape.
            dtype (DTypeLike): Its type.

        Returns:
            np.ndarray: C-contiguous.
        """
        shape = (shape,) if isinstance(shape, int) else shape
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size:
            buffer = self._buffers[name] = np.empty(size, np.uint8)
        return buffer[:size].view(dtype).reshape(shape)


_of_threads = threading.local()


def own_workspace() -> Workspace:
    """The workspace of the calling thread; its helpers may use it too, under other names."""
    if not hasattr(_of_threads, 'workspace'):
        _of_threads.workspace = Workspace()
    return _of_threads.workspace
