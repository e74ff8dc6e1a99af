# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Processes that do not outlive this one."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from threading import Lock


class Stopped(Exception):
    """The process was ended, or not begun, because this one ends."""


class Processes:
    """Runs commands, also from several threads, and ends them all when asked to."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._running: set[subprocess.Popen] = set()
        self._is_stopped = False

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        lock: int,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> int:
        """Run a command to its end; it is ended where this is interrupted.

        Args:
            command (Sequence[str]): Program and arguments.
            environment (Mapping[str, str]): Its variables.
            lock (int): Descriptor of ``locked``, which the process keeps.
            cwd (Path, optional): Working directory. Defaults to None: this process's.
            log (Path, optional): File that gets what it prints, at its end. Defaults to None: it prints
                where this process does.

        Returns:
            int: Exit code; -N where signal N killed it.

        Raises:
            Stopped: If ``stop`` was called.
        """
        with open(log, 'ab') if log else nullcontext() as output, self._guard:
            if self._is_stopped:
                raise Stopped(f'not begun: {" ".join(command)}')
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                pass_fds=(lock,),
            )
            self._running.add(process)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            with self._guard:
                self._running.discard(process)
        if self._is_stopped and code:
            raise Stopped(f'ended: {" ".join(command)}')
        return code

    def stop(self) -> None:
        """End the processes that run, and begin no more."""
        with self._guard:
            self._is_stopped = True
            for process in self._running:
                process.terminate()


def exit_on_sigterm() -> None:
    """Leave by SystemExit on SIGTERM, so that processes are ended on the way out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
