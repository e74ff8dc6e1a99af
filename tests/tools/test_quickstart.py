# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""tools/quickstart.sh and run_tests.sh with stand-ins for what they start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# TRAIN_FAILS: training is killed after its first checkpoint. TEST_FAILS: so is the test of that
# checkpoint. FAIL_MODULE: python -m of it fails.
PYTHON = """
import json, os, sys
from pathlib import Path

arguments = sys.argv[1:]
project = Path(os.environ['PROJECT'])
with open(project / 'calls.log', 'a') as file:
    print(*arguments, sep='|', file=file)
option = dict(zip(arguments, arguments[1:]))
work_dir = Path(option.get('--work-dir', '.'))
tool = Path(arguments[0]).name
if tool == 'train.py':
    (work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    if 'TRAIN_FAILS' in os.environ:
        sys.exit(137)
    (work_dir / 'burn_in.pth').write_text('')
    (work_dir / 'epoch_2.pth').write_text('')
elif tool == 'test.py':
    if Path(arguments[2]).name == os.environ.get('TEST_FAILS'):
        sys.exit('no such film')
    auroc = 0.875 if 'burn_in.pth' in arguments[2] else 0.9375
    metrics = {'frac/AUROC': auroc, 'frac/FROC': 0.5, 'frac/Recall@0.1': 0.25}
    Path(option['--out-json']).write_text(json.dumps({'metrics': metrics}))
elif arguments[0] == '-m':
    sys.exit(3 * (os.environ.get('FAIL_MODULE') == arguments[1]))
"""


@pytest.fixture
def project(tmp_path):
    """A project folder with the real shell tools, a stand-in for python and no set-up."""
    folder = tmp_path / 'a project'
    shutil.copytree(ROOT / 'tools/lib', folder / 'tools/lib')
    for name in ('quickstart.sh', 'run_tests.sh'):
        shutil.copy(ROOT / 'tools' / name, folder / 'tools')
    for name in ('_base_/models', 'phantom'):
        (folder / 'configs' / name).mkdir(parents=True)
    for name in ('_base_/default_runtime', '_base_/models/one', 'phantom/frac_ssl_quickstart'):
        (folder / f'configs/{name}.py').write_text('')
    (folder / 'python.py').write_text(PYTHON)
    python = folder / 'python'
    # what is piped in is real code, for the real interpreter
    python.write_text(
        f'#!/bin/sh\n[ "$1" = - ] && exec "{sys.executable}" "$@"\n'
        f'exec "{sys.executable}" "{folder}/python.py" "$@"\n'
    )
    python.chmod(0o755)
    setup = folder / 'tools/setup_env.sh'
    setup.write_text(f'echo "$*" >"{folder}/setup.log"; echo "{python}"\n')
    return folder


