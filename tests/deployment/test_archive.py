# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A whole archive: each image once, however often it was stopped and by however many it was shared."""

import errno
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import cv2
import numpy as np
import pytest

from mmfrac.apis import FracInferencer
from mmfrac.deployment import archive, scorer
from mmfrac.deployment.archive import (
    ArchiveOptions,
    Shard,
    count_results,
    infer_archive,
    measure_speed,
    merge_results,
)
from mmfrac.deployment.archive_inputs import list_entries
from mmfrac.deployment.package import PackagePoint, update_package
from mmfrac.deployment.results import read_results
from mmfrac.deployment.selection import Selection
from mmfrac.utils.errors import plain_errors
from tests.deployment.tiny_package import tiny_package, write_dicom, write_png
from tests.tools.tiny_run import ROOT, launch, start

TOOL = ROOT / 'tools/deployment/infer_archive.py'
# batches end within a chunk, and at its end
OPTIONS = ArchiveOptions(batch_size=3, chunk=8)
NUM_IMAGES = 30


@pytest.fixture(scope='module')
def package(tmp_path_factory):
    return tiny_package(tmp_path_factory.mktemp('package'))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """DICOM files of which every fifth is a lateral, PNG files, and three that cannot be read."""
    folder = tmp_path_factory.mktemp('images')
    for number in range(NUM_IMAGES - 3):
        if number % 4 == 3:
            write_png(folder / f'{number:02d}.png', number)
        else:
            view = 'LL' if number % 5 == 0 else 'PA'
            write_dicom(folder / f'{number:02d}.dcm', number, ViewPosition=view)
    (folder / 'a_empty.dcm').touch()
    (folder / 'b_text.dcm').write_text('none')
    (folder / 'c_cut.png').write_bytes((folder / '03.png').read_bytes()[:300])
    return folder


@pytest.fixture(scope='module')
def whole(package, images, tmp_path_factory):
    """Results of one run that nobody stopped."""
    out = tmp_path_factory.mktemp('whole')
    assert infer_archive(package, out, list_entries([images]), OPTIONS, 0, 'cpu', Shard())
    return out


def lines(out):
    return (out / 'results.jsonl').read_bytes()


def test_each_image_has_a_result(package, images, whole):
    results = list(read_results(whole / 'results.jsonl'))
    assert [one.image for one in results] == sorted(map(str, images.iterdir()))
    laterals = [one for one in results if one.view == 'lateral']
    assert len(laterals) == 5 and all(one.reason == 'view lateral' for one in laterals)
    by_name = {os.path.basename(one.image): one for one in results}
    empty = by_name['a_empty.dcm']
    assert empty.reason == 'empty file' and 'a_empty.dcm' in empty.error
    for name in ('b_text.dcm', 'c_cut.png'):
        assert by_name[name].reason == 'cannot be read' and name in by_name[name].error
    scored = [one for one in results if one.scored]
    assert len(scored) == NUM_IMAGES - 3 - 5
    expected = FracInferencer(package.config, package.weights[0], 'cpu', 'fp32')
    found = expected([one.image for one in scored])['predictions']
    for one, prediction in zip(scored, found):
        assert one.score == pytest.approx(prediction['score'], abs=1e-5)
        assert len(one.boxes) == len(prediction['boxes'])
        assert one.flag == (one.score >= 0.55) and one.operating_point['name'] == 'low'
        assert 0 < one.probability < 1 and (one.width, one.height) == (64, 48)
        assert one.model == package.identity
    assert by_name['01.dcm'].sop_instance_uid == '1.2.3.1' and by_name['01.dcm'].view == 'PA'
    assert by_name['03.png'].view is None and by_name['03.png'].scored
    assert {one.flag for one in scored} == {True, False}
    counts = count_results(whole)
    assert counts['scored'] == len(scored) and counts['errors'] == 3
    assert 'DOE' not in (whole / 'results.jsonl').read_text()
    assert not (whole / 'parts').exists()


@pytest.mark.parametrize('workers', [1, 2])
def test_workers_change_nothing(package, images, whole, tmp_path, workers):
    infer_archive(package, tmp_path, list_entries([images]), OPTIONS, workers, 'cpu', Shard())
    assert lines(tmp_path) == lines(whole)


