# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training of one fold by the tools, in a process of its own."""

import copy
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from mmfrac.engine.runner.checkpoints import latest_checkpoint, load_checkpoint_file
from mmfrac.experiments.launching import Processes, fingerprint, write_config
from mmfrac.utils.config import film_sets, set_fold

BEST = 'best_frac_AUROC_*.pth'


class FoldError(RuntimeError):
    """The training of a fold failed."""


@dataclass(frozen=True)
class Trainer:
    """How folds are trained.

    Attributes:
        tools (Path): Folder of ``train.py`` and ``dist_train.sh``.
        ranks (int): Processes, GPUs where there are some; more than one are started by
            ``dist_train.sh``. Defaults to 1.
        options (tuple[str, ...]): Further arguments of ``train.py``, e.g. ``--amp``. Defaults to none.
    """

    tools: Path
    ranks: int = 1
    options: tuple[str, ...] = ()

    def command(self, config: Path, work_dir: Path) -> list[str]:
        """Command that trains a config, going on where it was interrupted.

        Args:
            config (Path): Config file.
            work_dir (Path): Work dir.

        Returns:
            list[str]: Program and arguments.
        """
        program = [sys.executable, str(self.tools / 'train.py'), str(config)]
        if self.ranks > 1:
            program = ['bash', str(self.tools / 'dist_train.sh'), str(config), str(self.ranks)]
        resume = ['--resume'] if latest_checkpoint(work_dir) else []
        return [*program, '--work-dir', str(work_dir), *self.options, *resume]


@dataclass(frozen=True)
class FoldRun:
    """One fold of a cross-validation.

    Attributes:
        fold (int): Number.
        cfg (Config): What is trained, on the fold's films.
        work_dir (Path): Its folder.
        fingerprint (str): Of config, films and options.
    """

    fold: int
    cfg: Config
    work_dir: Path
    fingerprint: str


def fold_run(
    cfg: Config, folds_dir: Path, fold: int, work_dir: Path, options: Sequence[str] = ()
) -> FoldRun:
    """A fold of a config.

    Args:
        cfg (Config): Training config.
        folds_dir (Path): Folds of ``tools/split_folds.py``.
        fold (int): Number.
        work_dir (Path): Of the cross-validation.
        options (Sequence[str]): Of ``Trainer``. Defaults to none.

    Returns:
        FoldRun: The fold.
    """
    cfg = copy.deepcopy(cfg)
    set_fold(cfg._cfg_dict, folds_dir, fold)
    folder = work_dir / f'fold{fold}'
    cfg.work_dir, cfg.launcher = str(folder), 'none'
    content = {key: value for key, value in cfg.to_dict().items() if key != 'work_dir'}
    files = [
        Path(path)
        for part in ('train', 'val', 'test')
        for path in sorted({one['ann_file'] for one in film_sets(cfg[f'{part}_dataloader'])})
        if os.path.isfile(path)
    ]
    return FoldRun(fold, cfg, folder, fingerprint([content, list(options)], files))


def train(run: FoldRun, trainer: Trainer, lock: int) -> None:
    """Train a fold to its end.

    Args:
        run (FoldRun): The fold; its config is written to ``config.py`` in its work dir.
        trainer (Trainer): How.
        lock (int): File descriptor that the training process keeps.

    Raises:
        FoldError: If training failed or was killed.
    """
    command = trainer.command(write_config(run.cfg, run.work_dir), run.work_dir)
    code = Processes().run(command, dict(PYTHON=sys.executable) | os.environ, lock)
    if code:
        how = f'was killed by signal {-code}' if code < 0 else f'ended with exit code {code}'
        raise FoldError(
            f'training of fold {run.fold} {how} (logs: {run.work_dir}); once that is mended the same '
            f'command goes on:\n  {" ".join(command)}'
        )


def best_checkpoint(work_dir: Path) -> tuple[Path, int]:
    """Checkpoint of the best validation AUROC, and its epoch.

    A run that was killed may leave two: the score that is stored in them decides.

    Args:
        work_dir (Path): Of a fold.

    Returns:
        tuple[Path, int]: File and epoch.

    Raises:
        FileNotFoundError: If there is none.
    """
    scored = []
    for path in sorted(work_dir.glob(BEST)):
        checkpoint = load_checkpoint_file(path, map_location='cpu')
        score = checkpoint['message_hub']['runtime_info']['best_score']
        epoch = checkpoint['meta']['epoch']
        scored.append((float(score), -epoch, path))
    if not scored:
        raise FileNotFoundError(
            f'{work_dir} has no {BEST}: the config must validate and keep the best model, '
            "default_hooks.checkpoint.save_best='frac/AUROC'"
        )
    _, epoch, best = max(scored)
    return best, -epoch
