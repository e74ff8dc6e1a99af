# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.teachers.base import BaseTeacher, eval_mode
from mmfrac.utils.device import HostBuffers


@MODELS.register_module()
class SnapshotTeacher(HostBuffers, BaseTeacher):
    """The student as it was when semi-supervised training began, which does not learn any more.

    What it teaches does not come back to it, so that nothing grows surer of itself. After burn-in it is
    the supervised model; without one it is what ``load_from`` or the ``init_cfg`` of the whole detector
    names, and a training that has neither is refused. ``FrozenTeacher`` takes models of other
    trainings, and several.

    The weights are copied at the first training step that asks for a map, and saved with every
    checkpoint; only a resumed training goes on with those of its checkpoint. Until they are copied maps
    are the student's.
    """

    host_buffers = ('is_taken',)

    needs_trained_student = True

    is_taken: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('is_taken', torch.zeros((), dtype=torch.bool))
        self.model: Any = None
        self._is_new = False

    def attach(self, student: ProbMapDetector) -> None:
        """Copy the student's structure."""
        self.model = copy.deepcopy(student).requires_grad_(False)

    def open(self, images: Sequence[tuple[str, str]], work_dir: str, resume: bool) -> None:
        """Learn whether the training is a new one."""
        self._is_new = not resume

    def start(self, student: ProbMapDetector) -> None:
        """Forget the snapshot of another training, which ``load_from`` may have brought."""
        if self._is_new:
            self.is_taken.fill_(False)

    @torch.no_grad()
    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Teacher prob map ``(N, 1, h, w)`` of the snapshot, see :class:`BaseTeacher`."""
        if self.training and not self.is_taken:
            self.model.load_state_dict(student.state_dict())
            self.is_taken.fill_(True)
        teacher = self.model if self.is_taken else student
        with eval_mode(teacher):
            return teacher.logits(inputs).float().sigmoid()
