# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
from mmengine.fileio import get_file_backend

from mmfrac.utils.io import AtomicLocalBackend


def test_backend_is_registered_and_writes(tmp_path):
    backend = get_file_backend(str(tmp_path), backend_args=dict(backend='atomic'))
    assert isinstance(backend, AtomicLocalBackend)
    backend.put(b'new', tmp_path / 'deep' / 'file.pth')
    backend.put_text('text', tmp_path / 'note')
    assert (tmp_path / 'deep' / 'file.pth').read_bytes() == b'new'
    assert (tmp_path / 'note').read_text() == 'text'


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / 'file.pth'
    AtomicLocalBackend().put(b'old', path)
    with pytest.raises(TypeError):
        AtomicLocalBackend().put('not bytes', path)
    assert path.read_bytes() == b'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['file.pth']
