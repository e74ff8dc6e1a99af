# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import faulthandler
import os
import signal
import threading
import time
import unicodedata

import pytest

from mmfrac.preparation.converters import conversion as film_files
from mmfrac.preparation.converters.conversion import ImageFiles
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.converters.file_finder import (
    FoundFolders,
    ImageFinder,
    relative,
    with_suffixes,
)
from mmfrac.preparation.tables.values import ImageRow
from mmfrac.utils import processes as film_pool
from tests.slow import slow_but


def rows(*names, size=None):
    groups = [name if isinstance(name, tuple) else (name,) for name in names]
    return [ImageRow('t.csv', line, group, 0, 'p', size=size) for line, group in enumerate(groups)]


def look_up(root, films, unique=False, **options):
    with ImageFiles(root, ConvertOptions(**options), unique) as files:
        return files.look_up(films)


@pytest.mark.parametrize(
    ('name', 'found'),
    [
        ('a/b c/ü.png', 'a/b c/ü.png'),
        ('./a/../a/b c/ü.png', 'a/b c/ü.png'),
        ('a\\b c\\ü.png', 'a/b c/ü.png'),
        ('C:\\data\\a\\b c\\ü.png', 'a/b c/ü.png'),
        ('release/a/b c/ü.png', 'a/b c/ü.png'),
        (unicodedata.normalize('NFD', 'a/b c/ü.png'), 'a/b c/ü.png'),
        ('a/b c/ü.PNG', 'a/b c/ü.png'),
        ('/elsewhere/release/a/b c/ü.png', 'a/b c/ü.png'),
        ('a', None),
        ('a/b c', None),
        ('x\0.png', None),
        ('y' * 5000, None),
    ],
)
def test_find(films, name, found):
    root = films('a/b c/ü.png')
    assert ImageFinder(str(root), unique_names=False).find([name]) == found


def test_absolute_paths(films):
    root, other = films('a.png'), films('b.png', folder='other')
    finder = ImageFinder(str(root), unique_names=False)
    assert finder.find([str(root / 'a.png')]) == 'a.png'
    assert finder.find([str(other / 'b.png')]) == str(other / 'b.png')
    assert relative('/x/films/a.png', '/x/films') == 'a.png'
    assert relative('/x/films2/a.png', '/x/films') == '/x/films2/a.png'


def test_the_first_film_settles_the_root_of_the_names(films):
    """What is found without its first folder must not hide that another is not there."""
    root = films('train/p1/a.png', 'a.png')
    finder = ImageFinder(str(root), unique_names=False)
    assert finder.find(['release/train/p1/a.png']) == 'train/p1/a.png' and finder.is_settled
    assert finder.find(['release/train/p2/a.png']) is None
    with pytest.raises(
        ValueError, match=r"'other/train/p1/a.png' and 'release/.*' would both be train"
    ):
        finder.find(['other/train/p1/a.png'])
    with pytest.raises(ValueError, match=r"only without the 'release/' of their names"):
        finder.find(['train/p1/a.png'])


@pytest.mark.parametrize(
    ('names', 'found', 'prefix'),
    [
        # a film that is here under its whole name tells that the others are missing
        (['P2/a.png', 'P1/a.png'], [None, 'P1/a.png'], ''),
        (['P2/a.png', 'p1\\a.png'], ['a.png', None], 'P2/'),
        (['P2/a.png', 'P1\\a.png'], [None, 'P1/a.png'], ''),
        (['x/b.png', 'films/a.png', 'x/a.png'], [None, 'a.png', None], 'films/'),
        # folders of another machine over films in one folder, as long as each means another film
        (['x/a.png', 'y/b.png', 'z/c.png'], ['a.png', 'b.png', None], 'x/'),
        (['/home/p1/a.png', '/home/p2/b.png'], ['a.png', 'b.png'], '/home/p1/'),
        (['x/a.png', 'y/a.png', 'x/b.png'], ['a.png', None, 'b.png'], 'x/'),
    ],
)
def test_the_names_of_a_batch_settle_what_is_taken_off_them(films, names, found, prefix):
    root = films('a.png', 'b.png', 'P1/a.png')
    with ImageFiles(root, ConvertOptions(), unique_names=False) as files:
        images = files.look_up(rows(*names))
        assert files.prefix == prefix
        assert [None if one.is_missing else one.name for one in images] == found
        assert all(('without the' in one.fault) == bool(prefix) for one in images if one.fault)


