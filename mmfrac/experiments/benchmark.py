# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a benchmark consists of: its films, its methods, the search that each method gets."""

import difflib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmfrac.engine.runner.precision import use_amp
from mmfrac.experiments.jobs import Tools
from mmfrac.experiments.results import run_name
from mmfrac.utils.config import load_config, merge_config_file, merge_options
from mmfrac.utils.packaged import config_path

# what the intervals of a comparison count: the seeds that there are are fixed, or drawn as patients are
INTERVALS = ('patients', 'seeds and patients')
# in the options of a method: the checkpoint of its seed's supervised model, or of a later seed's
PRETRAINED = re.compile(r'\{pretrained(?:\+(\d+))?\}')


@dataclass(frozen=True)
class Method:
    """One method of a benchmark.

    Attributes:
        name (str): Key in the benchmark file; names its runs.
        config (str): Training config, from the repository root.
        changes (str | None): File of changes over it, see ``mmfrac.utils.config.merge_config_file``.
        label (str): Row of the table. Defaults to the name.
        pretrained (bool): Whether it goes on from the seed's supervised model. Defaults to True.
        options (dict): Settings over the config, as of ``--cfg-options``; '{pretrained}' in them is the
            checkpoint that the method goes on from, '{pretrained+1}' that of the next seed. Defaults to
            none.
        search (bool | dict): Whether the benchmark's search is made for it, or a search of its own in
            the place of that one, with ``setting`` and ``values``. Defaults to True.
    """

    name: str
    config: str
    label: str
    changes: str | None = None
    pretrained: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    search: bool | dict[str, Any] = True

    def build_config(self, repository: Path, options: Mapping[str, Any]) -> Config:
        """Config with changes, the method's options and further ones.

        Args:
            repository (Path): Holds ``configs/``.
            options (Mapping): Settings as of ``--cfg-options``; they win.

        Returns:
            Config: Ready to be written.
        """
        cfg = load_config(repository / self.config)
        if self.changes:
            merge_config_file(cfg._cfg_dict, repository / self.changes)
        merge_options(cfg, {**self.options, **options})
        return cfg


@dataclass(frozen=True)
class Benchmark:
    """A fixed comparison of methods.

    Attributes:
        name (str): E.g. 'phantom-v2'.
        data_root (str): Folder of the films unless another is given.
        phantom (dict | None): Arguments of ``write_phantom`` where the films are made, not given.
        pretraining (Method | None): Supervised training that the pretrained methods go on from.
        methods (dict[str, Method]): In the order of the table.
        reference (str): Method that the others are compared with.
        search_setting (str | None): Setting that is searched.
        search_values (tuple): Values that every method tries.
        search_seed (int): Seed of the search.
        search_folds (int): Folds of train and validation images, by patient, that the search trains and
            validates on in place of the validation images alone; 0: none.
        select (str): Validation metric that chooses epoch and value.
        last_epoch (bool): Whether the last epoch is taken in place of the chosen one, where the
            validation films are too few to choose by.
        amp (bool): Whether all are trained in mixed precision.
        intervals (str): What the intervals of differences count: 'patients', or 'seeds and patients'.
    """

    name: str
    data_root: str
    phantom: dict[str, Any] | None
    pretraining: Method | None
    methods: dict[str, Method]
    reference: str
    search_setting: str | None
    search_values: tuple
    search_seed: int
    select: str
    last_epoch: bool = False
    amp: bool = False
    intervals: str = 'patients'
    search_folds: int = 0

    def epoch(self, logged: Mapping[str, Mapping[int, float]]) -> int:
        """Epoch of a run that is tested.

        Args:
            logged (Mapping[str, Mapping[int, float]]): Values of each epoch by key, ``select`` among
                them.

        Returns:
            int: The best, the first of equal ones as MMEngine's checkpoint hook keeps it; or the last.

        Raises:
            ValueError: If ``select`` was not logged, or is NaN in all epochs.
        """
        validated = logged.get(self.select)
        if not validated:
            raise ValueError(
                f'select of {self.name} is {self.select!r}, which was not logged in any epoch; logged '
                f'are {sorted(key for key, values in logged.items() if values)}'
            )
        if self.last_epoch:
            return max(validated)
        best = max(validated, key=lambda epoch: (nan_last(validated[epoch]), -epoch))
        if math.isnan(validated[best]):
            raise ValueError(
                f'{self.select} is NaN in all epochs, so none can be chosen: the validation films lack '
                'lesions or one of the classes; take another select, or last_epoch = True'
            )
        return best

    def build_config(
        self, method: Method, repository: Path, seed: int | None, value: float | None = None
    ) -> Config:
        """Config of a run.

        Args:
            method (Method): One of the methods, or the pretraining.
            repository (Path): Holds ``configs/``.
            seed (int | None): Of the run; None leaves the config's.
            value (float | None): Of the method's search. Defaults to None: the config's.

        Returns:
            Config: Ready to be written.
        """
        options: dict[str, Any] = {} if seed is None else {'randomness.seed': seed}
        if value is not None:
            setting = self.setting(method)
            assert setting is not None
            options[setting] = value
        cfg = method.build_config(repository, options)
        # the epoch that the metric chooses is kept
        cfg.merge_from_dict({'default_hooks.checkpoint.save_best': self.select})
        if self.amp:
            use_amp(cfg)
        return cfg

    def chosen(self, names: Sequence[str] | None) -> list[Method]:
        """Methods by name, all without one.

        Raises:
            ValueError: If the benchmark has no such method.
        """
        unknown = sorted(set(names or ()) - set(self.methods))
        if unknown:
            raise ValueError(f'{self.name} has no method {unknown}; it has {list(self.methods)}')
        return [method for name, method in self.methods.items() if not names or name in names]

    def setting(self, method: Method) -> str | None:
        """Setting that is searched for a method."""
        return method.search['setting'] if isinstance(method.search, dict) else self.search_setting

    def values(self, method: Method) -> tuple:
        """Values that are searched for a method; (None,) where nothing is."""
        if isinstance(method.search, dict):
            return tuple(method.search['values'])
        return self.search_values if self.search_setting and method.search else (None,)


