# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType
from torch import Tensor

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.teachers.base import BaseTeacher, call_event

VIEWS: dict[str, tuple[int, ...]] = dict(none=(), horizontal=(3,), vertical=(2,), diagonal=(2, 3))


@MODELS.register_module()
class AugmentedTeacher(BaseTeacher):
    """Average of another teacher's maps over flipped views of a film (FocalMix [8], MixMatch [11]).

    Each map is flipped back before it is averaged. Flips are their own inverses, so nothing is
    interpolated. FocalMix flips its volumes along each axis; chest films are usually trained with
    horizontal flips alone, hence the default.

    Args:
        teacher (dict): Gives the map of a view. Defaults to ``dict(type='PiTeacher')``.
        views (Sequence[str]): Any of ``'none'``, ``'horizontal'``, ``'vertical'`` and ``'diagonal'``
            (both). Defaults to ``('none', 'horizontal')``.

    Raises:
        ValueError: When a view is unknown, or the teacher remembers films.
    """

    def __init__(
        self,
        teacher: ConfigType = dict(type='PiTeacher'),
        views: Sequence[str] = ('none', 'horizontal'),
    ) -> None:
        super().__init__()
        unknown = [view for view in views if view not in VIEWS]
        if unknown or not views:
            raise ValueError(f'views must be some of {list(VIEWS)}, got {list(views)}')
        self.views = tuple(views)
        self.teacher = MODELS.build(teacher)
        if hasattr(self.teacher, 'known'):
            name = type(self.teacher).__name__
            raise ValueError(
                f'{name} remembers un-augmented films: put the AugmentedTeacher into it, '
                f"dict(type='{name}', teacher=dict(type='AugmentedTeacher'))"
            )

    def attach(self, student: ProbMapDetector) -> None:
        """Attach the inner teacher."""
        call_event(self.teacher, 'attach', student)

    def start(self, student: ProbMapDetector) -> None:
        """Start the inner teacher."""
        call_event(self.teacher, 'start', student)

    def after_step(self, student: ProbMapDetector) -> None:
        """Tell the inner teacher of a step."""
        call_event(self.teacher, 'after_step', student)

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
