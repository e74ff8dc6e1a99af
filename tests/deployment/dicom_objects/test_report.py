# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from highdicom.sr import Comprehensive3DSR
from pydicom.sr.codedict import codes

from mmfrac.deployment.dicom_objects import make_objects
from mmfrac.deployment.dicom_objects.report import FLAG, PROBABILITY, SCORE, THRESHOLD, USE
from tests.deployment.dicom_objects.variants import IMAGE, MODEL, make_image, make_result, read


def report_of(path, **options):
    fields = options.pop('fields', {})
    (made,) = make_objects(make_result(path, **fields), path, None, ['sr'], **options).objects
    return Comprehensive3DSR.from_dataset(read(made.content))


def values(group):
    return {one.name: one.value for one in group.get_measurements()}


def evaluations(group):
    return {one.name: one.value.meaning for one in group.get_qualitative_evaluations()}


def test_image_score_and_boxes_come_back(tmp_path):
    content = report_of(make_image(tmp_path)).content
    (whole,) = content.get_image_measurement_groups()
    assert values(whole) == {SCORE: 0.875, THRESHOLD: 0.25, PROBABILITY: 62.5}
    assert evaluations(whole)[FLAG] == 'Yes' and 'Research' in evaluations(whole)[USE]
    groups = content.get_planar_roi_measurement_groups()
    wanted = [([8, 12.5, 36, 24.25], 0.875), ([0, 50, 9, 61], 0.5)]
    assert len(groups) == 2
    for group, ((x1, y1, x2, y2), score) in zip(groups, wanted):
        assert group.roi.graphic_type.value == 'POLYLINE'
        assert group.roi.value.tolist() == [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]
        assert values(group) == {SCORE: score} and group.finding_type.meaning == 'Fracture'


def test_model_and_image_are_identified(tmp_path):
    ds = report_of(make_image(tmp_path))
    (context,) = ds.content.get_observer_contexts(codes.DCM.Device)
    assert context.observer_identifying_attributes.model_name == MODEL['name']
    assert [one[2] for one in ds.get_evidence()] == [IMAGE]
    texts = [
        item.TextValue
        for item in ds.ContentSequence[-1].ContentSequence[0].ContentSequence
        if item.ValueType == 'TEXT'
    ]
    assert MODEL['name'] in texts and MODEL['sha256'] in texts
    assert 'threshold: 0.25' in texts and 'operating point: fppi 0.1' in texts
    assert any('RESEARCH' in text for text in texts)


def test_the_flag_is_that_of_the_threshold_asked_for(tmp_path):
    path = make_image(tmp_path)
    (whole,) = report_of(path, threshold=0.9).content.get_image_measurement_groups()
    assert evaluations(whole)[FLAG] == 'No' and values(whole)[THRESHOLD] == 0.9
    assert not report_of(path, threshold=0.9).content.get_planar_roi_measurement_groups()


def test_without_temperature_and_operating_point(tmp_path):
    fields = dict(probability=None, operating_point=None, flag=None)
    content = report_of(make_image(tmp_path), fields=fields).content
    (whole,) = content.get_image_measurement_groups()
    assert values(whole) == {SCORE: 0.875, THRESHOLD: pytest.approx(0.2)}
    assert len(content.get_planar_roi_measurement_groups()) == 2


def test_coordinates_of_a_large_image(tmp_path):
    path = make_image(tmp_path, 'DX', (3051, 2999))
    box = [2100.25, 17.125, 2998.75, 3050.5]
    content = report_of(path, fields=dict(boxes=[box], scores=[0.5])).content
    (group,) = content.get_planar_roi_measurement_groups()
    assert np.abs(group.roi.value[[0, 2]].ravel() - box).max() < 1e-3
