# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def version() -> str:
    """Return the version without importing mmfrac, which needs its dependencies."""
    names: dict[str, str] = {}
    exec((ROOT / 'mmfrac/version.py').read_text(), names)
    return names['__version__']


def requirements(name: str) -> list[str]:
    """Return the requirements of ``requirements/<name>.txt`` without their comments."""
    lines = (ROOT / f'requirements/{name}.txt').read_text().splitlines()
    return [wanted for line in lines if (wanted := line.split('#')[0].strip())]


def long_description() -> str:
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


def packaged_files() -> list[str]:
    """List the configs and tools that go into the package, which mmfrac/.mim links to.

    The runs behind published tables stay in the repository.
    """
    return [
        file.relative_to(ROOT).as_posix()
        for folder in ('configs', 'tools')
        for file in sorted((ROOT / folder).rglob('*'))
        if file.is_file() and file.suffix not in ('.pyc', '.xz', '.png')
    ] + ['model-index.yml']


EXTRAS = {
    'mim': requirements('mminstall'),
    'dicom': requirements('dicom'),
    'slurm': requirements('slurm'),
    'deploy': requirements('deploy'),
    'onnx': requirements('onnx'),
    'benchmarks': requirements('benchmarks'),
    'test': requirements('test'),
}

setup(
    name='mmfrac',
    version=version(),
    description='Rib and clavicle fracture detection in chest X-rays, a plugin for MMDetection',
    long_description=long_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmfrac', 'mmfrac.*']),
    package_data={
        'mmfrac': [f'.mim/{name}' for name in packaged_files()],
        'mmfrac.preparation.checks': ['*.jinja'],
        'mmfrac.evaluation.report': ['*.j2'],
        'mmfrac.deployment': ['*.j2'],
        'mmfrac.deployment.page': ['static/*'],
    },
    entry_points={'console_scripts': ['mmfrac = mmfrac.__main__:main']},
    python_requires='>=3.10',
    install_requires=requirements('runtime'),
    extras_require=EXTRAS | {'all': [wanted for extra in EXTRAS.values() for wanted in extra]},
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Medical Science Apps.',
    ],
    zip_safe=False,
)
