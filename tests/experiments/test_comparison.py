# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config

from mmfrac.engine.runner.precision import use_amp
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.experiments import comparison
from mmfrac.experiments.benchmark import Folders, load_benchmark
from mmfrac.experiments.comparison import (
    RunsFailed,
    collect_runs,
    make_folds,
    method_run,
    outdated_runs,
    run_benchmark,
)
from mmfrac.experiments.executors import LocalExecutor
from mmfrac.experiments.jobs import JobError, Processes, Training, exit_on_sigterm
from mmfrac.experiments.results import RunResult, add_runs, read_runs, write_result
from mmfrac.experiments.selection import searched_runs
from mmfrac.experiments.tables import compare, comparison_table, plot_comparison
from mmfrac.utils.config import film_sets
from mmfrac.utils.io import read_json, write_json
from tests.forking import python_for_tools
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


def run_result(benchmark, seed):
    return RunResult(
        benchmark=benchmark.name,
        method='ours',
        seed=seed,
        value=None,
        fingerprint='0',
        epoch=1,
        steps=4,
        seconds=1.0,
        validation={},
        test={},
    )


@pytest.fixture
def toy(tiny_data, tmp_path, monkeypatch):
    config = write_config(tmp_path, tiny_data, CHANGES, 'train_cfg["val_interval"] = 1')
    (tmp_path / 'kill_once.py').write_text(KILL_ONCE)
    (tmp_path / 'toy.py').write_text(BENCHMARK.format(config=str(config)))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setattr(sys, 'executable', python_for_tools())
    folders = Folders(ROOT, tiny_data, tmp_path / 'work', tmp_path / 'results')
    return load_benchmark(tmp_path / 'toy.py'), folders


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_where_it_stopped(toy, monkeypatch):
    benchmark, folders = toy
    lines = []
    arguments = (benchmark, folders, benchmark.chosen(None), [5], LocalExecutor(), lines.append)
    with pytest.raises(
        RunsFailed, match='ours-seed5: training of ours-seed5 was killed by signal 9'
    ):
        run_benchmark(*arguments)
    assert not folders.results.exists()
    assert lines[:2] == ['pretraining-seed5: training', 'ours-seed5: training']
    assert len(lines) == 3 and 'killed by signal 9' in lines[2]

    (result,) = run_benchmark(*arguments)
    assert lines[3:5] == ['ours-seed5: resumed', f'ours-seed5: evaluating epoch {result.epoch}']
    assert result.steps == 8 and set(result.epochs['sharpening/m']) == {1, 2}
    assert set(result.test) == {'frac/AUROC', 'frac/FROC', 'frac/Recall@0.1'}
    assert result.versions['threads'] == str(torch.get_num_threads())
    assert result.versions['device'] and result.versions['torch']
    (row,) = compare(benchmark, read_runs(folders.results))
    assert row.mean['FROC'] == pytest.approx(result.test['frac/FROC'])
    images = result.test_records().images
    assert len(images) == 5 and images[0].record.lesion_scores.size == 1

    # a run of another epoch than the rule takes: tested again, not trained
    stale = replace(result, epoch=3 - result.epoch)
    add_runs(folders.results, [stale])
    write_result(stale, folders.work_dir / 'ours-seed5/result.json')
    lines.clear()
    (again,) = run_benchmark(*arguments)
    assert again == result
    assert lines[0].endswith('or another epoch') and 'evaluating epoch' in lines[1]
    assert not any('training' in line for line in lines)

    monkeypatch.setattr(subprocess, 'Popen', None)  # nothing is run again
    assert run_benchmark(*arguments) == [again]
    # the work dir alone will do, and so will the file
    (folders.results / 'runs.jsonl.xz').unlink()
    assert run_benchmark(*arguments) == [again]
    elsewhere = replace(folders, work_dir=folders.work_dir / 'elsewhere')
    assert run_benchmark(benchmark, elsewhere, *arguments[2:]) == [again]
    assert not elsewhere.work_dir.exists()


def test_what_an_interrupted_benchmark_has_done_is_collected(toy, tmp_path):
    benchmark, folders = toy
    one = run_result(benchmark, seed=0)
    for result in (one, replace(one, seed=1)):
        write_result(result, folders.work_dir / result.name / 'result.json')
    # what the file has stays: it may come from elsewhere, and be newer
    add_runs(folders.results, [replace(one, epoch=7)])
    collect_runs(benchmark, folders)
    assert [(run.seed, run.epoch) for run in read_runs(folders.results)] == [(0, 7), (1, 1)]


