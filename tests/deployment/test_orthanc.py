# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A study in a real archive gets its findings: Orthanc routes it to the node, which sends them back."""

from dataclasses import replace

import pytest
import requests
from dicomweb_client import DICOMwebClient
from highdicom.sr import Comprehensive3DSR

from mmfrac.deployment.destinations import destination_of
from mmfrac.deployment.dicom_objects import KINDS
from mmfrac.deployment.dicom_objects.report import SCORE
from mmfrac.deployment.node import DicomNode
from tests.deployment.node_case import QUICK, images, score, wait_for
from tests.deployment.orthanc import free_port, running

MODALITIES = ['CR', 'CR', 'OT', 'OT', 'PR', 'PR', 'SEG', 'SEG', 'SR', 'SR']


def test_findings_come_back_into_the_study(tmp_path):
    port = free_port()
    paths = images(tmp_path, 2, SeriesInstanceUID='1.2.3.5')
    with running(tmp_path / 'orthanc', port) as archive:
        to = f'ORTHANC@127.0.0.1:{archive.dicom}'
        options = replace(QUICK, port=port, quiet=1.0, kinds=KINDS, callers=('ORTHANC',))
        with DicomNode(tmp_path / 'node', score, destination_of(to), options) as node:
            for path in paths:
                answer = requests.post(archive.url + '/instances', path.read_bytes(), timeout=30)
                assert answer.ok
            client = DICOMwebClient(archive.dicomweb)
            wait_for(lambda: len(client.search_for_instances('1.2.3.6')) == len(MODALITIES))
            found = client.retrieve_study('1.2.3.6')
            # the archive sends on what came back; the node drops it, and that is the end
            wait_for(lambda: node.counters.dropped >= 8)
            wait_for(
                lambda: all(
                    archive.get(f'/jobs/{one}')['State'] == 'Success'
                    for one in archive.get('/jobs')
                )
            )
            assert node.queue.counts() == dict(images=dict(scored=2), objects=dict(sent=8))
            assert node.counters.errors == 0 and node.counters.refused == 0
        (study,) = archive.get('/studies')
        assert len(archive.get(f'/studies/{study}/instances')) == len(MODALITIES)
        # one series a kind, besides that of the images
        assert len(archive.get(f'/studies/{study}/series')) == 5
    assert sorted(ds.Modality for ds in found) == MODALITIES
    assert {str(ds.PatientName) for ds in found} == {'Doe^Jane'}
    expected = {
        ds.SOPInstanceUID: one.result.score
        for ds, one in zip(
            sorted((ds for ds in found if ds.Modality == 'CR'), key=lambda ds: ds.SOPInstanceUID),
            score(sorted(map(str, paths))),
        )
    }
    for ds in found:
        if ds.Modality != 'SR':
            continue
        report = Comprehensive3DSR.from_dataset(ds)
        (whole,) = report.content.get_image_measurement_groups()
        ((_, _, image, _),) = report.get_evidence()
        (value,) = whole.get_measurements(SCORE)
        assert value.value == pytest.approx(expected[image], abs=1e-6)
