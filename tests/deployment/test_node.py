# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import logging
import multiprocessing
import os
import random
import shutil
import signal
import socket
import time
from dataclasses import replace

import pydicom
import pytest

from mmfrac.deployment import study_queue
from mmfrac.deployment.dicom_objects import make_objects
from mmfrac.deployment.node import DicomNode
from mmfrac.deployment.study_queue import MOST_ATTEMPTS
from tests.deployment.dicom_objects.variants import make_result
from tests.deployment.node_case import (
    QUICK,
    FolderArchive,
    associate,
    images,
    score,
    send,
    wait_for,
)

SR, CT = '1.2.840.10008.5.1.4.1.1.88.34', '1.2.840.10008.5.1.4.1.1.2'


@pytest.fixture
def archive(tmp_path):
    return FolderArchive(tmp_path / 'archive')


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [(dict(threshold=80.0), r'in \(0, 1\], got 80'), (dict(kinds=('sr', 'pdf')), r"got \['pdf'\]")],
)
def test_options_that_no_object_can_have_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        replace(QUICK, **wrong)


def is_idle(node):
    counts = node.queue.counts()
    return not counts['images'].get('waiting') and not counts['objects'].get('waiting')


def test_a_study_goes_in_and_its_findings_come_out(tmp_path, archive, caplog):
    caplog.set_level(logging.DEBUG)
    paths = images(tmp_path, 2) + images(tmp_path, 1, '1.2.9', ViewPosition='LL')
    with DicomNode(tmp_path / 'node', score, archive, QUICK) as node:
        assert send(node.port, paths) == [0, 0, 0]
        wait_for(lambda: is_idle(node) and len(archive.objects()) == 2)
        facts = node.health()
    assert facts['ok'] and facts['images'] == dict(scored=2) | {'left out': 1}
    assert facts['objects'] == dict(sent=2) and facts['not_scored'] == {'view lateral': 1}
    for ds in archive.objects():
        (evidence,) = ds.CurrentRequestedProcedureEvidenceSequence
        assert ds.StudyInstanceUID == '1.2.3.6' == evidence.StudyInstanceUID
        assert ds.PatientName == 'Doe^Jane'
    assert list((tmp_path / 'node').rglob('*.dcm')) == []
    # neither the log nor what stays has a name, a date of birth or a UID
    said = caplog.text + str(facts)
    kept = [path for path in (tmp_path / 'node').iterdir() if path.is_file()]
    said += ''.join(path.read_bytes().decode('latin-1') for path in kept)
    assert 'took image' in caplog.text
    assert not any(text in said for text in ('Doe', 'Jane', '19500102', 'id 7', '1.2.3.6'))


def test_what_is_sent_twice_is_scored_once(tmp_path, archive):
    paths = images(tmp_path, 2)
    with DicomNode(tmp_path / 'node', score, archive, QUICK) as node:
        assert send(node.port, paths * 2) == [0] * 4
        wait_for(lambda: is_idle(node))
        assert send(node.port, paths) == [0, 0]
        assert node.counters.duplicates == 4
    with DicomNode(tmp_path / 'node', score, archive, QUICK) as node:
        assert send(node.port, paths) == [0, 0] and is_idle(node)
    assert len((archive.folder / 'arrived').read_text().split()) == 2


def test_objects_of_its_own_and_what_is_no_radiograph_are_dropped(tmp_path, archive):
    (path,) = images(tmp_path, 1)
    made = make_objects(make_result(path), path, None, ['sc', 'sr']).objects
    others = []
    for one in made:
        others.append(tmp_path / one.file_name)
        others[-1].write_bytes(one.content)
    ct = pydicom.dcmread(path)
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = CT
    ct.save_as(tmp_path / 'ct.dcm')
    with DicomNode(tmp_path / 'node', score, archive, QUICK) as node:
        classes = [pydicom.dcmread(one).SOPClassUID for one in others]
        association = associate(node.port, classes=[*classes, CT])
        for one in (*others, tmp_path / 'ct.dcm'):
            assert association.send_c_store(str(one)).Status == 0
        association.release()
        assert node.counters.dropped == 3 and node.queue.counts()['images'] == {}