SLEEPER = """
import os, pathlib, sys, time
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
(work_dir / 'part').write_text(str(os.getpid()))
(work_dir / 'part').rename(work_dir / 'pid')
time.sleep(600)
"""


def supervise(benchmark, folders):
    exit_on_sigterm()
    run_benchmark(benchmark, folders, benchmark.chosen(None), [0, 1, 2], LocalExecutor(2))


@pytest.mark.slow
def test_trainings_end_with_a_benchmark_that_is_ended(toy, tmp_path):
    benchmark, folders = toy
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').write_text(SLEEPER)
    folders = replace(folders, repository=tmp_path)
    parent = multiprocessing.get_context('fork').Process(
        target=supervise, args=(benchmark, folders)
    )
    parent.start()
    files = [folders.work_dir / f'pretraining-seed{seed}/pid' for seed in range(3)]
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


def test_a_run_goes_on_from_the_supervised_model_of_its_seed(toy):
    benchmark, folders = toy
    checkpoints = ['{pretrained}', '{pretrained+1}']
    teacher = dict(_delete_=True, type='FrozenTeacher', checkpoints=checkpoints)
    ours = replace(benchmark.methods['ours'], options={'model.teacher': teacher})
    benchmark = replace(benchmark, methods=dict(benchmark.methods, ours=ours))
    begun = []

    class Recorder:
        def run(self, jobs, report, keeps_going=False):
            begun.append((jobs, keeps_going))
            if not keeps_going:
                return [
                    Training(job.fingerprint, True, f'epoch_{job.cfg.randomness.seed}.pth', 4)
                    for job in jobs
                ]
            return [JobError('no training here') for _ in jobs]

    with pytest.raises(RunsFailed, match='ours-seed3: no training here\nours-seed7: no training'):
        run_benchmark(benchmark, folders, benchmark.chosen(None), [3, 7], Recorder(), str)
    # nothing is searched
    _, _, (pretrainings, _), (runs, _) = begun
    assert {job.name for job in pretrainings} == {
        f'pretraining-seed{seed}' for seed in (3, 4, 7, 8)
    }
    assert [job.name for job in runs] == ['ours-seed3', 'ours-seed7']
    for job, seed in zip(runs, (3, 7)):
        assert job.cfg.load_from == str(
            folders.work_dir / f'pretraining-seed{seed}/epoch_{seed}.pth'
        )
        assert job.start_steps == 4
        next_seed = folders.work_dir / f'pretraining-seed{seed + 1}/epoch_{seed + 1}.pth'
        assert job.cfg.model.teacher.checkpoints == [job.cfg.load_from, str(next_seed)]
        # which says nothing of what it is made from: another work dir gives the same run
        method = benchmark.methods['ours']
        assert job.fingerprint == method_run(benchmark, folders, method, seed, None).fingerprint


def test_a_search_by_folds(toy, tmp_path):
    """Each value on each fold, chosen by all validation images together, then trained as always."""
    benchmark, folders = toy
    text = (tmp_path / 'toy.py').read_text()
    search = (
        "search = dict(setting='model.semi_train_cfg.unsup_weight', values=[1.0, 3.0], folds=2)"
    )
    (tmp_path / 'folds.py').write_text(f'{text}\n{search}\n')
    benchmark = load_benchmark(tmp_path / 'folds.py')
    begun = []

    class Recorder:
        def run(self, jobs, report, keeps_going=False):
            begun.append(jobs)
            if not keeps_going:
                return [Training(job.fingerprint, True, 'start.pth', 4) for job in jobs]
            return [JobError('no training here') for _ in jobs]

    with pytest.raises(RunsFailed):
        run_benchmark(benchmark, folders, benchmark.chosen(None), [7], Recorder(), str)
    pretrainings, searched, *_ = begun
    assert [job.name for job in pretrainings] == [
        'pretraining-seed0-fold0',
        'pretraining-seed0-fold1',
    ]
    assert [job.name for job in searched] == [
        f'ours-{value}-seed0-fold{fold}' for value in (1, 3) for fold in (0, 1)
    ]
    assert len({job.fingerprint for job in [*pretrainings, *searched]}) == 6
    patients = []
    for job in searched[:2]:
        assert job.part == 'val'
        assert job.cfg.load_from == str(
            folders.work_dir / f'pretraining-seed0-fold{job.fold}/start.pth'
        )
        read = [
            read_json(one['ann_file'])
            for one in (job.cfg.val_dataloader.dataset, *film_sets(job.cfg.train_dataloader))
        ]
        seen = [{image['patient_id'] for image in data['images']} for data in read]
        assert seen[0] and all(not seen[0] & part for part in seen[1:])
        patients.append(seen[0])
    both = [read_json(folders.data_root / f'annotations/{part}.json') for part in ('train', 'val')]
    everybody = {image['patient_id'] for data in both for image in data['images']}
    assert patients[0] | patients[1] == everybody and not patients[0] & patients[1]
    # another work dir gives the same runs
    elsewhere = replace(folders, work_dir=tmp_path / 'elsewhere')
    make_folds(benchmark, elsewhere)
    again = method_run(benchmark, elsewhere, benchmark.methods['ours'], 0, 1.0, 0)
    assert again.fingerprint == searched[0].fingerprint


