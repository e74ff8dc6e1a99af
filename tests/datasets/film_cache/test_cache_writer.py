# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Writers that are killed, meet each other, or find damaged films; and what readers notice."""

import json
import os
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from torch.utils.data import DataLoader

from mmfrac.datasets.film_cache import cache_writer as writer
from mmfrac.datasets.film_cache import cached_file as film_file
from mmfrac.datasets.film_cache import store
from mmfrac.datasets.film_cache.cache_writer import check_cache, fill_cache, images_of_config
from mmfrac.datasets.film_cache.store import FilmCacheError, NotCachedError
from mmfrac.datasets.transforms import cached_radiograph
from mmfrac.utils.config import set_film_cache
from mmfrac.utils.processes import forking
from tests.datasets.film_cache.films import config, write_data
from tests.slow import slow_but


@pytest.fixture
def root(tmp_path):
    """Data root with 24 films of 130 x 100 px, resampled to 96."""
    (tmp_path / 'images').mkdir()
    rng = np.random.default_rng(0)
    names = [f'{index}.png' for index in range(24)]
    for name in names:
        film = rng.integers(0, 65536, (100, 130)).astype(np.uint16)
        cv2.imwrite(str(tmp_path / 'images' / name), film)
    write_data(tmp_path, names, [(130, 100)] * 24)
    return tmp_path


def films_of(root):
    (films,) = images_of_config(config(root), root / 'cache')
    return films


def files(root):
    return sorted(root.glob('cache/*/??/*'))


def test_written_once_and_then_kept(root):
    films = films_of(root)
    report = fill_cache(films, workers=2, progress=False)
    assert report.counts == {'written': 24} and not report.problems
    assert report.bytes_written == sum(path.stat().st_size for path in files(root))
    assert report.bytes_written == films.most_bytes() + 24 * 80
    before = [path.stat().st_mtime_ns for path in files(root)]
    assert fill_cache(films, progress=False).counts == {'kept': 24}
    assert [path.stat().st_mtime_ns for path in files(root)] == before
    assert check_cache(films, 5, workers=1, progress=False).counts == dict(sound=19, identical=5)


def test_unreadable_films_are_listed_together_and_the_rest_is_written(root):
    (root / 'images/3.png').write_bytes(b'no film')
    (root / 'images/7.png').write_bytes((root / 'images/7.png').read_bytes()[:5000])
    report = fill_cache(films_of(root), workers=2, progress=False)
    assert report.counts == {'written': 22, 'failed': 2}
    assert len(report.problems) == 2
    assert '3.png' in report.problems[0] and '7.png' in report.problems[1]
    assert len(files(root)) == 22


@pytest.mark.parametrize('change', slow_but(['pixels', 'touched', 'size'], ['pixels']))
def test_a_changed_source_is_noticed_decoded_and_cached_anew(root, change):
    films = films_of(root)
    fill_cache(films, progress=False)
    path = root / 'images/5.png'
    state = path.stat()
    if change == 'touched':
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    elif change == 'size':
        path.write_bytes(path.read_bytes() + b'\0')
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    else:
        cv2.imwrite(str(path), np.full((100, 130), 65535, np.uint16))
    with pytest.raises(NotCachedError, match='changed'):
        films.cache.read(str(path))
    cfg = config(root)
    node = cfg.test_dataloader.dataset
    plain = DATASETS.build(node)
    set_film_cache(cfg._cfg_dict, str(root / 'cache'))
    cached = DATASETS.build(node)
    for index in range(24):
        assert cached[index]['inputs'].equal(plain[index]['inputs'])
    missed = cached.pipeline.transforms[0].missed
    assert list(missed) == [str(path)] and 'changed' in missed[str(path)]
    report = check_cache(films, 0, progress=False)
    assert report.counts == dict(sound=23, failed=1) and '5.png' in report.problems[0]
    assert fill_cache(films, progress=False).counts == dict(kept=23, written=1)
    assert check_cache(films, 24, progress=False).counts == dict(identical=24)


def swapped(one, other):
    between = one.with_name('between')
    one.rename(between)
    other.rename(one)
    between.rename(other)