def test_who_may_not_send_is_refused(tmp_path, archive):
    options = replace(QUICK, callers=('GOOD',))
    with DicomNode(tmp_path / 'node', score, archive, options) as node:
        assert not associate(node.port, 'BAD').is_established
        assert not associate(node.port, 'GOOD', 'OTHER').is_established
        good = associate(node.port, 'GOOD')
        assert good.is_established and good.send_c_echo().Status == 0
        good.release()
        assert node.counters.refused == 2


def test_what_is_too_large_is_refused_and_the_node_goes_on(tmp_path, archive, monkeypatch):
    small, large = images(tmp_path, 2)
    ds = pydicom.dcmread(large)
    ds.add_new(0x00091010, 'OB', bytes(3 * 2**20))
    ds.save_as(large)
    options = replace(QUICK, most_bytes_an_image=2**20)
    with DicomNode(tmp_path / 'node', score, archive, options) as node:
        assert send(node.port, [large]) in ([None], [0xA700])
        # a length that is none
        with socket.create_connection(('127.0.0.1', node.port)) as peer:
            peer.sendall(b'\x01\x00\xff\xff\xff\xff' + bytes(100))
            assert peer.recv(100) == b''
        assert node.counters.refused == 2
        assert send(node.port, [small]) == [0]
        # no room
        node.queue.most_bytes = 10
        (other,) = images(tmp_path, 1, '1.2.77')
        assert send(node.port, [other]) == [0xA700]
        node.queue.most_bytes = 10**9

        def cannot_write(path, content):
            raise OSError('no space left on device')

        monkeypatch.setattr(study_queue, 'write_bytes', cannot_write)
        assert send(node.port, [other]) == [0xA700] and 'OSError' in node.health()['last_error']
        monkeypatch.undo()
        assert send(node.port, [other]) == [0]


def test_names_from_headers_are_no_paths(tmp_path, archive):
    outside = set(tmp_path.iterdir())
    (path,) = images(tmp_path, 1)
    ds = pydicom.dcmread(path)
    with DicomNode(tmp_path / 'node', score, archive, QUICK) as node:
        for keyword, value in (
            ('StudyInstanceUID', '../../x'),
            ('SeriesInstanceUID', '/tmp/x'),
            ('SOPInstanceUID', '../x'),
        ):
            changed = pydicom.dcmread(path)
            changed[keyword].VR = 'LO'
            changed[keyword].value = value
            changed[keyword].VR = 'UI'
            if keyword == 'SOPInstanceUID':
                changed.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            changed.save_as(tmp_path / 'changed.dcm', enforce_file_format=False)
            (status,) = send(node.port, [tmp_path / 'changed.dcm'])
            assert status in (0xC000, 0xA900, None)
        assert node.queue.counts()['images'] == {}
    assert set(tmp_path.iterdir()) - outside == {
        tmp_path / 'node',
        path,
        tmp_path / 'changed.dcm',
    }


def test_one_image_that_cannot_be_scored_does_not_hold_up_the_others(tmp_path, archive):
    paths = images(tmp_path, 3)

    def fails(files):
        for file in files:
            if pydicom.dcmread(file).SOPInstanceUID.endswith('.1'):
                raise MemoryError('of Doe^Jane')
        return score(files)

    with DicomNode(tmp_path / 'node', fails, archive, replace(QUICK, quiet=0.3)) as node:
        send(node.port, paths)
        wait_for(lambda: is_idle(node) and node.queue.counts()['images'])
        assert node.queue.counts()['images'] == dict(scored=2, failed=1)
        assert node.health()['not_scored'] == {'cannot be scored (MemoryError)': 1}
        assert 'Doe' not in str(node.health())


def test_a_disk_that_is_full_for_a_while_costs_no_image(tmp_path, archive, monkeypatch):
    write, refused = study_queue.write_bytes, []

    def write_bytes(path, content):
        if path.parent.name == 'outgoing' and len(refused) < MOST_ATTEMPTS:
            refused.append(path)
            raise OSError('no space left on device')
        write(path, content)

    monkeypatch.setattr(study_queue, 'write_bytes', write_bytes)
    with DicomNode(tmp_path / 'node', score, archive, QUICK) as node:
        monkeypatch.setattr(node._stopped, 'wait', lambda seconds: time.sleep(0.01))
        send(node.port, images(tmp_path, 1))
        wait_for(lambda: is_idle(node) and node.queue.counts()['images'])
        assert node.queue.counts()['images'] == dict(scored=1)
    assert len(refused) == MOST_ATTEMPTS


