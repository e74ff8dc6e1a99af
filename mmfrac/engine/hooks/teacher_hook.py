# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import BaseLoop, Runner
from torch import Tensor

from mmfrac.engine.hooks.semi_hook import semi_model
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.utils.config import type_name
from mmfrac.utils.dataset_wrappers import innermost_sets


@HOOKS.register_module()
class TeacherHook(Hook):
    """Tells the teacher of a ``SemiProbMapDetector`` how the training goes: events of ``BaseTeacher``.

    It runs before the hooks that ask the teacher for maps, and before those that check or save
    checkpoints. With any other model it does nothing.

    Args:
        allows_untrained (bool): Whether a teacher may stay a random initialisation for good: for
            measurements of a step. Defaults to False.

    Raises:
        ValueError: At the start of another training whose teacher needs a trained student
            (``BaseTeacher.needs_trained_student``), when there is no burn-in and no weights are loaded.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, allows_untrained: bool = False) -> None:
        self.allows_untrained = allows_untrained
        self._has_loaded = False

    def before_run(self, runner: Runner) -> None:
        """The images are known, and no weights are loaded yet."""
        model = semi_model(self, runner)
        # a run that only tests leaves the loop's config unbuilt
        if model is not None and isinstance(runner._train_loop, BaseLoop):
            model.teacher.open(training_images(runner), runner.work_dir, runner._resume)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A checkpoint is there, and not used yet."""
        self._has_loaded = True
        model = semi_model(self, runner)
        if model is not None and runner._resume:
            model.teacher.check_checkpoint(teacher_state(checkpoint))

    def before_train(self, runner: Runner) -> None:
        """All weights are loaded; a new training forgets what else came with them."""
        model = semi_model(self, runner)
        if model is not None:
            if not (self._has_loaded or self.allows_untrained):
                check_start(model)
            if not runner._resume:
                model.forget_training()
            model.start_teacher()

    def before_train_epoch(self, runner: Runner) -> None:
        """An epoch begins."""
        model = semi_model(self, runner)
        if model is not None:
            model.teacher.start_epoch(runner.epoch)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """The student has made a step, or only gathered gradients for one."""
        model = semi_model(self, runner)
        if model is not None and made_step(runner.optim_wrapper):
            model.teacher.after_step(model.student)

    def after_train_epoch(self, runner: Runner) -> None:
        """An epoch ends."""
        model = semi_model(self, runner)
        if model is not None:
            model.teacher.end_epoch()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A checkpoint is saved."""
        model = semi_model(self, runner)
        if model is not None:
            model.teacher.note_checkpoint()


def check_start(model: SemiProbMapDetector) -> None:
    """Raise a ``ValueError`` where a teacher would be a random initialisation for good.

    Args:
        model (SemiProbMapDetector): Of a training that no checkpoint was loaded into.
    """
    if not model.teacher.needs_trained_student or model.burn_in_epochs:
        return
    if any(type_name(cfg) == 'Pretrained' for cfg in (model.init_cfg, model.student.init_cfg)):
        return
    raise ValueError(
        f'{type(model.teacher).__name__}: the teacher stays what the student is when semi-supervised '
        'training begins, which is now, since model.semi_train_cfg.burn_in_epochs is 0, and no weights '
        'are loaded: name those of a supervised model as load_from=FILE.pth, or set burn_in_epochs'
    )


def made_step(optim_wrapper: OptimWrapper | OptimWrapperDict) -> bool:
    """Whether the last iteration ended with a step; with ``accumulative_counts`` not every one does."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return any(wrapper.should_update() for wrapper in optim_wrapper.values())
    return optim_wrapper.should_update()


def training_images(runner: Runner) -> list[tuple[str, str]]:
    """``img_path`` of every training image and its name in the annotation file."""
    sources = innermost_sets(runner.train_dataloader.dataset)
    return [pair for source in sources for pair in zip(source.img_paths(), source.file_names())]


def teacher_state(checkpoint: dict) -> dict[str, Tensor]:
    """The teacher's tensors in a checkpoint of a ``SemiProbMapDetector``, without their prefix."""
    names = {key.removeprefix('module.'): value for key, value in checkpoint['state_dict'].items()}
    prefix = 'teacher.'
    return {
        key.removeprefix(prefix): value for key, value in names.items() if key.startswith(prefix)
    }
