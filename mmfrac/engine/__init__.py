# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What runs around a model: hooks, the start of a run, its checkpoints, its costs.

May import ``models`` and ``utils``; knows no data set and no metric.
"""

from mmfrac.engine.costs.step_timer_hook import StepTimerHook
from mmfrac.engine.hooks.checkpoint_guard_hook import CheckpointGuardHook
from mmfrac.engine.hooks.class_weight_hook import ClassWeightHook
from mmfrac.engine.hooks.collapse_monitor_hook import CollapseMonitorHook
from mmfrac.engine.hooks.data_check_hook import DataCheckHook
from mmfrac.engine.hooks.dynamic_sharpening_hook import DynamicSharpeningHook
from mmfrac.engine.hooks.epoch_seed_hook import EpochSeedHook, seed_worker
from mmfrac.engine.hooks.plain_checkpoint_hook import PlainCheckpointHook
from mmfrac.engine.hooks.pseudo_truth_hook import PseudoTruthHook
from mmfrac.engine.hooks.ramped_mean_teacher_hook import RampedMeanTeacherHook
from mmfrac.engine.hooks.semi_epoch_hook import SemiEpochHook
from mmfrac.engine.hooks.teacher_eval_hook import TeacherEvalHook
from mmfrac.engine.hooks.teacher_hook import TeacherHook
from mmfrac.engine.hooks.validate_resumed_hook import ValidateResumedHook
from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from mmfrac.engine.runner.launch import prepare_launch
from mmfrac.engine.runner.precision import CPUAmpOptimWrapper, PrecisionTestLoop
from mmfrac.utils.io import AtomicLocalBackend

__all__ = [
    'AtomicLocalBackend',
    'CPUAmpOptimWrapper',
    'CheckpointGuardHook',
    'ClassWeightHook',
    'CollapseMonitorHook',
    'DataCheckHook',
    'DynamicSharpeningHook',
    'EpochSeedHook',
    'PlainCheckpointHook',
    'PrecisionTestLoop',
    'PseudoTruthHook',
    'RampedMeanTeacherHook',
    'SemiEpochHook',
    'StepTimerHook',
    'TeacherEvalHook',
    'TeacherHook',
    'ValidateResumedHook',
    'load_checkpoint_file',
    'prepare_launch',
    'seed_worker',
]