def test_an_archive_that_is_away_gets_its_objects_later(tmp_path, archive, monkeypatch):
    class Away(FolderArchive):
        def send(self, paths):
            return ['nobody there'] * len(paths)

    with DicomNode(tmp_path / 'node', score, Away(tmp_path / 'archive'), QUICK) as node:
        send(node.port, images(tmp_path, 2))
        wait_for(
            lambda: node.counters.errors >= 1 and node.queue.counts()['images'] == dict(scored=2)
        )
        assert node.health()['ok'] and node.health()['not_taken'] == 0
        # away for minutes
        attempts = study_queue.FEW_SENDINGS
        node.queue._db.execute(f'UPDATE objects SET next_try = 1e12, attempts = {attempts}')
        assert not node.health()['ok'] and node.health()['not_taken'] == 2
        monkeypatch.setattr(study_queue, 'MOST_SENDINGS', 1)
        node.queue._db.execute('UPDATE objects SET next_try = 0')
        wait_for(lambda: node.queue.counts()['objects'].get('failed'))
        assert not node.health()['ok']
        assert archive.objects() == []
    with DicomNode(tmp_path / 'node', score, archive, QUICK) as node:
        wait_for(lambda: is_idle(node))
    assert len(archive.objects()) == 2


def test_another_model_takes_another_folder(tmp_path, archive):
    models = [dict(model=sha256, operating_point='low') for sha256 in ('a1', 'b2')]
    with DicomNode(tmp_path / 'node', score, archive, QUICK, models[0]) as node:
        send(node.port, images(tmp_path, 1))
        wait_for(lambda: node.queue.counts()['images'] == dict(scored=1))
    with (
        pytest.raises(ValueError, match=r"model 'a1', not 'b2'.*--folder"),
        DicomNode(tmp_path / 'node', score, archive, QUICK, models[1]),
    ):
        pass
    with DicomNode(tmp_path / 'node', score, archive, QUICK, models[0]) as node:
        wait_for(lambda: is_idle(node) and archive.objects())


def _run_node(folder, archive, port):
    with DicomNode(folder, score, FolderArchive(archive), replace(QUICK, port=port)):
        signal.pause()


@pytest.mark.slow
def test_a_node_that_is_killed_at_any_moment_loses_and_doubles_nothing(tmp_path):
    count = 24
    paths = images(tmp_path, count // 2) + images(tmp_path, count // 2, '1.2.8')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    dice = random.Random(0)
    context = multiprocessing.get_context('fork')
    waiting, kills = list(paths), 0
    archive = FolderArchive(tmp_path / 'archive')

    def start():
        process = context.Process(target=_run_node, args=(tmp_path / 'node', archive.folder, port))
        process.start()
        wait_for(lambda: _listens(port) or not process.is_alive())
        return process

    while waiting or len(archive.objects()) < count or kills < 10:
        process = start()
        # sent again until it is taken, as archives do
        part = waiting[: dice.randrange(1, 7)]
        answers = send(port, part) if part else []
        waiting = [p for p, status in zip(part, answers) if status != 0] + waiting[len(part) :]
        if kills < 10:
            process.join(dice.random() * 0.5)
            kills += 1
        elif not waiting:
            wait_for(lambda: len(archive.objects()) == count)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert kills == 10
    process = start()
    wait_for(lambda: not list((tmp_path / 'node' / 'outgoing').iterdir()))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    # each image has one report, however often it arrived
    found = [
        ds.CurrentRequestedProcedureEvidenceSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence[0]
        .ReferencedSOPInstanceUID
        for ds in archive.objects()
    ]
    assert sorted(found) == sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in paths)
    shutil.rmtree(tmp_path / 'node')


def _listens(port):
    with socket.socket() as peer:
        return peer.connect_ex(('127.0.0.1', port)) == 0
