# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Settings of a run, its loops and data loaders that are misspelt, that nothing reads or that contradict
each other, found before anything is built."""

import ast
import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmdet.registry import DATA_SAMPLERS, LOOPS
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.runner import EpochBasedTrainLoop, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from mmfrac.utils.config import load_config, type_name

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
# loops that end with a pass over their images, and samplers of which no pass ends
_WITH_AN_END = (EpochBasedTrainLoop, ValLoop, TestLoop)
ENDLESS = {'InfiniteSampler', 'MultiSourceSampler'}
# variables of the base files: what they stand for, which a child sets in their place
_VARIABLES = dict(
    max_epochs='train_cfg.max_epochs',
    burn_in_epochs='model.semi_train_cfg.burn_in_epochs',
    img_scale='set_img_scale(_base_, (width, height))',
    train_pipeline='the pipeline in train_dataloader',
    sup_pipeline='the pipeline in train_dataloader',
    unsup_pipeline='the pipeline in train_dataloader',
    test_pipeline='the pipeline in val_dataloader and test_dataloader',
)
# schedulers that lead up to the learning rate, which then stays
_WARM_UPS = ('LinearLR', 'ConstantLR')
# those whose curve is made for its end; others have milestones, or go on by the same step
_TO_AN_END = (*_WARM_UPS, 'CosineAnnealingLR', 'PolyLR')


def check_runner_settings(cfg: Config) -> None:
    """Compare the settings of a run, its loops and data loaders with what these take.

    mmengine says of a misspelt one of a loop that ``__init__`` got an unexpected argument, after the
    data sets and the model are built, and of one of the run nothing: a config may have any variables.
    It says nothing either of a variable of a base file that a child or an option sets anew, where no
    file reads it any more, of an epoch without end and of images that no batch has.

    Args:
        cfg (Config): Of a run.

    Raises:
        ValueError: With every setting that there is not, and the one that is most like it, and with
            those that a run would not follow.
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
                if isinstance(loader, Mapping) and issubclass(built, _WITH_AN_END):
                    problems += _without_end(f'{part}_dataloader', loader, built.__name__)
        if isinstance(loader, Mapping):
            problems += _unknown(f'{part}_dataloader', loader, DataLoader, _OF_LOADERS)
            if part != 'train' and loader.get('drop_last'):
                problems.append(
                    f'{part}_dataloader.drop_last=True: the images of an incomplete last batch would '
                    'not be measured; set it to False'
                )
    problems += _unread(cfg)
    if problems:
        raise ValueError('; '.join(problems))


def schedule_faults(cfg: Mapping) -> list[str]:
    """Where the schedule of a training and its number of epochs come apart.

    Only schedulers that count in epochs are compared. A warm-up may be over at any time.

    Args:
        cfg (Mapping): Config of a run.

    Returns:
        list[str]: One sentence for each scheduler whose curve ends before or after the training, or that
        has milestones which the training does not get to.
    """
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    schedulers = cfg.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    if not isinstance(epochs, int) or not isinstance(schedulers, list | tuple):
        return []
    faults, ends = [], {}
    for index, one in enumerate(schedulers):
        if not isinstance(one, Mapping) or not one.get('by_epoch', True):
            continue
        name, begin = f'param_scheduler.{index}', one.get('begin', 0)
        late = [milestone for milestone in one.get('milestones', ()) if milestone >= epochs]
        if late:
            faults.append(
                f'{name}.milestones: a training of {epochs} epochs (train_cfg.max_epochs) never gets '
                f'to {late} of {list(one["milestones"])}, where {type_name(one)} would change the rate'
            )
        if 'end' in one and type_name(one) in _TO_AN_END:
            ends[index] = (one['end'], f'{name}.end')
        elif one.get('T_max') and begin + one['T_max'] < epochs:
            faults.append(
                f'{name}.T_max: {type_name(one)} has its lowest rate in epoch {begin + one["T_max"]} of '
                f'{epochs} (train_cfg.max_epochs), and rises again'
            )
    last = max((end for end, _ in ends.values()), default=epochs)
    for index, (end, name) in ends.items():
        kind = type_name(schedulers[index])
        if end > epochs:
            faults.append(
                f'{name}: {kind} ends with epoch {end}, the training with epoch {epochs} '
                '(train_cfg.max_epochs): the rate never gets to its last value'
            )
        elif end == last < epochs and kind not in _WARM_UPS:
            faults.append(
                f'{name}: {kind} ends with epoch {end}, the training with epoch {epochs} '
                f'(train_cfg.max_epochs): the rate stays at its last value for {epochs - end} epochs'
            )
    return faults


