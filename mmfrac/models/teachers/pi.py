# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.teachers.base import BaseTeacher, eval_mode


@MODELS.register_module()
class PiTeacher(BaseTeacher):
    """The student's own weights on the un-augmented view (paper, section 2.2; Pi-model [9]).

    The pass runs without gradient and with eval-mode statistics, and leaves every BN buffer as it
    was.
    """

    @torch.no_grad()
    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Teacher prob map ``(N, 1, h, w)`` of the student, see :class:`BaseTeacher`."""
        with eval_mode(student):
            return student.logits(inputs).float().sigmoid()