FOLDS = "search = dict(setting='model.semi_train_cfg.unsup_weight', values=[1.0, 3.0], folds=2)"


@pytest.fixture
def searched(toy, tmp_path, tiny_data):
    """The toy benchmark with a search by folds, over annotation files of its own."""
    _, folders = toy
    (tmp_path / 'folds.py').write_text((tmp_path / 'toy.py').read_text() + FOLDS + '\n')
    root = tmp_path / 'films'
    for part in ('train', 'val', 'test'):
        path = f'annotations/{part}.json'
        write_json(root / path, read_json(tiny_data / path))
    return load_benchmark(tmp_path / 'folds.py'), replace(folders, data_root=root)


def patients_of(path):
    return {image['patient_id'] for image in read_json(path)['images']}


def test_folds_are_made_anew_of_other_films(searched, monkeypatch):
    benchmark, folders = searched
    folder = make_folds(benchmark, folders, str)
    before = (folder / 'folds.json').read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(comparison, 'write_folds', None)
        make_folds(benchmark, folders, str)  # those that are there
    # a training image becomes a test image
    train, test = (
        read_json(folders.data_root / f'annotations/{p}.json') for p in ('train', 'test')
    )
    moved = train['images'].pop(4)
    test['images'].append({**moved, 'id': 99})
    write_json(folders.data_root / 'annotations/train.json', train)
    write_json(folders.data_root / 'annotations/test.json', test)
    make_folds(benchmark, folders, str)
    assert (folder / 'folds.json').read_bytes() != before
    for fold in range(2):
        for part in ('train', 'val'):
            assert moved['patient_id'] not in patients_of(folder / f'fold{fold}/{part}.json')
    make_folds(replace(benchmark, search_seed=7), folders, str)
    assert read_json(folder / 'folds.json')['seed'] == 7
    make_folds(replace(benchmark, search_folds=3), folders, str)
    assert sorted(path.name for path in folder.glob('fold?')) == ['fold0', 'fold1', 'fold2']
    # folds of versions that did not note what they are of give the same folds again
    make_folds(benchmark, folders, str)
    kept = (folder / 'fold0/train.json').read_bytes()
    folder.with_name('folds.fingerprint').unlink()
    make_folds(benchmark, folders, str)
    assert (folder / 'fold0/train.json').read_bytes() == kept


def test_runs_of_folds_that_are_no_more_do_not_count(searched):
    benchmark, _ = searched
    method = benchmark.methods['ours']
    runs = [
        replace(run_result(benchmark, 0), value=value, fold=fold)
        for value in (1.0, 3.0)
        for fold in (0, 1, 2, None)
    ]
    counted = searched_runs(benchmark, method, runs)
    assert [(run.value, run.fold) for run in counted] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    alone = searched_runs(replace(benchmark, search_folds=0), method, runs)
    assert [(run.value, run.fold) for run in alone] == [(1, None), (3, None)]


def test_what_is_to_ask_about_patients_is_said(searched):
    benchmark, folders = searched
    lines = []
    make_folds(benchmark, folders, lines.append)
    assert not lines
    path = folders.data_root / 'annotations/train.json'
    content = read_json(path)
    del content['images'][0]['patient_id']
    write_json(path, content)
    for _ in range(2):
        lines.clear()
        make_folds(benchmark, folders, lines.append)
        (line,) = lines
        assert line.startswith('note: 1 of 25 images have no patient_id')


class Nothing:
    def run(self, jobs, report, keeps_going=False):
        raise AssertionError('something is run')


def test_a_method_that_lacks_a_file_is_named_before_anything_is_run(searched):
    benchmark, folders = searched
    options = {'train_dataloader.dataset.datasets.0.ann_file': 'annotations/train_truth.json'}
    upper = replace(benchmark.methods['ours'], name='upper', options=options, search=False)
    benchmark = replace(benchmark, methods=dict(benchmark.methods, upper=upper))
    with pytest.raises(
        FileNotFoundError, match=r'^upper: no .*train_truth\.json; .*data root\? .* --methods$'
    ):
        run_benchmark(benchmark, folders, benchmark.chosen(None), [0], Nothing(), str)
    # the others do without it
    with pytest.raises(AssertionError, match='something is run'):
        run_benchmark(benchmark, folders, benchmark.chosen(['ours']), [0], Nothing(), str)