def nan_last(value: float) -> float:
    """A value for ``max`` to compare: NaN is below all others."""
    return -math.inf if math.isnan(value) else value


@dataclass(frozen=True)
class Folders:
    """Where a benchmark is run.

    Attributes:
        repository (Path): Holds ``tools/`` and ``configs/``.
        data_root (Path): Folder of the images.
        work_dir (Path): Gets a work dir a run.
        results (Path): Gets ``runs.jsonl.xz``, tables and figures.
    """

    repository: Path
    data_root: Path
    work_dir: Path
    results: Path

    @property
    def tools(self) -> Tools:
        """How the tools are started on these images."""
        return Tools(self.repository / 'tools', data_root=self.data_root, cwd=self.repository)


def load_benchmark(path: str | Path) -> Benchmark:
    """Read a benchmark file.

    Args:
        path (str | Path): Python config, or ``mmfrac::NAME`` for one that the package brings along. It
            has ``name``, ``data_root``, ``methods``, ``reference`` and optionally ``phantom``,
            ``pretraining``, ``search`` (``setting``, ``values``, and optionally ``seed``, ``folds``),
            ``select``, ``last_epoch``, ``amp`` and ``intervals``. Other names are helpers.

    Returns:
        Benchmark: The benchmark.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lacks something, or holds what is not read.
    """
    path = config_path(path)
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'no benchmark file {path}; those of mmfrac are configs/benchmarks/, or named '
            'mmfrac::benchmarks/NAME'
        )
    content = load_config(path, needs_model=False).to_dict()
    missing = [key for key in ('name', 'data_root', 'methods', 'reference') if key not in content]
    if missing:
        raise ValueError(f'{path} is no benchmark file: it lacks {missing}')
    _check_names(content, path)
    _check_types(content, path)
    methods = {name: _method(name, entry, path) for name, entry in content['methods'].items()}
    if content['reference'] not in methods:
        raise ValueError(
            f'{path}: reference {content["reference"]!r} is none of its methods {list(methods)}'
        )
    pretraining = content.get('pretraining')
    if pretraining is None and any(method.pretrained for method in methods.values()):
        raise ValueError(
            f'{path}: methods go on from a supervised model, but there is no pretraining'
        )
    search = content.get('search') or {}
    folds = _folds(search.get('folds', 0), path)
    if search:
        _check_search('search', search, {'setting', 'values', 'seed', 'folds'}, path)
    intervals = content.get('intervals', 'patients')
    if intervals not in INTERVALS:
        raise ValueError(f'{path}: intervals must be one of {INTERVALS}, got {intervals!r}')
    benchmark = Benchmark(
        name=content['name'],
        data_root=content['data_root'],
        phantom=content.get('phantom'),
        pretraining=pretraining and _method('pretraining', pretraining, path),
        methods=methods,
        reference=content['reference'],
        search_setting=search.get('setting'),
        search_values=tuple(search.get('values', ())),
        search_seed=search.get('seed', 0),
        select=content.get('select', 'frac/AUROC'),
        last_epoch=content.get('last_epoch', False),
        amp=content.get('amp', False),
        intervals=intervals,
        search_folds=folds,
    )
    _check_distinct(benchmark, path)
    return benchmark


