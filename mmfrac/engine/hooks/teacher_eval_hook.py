# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.engine.runner.unwrap import unwrapped_model


@HOOKS.register_module()
class TeacherEvalHook(Hook):
    """Keeps the teacher of a mmdet ``SemiBaseDetector`` in eval mode.

    The runner puts the whole model into training mode at the start of every epoch. That is harmless
    with the frozen BN of mmdet's own configs; with BN that is trained, ``SoftTeacher`` would form its
    boxes with the statistics of the batch and overwrite the averaged ones of its teacher.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Undo the runner's ``model.train()``."""
        teacher = unwrapped_model(runner).teacher
        if teacher.training:
            teacher.eval()