def _without_end(name: str, loader: Mapping, loop: str) -> list[str]:
    problems = []
    for key in ('sampler', 'batch_sampler'):
        kind = (loader.get(key) or {}).get('type')
        built = DATA_SAMPLERS.get(kind) if isinstance(kind, str) else kind
        if inspect.isclass(built) and ENDLESS & {base.__name__ for base in built.__mro__}:
            instead = 'DefaultSampler' if key == 'sampler' else 'MultiSourceBatchSampler'
            problem = f'{name}.{key}: {built.__name__} has no end, and {loop} waits for it: '
            problem += f"take type='{instead}'"
            if name == 'train_dataloader':
                problem += (
                    ", or train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=...)"
                )
            problems.append(problem)
    return problems


def _unread(cfg: Config) -> list[str]:
    """Variables of ``_VARIABLES`` that were set to what the run does not do."""
    # what lazy types name as strings
    settings = cfg.to_dict()
    in_force = _in_force(settings)
    problems = []
    for name, instead in _VARIABLES.items():
        if _is_followed(name, settings, in_force) or not _is_set_anew(cfg, name):
            continue
        said = '' if name.endswith('pipeline') else f'={settings[name]!r}'
        there = f', which is {in_force[name][0]!r}' if name.endswith('epochs') else ''
        problems.append(
            f'{name}{said}: a variable that the base config has read by now, and nothing reads any '
            f'more; write {instead}{there}'
        )
    return problems


def _in_force(settings: dict) -> dict[str, list]:
    """What a run does in the matters of ``_VARIABLES``; nothing where that is not clear."""
    loaders = [settings.get(f'{part}_dataloader') for part in _LOOPS]
    sizes = [tuple(one) for one in _values(loaders, ('scale', 'size')) if _is_list(one)]
    if any(map(_is_list, (side for one in sizes for side in one))) or any(
        True for _ in _values(loaders, ('scales', 'crop_size'))
    ):
        # of several sizes, or a part of one, a file says what they are made for
        sizes = []
    model = settings.get('model') or {}
    pipelines = list(_values(loaders, ('pipeline',)))
    found = dict.fromkeys((name for name in _VARIABLES if name.endswith('pipeline')), pipelines)
    return found | dict(
        max_epochs=list(_values([settings.get('train_cfg')], ('max_epochs',))),
        burn_in_epochs=list(_values([model.get('semi_train_cfg')], ('burn_in_epochs',))),
        img_scale=sizes,
    )


def _is_followed(name: str, settings: dict, in_force: dict[str, list]) -> bool:
    value: Any = settings.get(name)
    value = tuple(value) if name == 'img_scale' and _is_list(value) else value
    return value is None or not in_force[name] or value in in_force[name]


def _values(node: Any, names: tuple[str, ...]) -> Iterator[Any]:
    """What the settings of some names hold, anywhere in a part of a config."""
    if isinstance(node, dict):
        # dict.items: a ConfigDict's own would import what lazy types name
        for key, value in dict.items(node):
            if key in names:
                yield value
            yield from _values(value, names)
    elif _is_list(node):
        for one in node:
            yield from _values(one, names)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_set_anew(cfg: Config, name: str) -> bool:
    """Whether a variable was set by an option, or by a child config that does not read it itself.

    Else it is one of a base file that has read it, and whose child says otherwise.
    """
    file = cfg.filename
    if not file or not os.path.isfile(file):
        return False
    if _is_set_unread(file, name):
        return True
    # fill_stride changes what the files say of a pipeline
    return not name.endswith('pipeline') and load_config(file).get(name) != cfg.get(name)


def _is_set_unread(file: str, name: str) -> bool | None:
    """Whether the last file that sets a name has bases and does not read it; None if no file sets it."""
    if not os.path.isfile(file):
        # of a template, {{ fileDirname }}
        return None
    if not file.endswith('.py'):
        is_set, is_read, is_child = name in load(file), False, False
    else:
        try:
            nodes = list(ast.walk(ast.parse(Path(file).read_text(encoding='utf-8'))))
        except SyntaxError:
            # of a template, {{ $NAME:default }}
            return False
        uses = [node.ctx for node in nodes if isinstance(node, ast.Name) and node.id == name]
        is_set, is_read = (
            any(isinstance(use, kind) for use in uses) for kind in (ast.Store, ast.Load)
        )
        # of a pure-Python config: with read_base()
        is_child = any(isinstance(node, ast.With) for node in nodes)
    bases = Config._get_base_files(file)
    if is_set:
        # a config without bases is one that was written out, its variables beside what they became
        return not is_read and (is_child or bool(bases))
    for base in bases:
        path = Config._get_cfg_path(base, file)[0]
        found = _is_set_unread(path, name)
        if found:
            # one beside the setting, which a child of this file has changed
            settings = load_config(path, needs_model=False).to_dict()
            return not _is_followed(name, settings, _in_force(settings))
        if found is not None:
            return found
    return None


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
