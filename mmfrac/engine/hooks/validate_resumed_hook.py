# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner, ValLoop

from mmfrac.engine.runner.run_log import read_log
from mmfrac.utils.dataset_wrappers import values_as_read


@HOOKS.register_module()
class ValidateResumedHook(Hook):
    """Validates the epoch that a resumed run goes on from.

    An epoch's checkpoint is saved before its validation. A run killed in between would never validate
    that epoch, and might keep another best model than an uninterrupted one. Where the log of the work
    dir has the epoch's figures already the checkpoint still lacks them: it is validated for the best
    model's sake, and not logged again. A checkpoint from inside an epoch is none of an epoch: it is not
    validated.

    What ``save_best`` names is looked at before any training: see ``best_faults``.

    Raises:
        ValueError: At the start of a training, if no validation gives what ``save_best`` names.
    """

    # after CheckpointHook has read which model is the best so far
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._is_inside_epoch = False

    def before_run(self, runner: Runner) -> None:
        """Compare what the best checkpoint is chosen by with what validation gives."""
        # of a run that only tests these are configs
        if not isinstance(runner._train_loop, BaseLoop) or not isinstance(
            runner._val_loop, ValLoop
        ):
            return
        names = [
            name
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook) and hook.save_best
            for name in hook.key_indicators
        ]
        # mmdet's TeacherStudentValLoop puts names before those of the metrics
        if type(runner._val_loop) is ValLoop:
            check_best(names, runner._val_loop.evaluator)
        for fault in best_faults(names, runner._val_loop):
            runner.logger.warning(fault)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether training goes on from inside an epoch."""
        self._is_inside_epoch = is_inside_epoch(checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Validate once more, unless the epoch was not to be validated."""
        loop, epoch = runner.train_loop, runner.epoch
        if not (runner._resume and isinstance(loop, EpochBasedTrainLoop)):
            return
        if self._is_inside_epoch:
            runner.logger.warning(
                f'the checkpoint was saved inside epoch {epoch + 1}, after iteration {runner.iter}: the '
                'epoch begins anew with its weights, which are not validated before, nor kept as '
                'burn_in.pth'
            )
            return
        if not epoch or runner.val_loop is None:
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


def is_inside_epoch(checkpoint: dict) -> bool:
    """Whether a checkpoint was saved before its epoch was over, as one of ``by_epoch=False`` may be.

    Args:
        checkpoint (dict): Of an epoch-based training.

    Returns:
        bool: False where the checkpoint does not say.
    """
    meta = checkpoint.get('meta', {})
    info = checkpoint.get('message_hub', {}).get('runtime_info', {})
    if not {'epoch', 'iter'} <= set(meta) or not {'epoch', 'max_epochs', 'max_iters'} <= set(info):
        return False
    # one that is saved when the epoch is over counts it, and the hub does not yet; burn_in.pth is saved
    # when the next one begins, after whole epochs
    steps = info['max_iters'] // max(info['max_epochs'], 1)
    return meta['epoch'] == info['epoch'] and meta['iter'] != meta['epoch'] * steps


def check_best(names: list[str], evaluator: Evaluator) -> None:
    """Raise unless the metrics of an evaluator may give what the best checkpoint is chosen by.

    Args:
        names (list[str]): Of ``CheckpointHook.save_best``.
        evaluator (Evaluator): Of the validation. One that names its values by another rule than
            mmengine's, or has a metric without prefix, may give anything.

    Raises:
        ValueError: When none of its prefixes is that of a name.
    """
    if type(evaluator) is not Evaluator or any(one.prefix is None for one in evaluator.metrics):
        return
    prefixes = sorted({str(one.prefix) for one in evaluator.metrics})
    for name in names:
        if name == 'auto' or any(name.startswith(f'{prefix}/') for prefix in prefixes):
            continue
        raise ValueError(
            f"default_hooks.checkpoint.save_best='{name}': no metric of val_evaluator gives it, their "
            f'values begin with {" or ".join(f"{prefix}/" for prefix in prefixes)}: name one of these, '
            f"or add the metric to val_evaluator whose prefix is '{name.rpartition('/')[0]}'"
        )


def best_faults(names: list[str], loop: ValLoop) -> list[str]:
    """What the best checkpoint is chosen by that is NaN in every epoch, for want of images.

    Args:
        names (list[str]): Of ``CheckpointHook.save_best``.
        loop (ValLoop): Of the validation, on images with ``labels`` and ``regions``.

    Returns:
        list[str]: One sentence for each name that is a value of a ``FracMetric``.
    """
    metrics = [
        one
        for one in getattr(loop.evaluator, 'metrics', ())
        if any(base.__name__ == 'FracMetric' for base in type(one).__mro__)
    ]
    labels, regions = (
        values_as_read(loop.dataloader.dataset, name) for name in ('labels', 'regions')
    )
    if labels is None or regions is None:
        return []
    missing = [f'label {label}' for label in (0, 1) if not (labels == label).any()]
    has_lesions = bool(((labels == 1) & regions).any())
    faults = []
    for name in names:
        prefix, _, value = name.rpartition('/')
        if not any(one.prefix == prefix for one in metrics):
            continue
        is_area = value == 'AUROC'
        if is_area and missing:
            lack, other = ' and '.join(missing), 'FROC' if has_lesions else None
        elif not is_area and not has_lesions:
            lack, other = 'label 1 and boxes', None if missing else 'AUROC'
        else:
            continue
        hint = (
            f"; without, set default_hooks.checkpoint.save_best='{prefix}/{other}'" if other else ''
        )
        faults.append(
            f'{name} will be NaN, and no checkpoint the best one: no validation image has {lack}; add '
            f'some to val_dataloader{hint}'
        )
    return faults


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
