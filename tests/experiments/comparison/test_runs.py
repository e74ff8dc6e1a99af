# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace

import pytest
import torch

from mmfrac.engine.runner.amp import use_amp
from mmfrac.experiments.comparison import (
    Place,
    RunsFailed,
    compare,
    load_benchmark,
    read_runs,
    run_benchmark,
)
from mmfrac.experiments.comparison.made_from import fingerprint_of
from mmfrac.experiments.comparison.run_file import write_run
from mmfrac.experiments.comparison.training import train
from mmfrac.experiments.launching import exit_on_sigterm, locked
from tests.tools.tiny_run import ROOT, write_config

# kills the first semi-supervised training in its second epoch, and never again
KILL_ONCE = """
import os
import pathlib
import signal

from mmdet.registry import HOOKS
from mmengine.hooks import Hook


@HOOKS.register_module()
class KillOnceHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        flag = pathlib.Path(__file__).with_name('killed')
        if runner.model.is_semi_supervised and runner.iter == 3 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""
CHANGES = """
model['semi_train_cfg']['burn_in_epochs'] = 0
custom_imports = dict(imports=['mmfrac', 'kill_once'])
custom_hooks = [*_base_.custom_hooks, dict(type='KillOnceHook')]
"""
BENCHMARK = """
name = 'toy'
data_root = 'unused'
pretraining = dict(config={config!r}, options={{'model.semi_train_cfg.burn_in_epochs': 2}})
methods = dict(ours=dict(config={config!r}, label='Ours'))
reference = 'ours'
"""


@pytest.fixture
def toy(tiny_data, tmp_path, monkeypatch):
    config = write_config(tmp_path, tiny_data, CHANGES, 'train_cfg["val_interval"] = 1')
    (tmp_path / 'kill_once.py').write_text(KILL_ONCE)
    (tmp_path / 'toy.py').write_text(BENCHMARK.format(config=str(config)))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    place = Place(ROOT, tiny_data, tmp_path / 'work', tmp_path / 'results')
    return load_benchmark(tmp_path / 'toy.py'), place


def test_a_killed_benchmark_goes_on_where_it_stopped(toy, monkeypatch):
    benchmark, place = toy
    lines = []
    arguments = (benchmark, place, benchmark.chosen(None), [5], 1, lines.append)
    with pytest.raises(RunsFailed, match=r'ours-seed5: .*train\.py .* failed \(-9\)'):
        run_benchmark(*arguments)
    assert not place.results.exists()
    assert lines[:2] == ['pretraining-seed5: training', 'ours-seed5: training']
    assert len(lines) == 3 and 'failed (-9)' in lines[2]

    (result,) = run_benchmark(*arguments)
    assert lines[3:5] == ['ours-seed5: resumed', f'ours-seed5: testing epoch {result.epoch}']
    assert result.steps == 8 and set(result.epochs['sharpening/m']) == {1, 2}
    assert set(result.test) == {'frac/AUROC', 'frac/FROC', 'frac/Recall@0.1'}
    (row,) = compare(benchmark, read_runs(place.results))
    assert row.mean['FROC'] == pytest.approx(result.test['frac/FROC'])
    images = result.test_records().images
    assert len(images) == 5 and images[0].record.lesion_scores.size == 1

    # another rule for the epoch: tested again, not trained
    other = 3 - result.epoch
    changed = replace(benchmark, last_epoch=True) if other == 2 else benchmark
    stale = replace(result, epoch=other)
    write_run(place.results, stale)
    lines.clear()
    (again,) = run_benchmark(changed, *arguments[1:])
    assert again.epoch == changed.epoch(again.epochs['frac/AUROC'])
    assert not any('training' in line for line in lines)

    monkeypatch.setattr(subprocess, 'Popen', None)  # nothing is run again
    assert run_benchmark(changed, *arguments[1:]) == [again]


SLEEPER = """
import os, pathlib, sys, time
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
(work_dir / 'part').write_text(str(os.getpid()))
(work_dir / 'part').rename(work_dir / 'pid')
time.sleep(600)
"""


def supervise(benchmark, place):
    exit_on_sigterm()
    run_benchmark(benchmark, place, benchmark.chosen(None), [0, 1, 2], jobs=2)


def test_trainings_end_with_a_benchmark_that_is_ended(toy, tmp_path):
    benchmark, place = toy
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').write_text(SLEEPER)
    place = replace(place, repository=tmp_path)
    parent = multiprocessing.get_context('fork').Process(target=supervise, args=(benchmark, place))
    parent.start()
    files = [place.work_dir / f'pretraining-seed{seed}/pid' for seed in range(3)]
    end = time.monotonic() + 60
    while not (files[0].is_file() and files[1].is_file()):
        assert parent.is_alive() and time.monotonic() < end
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGTERM)
    parent.join(60)
    assert parent.exitcode == 128 + signal.SIGTERM
    for file in files[:2]:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)
    assert not files[2].exists()


def test_a_run_of_another_process_is_waited_for(toy, monkeypatch):
    benchmark, place = toy
    lines, trained = [], []

    def train(place, name, *arguments):
        with (
            pytest.raises(ValueError, match='another process works in'),
            locked(place.work_dir / name),
        ):
            pass
        trained.append(name)
        raise RuntimeError('no training here')

    monkeypatch.setattr('mmfrac.experiments.comparison.runs.train', train)

    def run():
        with pytest.raises(RuntimeError, match='no training here'):
            run_benchmark(benchmark, place, benchmark.chosen(None), [0], 1, lines.append)

    thread = threading.Thread(target=run)
    with locked(place.work_dir / 'pretraining-seed0'):
        thread.start()
        end = time.monotonic() + 60
        while not lines and time.monotonic() < end:
            time.sleep(0.05)
        assert 'waiting for another process' in lines[0] and not trained
    thread.join(60)
    assert trained == ['pretraining-seed0']


def test_a_training_of_another_config_is_begun_anew(toy, monkeypatch):
    benchmark, place = toy
    method = benchmark.pretraining
    trainings = []

    def run_tool(place, tool, arguments, work_dir, lock):
        trainings.append(arguments)
        torch.save(dict(meta=dict(iter=len(trainings))), work_dir / 'epoch_2.pth')
        (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_2.pth'))

    monkeypatch.setattr(Place, 'run_tool', run_tool)
    monkeypatch.setattr('mmfrac.experiments.comparison.training.logged_keys', lambda *_: [])
    monkeypatch.setattr('mmfrac.experiments.comparison.training.read_scalars', lambda *_: {})
    configs = [benchmark.build_config(method, ROOT, seed) for seed in (0, 0, 1)]
    lines = []
    steps = []
    for cfg in configs:
        trained = train(place, 'run', cfg, fingerprint_of(place.data_root, [cfg]), 0, lines.append)
        steps.append(trained.steps)
    assert steps == [1, 1, 2]
    assert 'begun anew' in lines[1] and not any('--resume' in one for one in trainings)
    (place.work_dir / 'run/finished.json').unlink()
    train(place, 'run', configs[2], fingerprint_of(place.data_root, [configs[2]]), 0, lines.append)
    assert '--resume' in trainings[-1]
    # what another config began is not resumed
    (place.work_dir / 'run/finished.json').unlink()
    train(place, 'run', configs[0], fingerprint_of(place.data_root, [configs[0]]), 0, lines.append)
    assert '--resume' not in trainings[-1]


def test_the_checkpoint_of_the_chosen_epoch_is_kept(toy, tmp_path):
    benchmark, _ = toy
    assert benchmark.select == 'frac/AUROC'
    text = (tmp_path / 'toy.py').read_text()
    (tmp_path / 'froc.py').write_text(f"{text}select = 'frac/FROC'\n")
    other = load_benchmark(tmp_path / 'froc.py')
    for one in (benchmark, other):
        cfg = one.build_config(one.methods['ours'], ROOT, 0)
        assert cfg.default_hooks.checkpoint.save_best == one.select


def test_the_epoch_is_the_best_or_the_last(toy, tmp_path):
    benchmark, _ = toy
    text = (tmp_path / 'toy.py').read_text()
    (tmp_path / 'last.py').write_text(f'{text}last_epoch = True\n')
    validated = {1: 0.7, 2: 0.9, 3: 0.9, 4: 0.8}
    # of equal ones MMEngine's checkpoint hook keeps the first
    assert benchmark.epoch(validated) == 2
    assert load_benchmark(tmp_path / 'last.py').epoch(validated) == 4


def test_mixed_precision_is_a_benchmarks_choice(toy, tmp_path):
    benchmark, _ = toy
    text = (tmp_path / 'toy.py').read_text()
    (tmp_path / 'half.py').write_text(f'{text}amp = True\n')
    half = load_benchmark(tmp_path / 'half.py')
    whole, mixed = (b.build_config(b.methods['ours'], ROOT, 3) for b in (benchmark, half))
    assert whole.optim_wrapper.type == 'OptimWrapper' and whole.randomness.seed == 3
    use_amp(whole)
    assert mixed.optim_wrapper == whole.optim_wrapper
    assert half.build_config(half.pretraining, ROOT, 3).optim_wrapper == whole.optim_wrapper


def test_the_fingerprint_follows_config_and_films(toy, tiny_data, tmp_path):
    benchmark, place = toy
    method = benchmark.methods['ours']
    one, same, other = (
        fingerprint_of(place.data_root, [method.build_config(ROOT, {'randomness.seed': seed})])
        for seed in (0, 0, 1)
    )
    assert one == same != other
    (tmp_path / 'films/annotations').mkdir(parents=True)
    for name in ('train', 'val', 'test'):
        text = (tiny_data / f'annotations/{name}.json').read_text()
        (tmp_path / f'films/annotations/{name}.json').write_text(text.replace('rib', 'clavicle'))
    config = method.build_config(ROOT, {'randomness.seed': 0})
    assert fingerprint_of(tmp_path / 'films', [config]) != one
    # films with other names than those of every benchmark, that are trained on
    config.train_dataloader.dataset.datasets[0].ann_file = 'annotations/train_truth.json'
    truth = tmp_path / 'films/annotations/train_truth.json'
    truth.write_text('{}')
    before = fingerprint_of(tmp_path / 'films', [config])
    truth.write_text('{"images": []}')
    assert fingerprint_of(tmp_path / 'films', [config]) != before
    with pytest.raises(FileNotFoundError, match=r'no annotation file .*train\.json'):
        fingerprint_of(tmp_path / 'nothing', [config])
