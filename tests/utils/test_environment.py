# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mmfrac.utils import environment

ROOT = Path(__file__).resolve().parents[2]
TESTED = {
    'torch': '2.13.0+cpu',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmdet': '3.3.0',
    'numpy': '2.4.6',
}


@pytest.fixture
def installed(monkeypatch):
    """Versions that the metadata shows, to be changed by a test."""
    versions = dict(TESTED)

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(environment.metadata, 'version', version)
    return versions


def message():
    with pytest.raises(ImportError) as caught:
        environment.check_environment()
    # a chained error would bury the message below another traceback
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    return str(caught.value)


def test_versions_of_this_environment_pass():
    environment.check_environment()


def test_tested_versions_pass(installed):
    environment.check_environment()


def test_onedl_in_place_of_openmmlab_passes(installed):
    for name in ('mmengine', 'mmcv', 'mmdet'):
        del installed[name]
    installed.update(
        {'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6', 'onedl-mmdetection': '3.5.1'}
    )
    environment.check_environment()


@pytest.mark.parametrize(
    ('name', 'version'),
    [
        ('torch', '1.13.1'),
        ('torch', '3.0.0'),
        ('mmengine', '0.10.6'),
        ('mmengine', '0.11'),
        ('mmcv', '2.0.1'),
        ('mmcv', '2.10.0'),
        ('mmdet', '3.2.0'),
        ('mmdet', '4.0.0rc1'),
    ],
)
def test_version_out_of_bounds_is_named(installed, name, version):
    installed[name] = version
    text = message()
    low, high = environment.BOUNDS[name]
    assert f'{name} {version} is out of bounds (>= {low}, < {high})' in text
    assert 'tools/setup_env.sh' in text


@pytest.mark.parametrize(
    ('name', 'version'), [('mmcv', '2.1'), ('mmcv', '2.1.0+cu121'), ('torch', '2.14.0a0+git1')]
)
def test_version_within_bounds_passes(installed, name, version):
    installed[name] = version
    environment.check_environment()


def test_all_problems_are_named_at_once(installed):
    del installed['mmdet']
    installed['torch'] = '1.13'
    installed['onedl-mmcv'] = '2.3.6'
    text = message()
    assert 'mmdet is not installed (>= 3.3.0, < 3.6)' in text
    assert 'torch 1.13 is out of bounds' in text
    assert 'mmcv and onedl-mmcv are both installed' in text
    assert 'mmengine' not in text


@pytest.mark.parametrize(
    ('hidden', 'hint'),
    [
        pytest.param('cv2', 'opencv-python-headless', marks=pytest.mark.slow),
        ('mmcv._ext', 'built for another torch'),
        ('mmdet', 'install an mmdet and an mmcv that fit each other'),
    ],
)
def test_import_problem_is_one_error_at_import_mmfrac(hidden, hint):
    # None in sys.modules makes an import fail as if the module were not there
    code = f'import sys; sys.modules[{hidden!r}] = None; import mmfrac'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 1
    assert run.stderr.count('Traceback') == 1
    assert 'The above exception' not in run.stderr and 'During handling' not in run.stderr
    assert f'{hidden} does not import' in run.stderr
    assert hint in run.stderr


def test_mmdet_that_refuses_its_mmcv_is_reported(tmp_path):
    package = tmp_path / 'mmdet'
    package.mkdir()
    (package / '__init__.py').write_text("assert False, 'MMCV==2.2.0 is used but incompatible'")
    code = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); import mmfrac'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert 'mmdet does not import (MMCV==2.2.0 is used but incompatible)' in run.stderr
    assert run.stderr.count('Traceback') == 1


def test_unmet_requirements(installed, tmp_path):
    installed['opencv-python-headless'] = '5.0.0'
    installed['onedl-mmdetection'] = '3.5.1'
    del installed['mmdet']
    path = tmp_path / 'wanted.txt'
    path.write_text(
        '# comment\n\n'
        'numpy>=2  # met\n'
        'mmcv>=2.1,<2.2\n'
        'opencv-python>=4.8  # met by the build without a display\n'
        'mmdet>=3.3  # met by the alternative\n'
        'absent-one>=1.5  # missing\n'
        'torch<2.13  # too new\n'
        'absent-two; python_version < "3"  # not wanted here\n'
    )
    assert environment.unmet_requirements(path) == [
        'absent-one is not installed (>=1.5)',
        'torch 2.13.0+cpu is out of range (<2.13)',
    ]


def requirements(name):
    lines = (ROOT / f'requirements/{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def test_bounds_are_those_of_the_requirements():
    wanted = [Requirement(line.split('#')[0]) for line in requirements('runtime')]
    wanted += [Requirement(line.split('#')[0]) for line in requirements('mminstall')]
    ranges = {one.name.removesuffix('-lite'): str(one.specifier) for one in wanted}
    for name, (low, high) in environment.BOUNDS.items():
        if name in ('mmcv', 'mmdet'):
            # what pip chooses has to fit together, what was put together by hand may be newer
            inside = SpecifierSet(f'>={low},<{high}')
            assert {f'>={low}'} < set(ranges[name].split(',')) and high in ('2.4', '3.6')
            newest = ranges[name].partition('<')[2].partition(',')[0]
            assert inside.contains(newest) and not SpecifierSet(ranges[name]).contains(newest)
        else:
            assert sorted(ranges[name].split(',')) == [f'<{high}', f'>={low}']


def test_pip_chooses_an_mmcv_that_mmdet_takes():
    """Bounds that mmdet checks at import, and does not tell pip."""
    chosen = {}
    for line in requirements('mminstall'):
        one = Requirement(line.split('#')[0])
        chosen[one.name] = one.specifier
    # mmdet/__init__.py of 3.3.0: mmcv>=2.0.0rc4, <2.2.0
    assert chosen['mmdet'].contains('3.3.0') and not chosen['mmdet'].contains('3.4.0')
    assert chosen['mmcv-lite'].contains('2.1.0') and not chosen['mmcv-lite'].contains('2.2.0')


def test_pins_lie_within_the_ranges():
    pins = {
        one.name: str(one.specifier).removeprefix('==')
        for one in (Requirement(line.split('#')[0]) for line in requirements('tested'))
    }
    for name in ('runtime', 'mminstall', 'dicom', 'test', 'test_data', 'build'):
        for line in requirements(name):
            one = Requirement(line.split('#')[0])
            assert one.specifier.contains(pins[one.name]), f'{name}.txt: {line}'


@pytest.mark.parametrize(
    'name', ['runtime', 'mminstall', 'dicom', 'test', 'test_data', 'build', 'tested', 'onedl']
)
def test_every_requirement_has_a_reason(name):
    bare = [line for line in requirements(name) if not line.partition('#')[2].strip()]
    assert bare == []
