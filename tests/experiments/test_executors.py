# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Jobs in processes of this machine, and through submitit on its own local executor."""

import argparse
import builtins
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmfrac.experiments.executors import (
    LocalExecutor,
    SlurmExecutor,
    SubmittedJob,
    add_executor_arguments,
    executor_from_arguments,
)
from mmfrac.experiments.jobs import JobError, Processes, Tools, TrainingJob
from mmfrac.utils.lock import locked
from tests.tools.tiny_run import ROOT

# two epochs, resumed where they were interrupted; it holds its work dir as the real one does
TRAINER = """
import os, pathlib, shutil, sys, time
from filelock import FileLock
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
if 'fails' in work_dir.name:
    sys.exit('out of films')
with FileLock(work_dir.with_name(f'.{work_dir.name}.lock'), timeout=0):
    done = len(list(work_dir.glob('epoch_*.pth'))) if '--resume' in sys.argv else 0
    with open(work_dir / 'log', 'a') as log:
        print('pid', os.getpid(), 'from', done, file=log)
    for epoch in range(done, 2):
        while epoch == 1 and 'slow' in work_dir.name and not (work_dir / 'go').exists():
            time.sleep(0.1)
        file = f'epoch_{epoch + 1}.pth'
        shutil.copy(pathlib.Path(__file__).with_name(file), work_dir / 'part')
        (work_dir / 'part').rename(work_dir / file)
"""


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').write_text(TRAINER)
    for epoch in (1, 2):
        torch.save(dict(meta=dict(iter=epoch)), tmp_path / f'tools/epoch_{epoch}.pth')

    def make(name):
        tools = Tools(tmp_path / 'tools')
        return TrainingJob(name, tmp_path / 'work' / name, Config(dict(a=1)), 'abc', tools)

    return make


@pytest.fixture
def slurm(tmp_path):
    """Submitit's own executor in the place of Slurm's."""
    pytest.importorskip('submitit')
    # submitit cancels local jobs by SIGINT, which a shell in the background has its processes ignore
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield SlurmExecutor(tmp_path / 'slurm', 'gpu', cluster='local')
    signal.signal(signal.SIGINT, before)


@dataclass
class Step:
    """A job that is not one of trainings."""

    name: str
    events: list
    error: Exception | None = None

    def run(self, processes, report):
        self.events.append(self.name)
        if self.error:
            raise self.error
        return self.name.upper()


def test_results_are_in_the_order_of_the_jobs():
    for num_jobs in (1, 2):
        events = []
        steps = [Step(name, events) for name in 'abc']
        assert LocalExecutor(num_jobs).run(steps, str) == ['A', 'B', 'C']
        assert sorted(events) == ['a', 'b', 'c']
    assert LocalExecutor(2).run([], str) == []
    with pytest.raises(ValueError, match='--jobs is a number of jobs from 1, got 0'):
        LocalExecutor(0)


def test_nothing_is_begun_after_a_failed_job():
    events, lines = [], []
    steps = [Step('a', events), Step('b', events, FileNotFoundError('no films')), Step('c', events)]
    with pytest.raises(FileNotFoundError, match='no films'):
        LocalExecutor().run(steps, lines.append)
    assert events == ['a', 'b']


@pytest.mark.parametrize('num_jobs', [1, 2])
def test_other_jobs_go_on_where_they_are_told_to(num_jobs):
    events, lines = [], []
    steps = [Step('a', events), Step('b', events, JobError('killed')), Step('c', events)]
    one, error, three = LocalExecutor(num_jobs).run(steps, lines.append, keeps_going=True)
    assert (one, str(error), three) == ('A', 'killed', 'C') and lines == ['b: killed']
    # what no user can mend passes
    with pytest.raises(KeyError):
        LocalExecutor(num_jobs).run([Step('x', [], KeyError('y'))], str, keeps_going=True)


def test_jobs_at_a_time(job):
    lines = []
    jobs = [job('slow1'), job('slow2')]
    thread = threading.Thread(target=LocalExecutor(2).run, args=(jobs, lines.append))
    thread.start()
    for one in jobs:
        wait_for((one.work_dir / 'epoch_1.pth').is_file)
    for one in jobs:
        (one.work_dir / 'go').touch()
    thread.join(60)
    assert sorted(lines) == ['slow1: training', 'slow2: training']


@pytest.mark.slow
def test_submitted_jobs_give_what_local_ones_give(job, slurm):
    lines = []
    local = LocalExecutor().run([job('a')], str)
    one, error, three = slurm.run(
        [job('b'), job('fails'), job('c')], lines.append, keeps_going=True
    )
    assert [one.steps, three.steps, one.checkpoint] == [2, 2, local[0].checkpoint]
    assert isinstance(error, JobError) and str(error).endswith('out of films')
    assert 'training of fails ended with exit code 1' in lines[-1]
    assert [line.split(':')[0] for line in lines[:3]] == ['b', 'fails', 'c']
    output = Path(lines[0].split('output in ')[1])
    assert 'b: training' in output.read_text()
    with pytest.raises(JobError, match='out of films'):
        slurm.run([job('fails')], str)
    assert slurm.run([], str) == []


