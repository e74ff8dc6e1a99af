# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import multiprocessing
import os
import signal
import threading
import time

import pytest

from mmfrac.utils.lock import locked


def hold(folder, is_held):
    with locked(folder):
        is_held.set()
        time.sleep(600)


def test_a_folder_is_waited_for(tmp_path):
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


def test_a_killed_process_lets_the_folder_go(tmp_path):
    context = multiprocessing.get_context('fork')
    is_held = context.Event()
    process = context.Process(target=hold, args=(tmp_path / 'run', is_held))
    process.start()
    assert is_held.wait(60)
    with pytest.raises(ValueError, match='another process works in'), locked(tmp_path / 'run'):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    with locked(tmp_path / 'run'):
        pass


def test_a_wait_can_be_ended(tmp_path):
    checks = []

    def check():
        checks.append(1)
        if len(checks) == 2:
            raise KeyError('enough')

    def wait():
        with pytest.raises(KeyError), locked(tmp_path / 'run', str, check):
            pass

    with locked(tmp_path / 'run'):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(60)
    assert len(checks) == 2
    with locked(tmp_path / 'run'):
        pass


def test_a_block_that_fails_lets_the_folder_go(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / 'run'):
        raise KeyError
    with locked(tmp_path / 'run'):
        pass
