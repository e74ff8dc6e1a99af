# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""In a process of its own: what would hang would hang there."""

import subprocess
import sys

FORKS = """
import cv2, numpy as np

from mmfrac.utils.processes import map_files
from mmfrac.utils.processes import forking

film = np.random.default_rng(0).random((2000, 2000), np.float32)


def shrink(scale):
    return float(cv2.resize(film, None, fx=scale, fy=scale).mean())


cv2.setNumThreads(4)
scales = [0.5, 0.3, 0.2] * 6
expected = list(map(shrink, scales))  # OpenCV has started its threads
assert list(map_files(shrink, scales, 2, crashed=lambda task: -1.0)) == expected
with forking() as context:
    assert cv2.getNumThreads() == 1
    with context.Pool(1) as pool:
        assert pool.apply(cv2.getNumThreads) == 1
assert cv2.getNumThreads() == 4
print('done')
"""


def test_processes_do_not_wait_for_threads_that_opencv_had_before(repository):
    done = subprocess.run(
        [sys.executable, '-c', FORKS], cwd=repository, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == 'done\n', done.stderr
