# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""tools/setup_env.sh with a stand-in for pip, which writes empty packages where it is told to."""

import re
import shutil
import subprocess
import time
import venv
from pathlib import Path

import packaging
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = 'awk bash cat dirname env flock getconf grep head mkdir mv nproc rm sed sleep tail'
# BROKEN_CACHE: the mmcv that pip kept does not load. NO_LIBGL: cv2 does not load. FAIL: pip fails.
PIP = """
import os, re, sys
from pathlib import Path

arguments = sys.argv[1:]
site = Path(__file__).resolve().parents[1]
project = site.parents[3]
if arguments == ['--version']:
    sys.exit()
with open(project / 'pip.log', 'a') as file:
    print(*arguments, file=file)
if os.environ.get('FAIL', '-') in arguments:
    sys.exit('pip stand-in: no network')
pins = dict(re.findall(r'^([^#= ]+)==(\\S+)', (project / 'requirements/tested.txt').read_text(), re.M))
names = [re.split('[<=>]', one)[0] for one in arguments[1:] if re.match('[a-z]', one)]
for flag, path in zip(arguments, arguments[1:]):
    if flag == '-r':
        names += re.findall(r'^([^#<=> \\n]+)[<=>]', Path(path).read_text(), re.M)
for name in names:
    info = site / f'{name.replace("-", "_")}-{pins.get(name, 0)}.dist-info'
    if arguments[0] == 'uninstall':
        (info / 'METADATA').unlink()
        info.rmdir()
    elif name in pins:
        info.mkdir(exist_ok=True)
        (info / 'METADATA').write_text(f'Name: {name}\\nVersion: {pins[name]}\\n')
        module = {'opencv-python': 'cv2', 'opencv-python-headless': 'cv2'}.get(name, name)
        code = ''
        if name in ('mmcv', 'mmcv-lite'):
            (site / 'mmcv').mkdir(exist_ok=True)
            broken = 'BROKEN_CACHE' in os.environ and '--no-cache-dir' not in arguments
            (site / 'mmcv/_ext.py').unlink(missing_ok=True)
            if name == 'mmcv':
                (site / 'mmcv/_ext.py').write_text('raise ImportError("symbol")' if broken else '')
            (site / 'mmcv/ops.py').write_text('import mmcv._ext')
            module = 'mmcv/__init__'
        elif name == 'opencv-python' and 'NO_LIBGL' in os.environ:
            code = 'raise ImportError("libGL.so.1: no such file")'
        if module in ('torch', 'mmengine', 'mmcv/__init__', 'mmdet', 'cv2'):
            (site / f'{module}.py').write_text(code)
"""

# in the place of the real one, which needs numpy, numba and torch
OPERATORS = """
import importlib.util, sys, types

def install():
    if importlib.util.find_spec('mmcv._ext') is None:
        sys.modules['mmcv._ext'] = types.ModuleType('mmcv._ext')
"""


@pytest.fixture
def project(tmp_path):
    """The files that the set-up reads, a PATH of its own, and a .venv that still lacks everything."""
    folder = tmp_path / 'project'
    shutil.copytree(ROOT / 'requirements', folder / 'requirements')
    shutil.copytree(ROOT / 'tools/lib', folder / 'tools/lib')
    (folder / 'mmfrac/utils').mkdir(parents=True)
    (folder / 'mmfrac/utils/mmcv_ops.py').write_text(OPERATORS)
    for name in ('tools/setup_env.sh', 'mmfrac/utils/environment.py', 'setup.py'):
        shutil.copy(ROOT / name, folder / name)
    venv.create(folder / '.venv', with_pip=False, symlinks=True)
    (site,) = folder.glob('.venv/lib/python*/site-packages')
    (site / 'pip').mkdir()
    (site / 'pip/__init__.py').write_text('')
    (site / 'pip/__main__.py').write_text(PIP)
    shutil.copytree(Path(packaging.__file__).parent, site / 'packaging')
    (folder / 'bin').mkdir()
    for name in COMMANDS.split():
        if found := shutil.which(name):
            (folder / 'bin' / name).symlink_to(found)
    command(folder, 'g++', 'exit 0')
    return folder


