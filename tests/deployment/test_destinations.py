# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import runpy
import sys
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from mmfrac.deployment import destinations, dicom_objects
from mmfrac.deployment.destinations import StoreDestination, WebDestination, destination_of
from mmfrac.deployment.dicom_objects import make_objects
from mmfrac.deployment.node import DicomNode
from tests.deployment.dicom_objects.variants import make_image, make_result
from tests.deployment.node_case import QUICK, FolderArchive, score
from tests.deployment.orthanc import free_port


@pytest.fixture
def files(tmp_path):
    path = make_image(tmp_path)
    made = make_objects(make_result(path), path, None, ['sc', 'gsps', 'sr']).objects
    for one in made:
        (tmp_path / one.file_name).write_bytes(one.content)
    return [tmp_path / one.file_name for one in made]


def test_destinations_by_their_names(monkeypatch):
    node = destination_of('ARCHIVE@some.host:104', 'ME')
    assert isinstance(node, StoreDestination)
    assert (node.title, node.host, node.port) == ('ARCHIVE', 'some.host', 104)
    assert destination_of('A@[::1]:104').host == '::1'
    monkeypatch.setenv('MMFRAC_STOW_AUTH', 'me:secret')
    web = destination_of('https://some.host/dicom-web/')
    assert isinstance(web, WebDestination) and web.name == 'https://some.host/dicom-web'
    for wrong in (
        'archive',
        'A@host',
        'A@host:0',
        'A@host:99999',
        'ftp://host',
        '@host:1',
        'http://',
    ):
        with pytest.raises(ValueError, match='no destination'):
            destination_of(wrong)


@pytest.mark.parametrize('url', ['http://me:secret@host/dicom-web', 'https://me:secret@host'])
def test_a_password_in_a_url_is_refused_and_not_shown(url):
    with pytest.raises(ValueError, match='MMFRAC_STOW_AUTH') as raised:
        destination_of(url)
    assert 'secret' not in str(raised.value)


class WebArchive(BaseHTTPRequestHandler):
    """Takes what is stored, unless its answer is to be none."""

    asked: list[str] = []
    answer = b'{}'

    def do_POST(self):
        self.asked.append(self.headers.get('Authorization', ''))
        if 'Content-Length' in self.headers:
            self.rfile.read(int(self.headers['Content-Length']))
        else:
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
        self.send_response(200)
        self.send_header('Content-Type', 'application/dicom+json')
        self.send_header('Content-Length', str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def web_archive(monkeypatch):
    monkeypatch.setattr(WebArchive, 'asked', [])
    server = ThreadingHTTPServer(('127.0.0.1', 0), WebArchive)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_address[1]}/dicom-web'
    server.shutdown()
    server.server_close()


def test_user_and_password_go_to_a_dicomweb_server(web_archive, files, monkeypatch):
    monkeypatch.setenv('MMFRAC_STOW_AUTH', 'me:se:cret')
    assert destination_of(web_archive).send(files) == ['', '', '']
    assert WebArchive.asked == ['Basic ' + b64encode(b'me:se:cret').decode()] * 3
    monkeypatch.delenv('MMFRAC_STOW_AUTH')
    assert destination_of(web_archive).send(files[:1]) == [''] and WebArchive.asked[3] == ''


def test_an_object_that_cannot_be_sent_does_not_hold_up_the_others(
    tmp_path, web_archive, files, monkeypatch
):
    files[0].write_bytes(b'none')
    files[1].unlink()
    with DicomNode(tmp_path / 'node', score, FolderArchive(tmp_path / 'a'), QUICK) as node:
        for name in (web_archive, f'MMFRAC@127.0.0.1:{node.port}'):
            one, two, three = destination_of(name).send(files)
            assert '(InvalidDicomError)' in one and '(FileNotFoundError)' in two and three == ''
    monkeypatch.setattr(WebArchive, 'answer', b'none')
    assert 'does not take it' in destination_of(web_archive).send(files[2:])[0]


def test_a_node_takes_them(tmp_path, files):
    with DicomNode(tmp_path / 'node', score, FolderArchive(tmp_path / 'a'), QUICK) as node:
        assert destination_of(f'MMFRAC@127.0.0.1:{node.port}').send(files) == ['', '', '']
        assert node.counters.dropped == 3
        (fault, *_) = destination_of(f'OTHER@127.0.0.1:{node.port}').send(files)
        assert fault.endswith('takes no association')


@pytest.mark.parametrize(
    'module, package',
    [(dicom_objects, 'highdicom'), (destinations, 'pynetdicom'), (destinations, 'dicomweb_client')],
)
def test_a_package_that_is_missing_is_named_with_the_remedy(module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install '\.\[deploy\]' in a checkout"):
        runpy.run_path(module.__file__)


def test_where_nobody_is_nothing_is_lost(files):
    port = free_port()
    assert all(destination_of(f'A@127.0.0.1:{port}').send(files))
    (fault, *_) = destination_of(f'http://127.0.0.1:{port}/dicom-web').send(files)
    assert 'ConnectionError' in fault
