# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import signal

import pytest

from mmfrac.datasets.film_pool import CHUNK, map_films


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
    found = list(map_films(square, range(count), workers, minus))
    assert found == [task * task for task in range(count)]


def test_tasks_that_kill_their_process_alone_are_given_up():
    tasks = range(1, 6 * CHUNK)
    found = list(map_films(die_on_thirteen, tasks, 2, minus))
    assert found == [-task if task % 13 == 0 else task * task for task in tasks]


def test_tasks_are_drawn_as_needed():
    drawn = []

    def source():
        for task in range(10_000):
            drawn.append(task)
            yield task

    results = map_films(square, source(), 1, minus)
    assert next(results) == 0
    assert len(drawn) <= 4 * CHUNK
    results.close()


def test_an_error_of_the_function_is_raised():
    with pytest.raises(TypeError):
        list(map_films(square, ['no number', None], 1, minus))
    with pytest.raises(ValueError, match='workers'):
        list(map_films(square, [1], -1, minus))
