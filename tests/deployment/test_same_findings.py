# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every output of an image has the findings that its model keeps: ``max_per_img`` of its config."""

import io
import zipfile

import numpy as np
import pydicom
import pytest

from mmfrac.deployment.archive import ArchiveOptions, Shard, infer_archive
from mmfrac.deployment.archive_inputs import list_entries
from mmfrac.deployment.package import package_inferencer
from mmfrac.deployment.page.scoring import PageScorer
from mmfrac.deployment.page.uploads import Upload
from mmfrac.deployment.results import read_results
from mmfrac.deployment.scorer import PackageScorer
from mmfrac.utils.prob_map import component_boxes
from mmfrac.visualization.overlay import draw_overlay
from tests.deployment.node_case import QUICK, FolderArchive, send, wait_for
from tests.deployment.tiny_package import tiny_package, write_dicom

THRESHOLD = 0.3


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    write_dicom(folder / 'image.dcm', 2, SOPClassUID='1.2.840.10008.5.1.4.1.1.1')
    return folder


@pytest.fixture(scope='module')
def package(tmp_path_factory):
    """Of a model that keeps the best of the three components that its map of the image has."""
    return tiny_package(
        tmp_path_factory.mktemp('package'), threshold=THRESHOLD, component_thr=0.3, max_per_img=1
    )


@pytest.fixture(scope='module')
def best(package, folder):
    """The box of the best component."""
    (one,) = PackageScorer(package, device='cpu')([str(folder / 'image.dcm')])
    boxes, scores = component_boxes(one.prob_map, (4, 4), (48, 64), THRESHOLD)
    assert len(boxes) == 3 and one.result.score == scores[0]
    assert one.result.boxes == boxes[:1].tolist()
    return boxes[0].tolist()


def reported(ds):
    """Boxes of a structured report."""
    sr = pytest.importorskip('highdicom.sr')
    groups = sr.Comprehensive3DSR.from_dataset(ds).content.get_planar_roi_measurement_groups()
    corners = [group.roi.value for group in groups]
    return [[*one.min(axis=0), *one.max(axis=0)] for one in corners]


def test_of_the_archive_and_the_objects_that_are_made_of_it(package, folder, best, tmp_path):
    write = pytest.importorskip('mmfrac.deployment.dicom_objects.write')
    entries = list_entries([folder])
    infer_archive(package, tmp_path / 'out', entries, ArchiveOptions(), 0, 'cpu', Shard())
    (line,) = read_results(tmp_path / 'out/results.jsonl')
    assert line.boxes == [best]
    results = tmp_path / 'out/results.jsonl'
    written = write.write_objects(results, tmp_path / 'objects', package=package.path)
    assert written.counts == dict(sc=1, gsps=1, sr=1, seg=1)
    (path,) = (tmp_path / 'objects').glob('sr_*.dcm')
    assert reported(pydicom.dcmread(path)) == [best]
    (path,) = (tmp_path / 'objects').glob('gsps_*.dcm')
    _, marks = pydicom.dcmread(path).GraphicAnnotationSequence
    assert [one.UnformattedTextValue for one in marks.TextObjectSequence] == ['0.87']
    (path,) = (tmp_path / 'objects').glob('sc_*.dcm')
    assert '1 found at threshold 0.300' in pydicom.dcmread(path).DerivationDescription


def test_of_the_page_and_its_downloads(package, folder, best):
    app = pytest.importorskip('mmfrac.deployment.page.app')
    scorer = PageScorer(package, package_inferencer(package, 'cpu'))
    upload = Upload('image.dcm', (folder / 'image.dcm').read_bytes())
    shown = scorer.score(upload).scored
    assert shown.result.boxes == shown.at(THRESHOLD).boxes == [best]
    packed = app._PackedObjects(scorer, iter([upload]), THRESHOLD, ['sr'])
    assert packed.add() and not packed.add()
    with zipfile.ZipFile(packed.end()) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith('.dcm')]
        assert reported(pydicom.dcmread(io.BytesIO(archive.read(name)))) == [best]


def test_of_the_node(package, folder, best, tmp_path):
    node_module = pytest.importorskip('mmfrac.deployment.node')
    archive = FolderArchive(tmp_path / 'archive')
    scorer = PackageScorer(package, device='cpu')
    with node_module.DicomNode(tmp_path / 'node', scorer, archive, QUICK) as node:
        assert send(node.port, [folder / 'image.dcm']) == [0]
        wait_for(archive.objects)
    (ds,) = archive.objects()
    assert reported(ds) == [best]


def test_of_the_inferencer_and_its_overlay(package, folder, best):
    inferencer = package_inferencer(package, 'cpu')
    path = str(folder / 'image.dcm')
    found = inferencer(path, return_vis=True, pred_score_thr=THRESHOLD, return_datasamples=True)
    (sample,), (overlay,) = found['predictions'], found['visualization']
    assert sample.pred_instances.bboxes.tolist() == [best]
    expected = draw_overlay(
        inferencer.load(path).image,
        sample.pred_prob_map.data[0],
        (4, 4),
        instances=sample.pred_instances,
        size=1024,
        score_thr=THRESHOLD,
    )
    assert np.array_equal(overlay, expected)