def test_shards_make_the_same_file(package, images, whole, tmp_path):
    entries = list(list_entries([images]))
    for index in (2, 0):
        done = infer_archive(package, tmp_path, entries, OPTIONS, 0, 'cpu', Shard(index, 3))
        assert not done and not (tmp_path / 'results.jsonl').exists()
    with pytest.raises(ValueError, match=r'8 of 30 images .* are not done'):
        merge_results(tmp_path)
    # the list is not made anew, and other numbers of processes may go on
    assert infer_archive(package, tmp_path, iter(()), OPTIONS, 0, 'cpu', Shard(1, 2)) in (
        True,
        False,
    )
    assert infer_archive(package, tmp_path, iter(()), OPTIONS, 0, 'cpu', Shard(1, 2))
    assert lines(tmp_path) == lines(whole)
    assert merge_results(tmp_path)


@pytest.mark.parametrize('is_merged', [True, False])
def test_errors_are_tried_again_where_it_is_asked_for(package, images, whole, tmp_path, is_merged):
    """A share that was away: its images come back, and the file is that of an undisturbed run."""
    share = tmp_path / 'share'
    shutil.copytree(images, share)
    entries = list(list_entries([share]))
    moved = [share / name for name in ('05.dcm', '06.dcm', '21.dcm', '22.dcm')]
    for path in moved:
        path.rename(tmp_path / path.name)
    out = tmp_path / 'out'
    run = (package, out, entries, OPTIONS, 0, 'cpu')
    if is_merged:
        assert infer_archive(*run, Shard())
        merge_results(out, parquet=True)
        assert count_results(out)['errors'] == 3 + 4
    else:
        assert not infer_archive(*run, Shard(0, 2))
    for path in moved:
        (tmp_path / path.name).rename(path)
    kept = set((out / 'results.jsonl').read_bytes().splitlines()) if is_merged else set()
    assert infer_archive(*run, Shard(), retry_errors=True)
    expected = lines(whole).replace(str(images).encode(), str(share).encode())
    assert lines(out) == expected
    assert not (out / 'results.parquet').exists() and not (out / 'parts').exists()
    assert not is_merged or kept & set(expected.splitlines())


def test_without_errors_there_is_nothing_to_try_again(package, images, tmp_path):
    good = tmp_path / 'good'
    good.mkdir()
    shutil.copy(images / '01.dcm', good)
    out = tmp_path / 'out'
    run = (package, out, list(list_entries([good])), OPTIONS, 0, 'cpu', Shard())
    assert infer_archive(*run)
    merge_results(out, parquet=True)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob('results.*')}
    assert infer_archive(*run, retry_errors=True)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob('results.*')} == before


@pytest.fixture
def tool(monkeypatch, capsys):
    """The tool in this process, as it is called; exit code, what it printed and what it warned of."""
    main = runpy.run_path(str(TOOL), run_name='tool')['main']

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
        for name in [name for name in os.environ if name.startswith('SLURM_')]:
            monkeypatch.delenv(name)
        capsys.readouterr()
        code = main()
        return code, *capsys.readouterr()

    return call


def some_images(folder, *seeds):
    folder.mkdir(parents=True)
    for seed in seeds:
        write_dicom(folder / f'{seed}.dcm', seed)
    return folder


