# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""``mmfrac listen`` with the model that comes along: phantoms in an archive get their findings."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client import DICOMwebClient
from highdicom.sr import Comprehensive3DSR

from mmfrac.apis.model_zoo import MODELS_FOLDER, read_model
from mmfrac.deployment.dicom_objects.report import SCORE
from mmfrac.deployment.dicom_objects.write import write_objects
from mmfrac.deployment.package import (
    PackagePoint,
    read_package,
    update_package,
    write_package,
)
from mmfrac.deployment.scorer import PackageScorer
from mmfrac.deployment.study_queue import StudyQueue
from mmfrac.preparation.phantom import render_image, write_dicom
from mmfrac.utils.config import load_config
from mmfrac.utils.packaged import config_path
from mmfrac.utils.prob_map import component_boxes
from tests.deployment.node_case import wait_for
from tests.deployment.orthanc import free_port, running
from tests.tools.tiny_run import ROOT


@pytest.fixture(scope='module')
def package(tmp_path_factory):
    model = read_model(MODELS_FOLDER / 'frac_ssl_phantom')
    path = tmp_path_factory.mktemp('package') / 'phantom.mmfrac'
    write_package(
        path,
        load_config(config_path(model.config)),
        [model.weights],
        name='phantom',
        operating_points=[PackagePoint('fppi=0.1', 0.3)],
        temperature=1.5,
    )
    return path


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """A study of a frontal image with two fractures, one with none, and a lateral."""
    folder = tmp_path_factory.mktemp('study')
    paths = []
    for index, count in enumerate((2, 0, 2)):
        phantom = render_image(10**12 + index, 0, 256, count, 0.05)
        path = folder / f'phantom{index}.dcm'
        write_dicom(path, phantom.image, 'phantom', phantom.pixel_mm)
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = '1.2.3', '1.2.3.1'
        ds.ViewPosition = 'LL' if index == 2 else 'PA'
        ds.PatientOrientation = ['A', 'F'] if index == 2 else ['L', 'F']
        ds.save_as(path)
        paths.append(path)
    return paths


@pytest.fixture(scope='module')
def scored(package, study):
    scorer = PackageScorer(read_package(package), batch_size=2, device='cpu')
    return scorer([str(path) for path in study])


def test_a_packaged_model_scores_what_is_frontal(scored, package):
    first, second, lateral = [one.result for one in scored]
    assert first.scored and first.flag and len(first.boxes) >= 2 and first.view == 'PA'
    assert second.scored and second.score < first.score
    assert not lateral.scored and 'lateral' in lateral.reason and scored[2].prob_map is None
    assert first.model == dict(name='phantom', sha256=read_package(package).sha256)
    # the map and the boxes are those of the image
    prob_map, (sx, sy) = scored[0].prob_map, first.map_scale
    assert prob_map.max() == pytest.approx(first.score, abs=1e-6)
    row, column = np.unravel_index(prob_map.argmax(), prob_map.shape)
    x1, y1, x2, y2 = first.boxes[int(np.argmax(first.scores))]
    assert x1 <= (column + 0.5) * sx <= x2 and y1 <= (row + 0.5) * sy <= y2


def test_the_map_of_a_segmentation_is_computed_anew(tmp_path, scored, package):
    lines = [one.result.to_json() + '\n' for one in scored]
    (tmp_path / 'results.jsonl').write_text(''.join(lines))
    written = write_objects(
        tmp_path / 'results.jsonl', tmp_path / 'out', kinds=['seg'], package=package
    )
    assert not written.errors and written.counts['seg'] >= 1
    (tmp_path / 'other.jsonl').write_text(lines[0].replace(read_package(package).sha256, 'f' * 64))
    with pytest.raises(ValueError, match='is another'):
        write_objects(tmp_path / 'other.jsonl', tmp_path / 'out', kinds=['seg'], package=package)


def test_a_queue_goes_on_with_other_metrics_in_the_package(tmp_path, package):
    path = tmp_path / 'copy.mmfrac'
    shutil.copy(package, path)
    depends_on = runpy.run_path(str(ROOT / 'tools/deployment/listen.py'))['findings_depend_on']

    def opened():
        scorer = PackageScorer(read_package(path), device='cpu')
        return StudyQueue(tmp_path / 'q', 10**6, 0, scored_by=depends_on(scorer))

    with opened() as queue:
        queue.add('1.1', '1', b'a')
        queue.finish(queue.complete_study(0)[0], 'scored')
    assert update_package(path, metrics=dict(AUROC=0.9)).sha256 != read_package(package).sha256
    with opened():
        pass
    update_package(path, operating_points=[PackagePoint('fppi=0.1', 0.4)])
    with pytest.raises(ValueError, match=r"threshold '0.3', not '0.4'"), opened():
        pass


@pytest.mark.slow
def test_command_and_a_real_archive(tmp_path, package, study, scored, repository):
    port = free_port()
    with running(tmp_path / 'orthanc', port) as archive:
        arguments = [
            *(package, '--folder', tmp_path / 'node', '--send-to', archive.dicomweb),
            *('--port', port, '--host', '127.0.0.1', '--quiet', 2, '--callers', 'ORTHANC'),
            *('--health-port', 0, '--min-free-gb', 0, '--device', 'cpu'),
        ]
        with open(tmp_path / 'log', 'w') as log:
            process = subprocess.Popen(
                [sys.executable, '-m', 'mmfrac', 'listen', *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | dict(PYTHONPATH=str(repository)),
            )
        try:
            said = [process.stdout.readline() for _ in range(3)]
            assert 'esearch' in said[0] and 'MMFRAC' in said[1], (tmp_path / 'log').read_text()
            health = re.search(r'http://\S+', said[2])[0] + 'health'
            for path in study:
                requests.post(archive.url + '/instances', path.read_bytes(), timeout=30)
            wait_for(lambda: requests.get(health, timeout=30).json()['images'].get('scored') == 2)
            wait_for(lambda: 'waiting' not in requests.get(health, timeout=30).json()['objects'])
            client = DICOMwebClient(archive.dicomweb)
            found = client.retrieve_study('1.2.3')
            facts = requests.get(health, timeout=30).json()
        finally:
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and 'stopped' in rest
    assert facts['ok'] and facts['images'] == {'scored': 2, 'left out': 1}
    reports = {}
    for ds in found:
        if ds.Modality == 'SR':
            report = Comprehensive3DSR.from_dataset(ds)
            (whole,) = report.content.get_image_measurement_groups()
            ((_, _, image, _),) = report.get_evidence()
            reports[image] = (
                whole.get_measurements(SCORE)[0].value,
                len(report.content.get_planar_roi_measurement_groups()),
            )
    assert reports == {
        one.result.sop_instance_uid: (
            pytest.approx(one.result.score, abs=1e-5),
            len(component_boxes(one.prob_map, one.result.map_scale, (256, 256), 0.3)[0]),
        )
        for one in scored[:2]
    }
    assert sum(ds.Modality == 'OT' for ds in found) == sum(ds.Modality == 'PR' for ds in found) == 2
    assert 'phantom' not in (tmp_path / 'log').read_text().lower()
