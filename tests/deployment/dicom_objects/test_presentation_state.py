# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.dicom_objects import make_objects
from tests.deployment.dicom_objects.variants import (
    IMAGE,
    SERIES,
    faults,
    make_image,
    make_result,
    read,
    run,
)


def state_of(path, **fields):
    (made,) = make_objects(make_result(path, **fields), path, None, ['gsps']).objects
    return made


def test_boxes_come_back_to_the_px(tmp_path):
    ds = read(state_of(make_image(tmp_path)).content)
    notes, marks = ds.GraphicAnnotationSequence
    # cut to the image; the third is below the threshold
    wanted = [[8, 12.5, 36, 24.25], [0, 50, 9, 61]]
    assert len(marks.GraphicObjectSequence) == 2
    for graphic, text, (x1, y1, x2, y2) in zip(
        marks.GraphicObjectSequence, marks.TextObjectSequence, wanted
    ):
        points = np.array(graphic.GraphicData).reshape(-1, 2)
        assert points.tolist() == [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]
        assert graphic.GraphicAnnotationUnits == 'PIXEL' and text.AnchorPoint == [x1, y1]
    assert [text.UnformattedTextValue for text in marks.TextObjectSequence] == ['0.88', '0.50']
    said = [text.UnformattedTextValue for text in notes.TextObjectSequence]
    assert 'RESEARCH USE ONLY' in said[0] and 'score 0.875' in said[1] and '2 found' in said[1]
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == SERIES
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == IMAGE


def test_without_findings_it_says_so(tmp_path):
    ds = read(state_of(make_image(tmp_path), boxes=[], scores=[]).content)
    (notes,) = ds.GraphicAnnotationSequence
    assert '0 found' in notes.TextObjectSequence[1].UnformattedTextValue


@pytest.mark.parametrize('variant', ['CR', 'MONOCHROME1', 'rescale', 'two windows', 'DX'])
def test_a_viewer_shows_the_image_as_the_model_saw_it(tmp_path, variant):
    path = make_image(tmp_path, variant)
    made = state_of(path)
    (tmp_path / made.file_name).write_bytes(made.content)
    code, said = run('dcmp2pgm', '-p', tmp_path / made.file_name, path, tmp_path / 'shown.pgm')
    assert code == 0, said
    shown = cv2.imread(str(tmp_path / 'shown.pgm'), cv2.IMREAD_UNCHANGED).astype(float)
    seen = read_radiograph(path, [])
    inner = (seen > 0.02) & (seen < 0.98)
    # of MONOCHROME1, too: bone is bright
    assert np.corrcoef(shown[inner], seen[inner])[0, 1] > 0.99


@pytest.mark.parametrize(
    'header, aspect',
    [
        (dict(PixelSpacing=[0.5, 1.0]), [1, 2]),
        (dict(PixelSpacing=[0.143, 0.14300001]), [1, 1]),
        (dict(ImagerPixelSpacing=[0.3, 0.2]), [3, 2]),
        (dict(PixelSpacing=[0, 0], PixelAspectRatio=[4, 3]), [4, 3]),
        ({}, [1, 1]),
    ],
)
def test_pixels_keep_their_aspect(tmp_path, header, aspect):
    ds = read(state_of(make_image(tmp_path, 'bare', **header)).content)
    (area,) = ds.DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelAspectRatio) == aspect


def voi_lut(highest, declared, first=0, words=True, vr='OW', count=4096):
    """A rising LUT whose last entry is the highest."""
    entries = np.linspace(0, highest, count).round().astype('<u2' if words else 'u1')
    lut = Dataset()
    numbers = [count, first, declared]
    lut.add(DataElement('LUTDescriptor', 'SS' if first < 0 else 'US', numbers))
    content = entries.tobytes() + b'\0' * (entries.nbytes % 2)
    lut.add(DataElement('LUTData', vr, content if vr == 'OW' else entries.tolist()))
    return [lut]


@pytest.mark.parametrize(
    'variant, options',
    [
        ('bare', dict(highest=0x7FF8, declared=16)),
        ('bare', dict(highest=4095, declared=12)),
        ('bare', dict(highest=4095, declared=12, vr='US')),
        ('bare', dict(highest=65535, declared=16)),
        ('bare', dict(highest=200, declared=16)),
        ('bare', dict(highest=255, declared=8, words=False, count=4095)),
        ('rescale', dict(highest=4095, declared=12, first=-2048, count=8192)),
    ],
)
def test_a_voi_lut_is_shown_as_the_model_saw_it(tmp_path, variant, options):
    path = make_image(tmp_path, variant, VOILUTSequence=voi_lut(**options))
    made = state_of(path)
    state = tmp_path / made.file_name
    state.write_bytes(made.content)
    assert faults(state) == []
    code, said = run('dcmp2pgm', '-p', state, path, tmp_path / 'shown.pgm')
    assert code == 0, said
    shown = cv2.imread(str(tmp_path / 'shown.pgm'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(shown / 255, read_radiograph(path, []), atol=0.01)


def test_a_voi_lut_without_its_entries_is_left_out(tmp_path):
    (lut,) = voi_lut(highest=4095, declared=12)
    lut.LUTData = lut.LUTData[:100]
    path = make_image(tmp_path, 'CR', VOILUTSequence=[lut])
    ds = read(state_of(path).content)
    assert ds.SoftcopyVOILUTSequence[0].WindowCenter == 1000
