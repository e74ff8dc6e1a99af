# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import io
import json
import os
import re
import threading
import zipfile
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmfrac.datasets.radiographs.limits import MAX_PIXELS_VARIABLE
from mmfrac.deployment import archive_inputs
from mmfrac.deployment.annotation import export_annotations, read_found
from mmfrac.deployment.archive import ArchiveOptions, Shard, count_results, infer_archive
from mmfrac.deployment.archive_inputs import (
    TOKEN_VARIABLE,
    ServerError,
    count_changes,
    entry_of,
    file_of,
    list_entries,
    located,
)
from mmfrac.deployment.dicom_objects.write import write_objects
from mmfrac.deployment.results import read_results
from mmfrac.deployment.selection import Selection
from mmfrac.utils.errors import RadiographError
from tests.deployment.tiny_package import tiny_package, write_dicom, write_png


@pytest.fixture(autouse=True)
def no_open_archives():
    yield
    archive_inputs._archive.cache_clear()
    archive_inputs._client.cache_clear()


def names(*sources, **options):
    return [entry['image'] for entry in list_entries([str(one) for one in sources], **options)]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'images'
    (folder / 'b').mkdir(parents=True)
    write_dicom(folder / 'b/1.2.840.5', 1)
    write_png(folder / 'a.png', 2)
    (folder / 'b/cut.dcm').write_bytes(b'none')
    (folder / 'notes.txt').write_text('none')
    (folder / '.hidden.png').write_text('none')
    (folder / 'DICOMDIR').write_text('none')
    return folder


def test_folders_lists_and_tables(folder, tmp_path, monkeypatch):
    files = [str(folder / name) for name in ('a.png', 'b/1.2.840.5', 'b/cut.dcm')]
    assert names(folder) == files
    # a file that is named is taken, whatever it is
    assert names(folder / 'notes.png') == [str(folder / 'notes.png')]
    (tmp_path / 'list.txt').write_text('\ufeffimages/a.png\r\n\n' + files[1] + '\n')
    assert names(tmp_path / 'list.txt') == files[:2]
    (tmp_path / 'table.csv').write_text('id;Datei\n1;b/cut.dcm\n2;a.png\n3;\n')
    found = names(tmp_path / 'table.csv', column='datei', root=folder)
    assert found == [files[2], files[0]]
    # each once
    assert names(tmp_path / 'list.txt', folder, folder) == files
    monkeypatch.chdir(tmp_path)
    assert names(folder, './images', 'images/../images/a.png') == files
    with pytest.raises(ValueError, match='path'):
        names(tmp_path / 'table.csv')
    with pytest.raises(FileNotFoundError, match='no list'):
        names(tmp_path / 'nothing.txt')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no image in'):
        names(tmp_path / 'empty')


def test_members_of_a_zip(folder, tmp_path, monkeypatch):
    path = tmp_path / 'images.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / 'a.png', '../../a.png')
        archive.write(folder / 'b/1.2.840.5', 'IM/1.2.840.5')
        archive.writestr('bomb.png', bytes(3 * 2**20))
        for name in ('readme.txt', '__MACOSX/._a.png', '.hidden', 'DICOMDIR', 'folder/'):
            archive.writestr(name, b'none')
    entries = list(list_entries([str(path)]))
    members = ['../../a.png', 'IM/1.2.840.5', 'bomb.png']
    assert [entry['image'] for entry in entries] == [f'{path}!/{name}' for name in members]
    before = sorted(tmp_path.rglob('*'))
    for entry, original in zip(entries, ('a.png', 'b/1.2.840.5')):
        with file_of(entry) as copy:
            assert not copy.startswith(str(tmp_path)) and 'a.png' not in copy
            with open(copy, 'rb') as file:
                assert file.read() == (folder / original).read_bytes()
        assert not os.path.exists(copy)
    assert sorted(tmp_path.rglob('*')) == before
    monkeypatch.setattr(archive_inputs, 'max_bytes', lambda: 2**20)
    with pytest.raises(RadiographError, match='more than 1048576 bytes'), file_of(entries[2]):
        pass
    # one that says to be small
    content = path.read_bytes()
    size, small = (number.to_bytes(4, 'little') for number in (3 * 2**20, 1000))
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, small))
    archive_inputs._archive.cache_clear()
    with pytest.raises(RadiographError, match='CRC'), file_of(entries[2]):
        pass


