# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A real archive, Orthanc with its DICOMweb plugin, on free ports and in a folder of its own."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.deployment.node_case import wait_for

_PLUGINS = (
    '/usr/share/orthanc/plugins/libOrthancDicomWeb.so',
    '/usr/lib/orthanc/libOrthancDicomWeb.so',
)

# whatever has come to rest goes to the node: images, and findings that came back from it
_ROUTING = """
function OnStableStudy(study, tags, metadata)
   RestApiPost('/modalities/mmfrac/store', '{"Asynchronous": true, "Resources": ["' .. study .. '"]}')
end
"""


class Orthanc(NamedTuple):
    """A running archive."""

    http: int
    dicom: int

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.http}'

    @property
    def dicomweb(self) -> str:
        return f'{self.url}/dicom-web'

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=30).json()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]


@contextmanager
def running(folder: Path, node_port: int) -> Iterator[Orthanc]:
    """Start Orthanc, which routes every study to a node; skips where there is none."""
    program = shutil.which('Orthanc', path='/usr/sbin:/usr/bin:/usr/local/sbin')
    plugin = next((path for path in _PLUGINS if Path(path).exists()), None)
    if program is None or plugin is None:
        pytest.skip('no Orthanc with DICOMweb: apt-get install orthanc orthanc-dicomweb')
    archive = Orthanc(free_port(), free_port())
    folder.mkdir()
    (folder / 'routing.lua').write_text(_ROUTING)
    (folder / 'orthanc.json').write_text(
        json.dumps(
            dict(
                Name='mmfrac-test',
                StorageDirectory=str(folder / 'db'),
                IndexDirectory=str(folder / 'db'),
                HttpPort=archive.http,
                DicomPort=archive.dicom,
                DicomAet='ORTHANC',
                DicomCheckCalledAet=False,
                DicomAlwaysAllowStore=True,
                RemoteAccessAllowed=False,
                AuthenticationEnabled=False,
                OverwriteInstances=False,
                StableAge=1,
                Plugins=[plugin],
                LuaScripts=[str(folder / 'routing.lua')],
                DicomWeb=dict(Enable=True, Root='/dicom-web/'),
                DicomModalities=dict(mmfrac=['MMFRAC', '127.0.0.1', node_port]),
            )
        )
    )
    with open(folder / 'log', 'wb') as log:
        process = subprocess.Popen(
            [program, str(folder / 'orthanc.json')], stdout=log, stderr=log, cwd=folder
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / 'log').read_text()[-2000:]
        try:
            return requests.get(archive.url + '/system', timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(answers)
        yield archive
    finally:
        process.terminate()
        process.wait(30)