def pid_of(work_dir):
    return int((work_dir / 'log').read_text().split()[-3])


def parent_of(pid):
    return int(Path(f'/proc/{pid}/stat').read_text().split()[3])


@pytest.mark.slow
def test_a_job_that_is_preempted_is_requeued_and_resumes(job, slurm):
    one, results = job('slow'), []
    thread = threading.Thread(target=lambda: results.extend(slurm.run([one], str)))
    thread.start()
    wait_for((one.work_dir / 'epoch_1.pth').is_file)
    first = pid_of(one.work_dir)
    # what Slurm does shortly before it takes the node away
    os.kill(parent_of(first), signal.SIGUSR2)
    wait_for(lambda: (one.work_dir / 'log').read_text().endswith('from 1\n'))
    assert not is_alive(first)
    (one.work_dir / 'go').touch()
    thread.join(120)
    assert [result.steps for result in results] == [2]
    assert (one.work_dir / 'log').read_text().count('pid') == 2


@pytest.mark.slow
def test_a_job_that_is_killed_resumes_with_the_same_command(job, slurm):
    one, raised = job('slow'), []

    def run():
        with pytest.raises(JobError, match=r'slow: job .* ended without a result') as error:
            slurm.run([one], str)
        raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for((one.work_dir / 'epoch_1.pth').is_file)
    training = pid_of(one.work_dir)
    os.kill(parent_of(training), signal.SIGKILL)
    thread.join(120)
    assert raised
    # the training outlived its job: it still holds the work dir
    with pytest.raises(ValueError, match='another process works in'), locked(one.work_dir):
        pass
    (one.work_dir / 'go').touch()
    (result,) = slurm.run([one], str)
    assert result.steps == 2 and (one.work_dir / 'log').read_text().count('pid') == 2


@pytest.mark.slow
def test_jobs_are_cancelled_with_the_command(job, slurm):
    one, processes = job('slow'), []

    def interrupt(line):
        wait_for((one.work_dir / 'epoch_1.pth').is_file)
        processes.append(parent_of(pid_of(one.work_dir)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slurm.run([one], interrupt)
    wait_for(lambda: not is_alive(processes[0]))
    # Slurm ends all processes of a job, this executor the one that it has begun
    with suppress(ProcessLookupError):
        os.kill(pid_of(one.work_dir), signal.SIGKILL)


@pytest.mark.slow
def test_an_unexpected_error_of_a_submitted_job_is_told(tmp_path, slurm):
    with pytest.raises(JobError, match=r'x: job .* ended without a result(.|\n)*KeyError'):
        slurm.run([Step('x', [], KeyError('y'))], str)


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_executor_arguments(parser)
    return parser.parse_args(arguments)


def test_arguments(tmp_path, monkeypatch):
    assert executor_from_arguments(parse('--jobs', '3'), tmp_path).num_jobs == 3
    with pytest.raises(ValueError, match='no use without --slurm'):
        executor_from_arguments(parse('--slurm-options', 'time=5'), tmp_path)
    updated = {}

    class AutoExecutor:
        def __init__(self, folder, cluster, **kwargs):
            updated.update(folder=folder, cluster=cluster, **kwargs)

        def update_parameters(self, **kwargs):
            updated.update(kwargs)

    monkeypatch.setitem(sys.modules, 'submitit', SimpleNamespace(AutoExecutor=AutoExecutor))
    args = parse('--slurm', 'gpu', '--slurm-options', 'time=600', 'account=frac')
    executor_from_arguments(args, tmp_path, ranks=2)
    assert updated == dict(
        folder=tmp_path / 'slurm',
        cluster='slurm',
        slurm_max_num_timeout=100,
        name='mmfrac',
        timeout_min=1440,
        gpus_per_node=2,
        cpus_per_task=10,
        slurm_partition='gpu',
        slurm_time=600,
        slurm_account='frac',
    )


def test_a_machine_without_slurm_and_a_wrong_option_are_told(tmp_path, monkeypatch):
    pytest.importorskip('submitit')
    monkeypatch.setenv('PATH', '')
    with pytest.raises(ValueError, match='start this on a login node of Slurm'):
        SlurmExecutor(tmp_path, 'gpu')
    with pytest.raises(ValueError, match=r"--slurm-options: .*Unknown argument 'tiem'"):
        SlurmExecutor(tmp_path, 'gpu', dict(tiem=5), cluster='local')


def test_without_submitit_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    import_module = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == 'submitit':
            raise ImportError(name)
        return import_module(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ImportError, match='pip install submitit'):
        executor_from_arguments(parse('--slurm', 'gpu'), tmp_path)


def test_what_is_requeued_is_the_same_job(job):
    pytest.importorskip('submitit')
    submitted = SubmittedJob(job('a'))
    assert submitted.checkpoint().function is submitted
    # which is done by then
    job('a').run(Processes(), str)
    assert submitted().steps == 2
