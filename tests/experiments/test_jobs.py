# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmfrac.experiments.jobs import (
    JobError,
    Processes,
    Stopped,
    Tools,
    Training,
    TrainingJob,
    _test_in_fp32,
    exit_on_sigterm,
    frac_metric,
    read_training,
)
from mmfrac.experiments.results import write_result
from mmfrac.utils.lock import locked

# says who it is once it runs
SLEEPER = (
    'import os, pathlib, sys, time; print("begun", flush=True);'
    'path = pathlib.Path(sys.argv[1]); part = path.with_suffix(".part");'
    'part.write_text(str(os.getpid())); part.rename(path); time.sleep(600)'
)
# a train.py that holds its work dir as the real one does, and waits to be killed
HOLDER = """
import os, pathlib, sys, time
from filelock import FileLock
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
with FileLock(work_dir.with_name(f'.{work_dir.name}.lock'), timeout=0):
    (work_dir / 'part').write_text(str(os.getpid()))
    (work_dir / 'part').rename(work_dir / 'pid')
    time.sleep(600)
"""
# one that is done at once; of n trainings the n-th has made n steps
TRAINER = """
import pathlib, shutil, sys
work_dir = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
with open(work_dir.parent / 'commands', 'a') as file:
    print(*sys.argv[1:], file=file)
steps = len((work_dir.parent / 'commands').read_text().splitlines())
shutil.copy(pathlib.Path(__file__).with_name(f'{steps}.pth'), work_dir / 'epoch_2.pth')
(work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_2.pth'))
"""


def begun(path):
    """Process that wrote its number there."""
    end = time.monotonic() + 60
    while not path.is_file():
        assert time.monotonic() < end
        time.sleep(0.05)
    return int(path.read_text())


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid):
    end = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def job(folder, train='', fingerprint='abc', kind=TrainingJob):
    (folder / 'tools').mkdir(exist_ok=True)
    (folder / 'tools/train.py').write_text(train)
    for steps in range(1, 5):
        torch.save(dict(meta=dict(iter=steps)), folder / f'tools/{steps}.pth')
    cfg = Config(dict(model=dict(type='X')))
    return kind('run', folder / 'work/run', cfg, fingerprint, Tools(folder / 'tools'))


def test_codes_and_output(tmp_path, monkeypatch):
    log = tmp_path / 'logs/log.txt'
    program = 'import sys, os; print(os.environ["WORD"], os.getcwd(), flush=True); sys.exit("no")'
    command = [sys.executable, '-c', program]
    processes = Processes()
    for word in ('one', 'two'):
        monkeypatch.setenv('WORD', word)
        assert processes.run(command, log, tmp_path) == 1
    assert log.read_text().splitlines() == [f'one {tmp_path}', 'no', f'two {tmp_path}', 'no']
    killed = [sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)']
    assert processes.run(killed, log) == -9


