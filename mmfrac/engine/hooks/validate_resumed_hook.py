# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmfrac.engine.runner.run_log import read_log


@HOOKS.register_module()
class ValidateResumedHook(Hook):
    """Validates the epoch that a resumed run goes on from.

    An epoch's checkpoint is saved before its validation. A run killed in between would never validate
    that epoch, and might keep another best model than an uninterrupted one. Where the log of the work
    dir has the epoch's figures already the checkpoint still lacks them: it is validated for the best
    model's sake, and not logged again.
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
            if is_logged(runner.work_dir, epoch):
                runner.logger.info(
                    f'Epoch {epoch} is in the log: validated for the best checkpoint'
                )
                with _without_log(runner):
                    runner.val_loop.run()
            else:
                runner.logger.info(f'Epoch {epoch} is validated before training goes on')
                runner.val_loop.run()


def is_logged(work_dir: str | Path, epoch: int) -> bool:
    """Whether a work dir has logged the validation of an epoch.

    Args:
        work_dir (str or Path): See ``read_log``.
        epoch (int): Counted from 1.
    """
    # what training logs has an iteration, and what hooks log of an epoch has no metric
    return any(
        record.get('step') == epoch and 'iter' not in record and 'data_time' in record
        for record in read_log(Path(work_dir), report=lambda line: None)
    )


@contextmanager
def _without_log(runner: Runner) -> Iterator[None]:
    hooks = runner._hooks
    runner._hooks = [hook for hook in hooks if not isinstance(hook, LoggerHook)]
    try:
        yield
    finally:
        runner._hooks = hooks