def test_doubtful_images_are_told_in_results_and_summary(package, tmp_path, tool):
    parquet = pytest.importorskip('pyarrow.parquet', reason='pip install mmfrac[deploy]')
    folder = some_images(tmp_path / 'images', 5)
    values = np.full((48, 64), 4095, np.uint16)
    write_dicom(folder / '0.dcm', 0, RescaleIntercept=-1024)
    write_dicom(folder / '1.dcm', 1, WindowWidth=0)
    write_dicom(folder / '2.dcm', 2, BitsStored=10, HighBit=9)
    write_dicom(folder / '3.dcm', 3, PixelData=values.tobytes())
    cv2.imwrite(str(folder / '4.png'), values.astype(np.uint8))
    out = tmp_path / 'out'
    run = (folder, '--package', package.path, '--out-dir', out, '--device', 'cpu', '--workers', 0)
    code, said, warned = tool(*run, '--parquet')
    assert code == 0 and '5 are doubtful' in said and '4 scored' in said
    assert '2 not scored: all its pixels have one value' in said
    assert f"image '{folder}/0.dcm' is doubtful: its header has RescaleIntercept" in warned
    results = list(read_results(out / 'results.jsonl'))
    assert [one.scored for one in results] == [True, True, True, False, False, True]
    notes = ['; '.join(one.notes) for one in results]
    texts = (
        'without RescaleSlope',
        'its window',
        'its values need 12 bits',
        'one value',
        'one value',
    )
    assert all(text in note for text, note in zip(texts, notes)) and notes[5] == ''
    assert [(one.width, one.height) for one in results] == [(64, 48)] * 6
    rows = parquet.read_table(out / 'results.parquet').to_pylist()
    assert rows == [one.as_dict() for one in results]
    # processes that decode say the same
    before = lines(out)
    shutil.rmtree(out)
    _, _, warned = tool(*run[:-1], 2)
    assert lines(out) == before and warned.count('is doubtful') == 1
    shutil.rmtree(out)
    code, said, _ = tool(*run, '--everything')
    assert code == 0 and '6 scored' in said and '5 are doubtful' in said


def test_results_of_before_have_no_notes_and_go_on(package, images, whole, tmp_path):
    entries = list(list_entries([images]))
    infer_archive(package, tmp_path, entries, OPTIONS, 0, 'cpu', Shard(0, 2))
    for path in (tmp_path / 'parts').glob('*.jsonl'):
        content = path.read_bytes()
        assert content.count(b'"notes": [], ') == content.count(b'\n')
        path.write_bytes(content.replace(b'"notes": [], ', b''))
    assert infer_archive(package, tmp_path, iter(()), OPTIONS, 0, 'cpu', Shard())
    assert list(read_results(tmp_path / 'results.jsonl')) == list(
        read_results(whole / 'results.jsonl')
    )
    assert lines(tmp_path) != lines(whole)


def test_another_folder_of_the_same_name_is_another_one(package, tmp_path, tool, monkeypatch):
    for name, seeds in (('a', (0, 1)), ('b', (2, 3))):
        some_images(tmp_path / name / 'images', *seeds)
    out = tmp_path / 'out'
    # one of two chunks is done
    run = ('--package', package.path, '--out-dir', out, '--device', 'cpu', '--chunk', 1)
    monkeypatch.chdir(tmp_path / 'a')
    tool('images', *run, '--shard', '1/2')
    monkeypatch.chdir(tmp_path / 'b')
    with pytest.raises(ValueError, match=r"begun with inputs .*/a/images'.*, not .*/b/images'"):
        tool('images', *run)
    # the same one, by another path from elsewhere, whose images keep their names
    code, said, warned = tool('../a/images', *run)
    assert code == 0 and '2 scored' in said and 'since' not in warned
    names = [one.image for one in read_results(out / 'results.jsonl')]
    assert names == ['images/0.dcm', 'images/1.dcm']


def test_a_zip_from_another_folder_goes_on(package, tmp_path, tool, monkeypatch):
    (tmp_path / 'a').mkdir()
    with zipfile.ZipFile(tmp_path / 'a/images.zip', 'w') as packed:
        for seed in (0, 1):
            packed.write(write_dicom(tmp_path / 'image', seed), f'{seed}.dcm')
    run = ('--package', package.path, '--out-dir', tmp_path / 'out', '--device', 'cpu')
    monkeypatch.chdir(tmp_path / 'a')
    tool('images.zip', *run, '--chunk', 1, '--shard', '1/2')
    monkeypatch.chdir(tmp_path)
    code, said, warned = tool('a/images.zip', *run)
    assert code == 0 and '2 scored' in said and 'since' not in warned


