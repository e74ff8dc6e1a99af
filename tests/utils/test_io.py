# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import multiprocessing
import os
import signal
import stat

import cv2
import numpy as np
import pytest
from mmengine.fileio import get_file_backend

from mmfrac.utils.io import (
    AtomicLocalBackend,
    OutputFolder,
    atomic_folder,
    atomic_open,
    atomic_path,
    remove_temporary_files,
    write_bytes,
    write_image,
    write_json,
    write_private,
    write_text,
)

GREY = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000


def write_stream(path):
    with atomic_open(path) as file:
        file.write('new')
        file.flush()
        file.write(' text')


def write_by_name(path):
    with atomic_path(path) as temporary:
        temporary.write_text('new text')


WRITERS = {
    'bytes': lambda path: write_bytes(path, b'new text'),
    'text': lambda path: write_text(path, 'new text'),
    'json': lambda path: write_json(path, ['new']),
    'image': lambda path: write_image(path, GREY),
    'stream': write_stream,
    'by name': write_by_name,
    'backend': lambda path: AtomicLocalBackend().put_text('new text', path),
}


def killed(write, path):
    def die(descriptor):
        os.kill(os.getpid(), signal.SIGKILL)

    # all is written then, and nothing has its name
    os.fsync = die
    write(path)


@pytest.mark.parametrize('kind', WRITERS)
def test_a_writer_that_is_killed_leaves_the_old_file(kind, tmp_path):
    path = tmp_path / 'file.png'
    path.write_text('old')
    process = multiprocessing.get_context('fork').Process(target=killed, args=(WRITERS[kind], path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert path.read_text() == 'old'
    (left,) = (entry.name for entry in tmp_path.iterdir() if entry != path)
    assert left.startswith('.file.png.') and left.endswith('.tmp')
    remove_temporary_files(tmp_path)
    WRITERS[kind](path)
    assert [entry.name for entry in tmp_path.iterdir()] == ['file.png']
    assert path.read_bytes() != b'old'


def fail_in_stream(path):
    with atomic_open(path, 'wb') as file:
        file.write(b'half')
        raise RuntimeError('disk on fire')


def fail_by_name(path):
    with atomic_path(path) as temporary:
        temporary.write_text('half')
        raise RuntimeError('disk on fire')


FAILURES = {
    'bytes': (lambda path: write_bytes(path, 'text'), TypeError),
    'text': (lambda path: write_text(path, 'lone \udc80'), UnicodeEncodeError),
    'json': (lambda path: write_json(path, [{1, 2}]), TypeError),
    'NaN': (lambda path: write_json(path, [float('nan')], allow_nan=False), ValueError),
    'image': (lambda path: write_image(path, np.zeros((2, 2, 2), np.uint8)), ValueError),
    'stream': (fail_in_stream, RuntimeError),
    'mode': (lambda path: atomic_open(path, 'a').__enter__(), ValueError),
    'by name': (fail_by_name, RuntimeError),
}


@pytest.mark.parametrize('kind', FAILURES)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(kind, tmp_path):
    write, error = FAILURES[kind]
    path = tmp_path / 'file.png'
    path.write_text('old')
    with pytest.raises(error):
        write(path)
    assert path.read_text() == 'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['file.png']
    with pytest.raises(error):
        write(tmp_path / 'deep' / 'er' / 'file.png')
    assert [entry.name for entry in tmp_path.iterdir()] == ['file.png']


@pytest.mark.parametrize('size', [10, 100_000])
def test_a_disk_that_takes_no_more_is_told_with_the_file(tmp_path, size):
    """By the kernel's own limit for files, which fails at ``write`` as a full disk does."""
    resource = pytest.importorskip('resource')
    write_text(tmp_path / 'kept.txt', 'before')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*kept\.txt'"):
            write_text(tmp_path / 'kept.txt', 'x' * size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / 'kept.txt').read_text() == 'before'
    assert os.listdir(tmp_path) == ['kept.txt']


def test_a_name_at_which_nothing_was_made_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / 'file'):
        pass


def test_json_is_what_json_writes(tmp_path):
    content = dict(b=[1, 2.5, None], a={'x': 'ä'})
    path = tmp_path / 'deep' / 'content.json'
    write_json(path, content)
    assert path.read_text() == json.dumps(content, indent=1)
    write_json(path, content, indent=None, end='\n')
    assert path.read_text() == json.dumps(content) + '\n'
    write_json(path, content, compact=True)
    assert path.read_text() == '{"b":[1,2.5,null],"a":{"x":"\\u00e4"}}'


def test_text_is_utf_8_with_its_own_line_ends(tmp_path):
    write_text(tmp_path / 'text', 'ä\r\nb\n')
    assert (tmp_path / 'text').read_bytes() == 'ä\r\nb\n'.encode()
    with atomic_open(tmp_path / 'text', errors='surrogateescape', newline='') as file:
        file.write('\udc80\r\n')
    assert (tmp_path / 'text').read_bytes() == b'\x80\r\n'


def test_images_keep_their_depth_and_colours(tmp_path):
    write_image(tmp_path / 'grey.png', GREY)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'grey.png'), -1), GREY)
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    write_image(tmp_path / 'red.png', red)
    assert cv2.imread(str(tmp_path / 'red.png')).tolist() == [[[0, 0, 255]] * 2] * 2
    with pytest.raises(ValueError, match=r'name a \.png or'):
        write_image(tmp_path / 'red.docx', red)


def test_a_link_takes_the_place_of_a_file(tmp_path):
    (tmp_path / 'target').write_text('film')
    (tmp_path / 'link').write_text('old')
    with atomic_path(tmp_path / 'link') as temporary:
        temporary.symlink_to(tmp_path / 'target')
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'link').read_text() == 'film'


