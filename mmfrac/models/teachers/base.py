# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a teacher is, and what it is told."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model into eval mode and give every module its own mode back afterwards."""
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in trained:
            module.training = True


class BaseTeacher(nn.Module):
    """How the teacher map is formed, and when the teacher learns.

    ``SemiProbMapDetector`` calls ``attach``, ``known`` and the teacher itself, ``TeacherHook`` the
    rest. A teacher need not have this base: what it lacks is not called. A teacher with a memory of
    films has besides:

    - ``open(films, work_dir, resume)``: a training is about to load its weights. ``films`` are pairs of
      ``img_path`` and name of every training film.
    - ``check_checkpoint(state)``: its part of a checkpoint is about to be resumed.
    - ``start_epoch(epoch)``, counted from 0, and ``end_epoch()``.
    - ``note_checkpoint()``: a checkpoint is about to be saved (main rank alone).
    - ``known(samples) -> (N,) bool``: films that have a target; the others count in no L_semi.
    """

    def attach(self, student: ProbMapDetector) -> None:
        """Called once, when the model is built."""

    def start(self, student: ProbMapDetector) -> None:
        """Called before training, when all weights are loaded."""

    def after_step(self, student: ProbMapDetector) -> None:
        """Called after every optimisation step, in burn-in too."""

    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Teacher prob map, without gradient.

        Args:
            student (ProbMapDetector): The network that is trained.
            inputs (Tensor): ``(N, C, H, W)`` un-augmented view.
            samples (list[DetDataSample]): Its data samples.

        Returns:
            Tensor: ``(N, 1, h, w)`` in [0, 1], fp32.
        """
        raise NotImplementedError(f'{type(self).__name__} does not say how it forms its map')


def call_event(teacher: Any, event: str, *args: Any) -> Any:
    """Call a method of a teacher where it has one.

    Args:
        teacher (Any): A teacher.
        event (str): Name of the method.
        *args: Its arguments.

    Returns:
        Any: What it returns; None where there is no such method.
    """
    method = getattr(teacher, event, None)
    return None if method is None else method(*args)