def test_a_job_of_before_goes_on_from_its_folder(package, tmp_path, tool, monkeypatch):
    some_images(tmp_path / 'images', 0, 1)
    some_images(tmp_path / 'others', 2)
    monkeypatch.chdir(tmp_path)
    run = ('--package', package.path, '--out-dir', 'out', '--device', 'cpu', '--chunk', 1)
    tool('images', *run, '--shard', '1/2')
    job = json.loads((tmp_path / 'out/job.json').read_text())
    assert job.pop('working_dir') == str(tmp_path)
    assert job['inputs']['sources'] == [str(tmp_path / 'images')]
    job['inputs'] |= dict(sources=['images'])
    (tmp_path / 'out/job.json').write_text(json.dumps(job))
    with pytest.raises(ValueError, match=r'begun with inputs'):
        tool('others', *run)
    # what came since is not counted there
    write_dicom(tmp_path / 'images/2.dcm', 2)
    code, said, warned = tool('images', *run)
    assert code == 0 and '2 scored' in said and 'since' not in warned


def test_what_came_to_the_inputs_since_is_said(package, tmp_path, tool, monkeypatch):
    folder = some_images(tmp_path / 'images', 0, 1, 2)
    (tmp_path / 'list.txt').write_text('images/0.dcm\nimages/1.dcm\n')
    for source in (folder, tmp_path / 'list.txt'):
        out = tmp_path / f'out_{source.stem}'
        run = (source, '--package', package.path, '--out-dir', out, '--device', 'cpu')
        tool(*run, '--chunk', 1, '--shard', '2/2')
        os.utime(out / 'inputs.jsonl', (0, 0))
        write_dicom(folder / f'new {source.stem}.dcm', 3)
        (folder / f'{source.stem}.zip').touch()
        if source != folder:
            source.write_text('images/1.dcm\nimages/2.dcm\nimages/new list.dcm\n')
        # of several processes the first one says it, when it has scored its share
        assert 'since' not in tool(*run, '--shard', '2/2')[2]
        code, _, warned = tool(*run, '--shard', '1/2')
        assert code == 0 and len(lines(out).splitlines()) == (3 if source == folder else 2)
        number = 1 if source == folder else 2
        since = f'since the list of {out} was made on 19'
        assert f'warning: {number} image{"s" * (number > 1)} came {since}' in warned
        assert 'another --out-dir' in warned
        assert (f'warning: 1 image went away {since}' in warned) is (source != folder)
        assert ('warning: ZIP files' in warned) is (source == folder)
        # what is done is not looked through again
        before = lines(out)
        with monkeypatch.context() as patch:
            patch.setattr(archive, 'count_changes', None)
            code, _, warned = tool(*run)
        assert code == 0 and lines(out) == before
        assert f'{out} is done, as its images were listed on 19' in warned


def test_whether_images_came_cannot_be_told(package, tmp_path, tool):
    some_images(tmp_path / 'images', 0, 1)
    (tmp_path / 'list.txt').write_text('images/0.dcm\nimages/1.dcm\n')
    out = tmp_path / 'out'
    run = (tmp_path / 'list.txt', '--package', package.path, '--out-dir', out, '--device', 'cpu')
    tool(*run, '--chunk', 1, '--shard', '2/2')
    (tmp_path / 'list.txt').unlink()
    code, _, warned = tool(*run)
    assert code == 0 and 'cannot be told: no list of images' in warned


def test_a_moved_project_goes_on(package, tmp_path, tool, monkeypatch):
    here, there = tmp_path / 'here', tmp_path / 'there'
    some_images(here / 'images', 0, 1, 2)
    (here / 'list.txt').write_text('0.dcm\n')
    monkeypatch.chdir(here)
    run = ('--package', package.path, '--out-dir', 'out', '--device', 'cpu')
    inputs = ('images', 'list.txt', '--root', 'images')
    tool(*inputs, *run, '--chunk', 1, '--shard', '1/2')
    monkeypatch.chdir(tmp_path)
    here.rename(there)
    monkeypatch.chdir(there)
    # others, and those that were there are still there
    some_images(there / 'others', 3)
    with pytest.raises(ValueError, match=r'begun with inputs'):
        tool('others', *inputs[1:], *run)
    some_images(here / 'images', 0)
    with pytest.raises(ValueError, match=r'begun with inputs'):
        tool(*inputs, *run)
    shutil.rmtree(here)
    code, said, warned = tool(*inputs, *run)
    assert code == 0 and '3 scored' in said and 'since' not in warned
    names = [one.image for one in read_results(there / 'out/results.jsonl')]
    assert names == [f'images/{number}.dcm' for number in range(3)]


