# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.engine.hooks.semi_hook import is_latest
from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.detectors.consistent_teacher import ConsistentTeacher
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector


@HOOKS.register_module()
class SemiEpochHook(Hook):
    """Tells a semi-supervised model of ours the epoch, and the batch sampler whether burn-in is over.

    It drives a ``SemiProbMapDetector`` or a ``ConsistentTeacher``; with any other model it does nothing.

    The number of burn-in epochs is the model's (``semi_train_cfg.burn_in_epochs``), so that it is
    written in one place. When burn-in is over its state is kept as ``burn_in.pth``, for comparison and
    for other runs to go on from with ``--resume``.
    """

    priority = 'ABOVE_NORMAL'

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
        if 0 < runner.epoch == model.burn_in_epochs:
            runner.save_checkpoint(
                runner.work_dir,
                'burn_in.pth',
                meta=dict(epoch=runner.epoch, iter=runner.iter),
                backend_args=dict(backend='atomic'),
            )
