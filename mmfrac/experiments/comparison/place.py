# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where a benchmark is run, and by which processes."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmfrac.experiments.launching import Processes


@dataclass(frozen=True)
class Place:
    """Where a benchmark is run.

    Attributes:
        repository (Path): Holds ``tools/`` and ``configs/``.
        data_root (Path): Folder of the films.
        work_dir (Path): Gets a work dir a run.
        results (Path): Gets a JSON a run.
        processes (Processes): Of the tools.
    """

    repository: Path
    data_root: Path
    work_dir: Path
    results: Path
    processes: Processes = field(default_factory=Processes, compare=False)

    def run_tool(self, tool: str, arguments: Sequence[str], work_dir: Path, lock: int) -> None:
        """Run a tool of the repository on the films; its output goes to a file in the work dir.

        Args:
            tool (str): 'train.py' or 'test.py'.
            arguments (Sequence[str]): Its arguments, without the data root.
            work_dir (Path): Gets ``train.out`` or ``test.out``.
            lock (int): File descriptor that the process keeps, see ``locked``.

        Raises:
            RuntimeError: If it failed; the message ends with the end of its output.
            Stopped: If this process ends.
        """
        log = work_dir / f'{Path(tool).stem}.out'
        command = [sys.executable, f'tools/{tool}', *arguments, '--data-root', str(self.data_root)]
        paths = [str(self.repository), *os.environ.get('PYTHONPATH', '').split(os.pathsep)]
        environment = os.environ | dict(PYTHONPATH=os.pathsep.join(path for path in paths if path))
        code = self.processes.run(command, environment, lock, cwd=self.repository, log=log)
        if code:
            end = '\n'.join(log.read_text(encoding='utf-8', errors='replace').splitlines()[-15:])
            raise RuntimeError(f'{" ".join(command)} failed ({code}), the end of {log}:\n{end}')