def test_unique_names_are_searched_for(films):
    root = films('images_001/images/1.png', 'images_002/images/2.jpg', 'x/3.png', 'y/3.png')
    os.symlink(root, root / 'x' / 'loop')
    finder = ImageFinder(str(root), unique_names=True)
    assert finder.find(['1.png']) == 'images_001/images/1.png'
    assert finder.find(with_suffixes('2', '.dicom', None)) == 'images_002/images/2.jpg'
    assert finder.find(['4.png']) is None
    with pytest.raises(ValueError, match=r'3.png is in .* 2 times, as x/3.png, y/3.png'):
        finder.find(['3.png'])
    assert ImageFinder(str(root), unique_names=False).find(['1.png']) is None


def found_folders(*pairs):
    folders = FoundFolders()
    for line, (name, path) in enumerate(pairs):
        folders.add(ImageRow('t.csv', line, (name,), 0, 'p'), path)
    return folders


def test_folders_of_films_that_are_searched_for():
    zips = [(f'{n}.png', f'images_{n:03d}/images/{n}.png') for n in range(150)]
    folders = found_folders(*zips)
    assert not list(folders.masks()) and not folders.notes
    folders = found_folders(*zips, ('7.png', 'masks/7.png'))
    ((table, line, fault),) = folders.masks()
    assert (table, line) == ('t.csv', 150)
    assert fault.startswith("masks/7.png: 1 in folders like 'masks': is it the film, or a mask")
    # others may be a part of the set: a sentence says so
    folders = found_folders(*zips, *((f'{n}.png', f'val/{n}.png') for n in range(150, 153)))
    assert not list(folders.masks())
    told = "150 in folders like 'images_#/images'; 3 in folders like 'val'"
    (note,) = folders.notes
    assert note.startswith(
        f'the folders of the films are unlike: {told}; are all of them films of the'
    )
    assert 'as val/150.png, or masks' in note
    # a folder a film, by its UUID
    names = (f'{n:08x}-0a1b-4c2d-8e3f-{n:012x}' for n in range(50))
    assert not found_folders(
        *((f'{n}.png', f'{name}/{n}.png') for n, name in enumerate(names))
    ).notes
    # where the table says where films are, one elsewhere is told
    named = [('files/p1/1.png', 'p1/1.png'), ('files/p2/2.png', 'p2/2.png')]
    assert not found_folders(*named, ('files/p1/3.png', 'p2/3.png')).notes
    assert found_folders(*named, ('files/p1/3.png', 'old/3.png')).notes


def test_sizes_and_faults_of_a_batch(films):
    names = [f'{index}.png' for index in range(200)]
    root = films(*names)
    (root / '7.png').write_bytes(b'not a film')
    found = look_up(root, rows('no.png', *names))
    assert found[0].is_missing and str(root / 'no.png') in found[0].fault
    assert [one.name for one in found[1:]] == names
    assert found[8].fault and 'cannot read film' in found[8].fault
    assert {one.size for one in found[1:] if one.name != '7.png'} == {(40, 30)}


