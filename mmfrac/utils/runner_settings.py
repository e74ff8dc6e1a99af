# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Misspelt settings of a run, its loops and data loaders, found before anything is built."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmdet.registry import LOOPS
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

_LOOPS = dict(train='EpochBasedTrainLoop', val='ValLoop', test='TestLoop')
# given by the runner, and read by it
_GIVEN = {'self', 'runner', 'dataloader', 'evaluator'}
_OF_LOOPS = {'type', 'by_epoch'}
_OF_RUNS = {*inspect.signature(Runner.__init__).parameters, 'custom_imports', 'film_cache'} - {
    'self'
}
# of MMDetection 2.x: read by nothing any more. ``optimizer`` and others are names of a config's own, too
_OF_2X = dict(
    resume_from='resume and load_from (--resume)',
    lr_config='param_scheduler',
    checkpoint_config='default_hooks.checkpoint',
    log_config='default_hooks.logger and visualizer',
)
# share of the letters of two names
_ALIKE = 0.85
_OF_LOADERS = {'num_batch_per_epoch', 'disable_subprocess_warning'}


def check_runner_settings(cfg: Config) -> None:
    """Compare the settings of a run, its loops and data loaders with what these take.

    mmengine says of a misspelt one of a loop that ``__init__`` got an unexpected argument, after the
    data sets and the model are built, and of one of the run nothing: a config may have any variables.

    Args:
        cfg (Config): Of a run.

    Raises:
        ValueError: With every setting that there is not, and the one that is most like it.
    """
    problems = [
        f'{key}: nothing reads it; did you mean {near}?'
        for key in cfg
        for near in _OF_RUNS
        if key not in _OF_RUNS and _is_misspelt(key, near)
    ]
    problems += [
        f'{key}: MMDetection 2.x read it, nothing does now; write {new}'
        for key, new in _OF_2X.items()
        if key in cfg
    ]
    for part, usual in _LOOPS.items():
        loop, loader = cfg.get(f'{part}_cfg'), cfg.get(f'{part}_dataloader')
        if isinstance(loop, Mapping):
            if part == 'train' and not loop.get('by_epoch', True):
                usual = 'IterBasedTrainLoop'
            kind = loop.get('type', usual)
            built = LOOPS.get(kind) if isinstance(kind, str) else kind
            if inspect.isclass(built):
                problems += _unknown(f'{part}_cfg', loop, built, _OF_LOOPS)
        if isinstance(loader, Mapping):
            problems += _unknown(f'{part}_dataloader', loader, DataLoader, _OF_LOADERS)
    if problems:
        raise ValueError('; '.join(problems))


def _is_misspelt(key: str, name: str) -> bool:
    # one for many; models may be a config's own
    if '_' in name and sorted((key, name), key=len)[0] + 's' in (key, name):
        return True
    # names of a config's own variables, as eval_cfg and tta_cfg, are like others, too
    if abs(len(key) - len(name)) > 1 or key[:1].lower() != name[0] or key[-1:].lower() != name[-1]:
        return False
    return difflib.SequenceMatcher(None, key.lower(), name).ratio() >= _ALIKE


def _unknown(
    name: str, settings: Mapping, built: Callable[..., Any], more: Iterable[str]
) -> list[str]:
    parameters = inspect.signature(built).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return []
    known = {*parameters, *more} - _GIVEN
    problems = []
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f'; did you mean {near[0]}?' if near else f', only {sorted(known)}'
            problems.append(f'{name}.{key}: {built.__name__} has no such setting{hint}')
    return problems
