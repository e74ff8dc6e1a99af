# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training step and inference on a CPU that keeps the memory of freed tensors, against the usual way."""

import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

import torch

from mmfrac.utils.device import keep_freed_memory

from .networks import Network
from .pairing import Comparison, compare

CONFIGS = ('frac_sup.py', 'semi_real/frac_sup_semi_real_v2.py', 'phantom/frac_sup_phantom.py')


class _Process:
    """A network in a process of its own, since a C library cannot be told to forget what it was told.

    Args:
        config, size, images: See ``Network``.
        threads (int): Of torch.
        keep (bool): Whether freed memory is kept.
    """

    def __init__(self, config: str, size: int, images: int, threads: int, keep: bool) -> None:
        context = multiprocessing.get_context('spawn')
        self._pipe, its = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(its, config, size, images, threads, keep), daemon=True
        )
        self._process.start()
        its.close()
        self.is_kept: bool = self._pipe.recv()

    def step(self) -> None:
        """A training step."""
        self._pipe.send('step')
        self._pipe.recv()

    def predict(self) -> None:
        """An inference."""
        self._pipe.send('predict')
        self._pipe.recv()

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, config: str, size: int, images: int, threads: int, keep: bool) -> None:
    torch.set_num_threads(threads)
    pipe.send(keep and keep_freed_memory())
    network = Network(config, size, images, 'cpu')
    while True:
        try:
            call = pipe.recv()
        except EOFError:
            return
        getattr(network, call)()
        pipe.send(None)


def measure(
    repeats: int = 5,
    sizes: Sequence[int] = (320,),
    images: int = 12,
    configs: Sequence[str] = CONFIGS,
) -> Iterator[Comparison]:
    """How much faster a CPU is that keeps the memory of freed tensors.

    Args:
        repeats (int): Pairs a case. Defaults to 5.
        sizes (Sequence[int]): Edges of the network input in px. Defaults to (320,).
        images (int): Images of a batch. Defaults to 12.
        configs (Sequence[str]): Supervised prob map detectors. Defaults to R-50, EfficientNet-Lite0 and
            the small net.

    Yields:
        Comparison: Of a step and of an inference.

    Raises:
        ValueError: If the C library is not glibc, or is told otherwise by its environment.
    """
    for config in configs:
        for size in sizes:
            kept, usual = (
                _Process(config, size, images, torch.get_num_threads(), keep)
                for keep in (True, False)
            )
            try:
                if not kept.is_kept:
                    raise ValueError('this process cannot keep freed memory: see keep_freed_memory')
                for name, mine, its in (
                    ('step', kept.step, usual.step),
                    ('inference', kept.predict, usual.predict),
                ):
                    case = f'{name} {config} {size} px'
                    yield compare('memory', case, mine, its, repeats, 1.0, at_least=True)
            finally:
                kept.close()
                usual.close()
