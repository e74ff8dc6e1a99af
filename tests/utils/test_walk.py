# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os

import pytest

from mmfrac.utils.walk import files_below, lies_in


def found(folder):
    return [os.path.relpath(path, folder) for path in files_below(folder)]


def test_each_file_once_in_order(tmp_path):
    folder, other = tmp_path / 'images', tmp_path / 'other'
    for path in ('images/b/2', 'images/b/1', 'images/a', 'images/c/d/3', 'other/x', 'other/y/z'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    plain = ['a', 'b/1', 'b/2', 'c/d/3']
    assert found(folder) == plain
    # of what is there already, twice; what holds all of it; itself
    (folder / 'latest').symlink_to('c/d')
    (folder / 'b' / 'up').symlink_to('../..')
    (folder / 'c' / 'self').symlink_to('.')
    assert found(folder) == plain
    # from elsewhere, once
    (folder / 'aa').symlink_to(other)
    (folder / 'ab').symlink_to(other / 'y')
    (folder / 'b' / 'again').symlink_to(other)
    assert found(folder) == ['a', 'aa/x', 'aa/y/z', 'b/1', 'b/2', 'c/d/3']
    # a part of it before the whole
    for link in ('aa', 'ab', 'b/again'):
        (folder / link).unlink()
    (folder / 'aa').symlink_to(other / 'y')
    (folder / 'ab').symlink_to(other)
    assert found(folder) == ['a', 'aa/z', 'ab/x', 'b/1', 'b/2', 'c/d/3']
    (folder / 'gone').symlink_to('nowhere')
    assert 'gone' in found(folder)
    # a folder whose name another one begins with is another one
    (tmp_path / 'images2').mkdir()
    (tmp_path / 'images2' / 'w').touch()
    (folder / 'near').symlink_to(tmp_path / 'images2')
    assert 'near/w' in found(folder)
    (tmp_path / 'link').symlink_to(folder)
    assert len(found(tmp_path / 'link')) == len(found(folder))


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    """As of a share that goes away while it is walked: a part would pass for the whole."""
    for path in ('a/1', 'b/2', 'lost+found/3'):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    kinds = {}
    real = os.scandir

    def scandir(path):
        kind = None if isinstance(path, int) else kinds.get(os.path.basename(path))
        if kind is not None:
            raise kind(5, 'some fault', path)
        return real(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert found(tmp_path) == ['a/1', 'b/2', 'lost+found/3']
    kinds['lost+found'] = PermissionError
    assert found(tmp_path) == ['a/1', 'b/2']
    kinds['.Trash-0'] = kinds['#recycle'] = PermissionError
    for name in ('.Trash-0', '#recycle'):
        (tmp_path / name).mkdir()
    assert found(tmp_path) == ['a/1', 'b/2']
    for kind in (PermissionError, OSError):
        kinds['b'] = kind
        with pytest.raises(OSError, match=r'folder .*b cannot be listed \(some fault\)'):
            found(tmp_path)


def test_where_a_path_lies(tmp_path):
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    (tmp_path / 'link').symlink_to('a')
    assert lies_in(tmp_path / 'a', tmp_path / 'a')
    assert lies_in(tmp_path / 'link' / 'b', tmp_path / 'a')
    assert lies_in(tmp_path / 'link', tmp_path / 'a')
    assert not lies_in(tmp_path / 'a', tmp_path / 'a' / 'b')


def test_hidden_folders_may_be_left_out(tmp_path):
    for path in ('.a/1', 'b/.c/2', 'b/.3'):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert found(tmp_path) == ['.a/1', 'b/.3', 'b/.c/2']
    assert [os.path.basename(path) for path in files_below(tmp_path, hidden=False)] == ['.3']
