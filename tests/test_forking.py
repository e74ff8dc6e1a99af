# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The stand-in for the interpreter against the interpreter."""

import signal
import subprocess
import sys
import time

import pytest

from tests.forking import python_for_tools

PROGRAM = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ.get('WORD'), sys.stdin.read(), __name__)
print('said', file=sys.stderr)
import beside
sys.exit(beside.CODE)
"""


@pytest.mark.parametrize('code', ['0', '7', 'None', '"words"', '1 / 0'])
def test_a_program_runs_as_by_the_interpreter(code, tmp_path):
    (tmp_path / 'there').mkdir()
    (tmp_path / 'there/program.py').write_text(PROGRAM)
    (tmp_path / 'there/beside.py').write_text(f'CODE = {code}\n')
    (tmp_path / 'program.py').write_text('import sys\nprint(sys.argv)\n')
    done = [
        subprocess.run(
            [python, *call],
            cwd=tmp_path,
            env=dict(WORD='one', PYTHONDONTWRITEBYTECODE='1'),
            input='in',
            capture_output=True,
            text=True,
        )
        for call in (['there/program.py', 'a', '-b'], ['-m', 'program', 'c'], ['-c', '3/0'])
        for python in (sys.executable, python_for_tools())
    ]
    for real, forked in zip(done[::2], done[1::2]):
        assert forked.returncode == real.returncode
        assert forked.stdout == real.stdout
        assert forked.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_signals_reach_it_and_its_end_is_the_callers(tmp_path):
    program = (
        'import signal, sys, time, pathlib\n'
        'signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))\n'
        'pathlib.Path("up").touch()\ntime.sleep(60)'
    )
    for number, code in ((signal.SIGUSR1, 5), (signal.SIGTERM, -15), (signal.SIGKILL, -9)):
        process = subprocess.Popen([python_for_tools(), '-c', program], cwd=tmp_path)
        while not (tmp_path / 'up').exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(30) == code
        (tmp_path / 'up').unlink()