def same_facts(root, names):
    """Films of one size and one time of change, as one program writes them within a second."""
    paths = [root / 'images' / name for name in names]
    largest = max(path.stat().st_size for path in paths)
    for path in paths:
        path.write_bytes(path.read_bytes().ljust(largest, b'\0'))
        os.utime(path, ns=(10**18, 10**18))
    return paths


def test_films_that_change_names_are_noticed(root):
    one, other = same_facts(root, ('1.png', '2.png'))
    films = films_of(root)
    fill_cache(films, progress=False)
    before = films.cache.read(str(one)).image.copy()
    swapped(one, other)
    for path in (one, other):
        with pytest.raises(NotCachedError, match='changed'):
            films.cache.read(str(path))
    assert check_cache(films, 0, progress=False).counts == dict(sound=22, failed=2)
    assert fill_cache(films, progress=False).counts == dict(kept=22, written=2)
    np.testing.assert_array_equal(films.cache.read(str(other)).image, before)
    assert check_cache(films, 24, progress=False).counts == dict(identical=24)


def test_a_copied_set_stays_cached_and_its_bytes_are_read_once(root, tmp_path_factory, monkeypatch):
    fill_cache(films_of(root), progress=False)
    copy = tmp_path_factory.mktemp('copies') / 'set'
    shutil.copytree(root, copy)  # with the times of change, as cp -a
    films = films_of(copy)
    read, checksum = [], store.content_checksum
    monkeypatch.setattr(store, 'content_checksum', lambda path: read.append(path) or checksum(path))
    assert check_cache(films, 0, progress=False).counts == dict(sound=24)
    for _ in range(3):
        films.cache.read(str(copy / 'images/3.png'))
    assert len(read) == 24
    # the new inodes are noted, and nothing is decoded
    monkeypatch.setattr(writer, 'resized_image', None)
    report = fill_cache(films, progress=False)
    assert report.counts == dict(kept=24) and report.bytes_written
    read.clear()
    again = films_of(copy)
    assert fill_cache(again, progress=False).bytes_written == 0 and read == []
    monkeypatch.undo()
    assert check_cache(again, 24, progress=False).counts == dict(identical=24)


def of_an_earlier_version(path):
    """The file as it was written before inodes were noted: MMFRACF2 with 64 bytes of header."""
    content = Path(path).read_bytes()
    head = b'MMFRACF2' + content[8:48]
    checksum = zlib.crc32(content[80:], zlib.crc32(head))
    Path(path).write_bytes(head + struct.pack('<I12x', checksum) + content[80:])


def test_a_cache_of_an_earlier_version_is_used_where_it_must_be_right(root):
    one, other = same_facts(root, ('1.png', '2.png'))
    films = films_of(root)
    fill_cache(films, progress=False)
    for path in films.sizes:
        of_an_earlier_version(films.cache.path_of(path))
    assert fill_cache(films, progress=False).counts == dict(kept=24)
    assert check_cache(films, 24, progress=False).counts == dict(identical=24)
    time.sleep(0.05)  # file systems tell times apart by some ms
    swapped(one, other)
    with pytest.raises(NotCachedError, match='changed'):
        films.cache.read(str(one))
    assert fill_cache(films, progress=False).counts == dict(kept=22, written=2)
    assert check_cache(films, 24, progress=False).counts == dict(identical=24)


def test_the_first_tenth_and_hundredth_miss_are_warned_of(root, monkeypatch):
    films = films_of(root)
    films.cache.make()
    said = []
    monkeypatch.setattr(cached_radiograph, 'print_log', lambda text, **_: said.append(text))
    node = config(root).test_dataloader.dataset
    dataset = DATASETS.build({**node, 'film_cache': str(root / 'cache')})
    for index in (0, *range(24)):
        dataset[index]
    assert len(dataset.pipeline.transforms[0].missed) == 24
    assert len(said) == 2 and '(1 such films' in said[0] and '(10 such films' in said[1]
    assert '0.png' in said[0] and 'not in the cache' in said[0]


