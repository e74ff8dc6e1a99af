# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType
from torch import Tensor

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.teachers.base import WrappingTeacher

VIEWS: dict[str, tuple[int, ...]] = dict(none=(), horizontal=(3,), vertical=(2,), diagonal=(2, 3))


@MODELS.register_module()
class AugmentedTeacher(WrappingTeacher):
    """Average of another teacher's maps over flipped views of an image (FocalMix [8], MixMatch [11]).

    Each map is flipped back before it is averaged. Flips are their own inverses, so nothing is
    interpolated. FocalMix flips its volumes along each axis; chest films are usually trained with
    horizontal flips alone, hence the default.

    Args:
        teacher (dict): Gives the map of a view. Defaults to ``dict(type='PiTeacher')``.
        views (Sequence[str]): Any of ``'none'``, ``'horizontal'``, ``'vertical'`` and ``'diagonal'``
            (both). Defaults to ``('none', 'horizontal')``.

    Raises:
        ValueError: When a view is unknown, or the teacher remembers images.
    """

    def __init__(
        self,
        teacher: ConfigType = dict(type='PiTeacher'),
        views: Sequence[str] = ('none', 'horizontal'),
    ) -> None:
        super().__init__(teacher)
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise ValueError(f'views must be some of {list(VIEWS)}, got {list(views)}')
        self.views = tuple(views)
        if self.teacher.has_memory:
            remembering = self.teacher
            while isinstance(remembering, WrappingTeacher) and remembering.teacher.has_memory:
                remembering = remembering.teacher
            name = type(remembering).__name__
            raise ValueError(
                f'{name} remembers un-augmented images: put the AugmentedTeacher into it, '
                f"dict(type='{name}', teacher=dict(type='AugmentedTeacher'))"
            )

    @torch.no_grad()
    def forward(self, student: ProbMapDetector, inputs: Tensor, samples: SampleList) -> Tensor:
        """Mean map ``(N, 1, h, w)`` of the views, see :class:`BaseTeacher`."""
        maps = [
            self.teacher(student, inputs.flip(VIEWS[view]), samples).flip(VIEWS[view])
            for view in self.views
        ]
        return torch.stack(maps).mean(dim=0)

    def extra_repr(self) -> str:
        """The views."""
        return f'views={self.views}'
