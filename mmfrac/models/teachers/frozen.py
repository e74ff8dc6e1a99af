# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import OptConfigType
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.teachers.base import BaseTeacher


@MODELS.register_module()
class FrozenTeacher(BaseTeacher):
    """Trained detectors that do not learn: the mean of their maps.

    The models of all folds, of several seeds, of an earlier round of training (student becomes teacher),
    or a larger net. No gradient, no update, statistics of evaluation. Its weights are read before each
    training and do not go into checkpoints.

    Args:
        checkpoints (str | Sequence[str]): Of prob-map detectors, of teacher-student training too (the
            student is taken).
        detector (dict, optional): Their structure. Defaults to None: the student's.

    Raises:
        ValueError: When there is no checkpoint, or one lacks weights of the detector.
    """

    def __init__(self, checkpoints: str | Sequence[str], detector: OptConfigType = None) -> None:
        super().__init__()
        self.checkpoints = [checkpoints] if isinstance(checkpoints, str) else list(checkpoints)
        if not self.checkpoints:
            raise ValueError('FrozenTeacher needs at least one checkpoint')
        self.detector = detector
        # no ModuleList, whose weights would be saved, broadcast and given to the optimizer
        self._detectors: list[Any] = []

    def start(self, student: ProbMapDetector) -> None:
        """Read the weights."""
        self._detectors = [self._read(path, student) for path in self.checkpoints]

    def _read(self, path: str, student: ProbMapDetector) -> nn.Module:
        detector = copy.deepcopy(student) if self.detector is None else MODELS.build(self.detector)
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
        state = checkpoint.get('state_dict', checkpoint)
        state = {name.removeprefix('module.'): value for name, value in state.items()}
        missing, _ = detector.load_state_dict(state, strict=False)
        if missing:
            raise ValueError(
                f"FrozenTeacher: '{path}' lacks {len(missing)} weights of the detector, {missing[0]} "
                'first: it is of another model; say which in teacher=dict(detector=...)'
            )
        return detector.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Mean map ``(N, 1, h, w)``, see :class:`BaseTeacher`."""
        if not self._detectors:
            raise ValueError('FrozenTeacher has no weights before start')
        maps = [
            detector.to(inputs.device).logits(inputs).float().sigmoid()
            for detector in self._detectors
        ]
        return torch.stack(maps).mean(dim=0)

    def extra_repr(self) -> str:
        """The checkpoints."""
        return f'checkpoints={self.checkpoints}'
