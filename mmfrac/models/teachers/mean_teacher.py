# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.ema import StepEMA
from mmfrac.models.teachers.base import BaseTeacher, eval_mode


@MODELS.register_module()
class MeanTeacher(BaseTeacher):
    r"""Exponential moving average of the student's weights (Mean Teacher [10]).

    .. math:: \theta' \leftarrow d\, \theta' + (1 - d)\, \theta, \quad
              d = \min(1 - 1 / (step + 1), d_{max})

    It is updated after every step, in burn-in too, and saved with the checkpoint. The pass runs without
    gradient in eval mode. Statistics of BN are copied from the student, so that the teacher is never a
    net with fresh ones.

    Args:
        max_decay (float): ``d_max``, weight of the old value (MMEngine's momentum is ``1 - d``).
            Defaults to 0.999.
        average_buffers (bool): Average the statistics too, in place of copying them. Defaults to False.

    Raises:
        ValueError: When ``max_decay`` does not lie in (0, 1).
    """

    def __init__(self, max_decay: float = 0.999, average_buffers: bool = False) -> None:
        super().__init__()
        if not 0 < max_decay < 1:
            raise ValueError(f'max_decay must lie in (0, 1), got {max_decay}')
        self.max_decay = max_decay
        self.average_buffers = average_buffers

    def attach(self, student: ProbMapDetector) -> None:
        """Copy the student's structure."""
        self.ema = StepEMA(student, self.max_decay, use_buffers=self.average_buffers)

    def start(self, student: ProbMapDetector) -> None:
        """Begin as the student, unless steps were made before (a resumed run)."""
        if self.ema.n_averaged == 0:
            self.ema.module.load_state_dict(student.state_dict())

    def after_step(self, student: ProbMapDetector) -> None:
        """Follow the student by a step."""
        self.ema.update_parameters(student)

    @torch.no_grad()
    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Teacher prob map ``(N, 1, h, w)`` of the averaged weights, see :class:`BaseTeacher`."""
        teacher: Any = self.ema.module
        with eval_mode(teacher):
            return teacher.logits(inputs).float().sigmoid()
