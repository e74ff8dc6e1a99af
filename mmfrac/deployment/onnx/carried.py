# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The modules of mmfrac that an exported detector takes along, under another name.

They are found by following the imports of the runtime, and copied as they are, but for the name of the
package: grey values and results have one reader, wherever it runs.
"""

import ast
import importlib.util
import re
from pathlib import Path

NAME = 'frac_onnx'
ROOT = 'mmfrac.deployment.onnx.runtime'
_IMPORT = re.compile(r'^(\s*)(from|import) mmfrac\b', re.MULTILINE)
_MAIN = f'''"""Run the detector of this folder: python FOLDER IMAGE ..."""

import sys
from pathlib import Path

from {NAME}.{ROOT.partition('.')[2]} import main

if __name__ == '__main__':
    sys.exit(main(Path(__file__).resolve().parent))
'''
_INIT = f'''"""A fracture detector that needs onnxruntime, numpy, OpenCV and pydicom. Research only.

    from {NAME} import OnnxDetector
    print(OnnxDetector('FOLDER').predict('image.dcm').score)
"""

from {NAME}.{ROOT.partition('.')[2]} import MapPrediction, OnnxDetector

__all__ = ['MapPrediction', 'OnnxDetector']
'''


def carried_modules(root: str = ROOT) -> dict[str, Path]:
    """Modules of mmfrac that a module imports, directly or not, but for packages' own files.

    Args:
        root (str): Name of the module, which is one of them. Defaults to the runtime.

    Returns:
        dict[str, Path]: File by name.
    """
    found: dict[str, Path] = {}
    pending = [root]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f'{name} is no module')
        if Path(spec.origin).name == '__init__.py':
            # of packages nothing is taken: they import what they hold
            raise ValueError(f'{name} is a package: import from the module that has what is wanted')
        found[name] = Path(spec.origin)
        for node in ast.walk(ast.parse(found[name].read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ''] if isinstance(node, ast.ImportFrom) else []
            pending += [one for one in names if one.partition('.')[0] == 'mmfrac']
    return found


def carried_files() -> dict[str, str]:
    """Files of an exported detector that are programs: content by path below its folder."""
    files = {'__main__.py': _MAIN, f'{NAME}/__init__.py': _INIT}
    for name, path in carried_modules().items():
        parts = name.split('.')[1:]
        for depth in range(1, len(parts)):
            files.setdefault('/'.join([NAME, *parts[:depth], '__init__.py']), '')
        text = path.read_text(encoding='utf-8')
        files['/'.join([NAME, *parts]) + '.py'] = _IMPORT.sub(rf'\1\2 {NAME}', text)
    return files