def test_what_is_unpacked_lies_nowhere_on_the_disk(folder, tmp_path, monkeypatch):
    path = tmp_path / 'images.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.write(folder / 'a.png', 'a.png')
    temporary = tmp_path / 'tmp'
    temporary.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(temporary))
    (entry,) = list_entries([str(path)])
    with file_of(entry) as name:
        # where the process is killed now, nothing is left of the patient
        assert list(temporary.iterdir()) == [] or not hasattr(os, 'memfd_create')
        with open(name, 'rb') as file:
            assert file.read() == (folder / 'a.png').read_bytes()
    assert list(temporary.iterdir()) == [] and not os.path.exists(name)


def test_objects_and_pictures_of_members_of_a_zip(folder, tmp_path):
    path = tmp_path / 'a!' / 'images.zip'
    path.parent.mkdir()
    with zipfile.ZipFile(path, 'w') as archive:
        archive.write(write_dicom(folder / '1.dcm', 1), 'b!/1.dcm')
    entries = list(list_entries([str(path)]))
    assert [entry_of(one['image']) for one in entries] == entries
    check_objects(tmp_path, entries)


def check_objects(tmp_path, entries):
    """Entries whose results are made to objects, and pictures for annotators."""
    package = tiny_package(tmp_path)
    infer_archive(package, tmp_path / 'found', entries, ArchiveOptions(), 0, 'cpu', Shard())
    results = tmp_path / 'found/results.jsonl'
    written = write_objects(results, tmp_path / 'objects', package=package.path, kinds=['sr'])
    assert not written.errors and written.counts == dict(sr=len(entries))
    found = list(read_found(results))
    export_annotations(found, tmp_path / 'round', 'coco', root=tmp_path)
    assert len(list((tmp_path / 'round/images').glob('*.png'))) == len(entries)
    return results


def test_a_damaged_zip(folder, tmp_path):
    path = tmp_path / 'images.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.write(folder / 'a.png', 'a.png')
    content = bytearray(path.read_bytes())
    content[100] ^= 255
    path.write_bytes(content)
    (entry,) = list_entries([str(path)])
    with (
        pytest.raises(RadiographError, match=re.escape(f"{path}!/a.png' of a ZIP file")),
        file_of(entry),
    ):
        pass
    (tmp_path / 'none.zip').write_bytes(b'none')
    with pytest.raises(ValueError, match='is no ZIP file'):
        names(tmp_path / 'none.zip')
    with pytest.raises(FileNotFoundError, match='no ZIP file'):
        names(tmp_path / 'nowhere.zip')


# ---- DICOMweb -------------------------------------------------------------------------------------


