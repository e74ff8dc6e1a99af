# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
from collections.abc import Iterable

from mmdet.engine.hooks import MeanTeacherHook
from mmdet.models import SemiBaseDetector
from mmdet.registry import HOOKS
from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import _ParamScheduler
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch import nn

from mmfrac.engine.hooks.semi_hook import is_latest
from mmfrac.engine.hooks.validate_resumed_hook import is_inside_epoch
from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.detectors.consistent_teacher import ConsistentTeacher
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.utils.runner_settings import ENDLESS, schedule_faults

# what changes from step to step in the state of a scheduler, and what is the optimizer's
_STEPPED = {
    *('last_step', '_global_step', '_last_value', 'base_values', 'verbose'),
    *('best', 'num_bad_epochs', 'cooldown_counter'),
}


@HOOKS.register_module()
class SemiEpochHook(Hook):
    """Tells a semi-supervised model of ours the epoch, and the batch sampler whether burn-in is over.

    It drives a ``SemiProbMapDetector`` or a ``ConsistentTeacher``. With any other model, too, it sees to
    it that mmdet's teachers are moved (``check_mean_teacher_hooks``), that there is something to train
    on and that checkpoints are saved (``check_loop``), and warns of a schedule that does not fit the
    epochs (``schedule_faults``) or a checkpoint that is resumed (``scheduler_changes``).

    The number of burn-in epochs is the model's (``semi_train_cfg.burn_in_epochs``), so that it is
    written in one place. The log says which epochs are burn-in, with a warning where that leaves none
    for an unsupervised source. When burn-in is over its state is kept as ``burn_in.pth``, for
    comparison and for other runs to go on from with ``--resume``; not where a run goes on from inside
    the epoch after it, whose weights have had semi-supervised steps.

    Args:
        allows_iterations (bool): Whether a training may be counted in iterations
            (``IterBasedTrainLoop``), all of which are its first epoch: for measurements of a step.
            Defaults to False.

    Raises:
        ValueError: At the start of such a training, unless it is allowed or the model is a
            ``ConsistentTeacher`` without burn-in, which counts no epochs; when an epoch has no batch, or
            a training without epochs saves a checkpoint after each; when a teacher is moved by no hook,
            by two, or by one beside its own updates.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, allows_iterations: bool = False) -> None:
        self.allows_iterations = allows_iterations
        self._epoch_begun: int | None = None

    def before_run(self, runner: Runner) -> None:
        """Refuse a training without epochs or batches, before anything is loaded."""
        model, loop = unwrapped_model(runner), runner._train_loop
        # a run that only tests leaves the loop's config unbuilt
        if self.allows_iterations or not isinstance(loop, BaseLoop):
            return
        if isinstance(loop, IterBasedTrainLoop) and (
            isinstance(model, SemiProbMapDetector)
            or (isinstance(model, ConsistentTeacher) and model.burn_in_epochs)
        ):
            raise ValueError(
                f'{type(model).__name__} counts epochs, for burn-in and what is updated after each, and '
                'an IterBasedTrainLoop has none: set '
                "train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=..., "
                'val_interval=1), and the iterations of an epoch as '
                'train_dataloader.batch_sampler.epoch_length'
            )
        check_loop(loop, getattr(runner, 'hooks', ()))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the schedule of a training that is resumed with the one it had."""
        if not (isinstance(runner._train_loop, BaseLoop) and runner._resume):
            return
        if is_inside_epoch(checkpoint):
            self._epoch_begun = checkpoint['meta']['epoch']
        for change in scheduler_changes(
            runner.param_schedulers, checkpoint.get('param_schedulers')
        ):
            runner.logger.warning(change)

    def before_train(self, runner: Runner) -> None:
        """Say which epochs are burn-in, and check what moves the teacher."""
        for fault in schedule_faults(runner.cfg):
            runner.logger.warning(fault)
        model = unwrapped_model(runner)
        check_mean_teacher_hooks(model, getattr(runner, 'hooks', ()))
        if not isinstance(model, (SemiProbMapDetector, ConsistentTeacher)):
            return
        if not is_latest(self, runner):
            return
        burn_in, epochs = model.burn_in_epochs, runner.max_epochs
        runner.logger.info(f'{type(model).__name__}: {epoch_plan(burn_in, epochs)}')
        batch_sampler = runner.train_dataloader.batch_sampler
        if epochs <= burn_in < math.inf and getattr(batch_sampler, 'has_unsup_sources', True):
            runner.logger.warning(
                f'no epoch of this training is semi-supervised: it has {epochs}, and '
                f'model.semi_train_cfg.burn_in_epochs is {burn_in}, so that the images of the '
                'unsupervised source are never read; train longer, set fewer, or say '
                "burn_in_epochs='all' if that is meant"
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the epoch before any batch of it is drawn."""
        model = unwrapped_model(runner)
        if not isinstance(model, (SemiProbMapDetector, ConsistentTeacher)):
            return
        if not is_latest(self, runner):
            return
        model.set_epoch(runner.epoch)
        batch_sampler = runner.train_dataloader.batch_sampler
        if hasattr(batch_sampler, 'supervised_only'):
            batch_sampler.supervised_only = not model.is_semi_supervised
        if 0 < runner.epoch == model.burn_in_epochs and runner.epoch != self._epoch_begun:
            runner.save_checkpoint(
                runner.work_dir,
                'burn_in.pth',
                meta=dict(epoch=runner.epoch, iter=runner.iter),
                backend_args=dict(backend='atomic'),
            )


def check_loop(loop: BaseLoop, hooks: Iterable[Hook]) -> None:
    """Raise unless a training has batches, and checkpoints of what it does.

    Args:
        loop (BaseLoop): Of the training, built.
        hooks (Iterable[Hook]): Of the runner.

    Raises:
        ValueError: When it is over before its first step, or counts iterations and saves by epochs.
    """
    loader = loop.dataloader
    counts_iterations = isinstance(loop, IterBasedTrainLoop)
    is_endless = ENDLESS & {one.__name__ for one in type(getattr(loader, 'sampler', None)).__mro__}
    if not len(loader) and not (counts_iterations and is_endless):
        raise ValueError(
            f'train_dataloader gives no batch: its {len(loader.dataset)} images do not fill one of '
            f'batch_size={getattr(loader.batch_sampler, "batch_size", loader.batch_size)}, and '
            'drop_last=True leaves them out; set train_dataloader.drop_last=False, or a smaller '
            'batch_size'
        )
    for hook in hooks if counts_iterations else ():
        by_epochs = isinstance(hook, CheckpointHook) and hook.by_epoch and hook.interval > 0
        if by_epochs and hook.save_best is None:
            raise ValueError(
                f'{type(hook).__name__} saves after every {hook.interval} epochs, and an '
                f'IterBasedTrainLoop has one: nothing would be kept before iteration {loop.max_iters}; '
                'set default_hooks.checkpoint.by_epoch=False, and its interval in iterations'
            )


def scheduler_changes(
    built: list[_ParamScheduler] | dict[str, list[_ParamScheduler]] | None,
    resumed: list[dict] | dict[str, list[dict]] | None,
) -> list[str]:
    """Settings of schedulers that a checkpoint takes away from a config.

    mmengine loads all of a scheduler's state, its length and its last value included.

    Args:
        built (list or dict, optional): ``param_schedulers`` of the runner; a dict holds those of several
            optimizers.
        resumed (list or dict, optional): ``param_schedulers`` of the checkpoint.

    Returns:
        list[str]: One sentence for each scheduler.
    """
    if isinstance(built, dict) and isinstance(resumed, dict):
        return [one for key in built for one in scheduler_changes(built[key], resumed.get(key))]
    if not isinstance(built, list) or not isinstance(resumed, list):
        return []
    changes = []
    if len(built) != len(resumed):
        changes.append(
            f'param_scheduler: {len(built)} schedulers in the config, {len(resumed)} in the checkpoint '
            'that is resumed'
        )
    for index, (one, state) in enumerate(zip(built, resumed)):
        wanted = {key: value for key, value in one.state_dict().items() if key not in _STEPPED}
        found = [
            f'{key} is {value} in the config and {state[key]} in the checkpoint'
            for key, value in wanted.items()
            if key in state and state[key] != value
        ]
        if found:
            changes.append(
                f'param_scheduler.{index} ({type(one).__name__}, in '
                f'{"epochs" if one.by_epoch else "iterations"}): {", ".join(found)}, which counts; for '
                'the schedule of the config start from the weights alone, with load_from in place of '
                '--resume'
            )
    return changes


def check_mean_teacher_hooks(model: nn.Module, hooks: Iterable[Hook]) -> None:
    """Raise unless a teacher is moved once a step.

    Args:
        model (nn.Module): To be trained. A ``SemiBaseDetector`` of mmdet needs one ``MeanTeacherHook``,
            without which its teacher stays the random net that it is; a ``SemiProbMapDetector`` none.
        hooks (Iterable[Hook]): Of the runner.

    Raises:
        ValueError: When there are more of them, or fewer.
    """
    moving = [type(hook).__name__ for hook in hooks if isinstance(hook, MeanTeacherHook)]
    name = type(model).__name__
    if isinstance(model, SemiProbMapDetector) and moving:
        raise ValueError(
            f"{name}: {moving[0]} moves teachers of mmdet's detectors, and would change the weights of "
            f'{type(model.teacher).__name__}: take it out of default_hooks and custom_hooks; a mean '
            "teacher is model.teacher=dict(type='MeanTeacher')"
        )
    if not isinstance(model, SemiBaseDetector) or len(moving) == 1:
        return
    if moving:
        raise ValueError(
            f'{name}: {len(moving)} hooks move its teacher in every step, {" and ".join(moving)}: leave '
            'one of them in default_hooks and custom_hooks'
        )
    raise ValueError(
        f'{name}: no hook moves its teacher, which would stay a random net: add '
        "default_hooks = dict(mean_teacher=dict(type='MeanTeacherHook', skip_buffer=False)) to the "
        'config, as teacher_hooks of configs/_base_/models/boxes/ have it, or a subclass of yours'
    )


def epoch_plan(burn_in_epochs: float, max_epochs: int) -> str:
    """Which epochs of a training are burn-in, and which are semi-supervised.

    Args:
        burn_in_epochs (float): Epochs of burn-in; infinity: all.
        max_epochs (int): Epochs of the training.

    Returns:
        str: The epochs, counted from 1 as in the log.
    """
    last = int(min(burn_in_epochs, max_epochs))
    if last == max_epochs:
        return f'all {max_epochs} epochs are burn-in, supervised alone'
    if last == 0:
        return f'all {max_epochs} epochs are semi-supervised'
    return (
        f'of {max_epochs} epochs the first {last} are burn-in, supervised alone, the other '
        f'{max_epochs - last} semi-supervised'
    )
