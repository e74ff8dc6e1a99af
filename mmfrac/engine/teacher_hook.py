# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.engine.unwrap import unwrapped_model


@HOOKS.register_module()
class TeacherHook(Hook):
    """Tells the teacher of a ``SemiProbMapDetector`` when training starts and when a step was made.

    Calls what the teacher has of ``BaseTeacher.start`` and ``BaseTeacher.after_step``. It runs before
    the hooks that ask the teacher for maps.
    """

    priority = 'ABOVE_NORMAL'

    def before_train(self, runner: Runner) -> None:
        """All weights are loaded."""
        self._call(runner, 'start')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """The student has made a step."""
        self._call(runner, 'after_step')

    def _call(self, runner: Runner, event: str) -> None:
        model = unwrapped_model(runner)
        method = getattr(model.teacher, event, None)
        if method is not None:
            method(model.student)