class Server(BaseHTTPRequestHandler):
    """Two studies; what a test wants of it stands in its class."""

    files: dict = {}
    modalities: dict = {}
    status = 200
    seen: list = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.seen.append((self.path, self.headers.get('Authorization')))
        if self.status != 200:
            self.send_response(self.status)
            self.end_headers()
            return
        path, _, query = self.path.partition('?')
        parts = path.strip('/').split('/')
        if parts[-1] == 'studies':
            uids = sorted({study for study, _, _ in self.files})
            self.answer([{'0020000D': {'vr': 'UI', 'Value': [uid]}} for uid in uids], query)
        elif parts[-1] == 'instances':
            found = [uids for uids in self.files if uids[0] == parts[-2]]
            keys = ('0020000D', '0020000E', '00080018')
            instances = [
                {key: {'vr': 'UI', 'Value': [uid]} for key, uid in zip(keys, uids)}
                for uids in found
            ]
            for instance, (_, series, _) in zip(instances, found):
                if series in self.modalities:
                    instance['00080060'] = {'vr': 'CS', 'Value': [self.modalities[series]]}
            self.answer(instances, query)
        else:
            uids = (parts[-5], parts[-3], parts[-1])
            if uids not in self.files:
                self.send_response(404)
                self.end_headers()
                return
            body = (
                b'--x\r\nContent-Type: application/dicom\r\n\r\n' + self.files[uids] + b'\r\n--x--'
            )
            self.reply(body, 'multipart/related; type="application/dicom"; boundary=x')

    def answer(self, found, query):
        if 'offset=0' not in query and 'offset' in query:
            found = []
        self.reply(json.dumps(found).encode(), 'application/dicom+json')

    def reply(self, body, kind):
        self.send_response(200)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(tmp_path, monkeypatch):
    pytest.importorskip('dicomweb_client', reason='pip install mmfrac[deploy]')
    monkeypatch.setattr(archive_inputs, '_TRIES', 1)
    files = {}
    for number in range(4):
        content = write_dicom(tmp_path / 'image', number).read_bytes()
        files[f'1.2.5.{number // 2}', f'1.2.4.{number}', f'1.2.3.{number}'] = content
    handler = type('Handler', (Server,), dict(files=files, seen=[]))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield handler, f'http://127.0.0.1:{http.server_address[1]}/dicom-web'
        http.shutdown()


def test_objects_and_pictures_of_a_server(server, tmp_path):
    handler, url = server
    entries = list(list_entries([url]))
    assert [entry_of(one['image']) for one in entries] == entries
    results = check_objects(tmp_path, entries)
    del handler.files['1.2.5.0', '1.2.4.1', '1.2.3.1']
    written = write_objects(results, tmp_path / 'again', kinds=['sr'])
    ((image, text),) = written.errors.items()
    assert image == entries[1]['image'] and '404' in text
    handler.status = 401
    with pytest.raises(ServerError, match='refuses'):
        write_objects(results, tmp_path / 'again', kinds=['sr'])


def test_user_and_password_are_no_part_of_a_url(server, monkeypatch):
    handler, url = server
    with pytest.raises(ValueError, match='MMFRAC_DICOMWEB_AUTH') as raised:
        names(url.replace('//', '//me:secret@'))
    assert 'secret' not in str(raised.value)
    with pytest.raises(ValueError, match='has no host'):
        names('http:///dicom-web')
    monkeypatch.setenv('MMFRAC_DICOMWEB_AUTH', 'me:se:cret')
    assert len(names(url)) == 4
    assert {who for _, who in handler.seen} == {'Basic ' + b64encode(b'me:se:cret').decode()}


def test_studies_of_a_server(server, tmp_path, monkeypatch):
    handler, url = server
    monkeypatch.setenv(TOKEN_VARIABLE, 'secret')
    entries = list(list_entries([url + '/'], query=dict(StudyDate='20260101-')))
    expected = [
        f'{url}/studies/{study}/series/{series}/instances/{instance}'
        for study, series, instance in sorted(handler.files)
    ]
    assert [entry['image'] for entry in entries] == expected
    assert any('StudyDate=20260101-' in path for path, _ in handler.seen)
    assert {token for _, token in handler.seen} == {'Bearer secret'}
    assert 'secret' not in json.dumps(entries)
    with file_of(entries[0]) as path, open(path, 'rb') as file:
        assert file.read()[128:132] == b'DICM'
    # one that is gone is an error of its own, a server that is down or refuses stops the run
    del handler.files['1.2.5.0', '1.2.4.1', '1.2.3.1']
    package = tiny_package(tmp_path)
    for status, text in ((401, 401), (503, 'busy')):
        handler.status = status
        with pytest.raises(ServerError, match=f'refuses .{text}.: start again'):
            infer_archive(package, tmp_path / 'out', entries, ArchiveOptions(), 0, 'cpu', Shard())
    handler.status = 200
    assert infer_archive(package, tmp_path / 'out', iter(()), ArchiveOptions(), 1, 'cpu', Shard())
    results = list(read_results(tmp_path / 'out/results.jsonl'))
    assert [one.scored for one in results] == [True, False, True, True]
    assert [one.image for one in results] == expected and 'does not give it (404)' in results[
        1
    ].error
    assert results[0].sop_instance_uid == '1.2.3.0' and results[0].study_instance_uid == '1.2.5.0'


