# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmfrac.utils.errors import RadiographError, plain_errors


class Bad(Dataset):
    """A set whose first item raises, perhaps from another error of the same kind."""

    def __init__(self, error, cause=None):
        self.error, self.cause = error, cause

    def __len__(self):
        return 1

    def __getitem__(self, index):
        if self.cause is None:
            raise self.error
        raise self.error from self.cause


@pytest.mark.parametrize(
    'error, cause',
    [
        (RadiographError('a.png is\ncut'), None),
        (FileNotFoundError('no film b.png'), FileNotFoundError('[Errno 2] no such file: b.png')),
        (ValueError('c.png is wrong'), KeyError('c')),
    ],
)
def test_an_error_of_a_worker_is_said_in_its_own_words(error, cause, capsys):
    torch.set_num_threads(1)
    with pytest.raises(SystemExit) as end, plain_errors():
        next(iter(DataLoader(Bad(error, cause), num_workers=1)))
    said = capsys.readouterr().err.splitlines()
    assert end.value.code == 1
    assert said == [
        f'{type(error).__name__}: {error}',
        '(MMFRAC_TRACEBACK=1 shows where this was raised)',
    ]