def test_damage_is_noticed(root):
    films = films_of(root)
    fill_cache(films, progress=False)
    cut, altered, other, empty = (films.cache.path_of(p) for p in list(films.sizes)[:4])
    content = Path(cut).read_bytes()
    Path(cut).write_bytes(content[:-1])
    content = bytearray(Path(altered).read_bytes())
    content[3000] ^= 1
    Path(altered).write_bytes(content)
    Path(other).write_bytes(b'x' * 5000)
    Path(empty).write_bytes(b'')
    report = check_cache(films, 0, progress=False)
    assert report.counts == dict(sound=20, failed=4)
    for index, line in enumerate(report.problems):
        assert f"'{list(films.sizes)[index]}'" in line and 'damaged' in line
    # those that cannot be mapped are written anew; the altered one only a check or a reader can see
    assert fill_cache(films, progress=False).counts == dict(kept=21, written=3)
    Path(altered).unlink()
    assert fill_cache(films, progress=False).counts == dict(kept=23, written=1)
    assert check_cache(films, 24, progress=False).counts == dict(identical=24)


# 24 to 31: size of the film; 64: checksum of its source; the others in its levels and pixels
@pytest.mark.parametrize('offset', slow_but([24, 28, 64, 80, 1000, -5, -1], [28, 1000]))
def test_a_flipped_bit_is_noticed_by_whoever_reads(root, offset):
    films = films_of(root)
    fill_cache(films, progress=False)
    source = next(iter(films.sizes))
    sound = films.cache.read(source).image.copy()
    path = Path(films.cache.path_of(source))
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x40
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(NotCachedError, match=f'checksum does not fit.*{path}.*cache_films'):
            films.cache.read(source)
    path.unlink()
    assert fill_cache(films, progress=False).counts == dict(kept=23, written=1)
    np.testing.assert_array_equal(films.cache.read(source).image, sound)


def test_checksums_are_compared_once_in_a_process(root, monkeypatch):
    films = films_of(root)
    fill_cache(films, progress=False)
    compared, is_sound = [], film_file.CachedFile.is_sound
    monkeypatch.setattr(
        film_file.CachedFile, 'is_sound', lambda file: compared.append(file) or is_sound(file)
    )
    for _ in range(3):
        for source in films.sizes:
            films.cache.read(source)
    assert len(compared) == 24


def test_a_plane_that_is_not_that_of_its_film_is_noticed(root):
    films = films_of(root)
    fill_cache(films, progress=False)
    one, other = list(films.sizes)[:2]
    film = films.cache.read(one)
    film_file.write_entry(
        films.cache.path_of(other), film._replace(source=film_file.source_state(other))
    )
    assert check_cache(films, 0, progress=False).counts == dict(sound=24)
    report = check_cache(films, 24, progress=False)
    assert report.counts == dict(identical=23, failed=1) and other in report.problems[0]


def fill(root, barrier):
    # as a worker of a data loader: a fork has none of the threads that torch started before
    torch.set_num_threads(1)
    films = films_of(root)
    barrier.wait()
    fill_cache(films, progress=False)


@pytest.mark.slow
def test_writers_and_readers_at_once(root):
    films = films_of(root)
    films.cache.make()
    expected = {path: writer.resized_image(films, path).image.copy() for path in films.sizes}
    with forking() as context:
        barrier = context.Barrier(4, timeout=60)
        writers = [context.Process(target=fill, args=(root, barrier)) for _ in range(3)]
        for process in writers:
            process.start()
    barrier.wait()
    seen = 0
    while any(process.is_alive() for process in writers):
        for path, plane in expected.items():
            try:
                found = films.cache.read(path).image
            except NotCachedError as error:
                assert 'not in the cache' in str(error)
                continue
            np.testing.assert_array_equal(found, plane)
            seen += 1
    for process in writers:
        process.join()
        assert process.exitcode == 0
    assert seen and len(files(root)) == 24
    assert check_cache(films, 24, progress=False).counts == dict(identical=24)


def killed_in_the_middle(root, marker):
    torch.set_num_threads(1)
    replace, count = os.replace, [0]

    def slow(one, other):
        count[0] += 1
        if count[0] == 10:  # the settings and eight films are there
            marker.touch()
            time.sleep(60)
        replace(one, other)

    os.replace = slow
    fill_cache(films_of(root), progress=False)