@pytest.mark.parametrize(
    'options, text',
    [
        (('--query', 'StudyDate=20260101'), '--query searches a DICOMweb server'),
        (('--column', 'file'), '--column is that of a table'),
        (('--root', 'images'), '--root is where paths of lists begin'),
    ],
)
def test_options_of_inputs_that_are_not_there(tool, capsys, options, text):
    with pytest.raises(SystemExit):
        tool('images', 'a.zip', '--package', 'a.mmfrac', '--out-dir', 'out', *options)
    assert text in capsys.readouterr().err


def test_a_share_without_images_says_so(package, tmp_path, tool):
    folder = some_images(tmp_path / 'images', 0, 1)
    run = (folder, '--package', package.path, '--out-dir', tmp_path / 'out', '--device', 'cpu')
    code, said, warned = tool(*run, '--shard', '2/3')
    assert code == 0 and 'shard 2/3 is done, others are not' in said
    assert 'shard 2/3 has nothing to do: there are 2 images, and a process takes 512' in warned
    assert 'nothing to do' not in tool(*run, '--shard', '1/3')[2]


def test_a_full_disk_is_said_and_nothing_is_lost(package, images, whole, tmp_path, monkeypatch):
    real, left = os.fsync, 3

    def full(descriptor):
        nonlocal left
        left -= 'parts' in os.readlink(f'/proc/self/fd/{descriptor}')
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(archive.os, 'fsync', full)
        with pytest.raises(OSError, match=r'parts/0000001.jsonl \(No space left .*start again'):
            infer_archive(package, tmp_path, list_entries([images]), OPTIONS, 0, 'cpu', Shard())
    with monkeypatch.context() as patch:
        patch.setattr(archive._Job, 'part_to_write', lambda *_: full(-1))
        with pytest.raises(OSError, match=r'parts/000000\d.jsonl \(.*start again'):
            infer_archive(package, tmp_path, iter(()), OPTIONS, 0, 'cpu', Shard())
    assert infer_archive(package, tmp_path, iter(()), OPTIONS, 0, 'cpu', Shard())
    assert lines(tmp_path) == lines(whole)


@pytest.mark.parametrize(
    'number, remedy',
    [
        (errno.ENOSPC, 'make room there and start again'),
        (errno.EDQUOT, 'make room there and start again'),
        (errno.EACCES, 'make it writable and start again, or name another folder'),
    ],
)
def test_results_that_cannot_be_written(capsys, number, remedy):
    with pytest.raises(SystemExit), plain_errors(), archive._written(ROOT):
        raise OSError(number, os.strerror(number))
    said = f'OSError: the results cannot be written to {ROOT} ({os.strerror(number)}): {remedy}; nothing'
    assert capsys.readouterr().err.startswith(said)
    with pytest.raises(OSError) as raised, archive._written(ROOT):
        raise OSError(number, os.strerror(number))
    assert raised.value.errno == number


class Stopped(Exception):
    pass


