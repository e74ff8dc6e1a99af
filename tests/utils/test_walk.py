# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os

from mmfrac.utils.walk import files_below


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
