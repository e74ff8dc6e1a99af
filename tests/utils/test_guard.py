# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Functions that end, hang or fill their process: one error each, and the next call works."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmfrac.utils.guard import GuardError, run_guarded


def work(content, what):
    match what:
        case 'double':
            return 2 * np.frombuffer(content, np.uint8), len(content)
        case 'abort':
            os.abort()
        case 'segfault':
            ctypes.string_at(0)
        case 'exit':
            os._exit(3)
        case 'spin':
            while True:
                pass
        case 'fill':
            return np.ones(2**31, np.uint8), None
        case 'large':
            return np.zeros(5000, np.uint8), None
        case 'raise':
            raise KeyError('broken')
        case 'print':
            os.write(2, b'codecs print')
            return np.zeros(1), None


def call(what, content=b'\x01\x02', most=1000, seconds=1.0):
    return run_guarded(work, content, what, most_bytes=most, seconds=seconds)


def works():
    array, rest = call('double')
    assert array.tolist() == [2, 4] and rest == 2 and array.flags.writeable
    return True


@pytest.mark.parametrize(
    'what, says',
    [
        ('abort', 'crashes .*SIGABRT'),
        ('segfault', 'crashes .*SIGSEGV'),
        ('exit', 'exit code 3'),
        ('spin', 'longer than 1 s'),
        ('fill', 'memory'),
        ('large', '5000 bytes'),
        ('raise', 'broken'),
    ],
)
def test_what_a_function_does_is_one_error(what, says):
    assert works()
    with pytest.raises(GuardError, match=says):
        call(what)
    assert works()


_KEPT = """
import numpy as np
from mmfrac.utils.device import keep_freed_memory
from tests.utils.test_guard import GuardError, call, works
print(keep_freed_memory())
held = np.empty(3 * 2**30, np.uint8)
more = np.empty(2**25, np.uint8)
del held, more
try:
    call('fill')
except GuardError as error:
    print(error)
assert works()
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc has it')
def test_memory_that_was_free_before_counts():
    run = subprocess.run([sys.executable, '-c', _KEPT], capture_output=True, text=True, check=True)
    kept, said = run.stdout.splitlines()
    if kept != 'True':
        pytest.skip('no glibc')
    assert 'memory' in said


def test_a_killed_process_is_replaced(capfd):
    from mmfrac.utils import guard

    assert works()
    os.kill(guard._THE_ONE._pid, signal.SIGKILL)
    time.sleep(0.2)
    assert works()
    call('print')
    assert capfd.readouterr().err == ''


def test_more_than_the_memory_between_them():
    content = bytes(range(256)) * 2**17  # 32 MB
    array, _ = run_guarded(work, content, 'double', most_bytes=len(content), seconds=20.0)
    assert array[:256].tolist() == [2 * value % 256 for value in range(256)]
    assert works()


class Worker:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        try:
            call('abort' if index % 2 else 'double')
        except GuardError as error:
            return str(error)
        return 'read'


@pytest.mark.slow
def test_forked_and_daemonic_processes_have_one_of_their_own():
    assert works()
    with multiprocessing.get_context('fork').Pool(2) as pool:
        assert pool.map(Worker().__getitem__, range(4), chunksize=1)[::2] == ['read', 'read']
    read = [item for batch in DataLoader(Worker(), batch_size=1, num_workers=2) for item in batch]
    assert read[::2] == ['read', 'read'] and all('SIGABRT' in item for item in read[1::2])
    assert works()


def test_it_ends_with_its_process():
    from mmfrac.utils import guard

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        works()
        os.write(write, str(guard._THE_ONE._pid).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    beside = int(os.read(read, 20))
    for _ in range(100):
        try:
            os.kill(beside, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
        if Path(f'/proc/{beside}/stat').read_text().split()[2] == 'Z':
            return
    raise AssertionError('it lives on')