@pytest.mark.parametrize('seed', range(6))
def test_half_a_batch_is_cut_off_and_computed_again(
    package, images, whole, tmp_path, seed, monkeypatch
):
    """Stopped after some batches, with any bytes of the next one on the disk."""
    rng = random.Random(seed)
    real = os.fsync
    left = rng.randint(1, 6)

    def stop(descriptor):
        nonlocal left
        real(descriptor)
        left -= 'parts' in os.readlink(f'/proc/self/fd/{descriptor}')
        if left == 0:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(archive.os, 'fsync', stop)
        with pytest.raises(Stopped):
            infer_archive(package, tmp_path, list_entries([images]), OPTIONS, 0, 'cpu', Shard())
    last = sorted((tmp_path / 'parts').glob('*.jsonl'))[-1]
    content = last.read_bytes()
    kind = seed % 3
    if kind == 0:
        last.write_bytes(content[: rng.randint(1, len(content) - 1)])
    elif kind == 1:
        # a whole line of a batch that was not written whole, and bytes of the next
        start = lines(whole).index(content.splitlines(True)[-1]) + len(content.splitlines(True)[-1])
        last.write_bytes(content + lines(whole)[start : start + rng.randint(1, 700)])
    else:
        last.write_bytes(content + bytes(rng.randint(1, 5000)))
    assert infer_archive(package, tmp_path, iter(()), OPTIONS, 0, 'cpu', Shard())
    assert lines(tmp_path) == lines(whole)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(package, images, whole, tmp_path):
    command, environment = launch(
        TOOL,
        [
            *(images, '--package', package.path, '--out-dir', tmp_path / 'out'),
            *('--batch-size', 3, '--chunk', 8, '--workers', 2, '--device', 'cpu'),
        ],
        tmp_path,
    )
    rng = random.Random(0)
    parts = tmp_path / 'out/parts'
    for _ in range(3):
        run = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL)
        before = size(parts)
        # once it writes, at any moment of the next batches
        while run.poll() is None and size(parts) == before:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        if run.poll() is None:
            os.kill(run.pid, signal.SIGKILL)
        run.wait()
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    # two images cannot be read
    assert run.returncode == 1, run.stderr[-2000:]
    assert (tmp_path / 'out/results.jsonl').read_bytes() == lines(whole)
    assert '22 scored' in run.stdout and 'not scored: view lateral' in run.stdout


@pytest.mark.slow
def test_where_nothing_is_scored_the_reasons_are_told(package, tmp_path):
    write_dicom(tmp_path / 'lateral.dcm', 0, ViewPosition='LL')
    command, environment = launch(
        TOOL,
        [tmp_path / 'lateral.dcm', '--package', package.path, '--out-dir', tmp_path / 'out'],
        tmp_path,
    )
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    said = [line.strip() for line in run.stdout.splitlines()]
    assert said[:3] == ['0 scored', '0 flagged', '1 not scored: view lateral']


def size(folder):
    return sum(path.stat().st_size for path in folder.glob('*.jsonl')) if folder.is_dir() else 0


def test_two_ranks_of_torchrun_give_the_same_file(package, images, whole, tmp_path):
    """The two at once, with the environment that torchrun gives them."""
    runs = []
    for rank in range(2):
        command, environment = launch(
            TOOL,
            [
                *(images, '--package', package.path, '--out-dir', tmp_path / 'out'),
                *('--batch-size', 3, '--chunk', 8, '--workers', 1, '--device', 'cpu'),
            ],
            tmp_path,
        )
        environment |= dict(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank))
        runs.append(
            subprocess.Popen(
                command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
            )
        )
    for run in runs:
        _, errors = run.communicate()
        assert run.returncode in (0, 1), errors[-2000:]
        assert 'Traceback' not in errors
    assert (tmp_path / 'out/results.jsonl').read_bytes() == lines(whole)


def test_one_process_at_a_time_scores_an_image(package, images, tmp_path):
    entries = list(list_entries([images]))
    infer_archive(package, tmp_path, entries, OPTIONS, 0, 'cpu', Shard(0, 4))
    job = archive._Job(tmp_path, json.loads((tmp_path / 'job.json').read_text()))
    pid = os.fork()
    if not pid:
        with job.held([1]):
            (tmp_path / 'held').touch()
            time.sleep(60)
        os._exit(0)
    try:
        while not (tmp_path / 'held').exists():
            time.sleep(0.01)
        with pytest.raises(ValueError, match='another process scores the same images'):
            infer_archive(package, tmp_path, entries, OPTIONS, 0, 'cpu', Shard(0, 1))
        # other chunks are free
        infer_archive(package, tmp_path, entries, OPTIONS, 0, 'cpu', Shard(2, 4))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert infer_archive(package, tmp_path, entries, OPTIONS, 0, 'cpu', Shard(0, 1))


@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(batch_size=4), 'batch_size 3, not 4'),
        (dict(precision='bf16'), "precision 'fp32', not 'bf16'"),
        (dict(selection=Selection(everything=True)), 'selection'),
    ],
)
def test_other_choices_are_another_folder(package, images, whole, changes, text):
    before = lines(whole)
    with pytest.raises(ValueError, match=text):
        infer_archive(package, whole, iter(()), ArchiveOptions(**changes), 0, 'cpu', Shard())
    # those that are not named are the ones of before
    assert infer_archive(package, whole, iter(()), ArchiveOptions(), 0, 'cpu', Shard())
    assert lines(whole) == before