def test_long_names_have_temporary_names(tmp_path):
    write_text(tmp_path / ('ä' * 120), 'text')
    assert (tmp_path / ('ä' * 120)).read_text() == 'text'


def test_private_files_are_written_once_and_are_readable_by_their_user_alone(tmp_path):
    path = tmp_path / 'deep' / 'key'
    write_private(path, 'secret')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_private(path, 'other')
    assert path.read_text() == 'secret' and len(list(path.parent.iterdir())) == 1


def test_folders_appear_whole_in_the_place_of_the_old_one(tmp_path):
    out = tmp_path / 'deep' / 'set'
    for content in ('old', 'new'):
        with atomic_folder(out) as folder:
            write_text(folder / content, content)
            assert not (out / content).exists()
    assert sorted(entry.name for entry in out.iterdir()) == ['.mmfrac_written', 'new']
    with pytest.raises(RuntimeError), atomic_folder(out) as folder:
        (folder / 'half').touch()
        raise RuntimeError('disk on fire')
    assert sorted(entry.name for entry in out.iterdir()) == ['.mmfrac_written', 'new']
    assert [entry.name for entry in out.parent.iterdir()] == ['set']


def users_file(folder):
    (folder / 'thesis.txt').write_text('years of work')


def users_folder(folder):
    (folder / 'images').mkdir()
    (folder / 'images/1.png').write_text('years of work')


def users_link(folder):
    (folder / 'data').symlink_to(folder.parent)


def hidden_file(folder):
    (folder / '.bashrc').write_text('years of work')


def temporary_of_another_program(folder):
    (folder / '.draft.tmp').write_text('years of work')


def no_list(folder):
    (folder / '.mmfrac_written').unlink()


def damaged_list(folder):
    (folder / '.mmfrac_written').write_text('"ol')


def list_of_another_folder(folder):
    (folder / '.mmfrac_written').write_text('"../set/old"\n"/old"\n7\n')


@pytest.mark.parametrize(
    'change',
    [
        users_file,
        users_folder,
        users_link,
        hidden_file,
        temporary_of_another_program,
        no_list,
        damaged_list,
        list_of_another_folder,
    ],
)
@pytest.mark.parametrize('moment', ['before', 'meanwhile'])
def test_a_folder_with_anything_else_is_not_replaced(change, moment, tmp_path):
    out = tmp_path / 'set'
    with atomic_folder(out) as folder:
        write_text(folder / 'old', 'old')
    if moment == 'before':
        change(out)
    kept = []

    def write():
        with atomic_folder(out) as folder:
            write_text(folder / 'new', 'new')
            if moment == 'meanwhile':
                change(out)
            kept.extend(sorted(out.rglob('*')))

    kept.extend(sorted(out.rglob('*')) if moment == 'before' else [])
    with pytest.raises(ValueError, match='files that mmfrac did not write'):
        write()
    assert sorted(out.rglob('*')) == kept and (out / 'old').read_text() == 'old'
    assert list(tmp_path.iterdir()) == [out]


def test_an_empty_folder_is_replaced_and_a_file_is_not(tmp_path):
    (tmp_path / 'set/empty').mkdir(parents=True)
    with atomic_folder(tmp_path / 'set') as folder:
        write_text(folder / 'new', 'new')
    assert (tmp_path / 'set/new').is_file() and not (tmp_path / 'set/empty').exists()
    (tmp_path / 'link').symlink_to(tmp_path / 'set')
    with atomic_folder(tmp_path / 'link') as folder:
        write_text(folder / 'newer', 'new')
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'set/newer').is_file()
    (tmp_path / 'file').write_text('old')
    with pytest.raises(ValueError, match='is no folder'), atomic_folder(tmp_path / 'file'):
        pass
    assert (tmp_path / 'file').read_text() == 'old'


def test_files_of_given_names_replace_their_own_only(tmp_path):
    (tmp_path / 'metrics.csv').write_text('years of work')
    for content in ('old', 'new'):
        output = OutputFolder(tmp_path)
        for name in ('table.csv', 'pictures/line\nbreak.png'):
            write_text(output.path(name), content)
        with pytest.raises(
            ValueError, match=r'metrics\.csv is there and was not written by mmfrac'
        ):
            output.path('metrics.csv')
    assert (tmp_path / 'metrics.csv').read_text() == 'years of work'
    assert (tmp_path / 'pictures/line\nbreak.png').read_text() == 'new'
    (tmp_path / 'dangling.csv').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(ValueError, match='is there'):
        OutputFolder(tmp_path).path('dangling.csv')


def test_only_temporary_files_of_writers_are_removed(tmp_path):
    kept = [
        '.draft.tmp',
        'file.0123456789abcdef.tmp',
        '.a.0123456789ABCDEF.tmp',
        '.0123456789abcdef.tmp',
    ]
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / '.set.0123456789abcdef.tmp').mkdir()
    (tmp_path / 'deep').mkdir()
    left = tmp_path / 'deep/.epoch_3.pth.0123456789abcdef.tmp'
    left.touch()
    remove_temporary_files(tmp_path, min_age=3600)
    assert left.exists()
    os.utime(left, (1000, 1000))
    remove_temporary_files(tmp_path, min_age=3600)
    assert not left.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [*kept, '.set.0123456789abcdef.tmp', 'deep']
    )


def test_backend_is_registered_and_writes(tmp_path):
    backend = get_file_backend(str(tmp_path), backend_args=dict(backend='atomic'))
    assert isinstance(backend, AtomicLocalBackend)
    backend.put(b'new', tmp_path / 'deep' / 'file.pth')
    backend.put_text('text', tmp_path / 'note')
    assert (tmp_path / 'deep' / 'file.pth').read_bytes() == b'new'
    assert (tmp_path / 'note').read_text() == 'text'
