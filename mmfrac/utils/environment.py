# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether the libraries that mmfrac stands on are there, in versions that work together."""

import importlib
import importlib.util
import platform
from importlib import metadata
from pathlib import Path
from types import ModuleType

# import name -> (lowest version that works, first that does not), as in requirements/
BOUNDS = {
    # before 2.6 a checkpoint gets around weights_only (CVE-2025-32434)
    'torch': ('2.6', '3'),
    'mmengine': ('0.10.7', '0.11'),
    'mmcv': ('2.1.0', '2.4'),
    'mmdet': ('3.3.0', '3.6'),
}
# other distributions with the same import name, of which one may be installed
_ALTERNATIVES: dict[str, tuple[str, ...]] = {
    'mmengine': ('onedl-mmengine',),
    'mmcv': ('mmcv-lite', 'onedl-mmcv', 'onedl-mmcv-lite'),
    'mmdet': ('onedl-mmdetection',),
}
# distributions that bring the same library in another shape
_SUBSTITUTES = {
    'opencv-python': (
        'opencv-python-headless',
        'opencv-contrib-python',
        'opencv-contrib-python-headless',
    )
}
# in the order in which they stand on each other: the first that fails is the cause
_IMPORTS = {
    'torch': 'reinstall it, see requirements/',
    'cv2': (
        'on a machine without libGL: pip uninstall opencv-python, then '
        'pip install opencv-python-headless'
    ),
    'mmengine': 'reinstall it, see requirements/',
    'mmcv': 'reinstall it, see requirements/',
    'mmcv._ext': (
        'mmcv was built for another torch: pip uninstall mmcv, then pip install mmcv-lite==2.1.0, '
        'or MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir mmcv==2.1.0'
    ),
    'mmdet': 'install an mmdet and an mmcv that fit each other, see requirements/tested.txt',
}
_HOW_TO_MEND = (
    'bash tools/setup_env.sh makes an environment (.venv) with versions that work together; '
    'requirements/tested.txt lists them.'
)


def check_environment() -> None:
    """Check the OpenMMLab stack.

    Raises:
        ImportError: One message that names everything that is missing, out of bounds, installed
            twice or built for another torch, and how to mend it.
    """
    found = [_several_installed(name) for name in _ALTERNATIVES]
    found += [_out_of_bounds(name) for name in BOUNDS]
    problems = [problem for problem in found if problem]
    if not problems:
        problems = _first_import_problem()
    if problems:
        raise ImportError(
            'mmfrac cannot run here:\n  ' + '\n  '.join(problems) + f'\n{_HOW_TO_MEND}'
        )


def unmet_requirements(path: str | Path) -> list[str]:
    """List the lines of a requirements file that this environment does not meet.

    Args:
        path (str | Path): File with one requirement a line; comments and empty lines are skipped.

    Returns:
        list[str]: One sentence for each distribution that is missing or out of range.
    """
    from packaging.requirements import Requirement

    lines = [line.split('#')[0].strip() for line in Path(path).read_text().splitlines()]
    wanted = [Requirement(line) for line in lines if line]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    problems = []
    for one in wanted:
        names = (one.name, *_ALTERNATIVES.get(one.name, ()), *_SUBSTITUTES.get(one.name, ()))
        versions = [version for name in names if (version := _installed(name))]
        if not versions:
            problems.append(f'{one.name} is not installed ({one.specifier})')
        elif not any(one.specifier.contains(version, prereleases=True) for version in versions):
            problems.append(f'{one.name} {versions[0]} is out of range ({one.specifier})')
    return problems


def installed_versions() -> dict[str, str]:
    """Versions of mmfrac, Python and the libraries that figures depend on."""
    wanted: dict[str, tuple[str, ...]]
    wanted = {name: (name, *_ALTERNATIVES.get(name, ())) for name in BOUNDS}
    wanted |= {name: (name,) for name in ('numpy', 'scipy', 'numba')}
    # here: tools/setup_env.sh loads this file by its path, outside the package
    from mmfrac.version import __version__

    found = {'mmfrac': __version__, 'python': platform.python_version()}
    for name, distributions in wanted.items():
        versions = (_installed(distribution) for distribution in distributions)
        found[name] = next((version for version in versions if version), 'not installed')
    return found


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _several_installed(name: str) -> str | None:
    found = [one for one in (name, *_ALTERNATIVES[name]) if _installed(one)]
    if len(found) > 1:
        return f'{" and ".join(found)} are both installed and overwrite each other: uninstall one'
    return None


def _out_of_bounds(name: str) -> str | None:
    versions = (_installed(one) for one in (name, *_ALTERNATIVES.get(name, ())))
    version = next((one for one in versions if one), None)
    low, high = BOUNDS[name]
    if version is None:
        return f'{name} is not installed (>= {low}, < {high})'
    if not _numbers(low) <= _numbers(version) < _numbers(high):
        return f'{name} {version} is out of bounds (>= {low}, < {high})'
    return None


def _numbers(version: str, length: int = 4) -> tuple[int, ...]:
    """Return the leading numbers, without `packaging`, which may be what is missing."""
    numbers = []
    for part in version.split('+')[0].split('.'):
        digits = part[: len(part) - len(part.lstrip('0123456789'))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple((numbers + [0] * length)[:length])


def _first_import_problem() -> list[str]:
    for name, how_to_mend in _IMPORTS.items():
        try:
            if name == 'mmcv._ext':
                _mmcv_ops().install()
            importlib.import_module(name)
        # mmdet asserts the versions it accepts; a library that does not load is an OSError
        except (AssertionError, ImportError, OSError) as error:
            return [f'{name} does not import ({error}): {how_to_mend}']
    return []


def _mmcv_ops() -> ModuleType:
    if __package__:
        return importlib.import_module('mmfrac.utils.mmcv_ops')
    # tools/setup_env.sh loads this file by its path, and importing the package would run the check
    spec = importlib.util.spec_from_file_location(
        'mmcv_ops', Path(__file__).with_name('mmcv_ops.py')
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
