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

from mmfrac.models.data_preprocessor import Normalisation, normalisation_of
from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.teachers.base import BaseTeacher
from mmfrac.utils.device import to_device


@MODELS.register_module()
class FrozenTeacher(BaseTeacher):
    """Trained detectors that do not learn: the mean of their maps.

    The models of all folds, of several seeds, of an earlier round of training (student becomes teacher),
    or a larger net. No gradient, no update, statistics of evaluation. Its weights are read before each
    training and do not go into checkpoints.

    Args:
        checkpoints (str | Sequence[str]): Of prob-map detectors, of teacher-student training too (the
            student is taken).
        detector (dict, optional): Their structure, and in its ``data_preprocessor`` the mean and std
            that they were trained with: images are normalised anew for them. Defaults to None: the
            student's.

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
        # of the student's images, and of theirs
        self._given: Normalisation | None = None
        self._wanted: Normalisation | None = None

    def start(self, student: ProbMapDetector) -> None:
        """Read the weights, and learn how the student's images are normalised."""
        self._given = normalisation_of(student.data_preprocessor)
        self._detectors = [self._read(path, student) for path in self.checkpoints]

    def _read(self, path: str, student: ProbMapDetector) -> nn.Module:
        detector = copy.deepcopy(student) if self.detector is None else MODELS.build(self.detector)
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
        state = checkpoint.get('state_dict', checkpoint)
        state = {name.removeprefix('module.'): value for name, value in state.items()}
        missing, _ = detector.load_state_dict(state, strict=False)
        not_needed = tuple(getattr(detector, 'training_only', ()))
        missing = [name for name in missing if not name.startswith(not_needed)]
        if missing:
            raise ValueError(
                f"FrozenTeacher: '{path}' lacks {len(missing)} weights of the detector, {missing[0]} "
                'first: it is of another model; say which in teacher=dict(detector=...)'
            )
        self._wanted = normalisation_of(detector.data_preprocessor)
        # that no step waits for its weights
        detector.to(next(student.parameters()).device)
        return detector.eval().requires_grad_(False)

    def _normalised(self, inputs: Tensor) -> Tensor:
        """The student's images as the detectors know them."""
        given, wanted = self._given, self._wanted
        if given is None or wanted is None or given == wanted:
            return inputs
        if len(given.mean) != len(wanted.mean):
            raise ValueError(
                f'FrozenTeacher: its detector normalises {len(wanted.mean)} channels, the student '
                f'{len(given.mean)}: give both as many values of mean and std'
            )
        mean, std, own_mean, own_std = (
            to_device(torch.tensor(values).view(-1, 1, 1), inputs.device)
            for values in (*given, *wanted)
        )
        return ((inputs * std + mean) - own_mean) / own_std

    @torch.no_grad()
    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Mean map ``(N, 1, h, w)``, see :class:`BaseTeacher`."""
        if not self._detectors:
            raise ValueError('FrozenTeacher has no weights before start')
        inputs = self._normalised(inputs)
        maps = [
            detector.to(inputs.device).logits(inputs).float().sigmoid()
            for detector in self._detectors
        ]
        return torch.stack(maps).mean(dim=0)

    def extra_repr(self) -> str:
        """The checkpoints."""
        return f'checkpoints={self.checkpoints}'
