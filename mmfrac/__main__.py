# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The command ``mmfrac``: the scripts of ``tools/`` from any folder, with or without a checkout."""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from mmfrac.utils.packaged import PACKAGED
from mmfrac.version import __version__

# command -> (script below tools/, what it does)
COMMANDS = {
    'demo': ('demo.py', 'mark three phantom images with the weights that come along'),
    'doctor': ('doctor.py', 'say what this environment has and lacks, with the remedy'),
    'phantom': ('make_phantom.py', 'write phantom images with fractures, to try things on'),
    'convert': ('dataset_converters', 'turn a public data set or your own tables into annotations'),
    'check': ('check_data.py', 'look for faults in annotation files and images'),
    'cache': ('cache_films.py', 'decode the images of a config once'),
    'folds': ('split_folds.py', 'split images into folds and a hold-out, by patient'),
    'train': ('train.py', 'train a detector from a config'),
    'test': ('test.py', 'measure a checkpoint, save its predictions'),
    'infer': ('infer.py', 'find fractures on images'),
    'archive': ('deployment/infer_archive.py', 'find fractures in a whole archive of images'),
    'serve': ('deployment/serve.py', 'a page that shows findings on images dropped on it'),
    'annotate': ('deployment/annotate.py', 'findings to annotation tools, corrections back'),
    'froc': ('analysis_tools/froc.py', 'FROC and AUROC with intervals of saved predictions'),
    'cross-validate': ('cross_validate.py', 'train and pool all folds'),
    'compare': ('analysis_tools/compare_methods.py', 'train methods x seeds and compare them'),
    'plot': ('analysis_tools/plot_run.py', 'curves of a training'),
    'browse': ('analysis_tools/browse_dataset.py', 'look at what the network gets'),
    'costs': ('analysis_tools/model_costs.py', 'parameters, operations, times of a model'),
    'benchmark': ('analysis_tools/benchmark.py', 'speed of this code on this machine'),
    'gpu-check': ('analysis_tools/gpu_check.py', 'whether this GPU works as it should'),
    'ensemble': ('model_converters/make_ensemble.py', 'several checkpoints as one detector'),
    'package': (
        'model_converters/package_model.py',
        'a model, its thresholds and its card as one file',
    ),
    'listen': (
        'deployment/listen.py',
        'a DICOM node that scores studies and sends findings back',
    ),
    'dicom': ('deployment/dicom_objects.py', 'findings as DICOM objects for the archive'),
    'export': ('model_converters/export_detector.py', "a teacher-student model's detector alone"),
    'export-onnx': ('model_converters/export_onnx.py', 'a packaged model as ONNX, without torch'),
}
TOOLS = PACKAGED / 'tools'


def usage() -> str:
    """Text of ``mmfrac --help``."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:{width}}  {about}' for name, (_, about) in COMMANDS.items()]
    return '\n'.join(
        [
            'usage: mmfrac COMMAND [arguments]',
            '',
            'Rib and clavicle fracture detection in chest X-rays.',
            '',
            *lines,
            '',
            'mmfrac COMMAND --help has its arguments and an example. Configs that come along are named',
            'mmfrac::NAME, as in: mmfrac train mmfrac::phantom/frac_ssl_phantom.py',
            'Several ranks: torchrun --nproc-per-node 4 -m mmfrac train CONFIG --launcher pytorch',
        ]
    )


def script(command: str, rest: Sequence[str]) -> tuple[Path, str, list[str]]:
    """Find the script of a command.

    Args:
        command (str): One of ``COMMANDS``.
        rest (Sequence[str]): What follows it.

    Returns:
        tuple[Path, str, list[str]]: The script, the name that it goes by in its help, its arguments.

    Raises:
        SystemExit: If there is no such command, with what is meant perhaps.
    """
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ''
        raise SystemExit(
            f"mmfrac: there is no command '{command}'{hint} (mmfrac --help lists them)"
        )
    path = TOOLS / COMMANDS[command][0]
    if not path.is_dir():
        return path, f'mmfrac {command}', list(rest)
    kinds = sorted(one.stem for one in path.glob('*.py'))
    names = [kind.replace('_', '-') for kind in kinds]
    kind = rest[0].replace('-', '_') if rest else ''
    if kind not in kinds:
        text = f'usage: mmfrac {command} KIND [arguments], KIND one of: {", ".join(names)}'
        if rest and rest[0] in ('-h', '--help'):
            print(text)
            raise SystemExit(0)
        raise SystemExit(text)
    return path / f'{kind}.py', f'mmfrac {command} {rest[0]}', list(rest[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments (Sequence[str], optional): Defaults to those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ('-h', '--help'):
        print(usage())
        raise SystemExit(0 if arguments else 2)
    if arguments[0] in ('-V', '--version'):
        print(f'mmfrac {__version__}')
        return
    path, name, rest = script(arguments[0], arguments[1:])
    sys.argv = [name, *rest]
    sys.path.insert(0, os.fspath(path.parent))
    # as runpy.run_path, which would put the script's path before the name of the command: the script is
    # the main module, which processes that it starts anew import by its path
    module = ModuleType('__main__')
    module.__file__ = os.fspath(path)
    sys.modules['__main__'] = module
    exec(compile(path.read_bytes(), os.fspath(path), 'exec'), module.__dict__)


if __name__ == '__main__':
    main()
