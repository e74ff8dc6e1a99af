# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How far a fold is."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mmfrac.utils.io import AtomicLocalBackend

STATUS_FILE = 'status.json'
STATES = ('training', 'trained', 'validated')


@dataclass(frozen=True)
class FoldStatus:
    """Content of a fold's ``status.json``.

    Attributes:
        state (str): 'training' (begun, perhaps interrupted), 'trained' or 'validated'.
        fingerprint (str): Of the config and the films.
        checkpoint (str): Name of the best checkpoint in the work dir, once trained.
        epoch (int): Its epoch.
    """

    state: str
    fingerprint: str
    checkpoint: str = ''
    epoch: int = 0


def read_status(work_dir: Path) -> FoldStatus | None:
    """Status of a fold, None where nothing was begun.

    Args:
        work_dir (Path): Of the fold.

    Raises:
        ValueError: If the file is damaged.
    """
    path = work_dir / STATUS_FILE
    if not path.is_file():
        return None
    try:
        status = FoldStatus(**json.loads(path.read_text(encoding='utf-8')))
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path} is damaged ({error}): remove it, and training resumes') from error
    if status.state not in STATES:
        raise ValueError(f'{path}: state must be one of {STATES}, got {status.state!r}')
    return status


def write_status(work_dir: Path, status: FoldStatus) -> None:
    """Write the status of a fold; a process killed meanwhile leaves the one before.

    Args:
        work_dir (Path): Of the fold.
        status (FoldStatus): Status.
    """
    AtomicLocalBackend().put_text(json.dumps(asdict(status), indent=1), work_dir / STATUS_FILE)
