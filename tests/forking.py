# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Programs of the tests in processes of their own, without the seconds that each spends on its imports.

``python_for_tools()`` is an executable that stands in for the interpreter. It asks a server, one of
each process of the tests, which has imported torch, mmdet and mmfrac, to fork; the fork runs the
program with the caller's arguments, folder, environment, standard streams and signals, and ends as it
does. What a program is asked to do with a signal, at its own import or by its own interpreter is tested
with ``sys.executable``. MMFRAC_TEST_FORKING=0 takes that everywhere.
"""

import atexit
import gc
import json
import os
import random
import runpy
import select
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# their input ends with this process, and so do they
_servers: list[subprocess.Popen] = []

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@cache
def python_for_tools() -> str:
    """Path of the stand-in for the interpreter; the server behind it ends with this process."""
    if os.environ.get('MMFRAC_TEST_FORKING') == '0' or not hasattr(os, 'pidfd_open'):
        return sys.executable
    folder = Path(tempfile.mkdtemp(prefix='mmfrac_forking_'))
    client, address = folder / 'python', folder / 'socket'
    words = [sys.executable, '-I', '-S', __file__, str(address)]
    client.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    client.chmod(0o755)
    environment = os.environ | dict(
        OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', PYTHONPATH=str(ROOT), MPLBACKEND='Agg'
    )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(address))
    listener.listen(64)
    server = subprocess.Popen(
        [sys.executable, __file__, '--serve', str(listener.fileno()), str(client)],
        env=environment,
        pass_fds=[listener.fileno()],
        stdin=subprocess.PIPE,
    )
    listener.close()

    _servers.append(server)
    return str(client)


def ask(address: str, arguments: list[str]) -> int:
    """What the stand-in does: have a program run, pass signals on to it, end as it ends."""
    request = dict(argv=arguments, cwd=os.getcwd(), environ=dict(os.environ))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.connect(address)
        content = json.dumps(request).encode()
        socket.send_fds(server, [len(content).to_bytes(8, 'little')], [0, 1, 2])
        server.sendall(content)
        for number in _FORWARDED:
            signal.signal(number, lambda number, _: server.sendall(bytes([number])))
        status = int.from_bytes(server.recv(4, socket.MSG_WAITALL), 'little', signed=True)
    if status >= 0:
        return status
    signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
    os.kill(os.getpid(), -status)
    return 1


def serve(listener: socket.socket, client: str) -> list[str]:
    """Fork a child for each request, for ever; returns in the children, with the program's arguments."""
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    waiting.register(0, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj == 0:
                shutil.rmtree(os.path.dirname(client), ignore_errors=True)
                os._exit(0)
            if key.fileobj is listener:
                connection, _ = listener.accept()
                head, streams, _, _ = socket.recv_fds(connection, 8, 3)
                content = connection.recv(int.from_bytes(head, 'little'), socket.MSG_WAITALL)
                pid = os.fork()
                if not pid:
                    waiting.close()
                    listener.close()
                    connection.close()
                    return become(json.loads(content), streams, client)
                for stream in streams:
                    os.close(stream)
                ended = os.pidfd_open(pid)
                waiting.register(ended, selectors.EVENT_READ, (pid, connection))
                waiting.register(connection, selectors.EVENT_READ, (pid, ended))
                continue
            pid, other = key.data
            if isinstance(key.fileobj, socket.socket):
                connection, ended = key.fileobj, other
                sent = connection.recv(1)
                os.kill(pid, sent[0] if sent else signal.SIGKILL)
                if not sent:
                    waiting.unregister(connection)
                continue
            connection, ended = other, key.fd
            _, status = os.waitpid(pid, 0)
            waiting.unregister(ended)
            os.close(ended)
            try:
                waiting.unregister(connection)
                code = os.waitstatus_to_exitcode(status)
                connection.sendall(code.to_bytes(4, 'little', signed=True))
            except (KeyError, OSError):
                pass  # the client is gone
            connection.close()


def become(request: dict, streams: list[int], client: str) -> list[str]:
    """Take over a caller's streams, folder and environment; the program's arguments."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request['cwd'])
    os.environ.clear()
    os.environ.update(request['environ'])
    sys.executable = client
    random.seed()
    sys.modules['numpy'].random.seed()
    return request['argv']


def run(argv: list[str]) -> None:
    """Run a program as the interpreter would: a file, ``-m module``, ``-c code`` or ``-``."""
    while argv and argv[0] in ('-u', '-B', '-I', '-S', '-E'):
        argv = argv[1:]
    kind = argv[0] if argv else '-'
    paths = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    own = os.path.dirname(os.path.realpath(kind)) if os.path.isfile(kind) else ''
    sys.path[:] = [own, *filter(None, paths), *sys.path[1:]]
    if kind == '-m':
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name='__main__', alter_sys=True)
    elif kind in ('-c', '-'):
        code = argv[1] if kind == '-c' else sys.stdin.read()
        sys.argv = [kind, *argv[2 if kind == '-c' else 1 :]]
        exec(compile(code, '<string>', 'exec'), sys.modules['__main__'].__dict__)
    else:
        sys.argv = argv
        runpy.run_path(kind, run_name='__main__')


def main() -> None:
    if sys.argv[1] != '--serve':
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
    listener = socket.socket(fileno=int(sys.argv[2]))
    # whoever started the server holds the other end of its input, and may never need it
    if 0 in select.select([listener, 0], [], [])[0]:
        shutil.rmtree(os.path.dirname(sys.argv[3]), ignore_errors=True)
        return
    sys.path[0] = str(ROOT)
    import mmfrac.apis  # noqa: F401

    # isort: split
    import mmengine.config.config

    # takes longer than the training of a test, at every start and checkpoint
    mmengine.config.config.FormatCode = lambda text, **options: (text, True)
    assert threading.active_count() == 1, 'a fork has one thread'
    gc.freeze()
    argv = serve(listener, sys.argv[3])
    code = 1
    try:
        run(argv)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, (int, type(None))):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    # an interpreter takes what it has imported to pieces, which costs as much as the imports
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code & 0xFF)


if __name__ == '__main__':
    main()