def test_what_a_server_calls_a_ct_is_not_fetched(server, tmp_path):
    handler, url = server
    handler.modalities = {'1.2.4.0': 'CT', '1.2.4.1': 'DX', '1.2.4.2': 'Doe^Jane'}
    entries = list(list_entries([url]))
    package = tiny_package(tmp_path)

    def scored(folder, **selection):
        handler.seen.clear()
        options = ArchiveOptions(Selection(**selection))
        infer_archive(package, tmp_path / folder, entries, options, 0, 'cpu', Shard())
        fetched = [path.rpartition('/')[2] for path, _ in handler.seen]
        results = list(read_results(tmp_path / folder / 'results.jsonl'))
        return fetched, [(one.sop_instance_uid, one.reason) for one in results]

    fetched, results = scored('usual')
    assert fetched == ['1.2.3.1', '1.2.3.3']
    assert results == [
        ('1.2.3.0', 'modality CT'),
        ('1.2.3.1', ''),
        ('1.2.3.2', 'modality another'),
        ('1.2.3.3', ''),
    ]
    assert scored('more', modalities=('CT', 'DX'))[0] == ['1.2.3.0', '1.2.3.1', '1.2.3.3']
    assert len(scored('all', everything=True)[0]) == 4


def test_a_server_that_does_not_answer(server):
    handler, url = server
    with pytest.raises(ServerError, match='does not answer'):
        names('http://127.0.0.1:9/dicom-web')
    handler.files = {}
    with pytest.raises(ValueError, match='no image in'):
        names(url)


def test_results_of_zip_members_name_no_copies(folder, tmp_path):
    path = tmp_path / 'images.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.write(folder / 'a.png', 'a.png')
        archive.writestr('b.png', b'\x89PNG\r\n none')
        archive.writestr('c.dcm', io.BytesIO(b'none').read())
    package = tiny_package(tmp_path)
    out = tmp_path / 'out'
    infer_archive(package, out, list_entries([path]), ArchiveOptions(), 0, 'cpu', Shard())
    text = (out / 'results.jsonl').read_text()
    assert 'mmfrac_' not in text and text.count(f'{path}!/b.png') == 2
    results = [json.loads(line) for line in text.splitlines()]
    assert [one['scored'] for one in results] == [True, False, False]
    assert os.environ.get(MAX_PIXELS_VARIABLE) is None


def test_members_are_told_by_their_content_and_the_rest_is_said(folder, tmp_path):
    image = (folder / 'b/1.2.840.5').read_bytes()
    inner = tmp_path / 'inner.zip'
    with zipfile.ZipFile(inner, 'w') as archive:
        archive.writestr('a.ima', image)
    path = tmp_path / 'images.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name in ('a.ima', 'b.img', '1.dcm.bak'):
            archive.writestr(name, image)
        archive.writestr('photo.jfif', b'\xff\xd8\xff' + bytes(200))
        for name in ('readme.txt', 'viewer.exe', '.hidden', 'DICOMDIR', '__MACOSX/._a.ima'):
            archive.writestr(name, b'MZ')
        archive.write(inner, 'inner.zip')
    packed = tmp_path / 'packed.zip'
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_BZIP2) as archive:
        archive.writestr('a.ima', image)
        archive.writestr('b.dcm', image)
    said = []
    members = [f'{path}!/{name}' for name in ('a.ima', 'b.img', '1.dcm.bak', 'photo.jfif')]
    assert names(path, packed, say=said.append) == [*members, f'{packed}!/b.dcm']
    assert said == [
        f'warning: ZIP files in {path} are not opened (1, the first is {path}!/inner.zip): unpack them',
        f'left out of {path} is what is no image (2, the first is {path}!/readme.txt)',
        f'left out of {packed} is what is no image (1, the first is {packed}!/a.ima)',
    ]
    # a folder
    inner.rename(folder / 'b/inner.ZIP')
    path.rename(folder / 'b/more.zip')
    said.clear()
    files = [str(folder / name) for name in ('a.png', 'b/1.2.840.5', 'b/cut.dcm')]
    assert names(folder, say=said.append) == files
    assert said == [
        f'warning: ZIP files in {folder} are not opened (2, the first is {folder}/b/inner.ZIP): name '
        'them as inputs, or unpack them',
        f'left out of {folder} is what is no image (1, the first is {folder}/notes.txt)',
    ]


