# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import multiprocessing
import os
import signal
import sys
import threading
import time

import pytest

from mmfrac.experiments.launching import Processes, Stopped, exit_on_sigterm, locked

# says who it is once it runs
SLEEPER = (
    'import os, pathlib, sys, time; print("begun", flush=True);'
    'path = pathlib.Path(sys.argv[1]); part = path.with_suffix(".part");'
    'part.write_text(str(os.getpid())); part.rename(path); time.sleep(600)'
)


@pytest.fixture
def lock(tmp_path):
    with locked(tmp_path / 'run') as descriptor:
        yield descriptor


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


def test_codes_and_output(tmp_path, lock):
    log = tmp_path / 'log.txt'
    program = 'import sys, os; print(os.environ["WORD"], os.getcwd(), flush=True); sys.exit("no")'
    command = [sys.executable, '-c', program]
    processes = Processes()
    for word in ('one', 'two'):
        assert processes.run(command, dict(WORD=word), lock, tmp_path, log) == 1
    assert log.read_text().splitlines() == [f'one {tmp_path}', 'no', f'two {tmp_path}', 'no']
    killed = [sys.executable, '-c', 'import os; os.kill(os.getpid(), 9)']
    assert processes.run(killed, {}, lock) == -9


def test_stop_ends_what_runs_and_begins_no_more(tmp_path, lock):
    processes = Processes()
    raised = []

    def run(number):
        command = [sys.executable, '-c', SLEEPER, str(tmp_path / f'{number}.pid')]
        try:
            processes.run(command, os.environ, lock, log=tmp_path / 'log.txt')
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


def supervise(folder):
    exit_on_sigterm()
    with locked(folder / 'run') as lock:
        command = [sys.executable, '-c', SLEEPER, str(folder / 'pid')]
        Processes().run(command, os.environ, lock, log=folder / 'log.txt')


@pytest.mark.parametrize('ending', [signal.SIGTERM, signal.SIGKILL])
def test_a_process_ends_with_its_parent_or_keeps_the_work_dir(ending, tmp_path):
    parent = multiprocessing.get_context('fork').Process(target=supervise, args=(tmp_path,))
    parent.start()
    pid = begun(tmp_path / 'pid')
    with pytest.raises(ValueError, match='another process works in'), locked(tmp_path / 'run'):
        pass
    os.kill(parent.pid, ending)
    parent.join(timeout=60)
    if ending == signal.SIGKILL:
        # nobody could end it: it still holds the work dir
        with pytest.raises(ValueError, match='another process works in'), locked(tmp_path / 'run'):
            pass
        os.kill(pid, signal.SIGKILL)
    assert ends(pid)
    with locked(tmp_path / 'run'):
        pass


def test_a_work_dir_is_waited_for(tmp_path):
    events = []

    def second():
        with locked(tmp_path / 'above/run', events.append):
            events.append('second')

    with locked(tmp_path / 'above/run', events.append):
        thread = threading.Thread(target=second)
        thread.start()
        end = time.monotonic() + 60
        while not events and time.monotonic() < end:
            time.sleep(0.05)
        events.append('first')
    thread.join(60)
    waits = f'run: waiting for another process that works in {tmp_path}/above/run'
    assert events == [waits, 'first', 'second']
    assert [path.name for path in (tmp_path / 'above').iterdir()] == ['.run.lock']