def test_runs_of_another_config_or_other_films_are_named(toy):
    benchmark, folders = toy
    method = benchmark.methods['ours']
    epochs = {'frac/AUROC': {1: 0.5}}
    runs = [
        replace(
            run_result(benchmark, seed),
            fingerprint=method_run(benchmark, folders, method, seed, None).fingerprint,
            epochs=epochs,
        )
        for seed in (0, 1, 2)
    ]
    assert outdated_runs(benchmark, folders, runs) == []
    runs[1] = replace(runs[1], fingerprint='0')
    runs[2] = replace(runs[2], epoch=2)
    # a method that the benchmark has no more is in no table
    gone = replace(runs[1], method='gone')
    assert outdated_runs(benchmark, folders, [*runs, gone]) == runs[1:]
    # of films that are not there none could be made
    elsewhere = replace(folders, data_root=folders.work_dir / 'nowhere')
    assert outdated_runs(benchmark, elsewhere, runs) == runs


def test_runs_of_folds_are_judged_without_writing(searched, monkeypatch):
    benchmark, folders = searched
    folder = make_folds(benchmark, folders, str)
    method = benchmark.methods['ours']
    epochs = {'frac/AUROC': {1: 0.5}}
    runs = [
        replace(
            run_result(benchmark, 0),
            value=value,
            fold=fold,
            fingerprint=method_run(benchmark, folders, method, 0, value, fold).fingerprint,
            epochs=epochs,
        )
        for value, fold in ((1.0, 0), (1.0, 1), (3.0, 0), (3.0, 1), (1.0, None))
    ]

    # the value is chosen by records, which these runs lack
    monkeypatch.setattr(comparison, 'final_runs', lambda *_: {'ours': runs[-1:]})

    def told(where):
        before = files_of(where.work_dir)
        outdated = outdated_runs(benchmark, where, runs)
        assert files_of(where.work_dir) == before
        return outdated

    assert told(folders) == []
    # of another machine, which has no folds, or those of other films
    assert told(replace(folders, work_dir=folders.work_dir / 'elsewhere')) == []
    folder.with_name('folds.fingerprint').write_text('another')
    assert told(folders) == []
    # the films of one fold, in which the others are, too
    path = folders.data_root / 'annotations/train.json'
    content = read_json(path)
    content['images'][0]['label'] = 1 - content['images'][0]['label']
    write_json(path, content)
    assert len(told(folders)) == 5
    # of films that cannot be split none could be made
    path.write_text('{}')
    assert len(told(folders)) == 5


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('folds', [1, -2, 2.5, True])
def test_wrong_folds(toy, tmp_path, folds):
    text = (tmp_path / 'toy.py').read_text()
    (tmp_path / 'folds.py').write_text(f'{text}\nsearch = dict(folds={folds})\n')
    with pytest.raises(ValueError, match='folds of the search must be'):
        load_benchmark(tmp_path / 'folds.py')


def test_a_failed_pretraining_ends_the_benchmark(toy, tmp_path):
    benchmark, folders = toy
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').write_text('raise SystemExit(3)')
    folders = replace(folders, repository=tmp_path)
    with pytest.raises(JobError, match='training of pretraining-seed0 ended with exit code 3'):
        run_benchmark(benchmark, folders, benchmark.chosen(None), [0, 1], report=str)
    assert not (folders.work_dir / 'pretraining-seed1').exists()


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
    last = load_benchmark(tmp_path / 'last.py')

    def logged(*values):
        return {'frac/AUROC': dict(enumerate(values, 1)), 'frac/FROC': {}}

    # of equal ones MMEngine's checkpoint hook keeps the first, and never one that is NaN
    nan = math.nan
    assert benchmark.epoch(logged(0.7, 0.9, 0.9, 0.8)) == 2
    assert benchmark.epoch(logged(nan, 0.9, nan, 0.8)) == 2
    assert last.epoch(logged(0.7, 0.9, 0.9, nan)) == 4
    with pytest.raises(ValueError, match=r'frac/AUROC is NaN in all epochs'):
        benchmark.epoch(logged(nan, nan))
    other = replace(benchmark, select='frac/FROC')
    with pytest.raises(ValueError, match=r"'frac/FROC', which was not .* are \['frac/AUROC'\]"):
        other.epoch(logged(0.5))


