# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How a training ends that is told to: by SIGTERM, by SIGUSR1 (Slurm before it requeues), by a launcher
that is gone."""

import atexit
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.engine.runner.checkpoints import latest_checkpoint

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

_VARIABLE = 'MMFRAC_STOP_SECONDS'
_SECONDS = 15.0
# torchrun ends a rank for good 30 s after it has told it to
_REST = 10.0
_POLL = 0.5


class Ended(BaseException):
    """A training ends because it was told to.

    Attributes:
        code (int): Exit code, 128 and the number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f'ended by {signal.Signals(signum).name}')
        self.code = 128 + signum


class Stopping:
    """What this process was told; :func:`watch` begins to listen.

    Attributes:
        signum (int | None): The first signal that came.
        since (float): When, ``time.monotonic``.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.since = 0.0
        self._owner = os.getpid()

    def note(self, signum: int) -> None:
        """Remember the first signal."""
        if self.signum is None:
            self.since = time.monotonic()
            self.signum = signum

    def handle(self, signum: int, _: Any) -> None:
        """Handler of a signal; what this process has forked does as if there were none."""
        if os.getpid() == self._owner:
            self.note(signum)
        elif signum == signal.SIGTERM:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    @property
    def seconds_left(self) -> float:
        """Seconds that are left to finish what is under way."""
        return self.since + stop_seconds() - time.monotonic()


def stop_seconds() -> float:
    """Seconds that a training which is told to end may take for its epoch, ``MMFRAC_STOP_SECONDS``.

    Raises:
        ValueError: If that is no number from 0.
    """
    text = os.environ.get(_VARIABLE, str(_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float('inf'):
        raise ValueError(f'{_VARIABLE} is {text!r}, a number of seconds from 0 is wanted')
    return seconds


def watch(with_parent: bool = False) -> Stopping:
    """Listen to ``SIGNALS``; called in the main thread, once.

    Whatever this process hangs in, it is gone ``stop_seconds()`` and some more after a signal.

    Args:
        with_parent (bool): Whether the end of the process that started this one is a signal, too: ranks
            end with their launcher. Defaults to False.

    Returns:
        Stopping: What was told so far.
    """
    stop_seconds()
    state = Stopping()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for signum in SIGNALS:
        signal.signal(signum, state.handle)
    # written to at once, while handlers wait for the main thread to come back to Python
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_be_a_worker)
    parent = os.getppid() if with_parent else None
    thread = threading.Thread(target=_listen, args=(state, reader, parent), daemon=True)
    thread.start()
    return state


def _be_a_worker() -> None:
    signal.set_wakeup_fd(-1)
    # what is sent to all of a job's processes is for the one that trains: it would die with a loader's
    # worker, before it can save what it has
    os.setpgid(0, 0)


def _listen(state: Stopping, reader: int, parent: int | None) -> None:
    while True:
        if select.select([reader], [], [], _POLL)[0]:
            for signum in os.read(reader, 64):
                if signum in SIGNALS:
                    state.note(signum)
        if parent is not None and os.getppid() != parent:
            state.note(signal.SIGTERM)
        if state.signum is not None and state.seconds_left < -_REST:
            os.write(2, b'not ended in time: the process is left as it is\n')
            os._exit(128 + state.signum)


class StopHook(Hook):
    """Ends a training that was told to between two steps, never while something is written.

    An epoch that will be over in ``stop_seconds()`` is finished, with its checkpoint; of a longer one
    what was done is lost, and resuming goes on from the checkpoint before.

    Args:
        state (Stopping): See :func:`watch`.
    """

    priority = 'HIGHEST'

    def __init__(self, state: Stopping) -> None:
        self.state = state
        self._start = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        """An epoch that was not begun is not begun."""
        self._start = time.monotonic()
        # of the first one there is no checkpoint
        if runner.epoch:
            self._end_if_told()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """End, unless the epoch is nearly over."""
        if self.state.signum is None:
            return
        steps_left = len(runner.train_dataloader) - batch_idx
        if batch_idx:
            seconds = (time.monotonic() - self._start) / batch_idx * steps_left
            if seconds > self.state.seconds_left:
                self._end_if_told()
        elif self.state.seconds_left <= 0:
            self._end_if_told()

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """The checkpoint is saved before; a resumed run validates it."""
        self._end_if_told()

    def _end_if_told(self) -> None:
        if self.state.signum is not None:
            raise Ended(self.state.signum)


def leave(ended: Ended, work_dir: str | Path, is_first: bool = True) -> None:
    """Say what a training that was ended goes on from, and end this process.

    Args:
        ended (Ended): Why.
        work_dir (str or Path): Of the training.
        is_first (bool): Whether this is the rank that says it. Defaults to True.
    """
    if is_first:
        found = latest_checkpoint(work_dir)
        goes_on = f'goes on from {found}' if found else 'starts anew, no epoch was finished'
        print(f'{ended}: the same command with --resume {goes_on}', file=sys.stderr)
    # the other ranks are in the middle of what this one leaves
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended.code)