def test_a_killed_writer_leaves_whole_films_and_another_goes_on(root):
    marker = root / 'killed'
    with forking() as context:
        process = context.Process(target=killed_in_the_middle, args=(root, marker))
        process.start()
    while not marker.exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = files(root)
    assert len(left) == 9 and sum(path.suffix == '.tmp' for path in left) == 1
    films = films_of(root)
    assert check_cache(films, 24, progress=False).counts == dict(identical=8, failed=16)
    (leftover,) = (path for path in left if path.suffix == '.tmp')
    assert fill_cache(films, progress=False).counts == dict(kept=8, written=16)
    assert leftover.exists()  # of a writer that may be alive
    os.utime(leftover, (0, 0))
    assert fill_cache(films, progress=False).counts == dict(kept=24)
    assert not leftover.exists()
    assert check_cache(films, 24, progress=False).counts == dict(identical=24)


@pytest.mark.parametrize('workers', slow_but([1, 2], [2]))
def test_films_that_kill_their_process_are_listed_and_the_rest_is_done(root, monkeypatch, workers):
    sound = writer.resized_image

    def deadly(films, path):
        if path.endswith(('/3.png', '/20.png')):
            os.kill(os.getpid(), signal.SIGKILL)
        return sound(films, path)

    def assert_named(report):
        assert len(report.problems) == 2
        for name, line in zip(('3.png', '20.png'), report.problems):
            assert f"film '{root}/images/{name}' crashes its decoder" in line

    films = films_of(root)
    monkeypatch.setattr(writer, 'resized_image', deadly)
    report = fill_cache(films, workers, progress=False)
    # a process that is stopped with another one may leave a temporary file, or have written its film
    whole = [path for path in files(root) if path.suffix == '.film']
    assert report.counts['failed'] == 2 and len(whole) == 22
    assert report.counts['written'] + report.counts['kept'] == 22
    assert_named(report)
    monkeypatch.setattr(writer, 'resized_image', sound)
    assert fill_cache(films, workers, progress=False).counts == dict(kept=22, written=2)
    monkeypatch.setattr(writer, 'resized_image', deadly)
    report = check_cache(films, 24, workers, progress=False)
    assert report.counts == dict(identical=22, failed=2)
    assert_named(report)


def test_processes_are_not_sent_the_work(root, monkeypatch):
    """It holds every film of the set."""

    def refuse(self, protocol):
        raise AssertionError('the films were pickled')

    films = films_of(root)
    monkeypatch.setattr(type(films), '__reduce_ex__', refuse, raising=False)
    assert fill_cache(films, workers=2, progress=False).counts == {'written': 24}


def test_a_full_disk_is_one_clear_error(root, monkeypatch):
    def full(one, other):
        raise OSError(28, 'No space left on device')

    films = films_of(root)
    films.cache.make()
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(FilmCacheError, match='No space left'):
        fill_cache(films, progress=False)
    assert files(root) == []