def command(project, name, code):
    path = project / 'bin' / name
    path.write_text(f'#!/bin/sh\n{code}\n')
    path.chmod(0o755)
    return path


def set_up(project, *arguments, **variables):
    return subprocess.run(
        ['bash', str(project / 'tools/setup_env.sh'), *arguments],
        env={'PATH': str(project / 'bin'), 'HOME': str(project), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def pip_calls(project):
    path = project / 'pip.log'
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize('options', [(), ('--with-mmcv-ops',)])
def test_fills_in_the_order_that_mmcv_needs_and_only_once(project, options):
    options = (*options, '--for-tests')
    run = set_up(project, *options)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f'{project}/.venv/bin/python\n'
    calls = pip_calls(project)
    order = [
        next(number for number, call in enumerate(calls) if part in call)
        for part in ('torch==', 'build.txt', 'runtime.txt', 'test_data.txt', ' mmcv', '-e ')
    ]
    assert order == sorted(set(order)) and len(calls) == len(order)
    assert '--no-deps' in calls[order[3]] and '--no-deps' not in calls[order[2]]
    assert (' mmcv==' if len(options) > 1 else ' mmcv-lite==') in calls[order[4]]
    assert ('--no-build-isolation' in calls[order[4]]) == (len(options) > 1)
    again = set_up(project, *options)
    assert (again.returncode, again.stdout) == (0, run.stdout)
    assert pip_calls(project) == calls


def installed_mmcv(project):
    return {
        path.name.split('-')[0]
        for path in project.glob('.venv/lib/*/site-packages/mmcv*.dist-info')
    }


def test_operators_take_the_place_of_none_and_stay(project):
    assert set_up(project).returncode == 0
    assert installed_mmcv(project) == {'mmcv_lite'}
    assert set_up(project, '--with-mmcv-ops').returncode == 0
    assert installed_mmcv(project) == {'mmcv'}
    assert set_up(project).returncode == 0
    assert installed_mmcv(project) == {'mmcv'}


def test_operators_that_do_not_load_are_dropped_where_none_are_asked_for(project):
    assert set_up(project, '--with-mmcv-ops').returncode == 0
    (operators,) = project.glob('.venv/lib/*/site-packages/mmcv/_ext.py')
    operators.write_text('raise ImportError("symbol")')
    (project / '.venv/setup.stamp').unlink()
    run = set_up(project)
    assert run.returncode == 0, run.stderr
    assert installed_mmcv(project) == {'mmcv_lite'}


def test_changed_pins_and_changed_torch_are_noticed(project):
    set_up(project)
    before = len(pip_calls(project))
    with open(project / 'requirements/test.txt', 'a') as file:
        file.write('# changed\n')
    assert set_up(project).returncode == 0
    between = len(pip_calls(project))
    (metadata,) = project.glob('.venv/lib/*/site-packages/torch-*/METADATA')
    metadata.write_text('Name: torch\nVersion: 2.9\n')
    assert set_up(project).returncode == 0
    assert before < between < len(pip_calls(project))


def test_interrupted_set_up_goes_on(project):
    run = set_up(project, FAIL='-e')
    assert run.returncode == 1 and run.stdout == ''
    assert 'pip stand-in: no network' in run.stderr and 'setup.log' in run.stderr
    assert not (project / '.venv/setup.stamp').exists()
    assert set_up(project).returncode == 0


def test_broken_mmcv_of_the_cache_is_rebuilt(project):
    run = set_up(project, '--with-mmcv-ops', BROKEN_CACHE='1')
    assert run.returncode == 0, run.stderr
    assert 'does not load with this torch' in run.stderr
    calls = [one for one in pip_calls(project) if re.search('mmcv(==|$)', one)]
    assert [call.split()[0] for call in calls] == ['install', 'uninstall', 'install']
    for option in ('--no-cache-dir', '--no-binary mmcv', '--force-reinstall', '--no-deps'):
        assert option in calls[2] and option not in calls[0].replace('--no-deps', '')


def test_opencv_without_display(project):
    run = set_up(project, NO_LIBGL='1')
    assert run.returncode == 0, run.stderr
    calls = pip_calls(project)
    pins = (project / 'requirements/tested.txt').read_text()
    headless = next(call for call in calls if 'opencv-python-headless' in call).split()[-1]
    assert headless in pins
    # mmcv imports cv2: a missing libGL must not look like a broken mmcv
    assert sum('mmcv-lite==' in call for call in calls) == 1


def test_missing_compiler(project):
    (project / 'bin/g++').unlink()
    run = set_up(project, '--with-mmcv-ops')
    assert run.returncode == 1
    assert 'apt-get install g++' in run.stderr
    assert pip_calls(project) == []
    assert set_up(project).returncode == 0


def test_no_python_for_the_venv(project):
    shutil.rmtree(project / '.venv')
    command(project, 'python3.11', 'echo "python3.11 has no venv module" >&2; exit 1')
    command(project, 'python3', 'echo "shim: no such version" >&2; exit 127')
    run = set_up(project)
    assert run.returncode == 1
    assert f'{project}/bin/python3.11: python3.11 has no venv module' in run.stderr
    assert f'{project}/bin/python3: shim' in run.stderr
    assert not (project / '.venv').exists()


def test_what_the_tests_need_comes_when_it_is_asked_for_and_stays(project):
    set_up(project)
    assert not any('test.txt' in call or 'test_data.txt' in call for call in pip_calls(project))
    before = len(pip_calls(project))
    set_up(project, '--for-tests')
    new = pip_calls(project)[before:]
    assert any('test.txt' in call for call in new) and any('test_data' in call for call in new)
    before = len(pip_calls(project))
    for options in ((), ('--for-tests',)):
        assert set_up(project, *options).returncode == 0
    assert len(pip_calls(project)) == before
    # another pin: filled anew, with what the tests need
    with open(project / 'requirements/test.txt', 'a') as file:
        file.write('# another line\n')
    set_up(project)
    assert any('test_data' in call for call in pip_calls(project)[before:])


def test_active_environment_is_used_when_it_is_complete_and_never_filled(project):
    set_up(project, '--for-tests')
    active = project / 'active'
    shutil.move(project / '.venv', active)
    before = pip_calls(project)
    run = set_up(project, VIRTUAL_ENV=str(active))
    assert (run.returncode, run.stdout) == (0, f'{active}/bin/python\n')
    (site,) = active.glob('lib/python*/site-packages')
    shutil.rmtree(next(site.glob('pytest-9*')))
    assert set_up(project, VIRTUAL_ENV=str(active)).returncode == 0
    run = set_up(project, '--for-tests', VIRTUAL_ENV=str(active))
    assert run.returncode == 1 and 'pytest is not installed' in run.stderr
    assert pip_calls(project) == before


def test_given_interpreter(project):
    set_up(project)
    other = project / 'other/bin/python'
    shutil.move(project / '.venv', project / 'other')
    before = pip_calls(project)
    run = set_up(project, '--python', str(other))
    assert (run.returncode, run.stdout) == (0, f'{other}\n')
    (site,) = project.glob('other/lib/python*/site-packages')
    shutil.rmtree(next(site.glob('mmdet-*')))
    run = set_up(project, '--python', str(other))
    assert run.returncode == 1 and run.stdout == ''
    assert 'mmdet is not installed (>= 3.3.0, < 3.6)' in run.stderr
    assert pip_calls(project) == before


def test_interpreter_that_does_not_run(project):
    dead = command(project, 'dead', 'exit 3')
    run = set_up(project, '--python', str(dead))
    assert run.returncode == 1 and 'it does not run' in run.stderr
    run = set_up(project, '--python', 'absent')
    assert run.returncode == 1 and "no interpreter 'absent'" in run.stderr


def test_two_set_ups_do_not_meet(project):
    if not shutil.which('flock'):
        pytest.skip('no flock on this machine')
    held = project / 'held'
    code = f'touch "{held}"; sleep 1'
    first = subprocess.Popen(['flock', str(project / 'tools/setup_env.sh'), 'sh', '-c', code])
    while not held.exists():
        time.sleep(0.01)
    run = set_up(project)
    assert first.wait() == 0
    assert run.returncode == 0
    assert 'another set-up is at work' in run.stderr
