# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmfrac.atomic_backend import AtomicLocalBackend

from .amp import CPUAmpOptimWrapper
from .checkpoint_file import load_checkpoint_file
from .checkpoint_guard_hook import CheckpointGuardHook
from .class_weight_hook import ClassWeightHook
from .collapse_monitor_hook import CollapseMonitorHook
from .dynamic_sharpening_hook import DynamicSharpeningHook
from .epoch_seed_hook import EpochSeedHook, seed_worker
from .launch import prepare_launch
from .plain_checkpoint_hook import PlainCheckpointHook
from .pseudo_truth_hook import PseudoTruthHook
from .semi_epoch_hook import SemiEpochHook
from .step_timer_hook import StepTimerHook
from .teacher_eval_hook import TeacherEvalHook
from .teacher_hook import TeacherHook
from .validate_resumed_hook import ValidateResumedHook

__all__ = [
    'AtomicLocalBackend',
    'CPUAmpOptimWrapper',
    'CheckpointGuardHook',
    'ClassWeightHook',
    'CollapseMonitorHook',
    'DynamicSharpeningHook',
    'EpochSeedHook',
    'PlainCheckpointHook',
    'PseudoTruthHook',
    'SemiEpochHook',
    'StepTimerHook',
    'TeacherEvalHook',
    'TeacherHook',
    'ValidateResumedHook',
    'load_checkpoint_file',
    'prepare_launch',
    'seed_worker',
]
