# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A function that may crash, hang or ask for gigabytes, in a process beside this one.

Codecs in C end their process on a damaged image. The process beside is forked when it is first needed,
stays, and is forked anew after it died; bytes and arrays pass through memory that both see. Where the
system cannot fork, the function runs in this process.
"""

import ctypes
import gc
import logging
import math
import mmap
import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

try:
    import resource
except ImportError:  # no such thing on Windows, which does not fork either
    resource = None  # type: ignore[assignment]


class GuardError(ValueError):
    """What a function did to its process, or asked of it."""


# Memory that a function may take, bytes: this many times its result, and a base.
_MEMORY_SHARE, _MEMORY_BASE = 6, 2**28

# Time on the clock at most, in the place of that of the processor: of a process that waits, or that
# shares its processor with many others.
_WAITING = 10

_SMALLEST_MEMORY = 2**24

# s; how often the process beside looks whether it is still wanted
_LOOK = 5.0


def run_guarded(
    function: Callable[..., tuple[np.ndarray, Any]],
    content: bytes,
    *arguments: Any,
    most_bytes: int,
    seconds: float,
) -> tuple[np.ndarray, Any]:
    """Call ``function(content, *arguments)`` in a process of its own.

    Args:
        function (Callable): Of module level; returns an array and something that can be pickled.
        content (bytes): Its first argument.
        *arguments: The others.
        most_bytes (int): Size of the array at most.
        seconds (float): Time of a processor at most.

    Returns:
        tuple[np.ndarray, Any]: What the function returns; the array is the caller's own.

    Raises:
        GuardError: If the function raises, crashes, takes too long or asks for too much memory.
    """
    if not hasattr(os, 'fork') or _Beside.is_this:
        array, rest = _called(function, content, arguments)
        return np.array(array), rest
    with _lock:
        return _beside().call(function, content, arguments, most_bytes, seconds)


def _called(function: Callable, content: bytes, arguments: tuple) -> tuple[np.ndarray, Any]:
    try:
        return function(content, *arguments)
    except GuardError:
        raise
    except MemoryError as error:
        raise GuardError('its decoder asks for more memory than such an image takes') from error
    except Exception as error:  # whatever a library raises
        raise GuardError(str(error) or type(error).__name__) from error


class _Beside:
    """The process beside this one."""

    is_this = False

    def __init__(self) -> None:
        self._channel: Connection | None = None
        self._memory: mmap.mmap | None = None
        self._pid = 0

    def call(
        self,
        function: Callable,
        content: bytes,
        arguments: tuple,
        most_bytes: int,
        seconds: float,
    ) -> tuple[np.ndarray, Any]:
        size = max(len(content), most_bytes)
        task = pickle.dumps((function, len(content), arguments, most_bytes, seconds))
        reply = None
        # it may have been ended while it waited: once more then
        for _ in range(2):
            channel, memory = self._ready(size)
            memory[: len(content)] = content
            try:
                channel.send_bytes(task)
                if channel.poll(_WAITING * seconds):
                    reply = pickle.loads(channel.recv_bytes())
            except BrokenPipeError:
                self.end()
                continue
            except (EOFError, OSError):
                pass
            break
        if reply is None:
            raise GuardError(_death_text(self.end(), seconds))
        fault, shape, dtype, rest = reply
        if fault:
            raise GuardError(fault)
        count = math.prod(shape)
        return np.frombuffer(memory, dtype, count).reshape(shape).copy(), rest

    def _ready(self, size: int) -> tuple[Connection, mmap.mmap]:
        if self._channel is not None and self._memory is not None and len(self._memory) >= size:
            return self._channel, self._memory
        self.end()
        memory = mmap.mmap(-1, max(_SMALLEST_MEMORY, 1 << (size - 1).bit_length()))
        here, there = multiprocessing.Pipe()
        with warnings.catch_warnings():
            # of threads, whose locks the process beside asks for none of
            warnings.simplefilter('ignore', DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _serve(there, memory)
        there.close()
        self._channel, self._memory, self._pid = here, memory, pid
        return here, memory

    def end(self) -> int | None:
        """End the process; how it died (see ``os.waitpid``) if it had died before."""
        status = None
        if self._pid:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
                if not pid and self._channel is not None and self._channel.poll(0.2):
                    # its end of the channel is closed: it is about to be gone
                    pid, status = os.waitpid(self._pid, 0)
                if not pid:
                    os.kill(self._pid, signal.SIGKILL)
                    os.waitpid(self._pid, 0)
                    status = None
            except (ChildProcessError, ProcessLookupError):
                pass
        self.forget()
        return status

    def forget(self) -> None:
        """Let go of it without ending it: that of the process that this one was forked from."""
        if self._channel is not None:
            self._channel.close()
        self._channel = self._memory = None
        self._pid = 0


_lock = threading.Lock()

_THE_ONE = _Beside()


def _beside() -> _Beside:
    return _THE_ONE


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _THE_ONE.forget()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)


def _death_text(status: int | None, seconds: float) -> str:
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return f'its decoder takes longer than {seconds:g} s'
    if not os.WIFSIGNALED(status):
        return f'its decoder ends the process (exit code {os.WEXITSTATUS(status)})'
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        return 'its decoder was killed, for want of memory perhaps'
    return f'its decoder crashes ({signal.Signals(number).name})'


def _serve(channel: Connection, memory: mmap.mmap) -> None:
    """Answer until nobody asks any more; never returns."""
    try:
        _Beside.is_this = True
        _let_go(channel.fileno())
        parent = os.getppid()
        while True:
            while not channel.poll(_LOOK):
                if os.getppid() != parent:
                    os._exit(0)
            channel.send_bytes(pickle.dumps(_answer(channel.recv_bytes(), memory)))
    except BaseException:  # nobody is left to tell it to
        pass
    finally:
        os._exit(0)


def _let_go(kept: int) -> None:
    """Hold nothing of the process that this one was forked from but its memory."""
    gc.disable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter('ignore')
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGXCPU, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.closerange(3, kept)
    os.closerange(kept + 1, max(kept + 1, min(os.sysconf('SC_OPEN_MAX'), 2**20)))
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _take_free_memory()


def _take_free_memory() -> None:
    """Take what a process that keeps freed memory had free when this one was forked from it.

    It is part of what is held already, so that no limit would count it. No page of it is touched.
    """
    assert resource is not None
    held, limits = _data_size(), resource.getrlimit(resource.RLIMIT_DATA)
    if not held or not hasattr(library := ctypes.CDLL(None), 'malloc'):
        return
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    resource.setrlimit(resource.RLIMIT_DATA, (held, limits[1]))
    for power in range(40, 21, -1):
        while library.malloc(2**power):
            pass
    resource.setrlimit(resource.RLIMIT_DATA, limits)


def _answer(task: bytes, memory: mmap.mmap) -> tuple:
    function, length, arguments, most_bytes, seconds = pickle.loads(task)
    _limit(most_bytes, seconds)
    try:
        array, rest = _called(function, memory[:length], arguments)
        if array.nbytes > most_bytes:
            return f'it decodes to {array.nbytes} bytes, not {most_bytes}', (), '', None
        held = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
        held[...] = array
        return '', array.shape, array.dtype.str, rest
    except GuardError as error:
        return str(error), (), '', None
    finally:
        _limit(None, None)


def _limit(most_bytes: int | None, seconds: float | None) -> None:
    """Limits of memory and of the processor's time from now on; None: none."""
    if resource is None:
        return
    memory = time = resource.RLIM_INFINITY
    hard_memory = resource.getrlimit(resource.RLIMIT_DATA)[1]
    hard_time = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if most_bytes is not None and seconds is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        time = math.ceil(used.ru_utime + used.ru_stime + seconds)
        held = _data_size()
        if held:
            memory = held + _MEMORY_SHARE * most_bytes + _MEMORY_BASE
    if hard_memory != resource.RLIM_INFINITY:
        memory = hard_memory if memory == resource.RLIM_INFINITY else min(memory, hard_memory)
    if hard_time != resource.RLIM_INFINITY:
        time = hard_time if time == resource.RLIM_INFINITY else min(time, hard_time)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard_memory))
    resource.setrlimit(resource.RLIMIT_CPU, (time, hard_time))


def _data_size() -> int:
    """Bytes of its own that this process may write to; 0 where the system does not say."""
    try:
        with open('/proc/self/statm', 'rb') as file:
            return int(file.read().split()[5]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0
