# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.dicom_objects import findings_of, make_objects, read_source
from mmfrac.deployment.dicom_objects.secondary_capture import overlay_picture
from mmfrac.preparation.dicom_folder.header import REPORT, read_header
from tests.deployment.dicom_objects.variants import (
    IMAGE,
    make_image,
    make_map,
    make_result,
    read,
)


def capture(path, result=None):
    (made,) = make_objects(result or make_result(path), path, make_map(path), ['sc']).objects
    return read(made.content)


def test_the_image_lies_between_strips_that_say_research(tmp_path):
    path = make_image(tmp_path, 'CR', (610, 470))
    plane = read_radiograph(path, [])
    findings = findings_of(make_result(path, boxes=[], scores=[]), read_source(path))
    picture, zoom = overlay_picture(findings, plane)
    assert zoom == pytest.approx(768 / 610)
    height, width = round(610 * zoom), round(470 * zoom)
    assert picture.shape[1] == 640
    left = (640 - width) // 2
    rows = picture.max(axis=(1, 2))
    top = next(row for row in range(20, 100) if picture[row, left : left + width].mean() > 60)
    below = picture[top + height :]
    assert rows[:top].max() == 255 and below.max() == 255, 'nothing is written'
    shown = picture[top : top + height, left : left + width]
    assert (shown == shown[..., :1]).all(), 'marks where nothing is found'
    # strips of others would be others
    other = findings_of(make_result(path, score=0.375, boxes=[], scores=[]), read_source(path))
    assert (overlay_picture(other, plane)[0][:top] == picture[:top]).all()
    assert (overlay_picture(other, plane)[0][top + height :] != below).any()


def test_a_box_is_drawn_where_it_is(tmp_path):
    path = make_image(tmp_path, 'CR', (1600, 1600))
    plane = np.zeros((1600, 1600), np.float32)
    result = make_result(
        path, boxes=[[400.0, 800.0, 600.0, 1000.0], [9.0, 9.0, 99.0, 99.0]], scores=[0.5, 0.1]
    )
    picture, zoom = overlay_picture(findings_of(result, read_source(path)), plane)
    assert zoom == 1536 / 1600 and picture.shape[1] == 1536
    top = next(row for row in range(20, 200) if not picture[row:].any(axis=(1, 2))[:50].any())
    line = np.flatnonzero(picture[top:, round(500 * zoom)].max(axis=1)[:1536])
    first = next(row for row in line if row > 700)
    assert abs(first + top - 1.5 * (1536 // 28) - 800 * zoom) < 8
    column = np.flatnonzero(picture[first + 100].max(axis=1))
    assert abs(column[0] - 400 * zoom) < 4 and abs(column[-1] - 600 * zoom) < 4


def test_what_it_says_of_its_image(tmp_path):
    ds = capture(make_image(tmp_path, 'CR', BurnedInAnnotation=None))
    (source,) = ds.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == IMAGE
    assert ds.PatientOrientation == ['L', 'F']
    # what the image does not say of its pixels, the picture of it does not say either
    assert 'BurnedInAnnotation' not in ds
    told = capture(make_image(tmp_path, 'CR', BurnedInAnnotation='NO'))
    assert told.BurnedInAnnotation == 'NO'
    assert ds.PixelSpacing == pytest.approx([0.2 * 61 / 768, 0.3 * 61 / 768])
    assert (
        'RESEARCH USE ONLY' in ds.DerivationDescription
        and 'score 0.875' in ds.DerivationDescription
    )
    assert ds.InstanceNumber == 3 and ds.pixel_array.shape == (ds.Rows, ds.Columns, 3)
    lossy = capture(make_image(tmp_path, 'lossy'))
    assert lossy.LossyImageCompression == '01' and lossy.LossyImageCompressionRatio == [10, 3]
    assert lossy.BurnedInAnnotation == 'YES' and 'PixelSpacing' not in lossy
    # a spacing at the detector is none of the patient
    assert 'PixelSpacing' not in capture(make_image(tmp_path, 'DX'))


def test_it_is_not_taken_for_a_radiograph(tmp_path):
    path = make_image(tmp_path)
    (made,) = make_objects(make_result(path), path, None, ['sc']).objects
    (tmp_path / 'sc.dcm').write_bytes(made.content)
    assert read_header('sc.dcm', str(tmp_path)).kind == REPORT
