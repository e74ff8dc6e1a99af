# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType
from torch import Tensor

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.teachers.base import WrappingTeacher
from mmfrac.models.teachers.temporal_ensemble.map_ensemble import MapEnsemble
from mmfrac.utils.device import to_device


def accumulate(memory: Tensor, z: Tensor, decay: float) -> Tensor:
    r""":math:`Z \leftarrow d Z + (1 - d) z` (Temporal Ensembling [9])."""
    return decay * memory + (1 - decay) * z


def unbiased(memory: Tensor, counts: Sequence[int], decay: float) -> Tensor:
    r""":math:`Z / (1 - d^n)` after ``n`` updates that began at 0 (Temporal Ensembling [9]).

    Args:
        memory (Tensor): ``Z`` ``(N, 1, h, w)``.
        counts (Sequence[int]): ``n`` of each map; one that has had no update stays as it is.
        decay (float): ``d``.

    Returns:
        Tensor: ``(N, 1, h, w)`` in [0, 1].
    """
    shares = torch.tensor([1 - decay**count if count else 1.0 for count in counts])
    return (memory / to_device(shares, memory.device).view(-1, 1, 1, 1)).clamp(0, 1)


@MODELS.register_module()
class TemporalEnsembleTeacher(WrappingTeacher):
    r"""Average of each film's maps in earlier epochs (Temporal Ensembling [9]; paper, section 3.1).

    .. math:: Z \leftarrow d\, Z + (1 - d)\, z, \qquad \text{target} = Z / (1 - d^n)

    ``z`` is the inner teacher's map of the un-augmented view: the paper's second evaluation of each
    input, which keeps the affine augmentation out of ``Z``. ``Z`` is updated once per film and epoch,
    and the new one is in force from the next epoch on; ``n`` counts the updates of that film. A film
    that has had none has no target: ``known`` leaves it out of L_semi, whose weight thus is 0 in the
    first epoch, and the map returned for it is ``z``.

    ``Z`` is on disk in float16, memory-mapped while it is read or written, see ``MapEnsemble``. The
    memory of a resumed run is that of its checkpoint. Where every film is seen in each epoch the folder
    holds ``keep_checkpoints + 1`` maps a film, 131 kB each at 256 x 256 cells, and nothing of films
    that the teacher does not see. All ranks share it: on several machines it has to be on a file
    system that all of them mount.

    Args:
        decay (float): ``d``, weight of the old value, in (0, 1). Defaults to 0.6.
        teacher (dict): Gives ``z``. Defaults to ``dict(type='PiTeacher')``.
        folder (str, optional): Where the files are. Defaults to ``temporal_ensemble`` in the work dir.
        keep_checkpoints (int): Checkpoints that can be resumed, that of ``max_keep_ckpts`` of
            ``CheckpointHook``. Defaults to 3.

    Raises:
        ValueError: When an option is out of range.
    """

    has_memory = True

    def __init__(
        self,
        decay: float = 0.6,
        teacher: ConfigType = dict(type='PiTeacher'),
        folder: str | None = None,
        keep_checkpoints: int = 3,
    ) -> None:
        super().__init__(teacher)
        if not 0 < decay < 1:
            raise ValueError(f'decay must lie in (0, 1), got {decay}')
        self.decay = decay
        self.folder = folder
        self.ensemble = MapEnsemble(keep_checkpoints)

    def open(self, images: Sequence[tuple[str, str]], work_dir: str, resume: bool) -> None:
        """Open the memory, see ``MapEnsemble.open``."""
        super().open(images, work_dir, resume)
        folder = Path(self.folder) if self.folder else Path(work_dir) / 'temporal_ensemble'
        self.ensemble.open(images, folder, resume)

    def check_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Refuse to resume from a memory of other images."""
        super().check_checkpoint(state)
        prefix = 'ensemble.'
        own = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix)
        }
        self.ensemble.check_checkpoint(own)

    def start(self, student: ProbMapDetector) -> None:
        """Refuse to go on without the files of the memory."""
        super().start(student)
        self.ensemble.start()

    def start_epoch(self, epoch: int) -> None:
        """Begin to collect the updates of an epoch, counted from 0."""
        super().start_epoch(epoch)
        self.ensemble.start_epoch(epoch + 1)

    def after_step(self, student: ProbMapDetector) -> None:
        """Write the updates of this step."""
        super().after_step(student)
        self.ensemble.commit()

    def end_epoch(self) -> None:
        """Put the updates of the epoch in force."""
        super().end_epoch()
        self.ensemble.end_epoch()

    def note_checkpoint(self) -> None:
        """Keep the files of the checkpoint that is saved now."""
        super().note_checkpoint()
        self.ensemble.note_checkpoint()

    def known(self, samples: SampleList) -> Tensor:
        """Which films have a target.

        Args:
            samples (list[DetDataSample]): Films.

        Returns:
            Tensor: ``(N,)`` bool.
        """
        rows = [self.ensemble.row(sample.img_path) for sample in samples]
        return self.ensemble.count[rows] > 0

    @torch.no_grad()
    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Targets ``(N, 1, h, w)``, see :class:`BaseTeacher`; in training mode it notes the updates.

        Raises:
            ValueError: When the view is augmented, a film is none of the training, or the size of the
                maps changes.
        """
        z = self.teacher(student, inputs, samples)
        self.ensemble.check_shape(z.shape[-2:])
        rows = []
        for sample in samples:
            check_frame(sample)
            rows.append(self.ensemble.row(sample.img_path))
        counts = self.ensemble.count[rows].tolist()
        targets, memory = z, torch.zeros_like(z)
        if any(counts):
            stored = torch.from_numpy(self.ensemble.read(rows)[:, None])
            memory = to_device(stored, z.device).to(z.dtype)
            is_known = to_device(self.known(samples), z.device).view(-1, 1, 1, 1)
            targets = torch.where(is_known, unbiased(memory, counts, self.decay), z)
        if self.training:
            self.ensemble.stage(rows, accumulate(memory, z, self.decay)[:, 0])
        return targets

    def extra_repr(self) -> str:
        """The decay."""
        return f'decay={self.decay}'


def check_frame(sample) -> None:
    """Raise a ``ValueError`` unless a view is the film itself, resized and padded."""
    homography = np.asarray(sample.metainfo.get('homography_matrix', np.eye(3)), dtype=np.float64)
    scale = np.diag(homography) / homography[2, 2]
    if (scale <= 0).any() or not np.allclose(homography / homography[2, 2], np.diag(scale)):
        raise ValueError(
            f'{sample.img_path}: TemporalEnsembleTeacher averages maps of the un-augmented view, but '
            f'homography_matrix of this one is {homography.tolist()}: leave flips, rotations and shifts '
            'out of the pipeline of branch unsup_teacher'
        )