def test_a_folder_goes_on_with_its_inputs_and_its_operating_point(package, images, tmp_path):
    two = update_package(
        shutil.copy(package.path, tmp_path / 'two.mmfrac'),
        operating_points=[PackagePoint('a', 0.4), PackagePoint('b', 0.6)],
    )
    choices = dict(operating_point='b', inputs=dict(sources=['one'], query={}))
    entries = list_entries([images / '01.dcm'])
    out = tmp_path / 'out'
    assert infer_archive(two, out, entries, ArchiveOptions(**choices), 0, 'cpu', Shard())
    for again in (ArchiveOptions(), ArchiveOptions(**choices)):
        assert infer_archive(two, out, iter(()), again, 0, 'cpu', Shard())
    with pytest.raises(ValueError, match="operating_point 'b', not 'a'"):
        infer_archive(two, out, iter(()), ArchiveOptions(operating_point='a'), 0, 'cpu', Shard())
    other = ArchiveOptions(inputs=dict(sources=['two'], query={}))
    with pytest.raises(ValueError, match=r"begun with inputs .*'one'.*, not .*'two'"):
        infer_archive(two, out, iter(()), other, 0, 'cpu', Shard())
    (result,) = read_results(out / 'results.jsonl')
    assert result.operating_point == dict(name='b', threshold=0.6)


def test_another_model_and_foreign_files_are_refused(package, images, whole, tmp_path):
    other = tiny_package(tmp_path, seed=1)
    with pytest.raises(ValueError, match='begun with model'):
        infer_archive(other, whole, iter(()), OPTIONS, 0, 'cpu', Shard())
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/results.jsonl').write_text('mine')
    with pytest.raises(ValueError, match='was not written by mmfrac'):
        infer_archive(package, tmp_path / 'out', list_entries([images]), OPTIONS, 0, 'cpu', Shard())
    assert (tmp_path / 'out/results.jsonl').read_text() == 'mine'
    with pytest.raises(FileNotFoundError, match='holds no results'):
        merge_results(tmp_path)


def test_everything_is_scored_where_it_is_asked_for(package, images, tmp_path):
    options = ArchiveOptions(Selection(everything=True), batch_size=8)
    infer_archive(package, tmp_path, list_entries([images]), options, 0, 'cpu', Shard())
    assert count_results(tmp_path)['scored'] == NUM_IMAGES - 3


def test_a_network_that_gives_nan_stops_nothing(package, images, tmp_path, monkeypatch):
    real = scorer.prediction_of_image

    def broken(name, sample):
        found = real(name, sample)
        return found | dict(score=float('nan')) if name.endswith('01.dcm') else found

    monkeypatch.setattr(scorer, 'prediction_of_image', broken)
    infer_archive(package, tmp_path, list_entries([images]), OPTIONS, 0, 'cpu', Shard())
    (one,) = (r for r in read_results(tmp_path / 'results.jsonl') if r.image.endswith('01.dcm'))
    assert not one.scored and 'gives no result' in one.error


def test_a_file_that_kills_its_worker_is_an_error_of_its_own(
    package, images, tmp_path, monkeypatch
):
    real = archive.ImageLoader.load

    def load(self, source, name=''):
        if source.endswith('02.dcm'):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, source, name)

    monkeypatch.setattr(archive.ImageLoader, 'load', load)
    infer_archive(package, tmp_path, list_entries([images]), OPTIONS, 2, 'cpu', Shard())
    results = list(read_results(tmp_path / 'results.jsonl'))
    (one,) = (result for result in results if result.image.endswith('02.dcm'))
    assert one.reason == 'cannot be read' and 'crashes its decoder' in one.error
    assert len(results) == NUM_IMAGES and sum(result.scored for result in results) == 21


