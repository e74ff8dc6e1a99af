# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.dicom_objects import make_objects
from tests.deployment.dicom_objects.variants import (
    IMAGE,
    SERIES,
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
