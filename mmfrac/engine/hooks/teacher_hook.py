# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.teachers.base import call_event


@HOOKS.register_module()
class TeacherHook(Hook):
    """Tells the teacher of a ``SemiProbMapDetector`` how the training goes.

    Calls what the teacher has of the methods of ``BaseTeacher``. It runs before the hooks that ask the
    teacher for maps, and before those that check or save checkpoints.
    """

    priority = 'ABOVE_NORMAL'

    def before_run(self, runner: Runner) -> None:
        """The films are known, and no weights are loaded yet."""
        teacher = unwrapped_model(runner).teacher
        # a run that only tests leaves the loop's config unbuilt
        if hasattr(teacher, 'open') and isinstance(runner._train_loop, BaseLoop):
            teacher.open(training_films(runner), runner.work_dir, runner._resume)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A checkpoint is there, and not used yet."""
        if runner._resume:
            state = teacher_state(checkpoint)
            call_event(unwrapped_model(runner).teacher, 'check_checkpoint', state)

    def before_train(self, runner: Runner) -> None:
        """All weights are loaded."""
        model = unwrapped_model(runner)
        call_event(model.teacher, 'start', model.student)

    def before_train_epoch(self, runner: Runner) -> None:
        """An epoch begins."""
        call_event(unwrapped_model(runner).teacher, 'start_epoch', runner.epoch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """The student has made a step, or only gathered gradients for one."""
        if made_step(runner.optim_wrapper):
            model = unwrapped_model(runner)
            call_event(model.teacher, 'after_step', model.student)

    def after_train_epoch(self, runner: Runner) -> None:
        """An epoch ends."""
        call_event(unwrapped_model(runner).teacher, 'end_epoch')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A checkpoint is saved."""
        call_event(unwrapped_model(runner).teacher, 'note_checkpoint')


def made_step(optim_wrapper: OptimWrapper | OptimWrapperDict) -> bool:
    """Whether the last iteration ended with a step; with ``accumulative_counts`` not every one does."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return any(wrapper.should_update() for wrapper in optim_wrapper.values())
    return optim_wrapper.should_update()


def training_films(runner: Runner) -> list[tuple[str, str]]:
    """``img_path`` of every training film and its name in the annotation file."""
    dataset = runner.train_dataloader.dataset
    infos = (dataset.get_data_info(index) for index in range(len(dataset)))
    return [(info['img_path'], info.get('file_name', info['img_path'])) for info in infos]


def teacher_state(checkpoint: dict) -> dict[str, Tensor]:
    """The teacher's tensors in a checkpoint of a ``SemiProbMapDetector``, without their prefix."""
    names = {key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()}
    prefix = 'teacher.'
    return {
        key.removeprefix(prefix): value for key, value in names.items() if key.startswith(prefix)
    }
