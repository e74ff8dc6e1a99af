# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

import mmfrac  # noqa: F401


class Code:
    def __reduce__(self):
        return print, ('executed',)


def test_mmengine_reads_plain_checkpoints(tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.ones(2)), meta=dict(epoch=1)), tmp_path / 'a.pth')
    checkpoint = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'), map_location='cpu')
    assert checkpoint['meta'] == dict(epoch=1) and checkpoint['state_dict']['weight'].sum() == 2


def test_what_is_no_checkpoint_is_one_clear_error(tmp_path, capsys):
    path = tmp_path / 'b.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(200))), path)
    whole = path.read_bytes()
    for content in (b'', b'garbage', whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r'b\.pth cannot be loaded as a checkpoint'):
            CheckpointLoader.load_checkpoint(str(path))
    torch.save(dict(state_dict=Code()), path)
    with pytest.raises(ValueError, match=r'b\.pth cannot be loaded as a checkpoint'):
        CheckpointLoader.load_checkpoint(str(path))
    assert 'executed' not in capsys.readouterr().out
    torch.save(torch.ones(2), path)
    with pytest.raises(ValueError, match='holds a Tensor'):
        CheckpointLoader.load_checkpoint(str(path))
    with pytest.raises(FileNotFoundError, match=r'c\.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'c.pth'))
