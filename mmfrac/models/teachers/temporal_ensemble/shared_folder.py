# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import time
import uuid
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process


def check_shared_folder(folder: Path, patience: float = 5.0) -> None:
    """Make a folder and raise unless all ranks see the same one. All ranks have to call it.

    Args:
        folder (Path): Made, with its parents, by the main rank.
        patience (float): Seconds that a network file system has to show a new file. Defaults to 5.

    Raises:
        ValueError: When a rank does not see what the main rank wrote there.
    """
    token = [uuid.uuid4().hex]
    broadcast_object_list(token)
    sign = folder / f'.{token[0]}.tmp'
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        sign.touch()
    # the main rank's part of the exchange comes after it has written
    all_gather_object(None)
    deadline = time.monotonic() + patience
    while not sign.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    sees = all_gather_object(sign.exists())
    if is_main_process():
        sign.unlink()
    if not all(sees):
        blind = [rank for rank, sees_it in enumerate(sees) if not sees_it]
        raise ValueError(
            f'ranks {blind} do not see what rank 0 wrote to {folder.resolve()}: the film memory is '
            'shared by all ranks, so on several machines work_dir (or model.teacher.folder) has to be '
            'on a file system that all of them mount'
        )
