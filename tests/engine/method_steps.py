# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every method of configs/ ready for a step on any device, with batches of the smallest data."""

import re
from types import SimpleNamespace

from mmdet.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmfrac.engine.hooks.teacher_hook import training_images
from mmfrac.models import DynamicSharpening, SemiProbMapDetector
from mmfrac.models.detectors.burn_in import burn_in_length
from mmfrac.models.losses import WeightedBCELoss
from mmfrac.utils.config import merge_config_file
from tests.configs.test_configs import CONFIGS, NAMES, make_tiny
from tests.configs.test_methods import METHODS

METHOD_BASE = 'phantom/frac_ssl_phantom_v2.py'
# test_methods.py sees to it that those of full size are the same methods
CASES = [f'_base_/methods/{name}.py' for name in METHODS] + [
    name
    for name in NAMES
    if name.split('/')[0] not in ('ablations', 'baselines', 'compare', 'data')
]


# what differs in numbers alone runs once in a process
DONE: set[str] = set()


def is_done(*parts):
    structure = re.sub(r'\d[\d.e-]*', '0', str(parts))
    known = structure in DONE
    DONE.add(structure)
    return known


def config_of(case, tiny_data, tmp_path):
    if case.startswith('_base_'):
        cfg = Config.fromfile(CONFIGS / METHOD_BASE)
        merge_config_file(cfg._cfg_dict, CONFIGS / case)
    else:
        cfg = Config.fromfile(CONFIGS / case)
    # burn-in is that of the base, unless it is all
    semi = cfg.model.get('semi_train_cfg', {})
    is_supervised = burn_in_length(semi.get('burn_in_epochs', 0)) >= cfg.train_cfg.max_epochs
    with_burn_in = is_supervised or not case.startswith('_base_')
    cfg = make_tiny(cfg, tiny_data, tmp_path)
    detector = cfg.model.get('detector', cfg.model)
    if detector.backbone.get('depth') == 50:
        detector.backbone.depth = 18
        detector.neck.in_channels = [64, 128, 256, 512]
    cfg.train_dataloader.pop('num_batch_per_epoch', None)
    cfg.train_dataloader.batch_size = 8
    cfg.test_dataloader.batch_size = 3
    return cfg, [0] * with_burn_in + [1, 2] * (not is_supervised)


def first_batch(loader, model):
    return model.data_preprocessor.cast_data(next(iter(loader)))


def hooks_of_steps(cfg):
    """Hooks that do something in every step, and are ours or drive what is ours."""
    hooks = []
    for hook_cfg in [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]:
        kind = HOOKS.get(hook_cfg['type']) if hook_cfg else None
        acts = kind and any(
            getattr(kind, name) is not getattr(Hook, name)
            for name in ('before_train_iter', 'after_train_iter')
        )
        if acts and (kind.__module__.startswith('mmfrac') or issubclass(kind, EMAHook)):
            options = {key: value for key, value in hook_cfg.items() if key != 'priority'}
            hooks.append(HOOKS.build(options))
    return hooks


def prepared(cfg, tmp_path, device):
    """Model on the device and what its steps need, as the hooks of a training prepare it."""
    init_default_scope('mmdet')
    loader = Runner.build_dataloader(cfg.train_dataloader)
    model = MODELS.build(cfg.model).train()
    runner = SimpleNamespace(model=model, train_dataloader=loader, iter=0, epoch=0)
    for module in model.modules():
        if isinstance(module, WeightedBCELoss):
            module.set_class_counts(1, 1)
        if isinstance(module, DynamicSharpening):
            module.expect_updates()
    model.to(device)
    if isinstance(model, SemiProbMapDetector):
        model.teacher.open(training_images(runner), str(tmp_path), False)
        model.start_teacher()
    # Adam is one kernel on a GPU, and some thousand operations in Python on meta
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    runner.optim_wrapper = build_optim_wrapper(model, optimizer)
    runner.step_hooks = hooks_of_steps(cfg)
    for hook in runner.step_hooks:
        if isinstance(hook, EMAHook):
            hook.before_run(runner)
    return runner


def train(runner, epochs, step, num_steps=1):
    """Train for some steps in each of these epochs.

    Args:
        runner (SimpleNamespace): What ``prepared`` gave.
        epochs (list[int]): As of ``config_of``; of models that need less some are left out.
        step (Callable): Called with a batch.
        num_steps (int): Steps an epoch. Defaults to 1.
    """
    model, loader = runner.model, runner.train_dataloader
    is_semi = isinstance(model, SemiProbMapDetector)
    if not is_semi:
        epochs = [0]
    elif not model.teacher.has_memory:
        epochs = [epoch for epoch in epochs if epoch < 2]
    for epoch in epochs:
        if is_semi:
            model.set_epoch(epoch)
            model.teacher.start_epoch(epoch)
            loader.batch_sampler.supervised_only = not model.is_semi_supervised
        for _ in range(num_steps):
            losses = step(first_batch(loader, model))
            if is_semi:
                assert ('loss_semi' in losses) == model.is_semi_supervised
        if is_semi:
            model.teacher.end_epoch()


def end_step(runner, batch, losses):
    """What the hooks of a training do around a step."""
    for hook in runner.step_hooks:
        hook.before_train_iter(runner, 0, batch)
        hook.after_train_iter(runner, 0, batch, losses)