def start(project, script, *arguments, **variables):
    return subprocess.run(
        ['bash', str(project / 'tools' / script), *arguments],
        env=os.environ | {'PROJECT': str(project)} | variables,
        cwd=project.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def calls(project):
    path = project / 'calls.log'
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [[Path(line.split('|')[0]).name, *line.split('|')[1:]] for line in lines]


def test_quickstart_runs_every_step_and_compares_both_models(project):
    run = start(project, 'quickstart.sh', '--data-root', 'films', '--python', 'some python')
    assert run.returncode == 0, run.stderr
    assert (project / 'setup.log').read_text() == '--python some python\n'
    started = calls(project)
    tools = [call[0] for call in started]
    assert tools[:4] == ['make_phantom.py', 'train.py', 'test.py', 'test.py']
    assert sorted(tools[4:]) == ['compare_overlays.py', 'plot_run.py']
    work_dir = project / 'work_dirs/frac_ssl_quickstart'
    assert started[0][1] == 'films'
    assert '--resume' not in started[1] and '--amp' in started[1]
    # both at once
    assert {call[2] for call in started[2:4]} == {
        str(work_dir / 'burn_in.pth'),
        str(work_dir / 'epoch_2.pth'),
    }
    for call in started[1:4]:
        assert call[call.index('--data-root') + 1] == 'films'
    rows = [line.split() for line in run.stdout.splitlines()]
    assert ['burn-in', '0.875', '0.500', '0.250'] in rows
    assert ['semi-supervised', '0.938', '0.500', '0.250'] in rows
    for step in range(1, 6):
        assert f'step {step} of 5' in run.stderr and f'step {step} took' in run.stderr


def test_second_quickstart_uses_what_is_there(project):
    first = start(project, 'quickstart.sh', '--work-dir', 'a run')
    calls(project)
    second = start(project, 'quickstart.sh', '--work-dir', 'a run')
    assert second.returncode == 0, second.stderr
    # the phantom's own tool sees to what is there
    assert sorted(call[0] for call in calls(project)) == [
        'compare_overlays.py',
        'make_phantom.py',
        'plot_run.py',
    ]
    assert second.stdout == first.stdout
    assert 'configs were changed' not in second.stderr
    (project / 'configs/_base_/models/one.py').write_text('changed = 1')
    third = start(project, 'quickstart.sh', '--work-dir', 'a run')
    assert 'configs were changed' in third.stderr


def test_interrupted_training_is_resumed(project):
    run = start(project, 'quickstart.sh', TRAIN_FAILS='1')
    assert run.returncode == 137
    assert [call[0] for call in calls(project)] == ['make_phantom.py', 'train.py']
    run = start(project, 'quickstart.sh')
    assert run.returncode == 0, run.stderr
    train = calls(project)[1]
    assert train[0] == 'train.py' and '--resume' in train


@pytest.mark.parametrize('checkpoint', ['burn_in.pth', 'epoch_2.pth'])
def test_a_test_that_fails_is_said(project, checkpoint):
    run = start(project, 'quickstart.sh', TEST_FAILS=checkpoint)
    assert run.returncode == 1
    assert 'no such film' in run.stderr and 'step 5' not in run.stderr
    # the other one is used again
    run = start(project, 'quickstart.sh')
    assert run.returncode == 0, run.stderr
    assert [Path(call[2]).name for call in calls(project) if call[0] == 'test.py'].count(
        checkpoint
    ) == 2


def test_run_tests_runs_all_and_passes_arguments_on(project):
    run = start(project, 'run_tests.sh', 'tests/a b', '-k', 'froc', MMFRAC_TEST_WORKERS='0')
    assert run.returncode == 0, run.stderr
    assert (project / 'setup.log').read_text() == '--for-tests\n'
    assert [call[1:] for call in calls(project)] == [
        ['ruff', 'check', '.'],
        ['ruff', 'format', '--check', '.'],
        ['mypy', 'mmfrac'],
        ['pytest', '-n', '0', 'tests/a b', '-k', 'froc'],
    ]


@pytest.mark.parametrize(
    'arguments',
    [
        ('--python', 'a b', '-k', 'froc'),
        ('-k', 'froc', '--python', 'a b'),
        ('-k', 'froc', '--python=a b'),
    ],
)
def test_run_tests_takes_its_interpreter_anywhere(project, arguments):
    run = start(project, 'run_tests.sh', *arguments, MMFRAC_TEST_WORKERS='0')
    assert run.returncode == 0, run.stderr
    assert (project / 'setup.log').read_text() == '--for-tests --python a b\n'
    assert calls(project)[-1][1:] == ['pytest', '-n', '0', '-k', 'froc']


@pytest.mark.parametrize(('module', 'started'), [('ruff', 1), ('mypy', 3), ('pytest', 4)])
def test_run_tests_ends_with_the_exit_code_of_what_failed(project, module, started):
    run = start(project, 'run_tests.sh', FAIL_MODULE=module)
    assert run.returncode == 3
    assert len(calls(project)) == started