def test_what_validation_does_not_give_is_not_chosen_by(toy):
    benchmark, folders = toy
    wrong = replace(benchmark, select='frac/FORC')
    with pytest.raises(ValueError, match=r"'frac/FORC', which validation .* 'frac/FROC', "):
        method_run(wrong, folders, benchmark.methods['ours'], 0, None)


def test_weights_that_a_method_starts_from_are_part_of_it(toy):
    benchmark, folders = toy
    ours = replace(benchmark.methods['ours'], pretrained=False)

    def fingerprint(**options):
        return method_run(benchmark, folders, replace(ours, **options), 0, None).fingerprint

    plain = fingerprint()
    found = {fingerprint(options=dict(load_from=name)) for name in ('a.pth', 'b.pth')}
    assert len(found | {plain}) == 3
    # None is what a config without any has
    assert fingerprint(options=dict(load_from=None)) == plain
    with pytest.raises(ValueError, match=r'ours sets load_from, and goes on from the supervised'):
        fingerprint(pretrained=True, options=dict(load_from='a.pth'))


class Quiet(Processes):
    """Runs nothing, and writes what a test of films without a lesion writes."""

    def run(self, command, log, cwd=None):
        cfg = Config.fromfile(command[2])
        options = dict(cfg.test_evaluator, out_file=command[command.index('--out-json') + 1])
        options.pop('type')
        metric = FracMetric(**options)
        sample = dict(instances=[], pred_prob_map=dict(data=torch.ones(1, 4, 4)), map_scale=(1, 1))
        for index in range(4):
            named = dict(
                img_path=f'{index}.png', img_id=index, patient_id=str(index), label=index % 2
            )
            # the boxes of the positive ones are not known
            metric.process(None, [dict(sample, **named, regions=named['label'] == 0)])
        metric.compute_metrics(metric.results)
        return 0


@pytest.mark.filterwarnings('ignore:recall is NaN')
def test_films_without_a_lesion_end_no_benchmark(toy):
    benchmark, folders = toy
    job = method_run(benchmark, folders, benchmark.methods['ours'], 0, None)
    job.work_dir.mkdir(parents=True)
    (job.work_dir / 'epoch_1.pth').touch()
    epochs = {'frac/AUROC': {1: 0.5}}
    training = Training(job.fingerprint, True, 'epoch_1.pth', 4, 1.0, epochs)
    write_result(training, job.work_dir / 'training.json')
    lines = []
    for _ in range(2):
        result = job.run(Quiet(), lines.append)
        assert result.test['frac/AUROC'] == 0.5 and math.isnan(result.test['frac/FROC'])
    assert lines[1:] == ['ours-seed0: test AUROC 0.500, FROC nan (epoch 1, 1 s)'] * 2
    add_runs(folders.results, [result])
    (row,) = compare(benchmark, read_runs(folders.results))
    assert (
        comparison_table([row], 'ours').splitlines()[2].startswith('| Ours | 0.500 | n/a | n/a |')
    )
    assert plot_comparison(benchmark, [result], folders.results) == []


def test_another_benchmark_has_folders_of_its_own(toy):
    benchmark, folders = toy
    other = replace(benchmark, name='other')
    job = method_run(benchmark, folders, benchmark.methods['ours'], 0, None)
    file = job.work_dir / 'result.json'
    write_result(Training('of the other'), job.work_dir / 'training.json')
    write_result(run_result(other, 0), file)
    before = {path: path.read_bytes() for path in job.work_dir.iterdir()}
    arguments = (benchmark, folders, benchmark.chosen(None), [0])
    # before the supervised model is trained; and by a run that another process began meanwhile
    calls = {
        'all': lambda: run_benchmark(*arguments, report=str),
        'one': lambda: job.run(Quiet(), str),
        'collected': lambda: collect_runs(benchmark, folders),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"result\.json: ours-seed0 .*'other'.* --work-dir"):
            call()
    assert {path: path.read_bytes() for path in job.work_dir.iterdir()} == before
    assert not (folders.work_dir / 'pretraining-seed0').exists() and not folders.results.exists()
    # methods of other names harm nobody
    apart = replace(benchmark, methods=dict(mine=benchmark.methods['ours']))
    collect_runs(apart, folders)
    assert not folders.results.exists()

    file.unlink()
    runs = add_runs(folders.results, [run_result(other, 7)])
    kept = runs.read_bytes()
    calls = {
        'all': lambda: run_benchmark(*arguments, report=str),
        'added': lambda: add_runs(folders.results, [run_result(benchmark, 0)]),
        'table': lambda: compare(benchmark, read_runs(folders.results)),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"ours-seed7 .* 'other', not of 'toy'.* --results"):
            call()
    assert runs.read_bytes() == kept


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
