# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner


@HOOKS.register_module()
class ValidateResumedHook(Hook):
    """Validates the epoch that a resumed run goes on from.

    An epoch's checkpoint is saved before its validation. A run killed in between would never validate
    that epoch, and might keep another best model than an uninterrupted one.
    """

    # after CheckpointHook has read which model is the best so far
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Validate once more, unless the epoch was not to be validated."""
        loop, epoch = runner.train_loop, runner.epoch
        if not (runner._resume and epoch and isinstance(loop, EpochBasedTrainLoop)):
            return
        if runner.val_loop is None:
            return
        is_last = epoch == runner.max_epochs
        if epoch >= loop.val_begin and (is_last or epoch % loop.val_interval == 0):
            runner.logger.info(f'Epoch {epoch} is validated before training goes on')
            runner.val_loop.run()
