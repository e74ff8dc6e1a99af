# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import runpy
import sys

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
    with pytest.raises(ImportError, match=r'pip install mmfrac\[deploy\]'):
        runpy.run_path(module.__file__)


def test_where_nobody_is_nothing_is_lost(files):
    port = free_port()
    assert all(destination_of(f'A@127.0.0.1:{port}').send(files))
    (fault, *_) = destination_of(f'http://127.0.0.1:{port}/dicom-web').send(files)
    assert 'ConnectionError' in fault
