# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import torch
from mmdet.models import SemiBaseDetector
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseModule
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.utils.config import type_name

SEMI_PARTS = ('student', 'teacher')


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Refuses a checkpoint of another model, which mmengine would load with a warning.

    For resuming every parameter and statistic of the model must be in the checkpoint with its shape;
    for testing all that prediction needs. For fine-tuning (``load_from`` in training) at least
    ``min_share`` of what prediction needs must be; all of it where the teacher stays what is loaded.
    Without a checkpoint at least ``min_share`` of each part with ``init_cfg=dict(type='Pretrained')``
    must be in its file.

    Args:
        min_share (float): Defaults to 0.5.

    Raises:
        ValueError: When the checkpoint does not fit.
    """

    def __init__(self, min_share: float = 0.5) -> None:
        self.min_share = min_share
        self._has_loaded = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes before anything is loaded."""
        self._has_loaded = True
        model = unwrapped_model(runner)
        # a run that only tests leaves the loop's config unbuilt
        is_training = isinstance(runner._train_loop, BaseLoop)
        resumes = is_training and runner._resume
        is_enough = is_training and not resumes and not stays_as_loaded(model)
        share_needed = self.min_share if is_enough else 1.0
        name = str(runner._load_from)
        # a teacher's averages start from the student that is loaded
        check_state_dict(model, checkpoint, share_needed, name, for_prediction=not resumes)
        if not is_training:
            model.register_load_state_dict_post_hook(_leave_training_out)

    def before_train(self, runner: Runner) -> None:
        """The weights of ``init_cfg`` are there, if any were found."""
        if not self._has_loaded:
            check_pretrained(unwrapped_model(runner), self.min_share)


def _leave_training_out(model: nn.Module, keys: Any) -> None:
    """Of the missing keys that are told, none is of what only training needs."""
    not_needed = tuple(getattr(model, 'training_only', ()))
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.startswith(not_needed)]


def stays_as_loaded(model: nn.Module) -> bool:
    """Whether a model has a teacher that is for good what the student is when training begins.

    Args:
        model (nn.Module): Any model.
    """
    return (
        isinstance(model, SemiProbMapDetector)
        and model.teacher.needs_trained_student
        and not model.burn_in_epochs
    )


def check_pretrained(model: nn.Module, min_share: float = 0.5) -> None:
    """Raise where the file of an ``init_cfg=dict(type='Pretrained')`` is of something else.

    mmengine loads what fits, which may be nothing, and logs the rest. Modules that load weights by a
    rule of their own (``convert_weights`` of mmdet's transformers) are left alone.

    Args:
        model (nn.Module): Its modules may have such an ``init_cfg``.
        min_share (float): Share of a module's tensors that must be in its file. Defaults to 0.5.

    Raises:
        ValueError: When fewer are.
    """
    known: dict[tuple[str, str | None], dict[str, tuple]] = {}
    for name, module in model.named_modules():
        cfg = getattr(module, 'init_cfg', None)
        if not isinstance(cfg, dict) or type_name(cfg) != 'Pretrained':
            continue
        if getattr(type(module), 'init_weights', None) is not BaseModule.init_weights:
            continue
        file, prefix = cfg['checkpoint'], cfg.get('prefix')
        if (file, prefix) not in known:
            known[file, prefix] = _shapes_in(file, prefix)
        shapes = known[file, prefix]
        wanted = {
            key: tuple(value.shape)
            for key, value in module.state_dict().items()
            if not key.endswith('num_batches_tracked')
        }
        fitting = sum(shapes.get(key) == shape for key, shape in wanted.items())
        if fitting < min_share * len(wanted):
            raise ValueError(
                f'{name or "model"}.init_cfg: {fitting} of {len(wanted)} tensors of '
                f'{type(module).__name__} are in {file}, whose first is {next(iter(shapes), None)!r}: '
                "the others would stay random; name the file of such a network, say prefix='backbone' "
                'where it is part of a whole model, or load_from=FILE for a checkpoint of this model'
            )