@pytest.mark.slow
def test_tools_have_this_interpreter_and_this_mmfrac(tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    program = 'import os, mmfrac; print(os.environ["PYTHON"], os.environ["PYTHONPATH"])'
    Processes().run([sys.executable, '-c', program], tmp_path / 'log', tmp_path)
    root = Path(__file__).resolve().parents[2]
    assert (tmp_path / 'log').read_text().split() == [sys.executable, f'{root}:/elsewhere']


def test_stop_ends_what_runs_and_begins_no_more(tmp_path):
    processes = Processes()
    processes.check()
    raised = []

    def run(number):
        command = [sys.executable, '-c', SLEEPER, str(tmp_path / f'{number}.pid')]
        try:
            processes.run(command, tmp_path / 'log.txt')
        except Stopped as error:
            raised.append(str(error)[:5])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    pids = [begun(tmp_path / f'{number}.pid') for number in range(2)]
    processes.stop()
    for thread in threads:
        thread.join(60)
    assert raised == ['ended', 'ended'] and not any(is_alive(pid) for pid in pids)
    run(2)
    assert raised[2:] == ['not b'] and not (tmp_path / '2.pid').exists()
    with pytest.raises(Stopped):
        processes.check()


def supervise(folder):
    exit_on_sigterm()
    job(folder, HOLDER).run(Processes())


@pytest.mark.parametrize('ending', [signal.SIGTERM, signal.SIGKILL])
def test_a_training_ends_with_its_parent_or_keeps_the_work_dir(ending, tmp_path):
    work_dir = tmp_path / 'work/run'
    parent = multiprocessing.get_context('fork').Process(target=supervise, args=(tmp_path,))
    parent.start()
    pid = begun(work_dir / 'pid')
    with pytest.raises(ValueError, match='another process works in'), locked(work_dir):
        pass
    os.kill(parent.pid, ending)
    parent.join(timeout=60)
    if ending == signal.SIGKILL:
        # nobody could end it: it still holds the work dir, and the same job waits for it
        with pytest.raises(ValueError, match='another process works in'), locked(work_dir):
            pass
        (work_dir / 'epoch_1.pth').touch()
        lines = []
        again = job(tmp_path, TRAINER)
        thread = threading.Thread(target=again.run, args=(Processes(), lines.append))
        thread.start()
        end = time.monotonic() + 60
        while not lines and time.monotonic() < end:
            time.sleep(0.05)
        assert 'waiting for another process' in lines[0] and len(lines) == 1
        os.kill(pid, signal.SIGKILL)
        thread.join(60)
        assert lines[1:] == ['run: resumed']
    assert ends(pid)
    with locked(work_dir):
        pass


def test_a_job_that_waits_can_be_stopped(tmp_path):
    processes, lines, raised = Processes(), [], []

    def run():
        try:
            job(tmp_path, TRAINER).run(processes, lines.append)
        except Stopped as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    with locked(tmp_path / 'work/run.job'):
        thread.start()
        end = time.monotonic() + 60
        while not lines and time.monotonic() < end:
            time.sleep(0.05)
        processes.stop()
        thread.join(60)
        assert not thread.is_alive() and raised
    assert not (tmp_path / 'work/run').exists()


def test_two_jobs_of_one_work_dir_follow_each_other(tmp_path):
    lines = []
    jobs = [job(tmp_path, TRAINER) for _ in range(2)]
    threads = [threading.Thread(target=one.run, args=(Processes(), lines.append)) for one in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # the second finds the training done
    assert len((tmp_path / 'work/commands').read_text().splitlines()) == 1
    assert lines.count('run: training') == 1


def test_a_training_of_another_config_is_begun_anew(tmp_path):
    lines, steps = [], []
    for fingerprint in ('a', 'a', 'b'):
        one = job(tmp_path, TRAINER, fingerprint)
        steps.append(one.run(Processes(), lines.append).steps)
    assert steps == [1, 1, 2]
    commands = tmp_path / 'work/commands'
    assert 'begun anew' in lines[1] and '--resume' not in commands.read_text()
    # what was interrupted is resumed
    write_result(Training('b'), tmp_path / 'work/run/training.json')
    job(tmp_path, TRAINER, 'b').run(Processes(), lines.append)
    assert commands.read_text().splitlines()[-1].endswith('--resume')
    # but not what another config began
    write_result(Training('b'), tmp_path / 'work/run/training.json')
    job(tmp_path, TRAINER, 'a').run(Processes(), lines.append)
    assert not commands.read_text().splitlines()[-1].endswith('--resume')


def test_time_of_a_killed_process_counts_up_to_its_last_checkpoint(tmp_path):
    one = job(tmp_path, TRAINER)
    # begun for the second time at 1000, after 5 s of before; the checkpoint is of 40 s later
    write_result(Training('abc', seconds=5.0), one.work_dir / 'training.json')
    os.utime(one.work_dir / 'training.json', (1000, 1000))
    (one.work_dir / 'epoch_1.pth').touch()
    os.utime(one.work_dir / 'epoch_1.pth', (1040, 1040))
    assert 45 < one.run(Processes(), str).seconds < 100
    # killed before it had saved anything: what it resumes is older
    write_result(Training('abc', seconds=45.0), one.work_dir / 'training.json')
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        os.utime(one.work_dir / name, (1040, 1040))
    assert 45 < one.run(Processes(), str).seconds < 100
    # without a checkpoint everything is done again
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        (one.work_dir / name).unlink()
    write_result(Training('abc', seconds=1e6), one.work_dir / 'training.json')
    assert one.run(Processes(), str).seconds < 1e5


@pytest.mark.parametrize(
    'name',
    ['notes.txt', 'weights/best.pth', 'final.pth', 'test/notes.txt', '20260101_101010/a.png'],
)
def test_what_no_training_wrote_is_not_removed_with_one(name, tmp_path):
    one = job(tmp_path, TRAINER, 'a')
    one.run(Processes(), str)
    (one.work_dir / name).parent.mkdir(exist_ok=True)
    (one.work_dir / name).write_text('years of work')
    with pytest.raises(ValueError, match='which no training writes'):
        job(tmp_path, TRAINER, 'b').run(Processes(), str)
    assert (one.work_dir / name).is_file() and (one.work_dir / 'epoch_2.pth').is_file()
    # a folder that no job has begun is nobody's to empty
    (one.work_dir / 'training.json').unlink()
    with pytest.raises(ValueError, match='no run of this command'):
        job(tmp_path, TRAINER, 'b').run(Processes(), str)
    assert (one.work_dir / name).is_file() and (one.work_dir / 'epoch_2.pth').is_file()


def test_all_that_a_training_writes_goes_with_it(tmp_path):
    one = job(tmp_path, TRAINER, 'a')
    one.run(Processes(), str)
    time = '20261128_203339'
    for name in (
        *(f'{time}/{time}.log', f'{time}/vis_data/scalars.json', 'best_frac_AUROC_epoch_12.pth'),
        *('iter_40.pth', 'burn_in.pth', 'last_checkpoint', 'temporal_ensemble/epoch_3.f16'),
        *('result.json', 'test/metrics.json', 'test/records.json', f'test/{time}/{time}.json'),
        *('val/test.out', '.epoch_9.pth.0123456789abcdef.tmp'),
    ):
        (one.work_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (one.work_dir / name).touch()
    job(tmp_path, TRAINER, 'b').run(Processes(), str)
    assert {path.name for path in one.work_dir.iterdir()} == {
        *('config.py', 'training.json', 'train.out', 'epoch_2.pth', 'last_checkpoint')
    }


def test_a_job_that_keeps_its_work_dir_refuses_another_config(tmp_path):
    class Kept(TrainingJob):
        begins_anew = False

    job(tmp_path, TRAINER, 'a', Kept).run(Processes(), str)
    other = job(tmp_path, TRAINER, 'b', Kept)
    for call in (other.check, lambda: other.run(Processes(), str)):
        with pytest.raises(ValueError, match='was made from another config'):
            call()
    assert (tmp_path / 'work/run/epoch_2.pth').is_file()


def test_failed_training_is_told(tmp_path):
    one = job(tmp_path, 'import sys; sys.exit("out of films")')
    with pytest.raises(JobError, match='training of run ended with exit code 1') as raised:
        one.run(Processes(), str)
    assert str(raised.value).endswith('out of films')
    assert Config.fromfile(one.work_dir / 'config.py').model.type == 'X'
    one = job(tmp_path, 'import os; os.kill(os.getpid(), 9)')
    with pytest.raises(JobError, match='was killed by signal 9'):
        one.run(Processes(), str)
    with pytest.raises(JobError, match='left no checkpoint'):
        job(tmp_path).run(Processes(), str)
    assert read_training(one.work_dir) == Training('abc')


def test_commands(tmp_path):
    config, tools = tmp_path / 'config.py', Path('tools')
    one = Tools(tools).train_command(config, tmp_path)
    assert one == [sys.executable, 'tools/train.py', str(config), '--work-dir', str(tmp_path)]
    (tmp_path / 'epoch_3.pth').touch()
    several = Tools(tools, 4, ('--amp',), Path('/data')).train_command(config, tmp_path)
    assert several[:4] == ['bash', 'tools/dist_train.sh', str(config), '4']
    data = ['--data-root', '/data']
    assert several[4:] == ['--work-dir', str(tmp_path), '--amp', *data, '--resume']
    test = Tools(tools, 4, ('--amp',), Path('/data')).test_command(
        config, Path('best.pth'), tmp_path, tmp_path / 'out.json'
    )
    assert test[:4] == [sys.executable, 'tools/test.py', str(config), 'best.pth']
    out = ['--work-dir', str(tmp_path), '--out-json', str(tmp_path / 'out.json')]
    assert test[4:] == [*out, *data]


def test_state_of_a_training(tmp_path):
    assert read_training(tmp_path) is None
    training = Training('abc', True, 'epoch_4.pth', 40, 1.5, {'frac/AUROC': {1: 0.5, 12: 0.6}})
    write_result(training, tmp_path / 'training.json')
    assert read_training(tmp_path) == training
    assert [path.name for path in tmp_path.iterdir()] == ['training.json']
    for content in ('', '{"is_finished": true}', '[]', json.dumps(dict(state='half'))):
        (tmp_path / 'training.json').write_text(content)
        with pytest.raises(ValueError, match=r'training\.json is damaged'):
            read_training(tmp_path)


def test_a_training_whose_state_is_damaged_is_made_anew_as_the_error_says(tmp_path):
    one = job(tmp_path, TRAINER, 'a')
    one.run(Processes(), str)
    (one.work_dir / 'training.json').write_text('{"fingerprint": "a"')
    with pytest.raises(
        ValueError, match=rf'remove the folder {one.work_dir}, and the same'
    ) as error:
        one.run(Processes(), str)
    assert 'remove it' not in str(error.value)
    shutil.rmtree(one.work_dir)
    assert one.run(Processes(), str).is_finished


def test_the_metric_of_an_evaluator():
    metric = dict(type='FracMetric', crossing='best')
    assert frac_metric(metric) is metric
    assert frac_metric([dict(type='CocoMetric'), metric]) is metric
    with pytest.raises(ValueError, match='need a FracMetric'):
        frac_metric([dict(type='CocoMetric')])


@pytest.mark.parametrize(
    ('loop', 'precision'),
    [
        (None, 'fp32'),
        (dict(type='TestLoop'), 'fp32'),
        (dict(), 'fp32'),
        (dict(type='PrecisionTestLoop', precision='bf16'), 'bf16'),
        (dict(type='TestLoop', fp16=True), None),
        (dict(type='OwnLoop'), None),
    ],
)
def test_tests_leave_no_precision_to_the_device(loop, precision):
    cfg = Config(dict(test_cfg=loop))
    _test_in_fp32(cfg)
    assert cfg.test_cfg.get('precision') == precision
    if precision is None:
        assert cfg.test_cfg == loop
