# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training step and inference of the prob map detector beside box detectors."""

import sys
from collections.abc import Callable, Iterator, Sequence

import torch

from mmfrac.utils.device import keep_freed_memory

from .networks import Network, focal_loss_without_operators
from .pairing import Comparison, compare

OURS = 'frac_sup.py'
OTHERS = ('retinanet', 'fcos', 'faster_rcnn', 'atss', 'rtmdet')
# images a second of ours against RetinaNet's; the others are measured without a goal
GOALS = dict(training=1.4, inference=2.3)


def measure(
    repeats: int = 5,
    size: int = 1024,
    images: int = 1,
    others: Sequence[str] = OTHERS,
    folder: str = 'compare',
    ours: str = OURS,
    precision: str = 'fp32',
) -> Iterator[Comparison]:
    """Speed of one step and one prediction, post-processing included, against box detectors.

    All have random weights, the same images and one precision; nothing is downloaded.

    Args:
        repeats (int): Pairs a case. Defaults to 5.
        size (int): Edge of the network input in px. Defaults to 1024.
        images (int): Images of a batch. Defaults to 1.
        others (Sequence[str]): Configs of ``folder``. Defaults to all of mmdet's detectors there.
        folder (str): Below configs/. Defaults to 'compare'.
        ours (str): Config of the prob map detector. Defaults to frac_sup.py.
        precision (str): 'fp32' or 'bf16'. Defaults to 'fp32'.

    Yields:
        Comparison: A training step and an inference for each; ratio: how much faster ours is.
    """
    # as train.py
    keep_freed_memory()
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    network = Network(ours, size, images, device, precision)
    with focal_loss_without_operators():
        for name in others:
            other = Network(f'{folder}/{name}.py', size, images, device, precision)
            try:
                other.step()
            except RuntimeError as error:
                print(f'  {name} does not run in {precision} here: {error}', file=sys.stderr)
                continue
            calls = dict(
                training=(network.step, other.step), inference=(network.predict, other.predict)
            )
            for kind, (mine, its) in calls.items():
                yield compare(
                    'detectors',
                    f'{kind} beside {name}, {images} x {size} px, {precision}',
                    _waited(mine),
                    _waited(its),
                    repeats,
                    GOALS[kind] if name == 'retinanet' else 0.0,
                    at_least=True,
                )


def _waited(call: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run
