# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a teacher is, and what it is told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType
from torch import Tensor, nn

from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.utils.events import check_events


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model into eval mode and give every module its own mode back afterwards."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in in_training:
            module.training = True


class BaseTeacher(nn.Module):
    """How the teacher map is formed, and when the teacher learns.

    ``SemiProbMapDetector`` calls ``attach``, ``known`` and the teacher itself, ``TeacherHook`` the other
    events. Each does nothing unless a teacher overrides it.

    Attributes:
        has_memory (bool): Whether it remembers maps of the un-augmented images, so that it cannot be
            asked for another view of them. Defaults to False.
        needs_trained_student (bool): Whether it teaches what the student was at the first
            semi-supervised step for good, so that a training without burn-in has to begin with trained
            weights. Defaults to False.

    Raises:
        TypeError: When a subclass is defined whose method looks like a misspelt event, or takes other
            arguments than the event.
    """

    has_memory = False
    needs_trained_student = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_events(cls, {name: getattr(BaseTeacher, name) for name in EVENTS})

    def attach(self, student: ProbMapDetector) -> None:
        """Called once, when the model is built."""

    def open(self, images: Sequence[tuple[str, str]], work_dir: str, resume: bool) -> None:
        """Called before a training loads its weights.

        Args:
            images (Sequence[tuple[str, str]]): ``img_path`` and name in the annotation file of every
                training image.
            work_dir (str): Of the run.
            resume (bool): Whether the run goes on from a checkpoint of its own.
        """

    def check_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Called with the teacher's part of a checkpoint that is about to be resumed."""

    def start(self, student: ProbMapDetector) -> None:
        """Called before training, when all weights are loaded."""

    def start_epoch(self, epoch: int) -> None:
        """Called before each epoch, counted from 0."""

    def after_step(self, student: ProbMapDetector) -> None:
        """Called after every optimisation step, in burn-in too."""

    def end_epoch(self) -> None:
        """Called after each epoch."""

    def note_checkpoint(self) -> None:
        """Called when a checkpoint is about to be saved (main rank alone)."""

    def known(self, samples: SampleList) -> Tensor | None:
        """Which images have a target; the others count in no L_semi.

        Args:
            samples (list[DetDataSample]): Images in the teacher's view.

        Returns:
            Tensor | None: ``(N,)`` bool; None when all have one.
        """
        return None

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


EVENTS = (
    'attach',
    'open',
    'check_checkpoint',
    'start',
    'start_epoch',
    'after_step',
    'end_epoch',
    'note_checkpoint',
    'known',
)


class WrappingTeacher(BaseTeacher):
    """A teacher around another one, which is told of every event; its attributes are those of the two.

    Args:
        teacher (dict): The inner teacher. Defaults to ``dict(type='PiTeacher')``.
    """

    def __init__(self, teacher: ConfigType = dict(type='PiTeacher')) -> None:
        super().__init__()
        self.teacher = build_teacher(teacher)
        # a wrapper may say so of itself
        self.has_memory = self.has_memory or self.teacher.has_memory
        self.needs_trained_student = (
            self.needs_trained_student or self.teacher.needs_trained_student
        )

    def attach(self, student: ProbMapDetector) -> None:
        """Tell the inner teacher."""
        self.teacher.attach(student)

    def open(self, images: Sequence[tuple[str, str]], work_dir: str, resume: bool) -> None:
        """Tell the inner teacher."""
        self.teacher.open(images, work_dir, resume)

    def check_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Tell the inner teacher of its part."""
        prefix = 'teacher.'
        self.teacher.check_checkpoint(
            {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
        )

    def start(self, student: ProbMapDetector) -> None:
        """Tell the inner teacher."""
        self.teacher.start(student)

    def start_epoch(self, epoch: int) -> None:
        """Tell the inner teacher."""
        self.teacher.start_epoch(epoch)

    def after_step(self, student: ProbMapDetector) -> None:
        """Tell the inner teacher."""
        self.teacher.after_step(student)

    def end_epoch(self) -> None:
        """Tell the inner teacher."""
        self.teacher.end_epoch()

    def note_checkpoint(self) -> None:
        """Tell the inner teacher."""
        self.teacher.note_checkpoint()

    def known(self, samples: SampleList) -> Tensor | None:
        """See ``BaseTeacher.known``, of the inner teacher."""
        return self.teacher.known(samples)


def build_teacher(cfg: ConfigType) -> BaseTeacher:
    """Build a teacher.

    Args:
        cfg (dict): Its config.

    Returns:
        BaseTeacher: The teacher.

    Raises:
        TypeError: When it is none: its events would not be called.
    """
    teacher = MODELS.build(cfg)
    if not isinstance(teacher, BaseTeacher):
        raise TypeError(
            f'{type(teacher).__name__} is no teacher: derive it from mmfrac.models.BaseTeacher, whose '
            'methods say when it learns'
        )
    return teacher