@pytest.mark.slow
def test_worker_count_changes_nothing(root):
    films = films_of(root)
    fill_cache(films, workers=3, progress=False)
    cfg = config(root)
    set_film_cache(cfg._cfg_dict, str(root / 'cache'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    read = {
        workers: [
            batch['inputs']
            for batch in DataLoader(dataset, batch_size=None, num_workers=workers, shuffle=False)
        ]
        for workers in (0, 3)
    }
    assert len(read[0]) == 24
    assert all(one.equal(other) for one, other in zip(read[0], read[3]))


def anonymous_memory():
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('RssAnon:'):
            return int(line.split()[1]) * 1024
    pytest.skip('no RssAnon in /proc/self/status')


def test_films_lie_in_the_page_cache_only(tmp_path):
    rng = np.random.default_rng(0)
    state = film_file.SourceState(1, 1)
    plane = rng.random((1024, 1024), dtype=np.float32)
    paths = [str(tmp_path / f'{index}.film') for index in range(16)]
    for path in paths:
        film_file.write_entry(path, film_file.CachedImage(plane, (1, 1), state))
    before = anonymous_memory()
    held = [film_file.CachedFile(path).read().image for path in paths]
    assert all(float(film.sum()) > 0 for film in held)
    grown = anonymous_memory() - before
    assert grown < 4 * 2**20, f'{grown} bytes for 64 MiB of films'
    held[0][:] = 0  # what is written to is copied
    assert anonymous_memory() - before > 3 * 2**20


@pytest.mark.slow
def test_a_cache_of_other_settings_is_refused(root, monkeypatch):
    cfg = config(root)
    set_film_cache(cfg._cfg_dict, str(root / 'cache'))
    with pytest.raises(FileNotFoundError, match=r'cache_films\.py'):
        DATASETS.build(cfg.test_dataloader.dataset)
    fill_cache(films_of(root), progress=False)
    DATASETS.build(cfg.test_dataloader.dataset)
    other = config(root, 128)
    set_film_cache(other._cfg_dict, str(root / 'cache'))
    with pytest.raises(FileNotFoundError, match=r'Resize scale: \[96, 96\], here \[128, 128\]'):
        DATASETS.build(other.test_dataloader.dataset)
    monkeypatch.setattr(cv2, '__version__', '9.9')
    with pytest.raises(FileNotFoundError, match=r'versions opencv: .*, here 9\.9'):
        DATASETS.build(cfg.test_dataloader.dataset)
    with pytest.raises(FileNotFoundError):
        check_cache(films_of(root), progress=False)


def test_settings_are_written_down(root):
    films = films_of(root)
    films.cache.make()
    (written,) = root.glob('cache/*/settings.json')
    assert json.loads(written.read_text()) == films.cache.settings
    assert written.parent.name.startswith('96x96_')


@pytest.mark.parametrize(
    'pipeline',
    [
        [],
        [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 96))],
        [dict(type='LoadRadiograph'), dict(type='PackProbMapInputs')],
        [
            dict(type='LoadRadiograph'),
            dict(type='IntensityJitter'),
            dict(type='Resize', scale=(96, 96)),
        ],
    ],
)
def test_pipelines_that_cannot_be_cached(root, pipeline):
    node = dict(config(root).test_dataloader.dataset, pipeline=pipeline)
    with pytest.raises(ValueError, match='must begin with LoadRadiograph'):
        DATASETS.build(dict(node, film_cache=str(root / 'cache')))


def test_a_scale_that_is_not_fixed(root):
    pipeline = [dict(type='LoadRadiograph'), dict(type='Resize', scale_factor=0.5)]
    node = dict(config(root).test_dataloader.dataset, pipeline=pipeline)
    with pytest.raises(ValueError, match='fixed scale'):
        DATASETS.build(dict(node, film_cache=str(root / 'cache')))


def test_skipping_is_refused_in_tests_with_a_cache_too(root):
    fill_cache(films_of(root), progress=False)
    cfg = config(root)
    node = cfg.test_dataloader.dataset
    node.pipeline[0].on_error = 'skip'
    node.film_cache = str(root / 'cache')
    with pytest.raises(ValueError, match='no film may be left out'):
        DATASETS.build(node)
    cfg.train_pipeline[0].on_error = 'skip'
    training = dict(node, test_mode=False, pipeline=cfg.train_pipeline)
    dataset = DATASETS.build(training)
    for name in ('0.png', '1.png'):
        (root / 'images' / name).write_bytes(b'no film')
    info = dataset.get_data_info(0)
    assert dataset.pipeline(info) is None
    assert dataset[0]['inputs'].shape == (1, 96, 96)


def test_films_of_one_name_in_two_folders_are_two_films(root):
    for folder in ('a', 'b'):
        (root / 'images' / folder).mkdir()
    shutil.move(root / 'images/0.png', root / 'images/a/0.png')
    shutil.copy2(root / 'images/1.png', root / 'images/b/0.png')
    cache = store.FilmCache(root / 'cache', films_of_any(root).cache.settings)
    one, other = (str(root / 'images' / folder / '0.png') for folder in 'ab')
    assert cache.path_of(one) != cache.path_of(other)
    linked = root / 'link'
    linked.symlink_to(root / 'images')
    assert cache.path_of(str(linked / 'b/0.png')) == cache.path_of(other)


def films_of_any(root):
    names = [path.name for path in sorted((root / 'images').glob('*.png'))]
    write_data(root, names, [(130, 100)] * len(names))
    return films_of(root)
