# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import signal
import subprocess
import sys
import time
from itertools import count

import pytest

from mmfrac.utils.processes import CHUNK, FilePool, map_files
from tests.slow import slow_but

STOPPED = """
import signal
import time
from mmfrac.utils.processes import FilePool

# a shell lets what it starts in the background ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)


def slow(task):
    print(task, flush=True)
    time.sleep(0.5)
    return task


with FilePool(slow, 2, crashed=str) as pool:
    for result in pool.map(range(1000)):
        pass
"""


def square(task):
    return task * task


def die_on_thirteen(task):
    if task % 13 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def minus(task):
    return -task


@pytest.mark.parametrize('workers', [0, 1, 3])
@pytest.mark.parametrize('count', [0, 1, 5 * CHUNK + 3])
def test_results_in_the_order_of_the_tasks(workers, count):
    found = list(map_files(square, range(count), workers, minus))
    assert found == [task * task for task in range(count)]


def test_tasks_that_kill_their_process_alone_are_given_up():
    tasks = range(1, 6 * CHUNK)
    found = list(map_files(die_on_thirteen, tasks, 2, minus))
    assert found == [-task if task % 13 == 0 else task * task for task in tasks]


def test_tasks_are_drawn_as_needed():
    drawn = []

    def source():
        for task in range(10_000):
            drawn.append(task)
            yield task

    results = map_files(square, source(), 1, minus)
    assert next(results) == 0
    assert len(drawn) <= 4 * CHUNK
    results.close()


def test_an_error_of_the_function_is_raised():
    with pytest.raises(TypeError):
        list(map_files(square, ['no number', None], 1, minus))
    with pytest.raises(ValueError, match='workers'):
        list(map_files(square, [1], -1, minus))


@pytest.mark.parametrize('chunk', [1, 3])
@pytest.mark.parametrize('workers', [0, 1, 2])
def test_a_pool_goes_on_after_a_crash(workers, chunk):
    function = die_on_thirteen if workers else square
    with FilePool(function, workers, minus, chunk) as pool:
        for tasks in (range(1, 20), range(0), range(30, 50)):
            expected = [-task if workers and task % 13 == 0 else task * task for task in tasks]
            assert list(pool.map(tasks)) == expected


def test_processes_are_reused():
    with FilePool(lambda task: os.getpid(), 1, minus) as pool:
        assert len({*pool.map(range(20)), *pool.map(range(20))} - {os.getpid()}) == 1


def test_a_function_is_not_sent_to_the_processes():
    """A lambda cannot be, nor what it holds."""
    held = (os.scandir('.'), 2)
    with FilePool(lambda task: task * held[1], 2, minus) as pool:
        assert list(pool.map(range(20))) == [2 * task for task in range(20)]


def test_tasks_are_not_gone_on_with_when_results_are_given_up():
    done = count()

    def number(task):
        time.sleep(0.02)
        return next(done)

    with FilePool(number, 1, minus, chunk=1) as pool:
        results = pool.map(range(1000))
        next(results)
        results.close()
        assert next(pool.map([0])) < 2 * CHUNK, 'what was under way was done first'


@pytest.mark.parametrize('group', slow_but([True, False], [True]))
def test_an_interrupt_stops_all_processes(repository, group):
    """Whether the terminal sends it to all of them or `kill` to one."""
    process = subprocess.Popen(
        [sys.executable, '-c', STOPPED],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdout.readline()
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    done, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and 'KeyboardInterrupt' in errors
    # the film of each process, and those of the moment before the signal
    assert len(done.splitlines()) < CHUNK
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