def test_results_as_parquet(package, images, whole):
    parquet = pytest.importorskip('pyarrow.parquet', reason='pip install mmfrac[deploy]')
    run = start(TOOL, '--merge', '--parquet', '--out-dir', whole, cwd=whole)
    assert run.returncode == 1 and '2 not scored: cannot be read' in run.stdout, run.stderr
    rows = parquet.read_table(whole / 'results.parquet').to_pylist()
    assert rows == [one.as_dict() for one in read_results(whole / 'results.jsonl')]


@pytest.mark.parametrize(
    'environment, expected',
    [
        (dict(), (0, 1)),
        (dict(RANK='2', WORLD_SIZE='4', SLURM_ARRAY_TASK_ID='7'), (2, 4)),
        (dict(SLURM_PROCID='1', SLURM_NTASKS='3'), (1, 3)),
        (dict(SLURM_NTASKS='3'), (0, 1)),
        (
            dict(SLURM_ARRAY_TASK_ID='5', SLURM_ARRAY_TASK_COUNT='4', SLURM_ARRAY_TASK_MIN='3'),
            (2, 4),
        ),
        (
            dict(
                SLURM_ARRAY_TASK_ID='5',
                SLURM_ARRAY_TASK_COUNT='3',
                SLURM_ARRAY_TASK_MIN='1',
                SLURM_ARRAY_TASK_STEP='2',
                SLURM_PROCID='1',
                SLURM_NTASKS='2',
            ),
            (5, 6),
        ),
    ],
)
def test_the_share_of_a_process(environment, expected):
    assert Shard.of_environment(environment) == Shard(*expected)


@pytest.mark.parametrize('numbers', [(1, 3, 7), (3, 7, 9), (0, 1, 3)])
def test_an_array_with_gaps_has_no_shares(numbers):
    for number in numbers:
        # Slurm says step 1 of lists
        environment = dict(
            SLURM_ARRAY_TASK_ID=str(number),
            SLURM_ARRAY_TASK_MIN=str(min(numbers)),
            SLURM_ARRAY_TASK_MAX=str(max(numbers)),
            SLURM_ARRAY_TASK_STEP='1',
            SLURM_ARRAY_TASK_COUNT=str(len(numbers)),
        )
        with pytest.raises(ValueError, match='name it as --shard'):
            Shard.of_environment(environment)


def test_a_share_is_written_as_number_and_count():
    assert Shard.parse('2/8') == Shard(1, 8)
    for text in ('0/8', '9/8', '2', 'a/b', '-1/2', '1/0'):
        with pytest.raises(ValueError, match='NUMBER/COUNT'):
            Shard.parse(text)


def test_speed_is_measured(package, images):
    entries = [{'image': str(path)} for path in sorted(images.glob('*.dcm'))[2:18]]
    rates = measure_speed(package, entries, (1,), 4, 'cpu')
    assert set(rates) == {'network', '1 worker'} and all(rate > 0 for rate in rates.values())
    with pytest.raises(ValueError, match='too few'):
        measure_speed(package, entries[:7], (1,), 4, 'cpu')


def test_the_speed_of_what_cannot_be_read_is_none(package, images, tmp_path):
    bad = [{'image': str(tmp_path / f'{number}.dcm')} for number in range(13)]
    good = [{'image': str(images / f'{number:02d}.dcm')} for number in (0, 1, 2)]
    with pytest.raises(ValueError, match=r'3 of 16 images can be read, fewer than a batch of 4'):
        measure_speed(package, bad + good, (1,), 4, 'cpu')
    assert set(measure_speed(package, bad + good, (), 3, 'cpu')) == {'network'}


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    code = """
import os, time
from mmfrac.utils.processes import FilePool
def say(task):
    os.write(1, f'{os.getpid()}\\n'.encode())
    time.sleep(60)
with FilePool(say, 2, print, 1) as pool:
    list(pool.map(range(4)))
"""
    (tmp_path / 'sleep.py').write_text(code)
    command, environment = launch(tmp_path / 'sleep.py', [], tmp_path)
    run = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    pids = [int(run.stdout.readline()) for _ in range(2)]
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    for _ in range(1000):
        if not any(os.path.exists(f'/proc/{pid}') for pid in pids):
            return
        time.sleep(0.01)
    raise AssertionError(f'processes {pids} go on')