def _shapes_in(file: str, prefix: str | None) -> dict[str, tuple]:
    content = CheckpointLoader.load_checkpoint(file, map_location='cpu', logger='silent')
    begin = prefix.rstrip('.') + '.' if prefix else ''
    return {
        key.removeprefix('module.').removeprefix(begin): tuple(value.shape)
        for key, value in content.get('state_dict', content).items()
        if torch.is_tensor(value) and key.removeprefix('module.').startswith(begin)
    }


def check_state_dict(
    model: nn.Module,
    checkpoint: dict,
    share_needed: float = 1.0,
    name: str = 'checkpoint',
    for_prediction: bool = False,
) -> None:
    """Raise unless a checkpoint fits a model.

    Args:
        model (nn.Module): The model to load into.
        checkpoint (dict): With ``state_dict``, or a bare state dict.
        share_needed (float): Share of the model's tensors that must be there. Defaults to 1.
        name (str): Of the checkpoint, for the message. Defaults to 'checkpoint'.
        for_prediction (bool): What only training needs (the model's ``training_only`` prefixes) may be
            missing. Defaults to False.

    Raises:
        ValueError: When too many tensors are missing or have another shape, or one that is needed for
            prediction holds NaN or inf, or a batch norm a variance below 0.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state_dict, dict) or not all(isinstance(key, str) for key in state_dict):
        raise ValueError(f'{name} is no checkpoint: its state_dict does not map names to tensors')
    state_dict = {key.removeprefix('module.'): value for key, value in state_dict.items()}
    adapt = getattr(model, 'adapt_state_dict', None)
    if adapt is not None:
        state_dict = adapt(state_dict)
    elif isinstance(model, SemiBaseDetector) and not any(
        part in key for part in SEMI_PARTS for key in state_dict
    ):
        # mmdet gives the weights of a plain detector to both
        state_dict = {
            f'{part}.{key}': value for part in SEMI_PARTS for key, value in state_dict.items()
        }
    not_needed = tuple(getattr(model, 'training_only', ())) if for_prediction else ()
    wanted = {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if not key.endswith('num_batches_tracked') and not key.startswith(not_needed)
    }
    tensors = {key for key, value in state_dict.items() if isinstance(value, torch.Tensor)}
    missing = [key for key in wanted if key not in tensors]
    reshaped = [
        f'{key} {tuple(state_dict[key].shape)} instead of {shape}'
        for key, shape in wanted.items()
        if key in tensors and tuple(state_dict[key].shape) != shape
    ]
    if for_prediction:
        broken = [key for key in wanted if key in tensors and not state_dict[key].isfinite().all()]
        if broken:
            raise ValueError(
                f'{name} holds NaN or inf in {len(broken)} tensors, e.g. {broken[0]}: its training '
                'diverged; take an earlier checkpoint, or train with a lower learning rate'
            )
        negative = [
            key
            for key in wanted
            if key in tensors and key.endswith('running_var') and (state_dict[key] < 0).any()
        ]
        if negative:
            raise ValueError(
                f'{name} holds a variance below 0 in {len(negative)} batch norms, e.g. {negative[0]}: '
                'no training writes this; copy the file anew, or take an earlier checkpoint'
            )
    fitting = 1 - (len(missing) + len(reshaped)) / max(len(wanted), 1)
    if fitting >= share_needed:
        return
    if missing and not reshaped and all('image_head.' in key for key in missing):
        raise ValueError(
            f'{name} was trained without an image head: resume with model.detector.image_head=None '
            '(frac_ssl_plus.py of before is configs/ablations/plus.py)'
        )
    problems = [f'missing: {key}' for key in missing] + [f'shape: {text}' for text in reshaped]
    listed = '\n  '.join(problems[:5])
    raise ValueError(
        f'{name} is a checkpoint of another model: {len(missing)} of {len(wanted)} tensors of '
        f'{type(model).__name__} are missing and {len(reshaped)} have another shape, e.g.\n'
        f'  {listed}\nUse the config that the checkpoint was trained with.'
    )
