# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.prob_map_detector import ProbMapDetector


class BaseTeacher(nn.Module):
    """How the teacher map is formed, and when the teacher learns.

    ``SemiProbMapDetector`` calls ``attach`` and the teacher itself, ``TeacherHook`` the rest. A teacher
    need not have this base: what it lacks is not called.
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
