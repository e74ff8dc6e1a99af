# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Saved predictions (COCO results, tables, arrays, ``run.json``), lists of folds and results of runs."""

import copy
import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmfrac.evaluation.definitions import METRIC_DEFAULTS, METRIC_OPTIONS
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.offline.ground_truth import read_ground_truth
from mmfrac.evaluation.offline.map_folder import RUN_FILE
from mmfrac.evaluation.offline.model_results import evaluate_predictions
from mmfrac.evaluation.offline.predictions import open_predictions
from mmfrac.experiments.results import RunResult, read_result, write_result
from mmfrac.preparation.splits.folds import read_folds
from tests.evaluation.offline.prediction_files import (
    prob_maps,
    write_coco,
    write_maps,
    write_table,
    write_truth,
)
from tests.fuzz.engine import Kind, WrongError, damage_bytes, register

_SPLITS = ('fold0/train', 'fold0/val', 'fold1/train', 'fold1/val', 'test')

_ODD = (
    *(None, True, -1, 0, 1.5, 10**400, -(10**30), float('nan'), float('inf'), '', 'x', '1', [], {}),
    *([[]], {'a': {}}, '\x1b[31m', '=1+1', '../x', 2**63, 1e-320),
)


def seeds(folder: Path) -> list[Path]:
    """A sound file of each form."""
    write_truth(folder / 'truth.json')
    write_coco(folder / 'results.json')
    write_table(folder / 'table.csv')
    if not (folder / 'map.npz').exists():
        write_maps(folder / 'maps', prob_maps())
        shutil.copy(next((folder / 'maps').glob('1.png.*.npz')), folder / 'map.npz')
        shutil.copy(folder / 'maps' / RUN_FILE, folder / RUN_FILE)
    sizes = {name: dict(films=4, positives=1, patients=3, boxes=2) for name in _SPLITS}
    about = dict(folds=2, seed=0, hold_out=0.2, sizes=sizes)
    (folder / 'folds.json').write_text(json.dumps(about))
    write_result(_run(), folder / 'result.json')
    names = ('results.json', 'table.csv', 'map.npz', RUN_FILE, 'folds.json', 'result.json')
    return [folder / name for name in names]


def _run() -> RunResult:
    films = [
        dict(film=str(index), patient=str(index), label=index % 2, score=0.1 * index)
        | dict(lesion_scores=[0.1 * index] * (index % 2), thresholds=[], false_positives=[])
        for index in range(8)
    ]
    definitions = METRIC_DEFAULTS.as_dict(METRIC_OPTIONS)
    run = RunResult('toy', 'a', 0, None, '0', 2, 10, 1.0, {'frac/AUROC': 0.5}, {})
    return replace(
        run,
        test={'frac/AUROC': 0.625, 'frac/FROC': 1.0, 'frac/Recall@0.1': 1.0},
        epochs={'sharpening/m': {1: 0.4}},
        records=dict(format_version=1, max_fppi=None, definitions=definitions, films=films),
    )


def damage(content: bytes, dice: random.Random) -> bytes:
    """Of JSON a value or some bytes, of other files some bytes."""
    if content[:1] not in (b'{', b'[') or dice.random() < 0.3:
        return damage_bytes(content, dice)
    data = json.loads(content)
    for _ in range(dice.choice((1, 1, 2, 5))):
        node, key = _place(data, dice)
        if node is None:
            return json.dumps(dice.choice(_ODD)).encode()
        match dice.randrange(4):
            case 0 | 1:
                node[key] = copy.deepcopy(dice.choice(_ODD))
            case 2:
                del node[key]
            case 3:
                other, place = _place(data, dice)
                if other is not None:
                    node[key] = json.loads(json.dumps(other[place]))
    return json.dumps(data).encode()


def _place(data, dice: random.Random):
    """A container and a key of it, at any depth."""
    node, key = None, None
    while isinstance(data, (dict, list)) and data:
        node, key = data, dice.choice(list(data) if isinstance(data, dict) else range(len(data)))
        if dice.random() < 0.3:
            break
        data = data[key]
    return node, key


def read(path: Path, source: Path) -> tuple[str, int]:
    """Read and measure; every figure is a share, or NaN."""
    scratch = path.with_name('predictions_scratch')
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        _read(path, source, scratch)
    except ValueError as error:
        # lists of problems have a line each, and some forms a name of their own
        raise ValueError(f'{path.name}: {" ".join(str(error).split())}') from error
    return 'read', path.stat().st_size


def _read(path: Path, source: Path, scratch: Path) -> None:
    if source.name == 'folds.json':
        for name in _SPLITS:
            (scratch / name).parent.mkdir(exist_ok=True)
            (scratch / f'{name}.json').touch()
        shutil.copy(path, scratch / 'folds.json')
        folds = read_folds(scratch)['folds']
        if type(folds) is not int or not 1 <= folds <= 2:
            raise WrongError(f'{folds} folds')
        return
    if source.name == 'result.json':
        run = read_result(RunResult, path)
        _check({**run.test, **run.validation})
        return
    truth = read_ground_truth(source.parent / 'truth.json')
    target = scratch / source.name
    if source.name in ('map.npz', RUN_FILE):
        target = shutil.copytree(source.parent / 'maps', scratch / 'maps')
        first = next(target.glob('1.png.*.npz'))
        name = source.parent / 'map.npz'
        for one in target.glob('1.png.*.npz'):
            first = one if one.read_bytes() == name.read_bytes() else first
        shutil.copy(path, first if source.name == 'map.npz' else target / RUN_FILE)
    else:
        shutil.copy(path, target)
    saved = open_predictions(target, truth)
    results = evaluate_predictions(truth, saved, METRIC_DEFAULTS)
    _check(froc.figures(results.results, METRIC_DEFAULTS)[0])
    json.dumps(saved.run, allow_nan=False)
    if not np.isfinite(results.scores).all():
        raise WrongError('a score is not finite')


def _check(figures: dict) -> None:
    for name, value in figures.items():
        if not (math.isnan(value) or 0 <= value <= 1):
            raise WrongError(f'{name} is {value}')


KIND = register(Kind('predictions', seeds, damage, read, (ValueError, FileNotFoundError)))