def test_lists_in_utf_16(folder, tmp_path):
    path = tmp_path / 'list.txt'
    text = 'images/a.png\r\nimages/b/1.2.840.5\r\n'
    for encoding in ('utf-16', 'utf-8'):
        path.write_bytes(text.encode(encoding))
        assert names(path) == [str(folder / name) for name in ('a.png', 'b/1.2.840.5')]
    path.write_bytes(text.encode('utf-16-le'))
    with pytest.raises(ValueError, match=r'list.txt holds NUL: it is UTF-16'):
        names(path)


def test_what_came_since_is_counted(folder, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('a.png', b'none')
    (tmp_path / 'list.txt').write_text('nowhere.png\nfar.png\n')
    sources = ['images', 'a.zip', 'list.txt', 'http://localhost:9/dicom-web']
    monkeypatch.chdir(tmp_path)
    listed = list(list_entries(sources[:3]))
    server = {'image': sources[3] + '/studies/1/series/2/instances/3', 'server': sources[3]}
    listed.append(server | dict(uids=['1', '2', '3']))
    assert count_changes(listed, sources) == (0, 0)
    # from another folder, of which no file is read again
    opened = []
    monkeypatch.setattr(archive_inputs, 'is_image', lambda path: bool(opened.append(path)))
    monkeypatch.chdir('/')
    there = [located(entry, tmp_path) for entry in listed]
    absolute = [str(tmp_path / one) for one in sources[:3]] + sources[3:]
    assert count_changes(there, absolute) == (0, 0)
    assert opened == [str(folder / name) for name in ('.hidden.png', 'DICOMDIR')]
    said = []
    assert count_changes(there, absolute, say=said.append) == (0, 0) and said == []
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    write_png(folder / 'c.png')
    (folder / 'a.png').unlink()
    with zipfile.ZipFile(tmp_path / 'a.zip', 'a') as archive:
        archive.writestr('b.png', b'none')
    archive_inputs._archive.cache_clear()
    # a file that is not there is no image that came
    (tmp_path / 'list.txt').write_text('nowhere.png\nimages/c.png\nnor.png\n')
    assert count_changes(listed, sources) == (2, 2)
    (tmp_path / 'a.zip').unlink()
    archive_inputs._archive.cache_clear()
    with pytest.raises(FileNotFoundError, match=r'no ZIP file'):
        count_changes(listed, sources)


def test_a_doubtful_member_is_named_by_its_entry(tmp_path, capsys):
    path = tmp_path / 'images.zip'
    image = write_dicom(tmp_path / 'image', 1, WindowWidth=0).read_bytes()
    blank = write_dicom(tmp_path / 'image', 2, PixelData=bytes(2 * 48 * 64)).read_bytes()
    with zipfile.ZipFile(path, 'w') as archive:
        for number in range(10):
            archive.writestr(f'{number}.dcm', image)
        archive.writestr('blank.dcm', blank)
    package = tiny_package(tmp_path)
    out = tmp_path / 'out'
    entries = list_entries([path])
    assert infer_archive(package, out, entries, ArchiveOptions(), 1, 'cpu', Shard())
    said = capsys.readouterr().err
    for number in (0, 9):
        assert f"image '{path}!/{number}.dcm' is doubtful: its window (center" in said
    assert said.count('is doubtful') == 2 and '/proc' not in said and 'check_data' not in said
    *results, last = read_results(out / 'results.jsonl')
    assert all(one.scored and one.notes[0].startswith('its window') for one in results)
    assert last.reason == 'all its pixels have one value' and last.reason in last.notes
    assert count_results(out)['doubtful'] == 11
