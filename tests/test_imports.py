# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which package imports which, and what importing mmfrac loads."""

import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import mmfrac

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent for path in Path(mmfrac.__file__).parent.rglob('__init__.py'))


def test_packages_import_only_what_is_below_them(capsys):
    # what is printed names the imports that go the wrong way
    assert lint_imports(str(ROOT / '.importlinter'), no_cache=True) == 0, capsys.readouterr().out


@pytest.mark.parametrize('folder', PACKAGES, ids=lambda folder: folder.name)
def test_every_package_says_what_is_in_it(folder):
    first = (folder / '__init__.py').read_text().splitlines()[1]
    assert first.startswith('"""') and first.rstrip('"').endswith('.'), folder


def test_importing_mmfrac_loads_what_registers_and_nothing_else():
    code = (
        'import sys, mmfrac; print(*(name for name in sys.modules if name.startswith("mmfrac.")))'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert 'mmfrac.models.detectors.semi_prob_map_detector' in loaded
    kinds = {name.split('.')[1] for name in loaded}
    assert kinds == {
        'datasets',
        'engine',
        'evaluation',
        'models',
        'utils',
        'version',
        'visualization',
    }
