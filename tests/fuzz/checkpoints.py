# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Checkpoints: of this project, of the form before PyTorch 1.6, of plain MMEngine, of code."""

import pickle
from pathlib import Path

import torch
from mmengine.logging import MessageHub

from mmfrac.engine.runner.checkpoints import load_checkpoint_file
from tests.fuzz.engine import Kind, WrongError, damage_bytes, register


class _Code:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, 'w')


def seeds(folder: Path) -> list[Path]:
    """One of each form."""
    torch.manual_seed(0)
    state = {f'layer{index}.weight': torch.rand(4 * index + 1, 9) for index in range(4)}
    content = dict(state_dict=state, meta=dict(epoch=3, iter=7, dataset_meta=dict(classes=('a',))))
    torch.save(content, folder / 'plain.pth')
    torch.save(content, folder / 'legacy.pth', _use_new_zipfile_serialization=False)
    hub = MessageHub(f'fuzz {folder}')
    hub.update_scalar('train/loss', 0.5)
    torch.save(content | dict(message_hub=hub.state_dict()), folder / 'stock.pth')
    code = _Code(str(folder / 'executed'))
    torch.save(content | dict(more=code), folder / 'code.pth')
    (folder / 'pickle.pth').write_bytes(pickle.dumps(content['meta'] | dict(more=code)))
    return [
        folder / f'{name}.pth' for name in ('plain', 'plain', 'legacy', 'stock', 'code', 'pickle')
    ]


def read(path: Path, source: Path) -> tuple[str, int]:
    """Load; nothing but what was saved may come out, and nothing of it may run."""
    executed = source.with_name('executed')
    try:
        found = load_checkpoint_file(path, 'cpu')
    except ValueError as error:
        # how a stock one is rewritten stands in a line of its own
        raise ValueError(' '.join(str(error).split())) from error
    finally:
        if executed.exists():
            executed.unlink()
            raise WrongError('code was run')
    size = path.stat().st_size
    if source.name == 'legacy.pth':
        # no checksums: said by a warning
        return 'doubtful', size
    if source.name != 'plain.pth':
        raise WrongError('more than plain data was loaded')
    expected = torch.load(source, weights_only=True)
    same = (
        found['meta'] == expected['meta']
        and found['state_dict'].keys() == expected['state_dict'].keys()
    )
    if not same or not all(
        torch.equal(value, found['state_dict'][name])
        for name, value in expected['state_dict'].items()
    ):
        raise WrongError('another checkpoint')
    return 'read', size


KIND = register(
    Kind('checkpoints', seeds, damage_bytes, read, (ValueError, FileNotFoundError), suffix='.pth')
)