# of the fields of a benchmark file
_TYPES: dict[str, tuple[type, ...]] = dict(
    name=(str,),
    data_root=(str,),
    methods=(dict,),
    reference=(str,),
    phantom=(dict, type(None)),
    pretraining=(dict, type(None)),
    search=(dict, type(None)),
    select=(str,),
    last_epoch=(bool,),
    amp=(bool,),
    intervals=(str,),
)
# of those of a method
_METHOD_TYPES: dict[str, tuple[type, ...]] = dict(
    config=(str,),
    changes=(str, type(None)),
    label=(str,),
    pretrained=(bool,),
    options=(dict,),
    search=(bool, dict),
)
# how alike a name is to a field that it was meant to be
_CLOSE = 0.8


def _check_names(content: Mapping[str, Any], path: str | Path) -> None:
    """Raise a ``ValueError`` for a name that is nearly that of a field; others are helpers.

    So is a list or a function of such a name: no field is one.
    """
    for name, value in content.items():
        if isinstance(value, (list, tuple)) or callable(value):
            continue
        close = difflib.get_close_matches(name.lower(), _TYPES, 1, _CLOSE)
        # what a loop over the methods leaves
        if name not in _TYPES and close and name != 'method':
            raise ValueError(
                f'{path}: {name} is no field of a benchmark file; did you mean {close[0]}? Give a '
                'helper another name'
            )


def _check_types(content: Mapping[str, Any], path: str | Path) -> None:
    """Raise a ``ValueError`` for a field of another type than is read."""
    wrong = [
        name
        for name, kinds in _TYPES.items()
        if name in content and not isinstance(content[name], kinds)
    ]
    wrong += [f'method {name}' for name, one in _items(content, 'methods') if not _is_dict(one)]
    wrong += [
        f'{key} of method {name}'
        for name, one in [*_items(content, 'methods'), ('pretraining', content.get('pretraining'))]
        for key, kinds in _METHOD_TYPES.items()
        if _is_dict(one) and key in one and not isinstance(one[key], kinds)
    ]
    searches = {'search': content.get('search')}
    searches |= {
        f'search of method {name}': one.get('search')
        for name, one in _items(content, 'methods')
        if _is_dict(one)
    }
    for name, search in searches.items():
        if not isinstance(search, dict):
            continue
        if not isinstance(search.get('setting', ''), str):
            wrong.append(f'setting of the {name}')
        if 'values' in search:
            values = search['values']
            if not isinstance(values, (list, tuple)) or not all(map(_is_number, values)):
                wrong.append(f'values of the {name}')
        if type(search.get('seed', 0)) is not int:
            wrong.append(f'seed of the {name}')
    if wrong:
        raise ValueError(
            f'{path} is no benchmark file: {wrong[0]} is of another type than it should be'
        )


def _items(content: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    value = content.get(name)
    return list(value.items()) if isinstance(value, dict) else []


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _folds(folds: Any, path: str | Path) -> int:
    if type(folds) is not int or folds == 1 or folds < 0:
        raise ValueError(f'{path}: folds of the search must be 0 or at least 2, got {folds!r}')
    return folds


def _method(name: str, entry: dict[str, Any], path: str | Path) -> Method:
    allowed = set(Method.__dataclass_fields__) - {'name'}
    if 'config' not in entry or set(entry) - allowed:
        raise ValueError(
            f'{path}: method {name} has the keys {sorted(entry)}; needed is config, allowed '
            f'{sorted(allowed)}'
        )
    search = entry.get('search')
    if isinstance(search, dict):
        _check_search(f'search of method {name}', search, {'setting', 'values'}, path)
    return Method(name=name, **{'label': name, **entry})


def _check_search(
    name: str, search: Mapping[str, Any], allowed: set[str], path: str | Path
) -> None:
    """Raise a ``ValueError`` for a search without setting or values, or with a key that is not read."""
    if set(search) - allowed or not (search.get('setting') and search.get('values')):
        raise ValueError(
            f'{path}: the {name} has the keys {sorted(search)}; needed are setting and values, neither '
            f'of them empty, allowed {sorted(allowed)}'
        )


def _check_distinct(benchmark: Benchmark, path: str | Path) -> None:
    """Raise a ``ValueError`` if two methods have one label, or two runs one name."""
    labels = Counter(method.label for method in benchmark.methods.values())
    names = Counter(
        run_name(method.name, 0, value)
        for method in benchmark.methods.values()
        for value in benchmark.values(method)
    )
    # the supervised models are runs, too
    names['pretraining-seed0'] += benchmark.pretraining is not None
    twice = [label for label, count in labels.items() if count > 1]
    if twice:
        raise ValueError(
            f'{path}: two methods have the label {twice[0]!r}: a table needs one for each'
        )
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(
            f'{path}: two runs have the name {twice[0]}: give no method the name pretraining, and '
            'search values that differ in six digits'
        )