def test_verify_decodes(films):
    root = films('a.png', 'cut.png', 'b.png')
    (root / 'cut.png').write_bytes((root / 'cut.png').read_bytes()[:100])
    assert look_up(root, rows('cut.png'))[0].fault is None
    for workers in (1, 2):
        found = look_up(root, rows('a.png', 'cut.png', 'x', 'b.png'), verify=True, workers=workers)
        assert [bool(one.fault) for one in found] == [False, True, True, False]
        assert 'truncated' in found[1].fault and found[2].is_missing
    wrong = look_up(root, rows('a.png'), verify=True, size=(41, 30), workers=1)
    assert 'its pixels are (40, 30), not (41, 30)' in wrong[0].fault


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def aborted():
    faulthandler.disable()  # of pytest, which would tell of it at length
    os.abort()


@pytest.mark.parametrize('death', [killed, aborted])
@pytest.mark.parametrize('workers', slow_but([1, 2], [2]))
def test_films_that_kill_their_process_are_faults_of_theirs(films, monkeypatch, workers, death):
    names = [f'{index}.png' for index in range(40)]
    root = films(*names)
    read = film_files.read_radiograph

    def deadly(path):
        return death() if path.endswith(('/7.png', '/31.png')) else read(path)

    monkeypatch.setattr(film_files, 'read_radiograph', deadly)
    with ImageFiles(root, ConvertOptions(verify=True, workers=workers), False) as files:
        for batch in (names[:20], names[20:], names):
            found = files.look_up(rows(*batch))
            assert [one.name for one in found] == batch
            faults = {one.name: one.fault for one in found if one.fault}
            assert list(faults) == [name for name in batch if name in ('7.png', '31.png')]
            for name, fault in faults.items():
                assert f"film '{root / name}' crashes its decoder" in fault


def test_no_thread_lives_when_processes_are_forked(films, monkeypatch):
    """A fork cuts them off, with the locks that they hold."""
    names = [f'{index}.png' for index in range(200)]
    root = films(*names)
    alive = []
    started, measured = film_pool.FilePool._started, set()
    before = threading.enumerate()

    def start(pool, workers):
        alive.append([one for one in threading.enumerate() if one not in before])
        return started(pool, workers)

    def decode(path):
        if path.endswith('/5.png'):
            killed()
        return None, (40, 30)

    def size(path):
        measured.add(threading.current_thread())
        # a slow disk
        time.sleep(1e-3)
        return 40, 30

    monkeypatch.setattr(film_pool.FilePool, '_started', start)
    monkeypatch.setattr(film_files, 'decoded_size', decode)
    monkeypatch.setattr(film_files, 'image_size', size)
    found = look_up(root, rows(*names), verify=True, workers=2)
    assert [one.name for one in found if one.fault] == ['5.png']
    assert measured - {threading.main_thread()}
    assert len(alive) > 2 and not any(alive)


def test_headers_that_take_no_time_are_read_by_no_thread(films, monkeypatch):
    names = [f'{index}.png' for index in range(200)]
    root = films(*names)
    measured = []

    def size(path):
        measured.append(threading.current_thread())
        return 40, 30

    monkeypatch.setattr(film_files, 'image_size', size)
    # of a machine that does other things, too
    monkeypatch.setattr(film_files, '_WAIT', 1.0)
    found = look_up(root, rows(*names))
    assert [one.name for one in found] == names
    assert measured == [threading.main_thread()] * 200


def test_sizes_without_films(tmp_path, films):
    assert look_up('nowhere', rows('a\\b.png'), size=(5, 6))[0].size == (5, 6)
    assert look_up('nowhere', rows('a\\b.png'), size=(5, 6))[0].name == 'a/b.png'
    assert look_up('nowhere', rows('a', size=(7, 8)), size='table')[0].size == (7, 8)
    assert 'no size' in look_up('nowhere', rows('a'), size='table')[0].fault
    root = films('a.png')
    assert look_up(root, rows('a.png', size=(7, 8)), missing='drop')[0].size == (40, 30)
    with pytest.raises(FileNotFoundError, match='--size'):
        look_up(tmp_path / 'no', rows('a.png'))
