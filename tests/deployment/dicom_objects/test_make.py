# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import logging
import re
import warnings

import numpy as np
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR

from mmfrac.datasets.radiographs.dicom import values_unsaid
from mmfrac.deployment.dicom_objects import (
    KINDS,
    SourceError,
    findings_of,
    make_objects,
    read_source,
)
from tests.deployment.dicom_objects.variants import (
    MODEL,
    STUDY,
    VARIANTS,
    faults,
    make_image,
    make_map,
    make_result,
    read,
    run,
)

MODALITIES = dict(sc='OT', gsps='PR', sr='SR', seg='SEG')


def made_of(path, **options):
    return make_objects(make_result(path), path, make_map(path), **options)


@pytest.mark.parametrize('variant', VARIANTS)
def test_objects_of_every_image_are_valid(tmp_path, variant, caplog, recwarn):
    path = make_image(tmp_path, variant)
    source = pydicom.dcmread(path, stop_before_pixels=True)
    name = str(source.PatientName)
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    recwarn.clear()
    made = made_of(path)
    said = caplog.text + ''.join(str(one.message) for one in recwarn)
    # they quote headers
    assert not [one for one in caplog.records if one.name.startswith(('pydicom', 'highdicom'))]
    kinds = [one.kind for one in made.objects]
    if variant == 'colours':
        assert kinds == ['sc', 'sr', 'seg'] and 'colours' in made.left_out['gsps']
    else:
        assert kinds == list(KINDS) and not made.left_out
    for one in made.objects:
        file = tmp_path / one.file_name
        file.write_bytes(one.content)
        assert faults(file) == [], one.kind
        ds = read(one.content)
        assert (ds.StudyInstanceUID, ds.PatientID) == (STUDY, source.PatientID)
        assert str(ds.PatientName) == name and ds.SpecificCharacterSet == 'ISO_IR 192'
        assert (
            ds.Modality == MODALITIES[one.kind] and ds.SeriesInstanceUID != source.SeriesInstanceUID
        )
        assert ds.Manufacturer == 'mmfrac' and ds.ManufacturerModelName == MODEL['name']
        assert ds.DeviceSerialNumber == MODEL['sha256']
        assert ds.ContentQualification == 'RESEARCH' and 'RESEARCH ONLY' in ds.SeriesDescription
        assert one.file_name == f'{one.kind}_{ds.SOPInstanceUID}.dcm'
        if one.kind == 'sr':
            code, dump = run('dsrdump', '-Ei', file)
            assert code == 0 and not re.search(r'^[EF]:', dump, re.MULTILINE), dump
    # nothing is said of a patient, by highdicom neither
    parts = [part for part in re.split(r'[\^= ]', name) if part]
    assert not any(part in said for part in (*parts, '1950', 'yesterday'))


@pytest.mark.parametrize(
    'variant', [name for name in VARIANTS if name not in ('colours', 'no patient')]
)
def test_presentation_states_are_printed(tmp_path, variant):
    path = make_image(tmp_path, variant)
    (made,) = made_of(path, kinds=['gsps']).objects
    state = tmp_path / made.file_name
    state.write_bytes(made.content)
    # where dcmpsprt keeps its prints
    (tmp_path / 'database').mkdir()
    (tmp_path / 'database' / 'index.dat').touch()
    (tmp_path / 'prints.cfg').write_text(
        '[[GENERAL]]\n[PRINT]\nMinPrintResolution = 64\\64\nMaxPrintResolution = 8192\\8192\n'
        '[DATABASE]\nDirectory = database\n[[COMMUNICATION]]\n[P]\nType = LOCALPRINTER\n'
        'Hostname = localhost\nPort = 1\nDescription = none\nAetitle = P\n'
    )
    code, said = run('dcmpsprt', '-c', 'prints.cfg', '+p', state, path, cwd=tmp_path)
    assert code == 0 and not re.search(r'^[EF]:', said, re.MULTILINE), said
    assert len(list((tmp_path / 'database').glob('*.dcm'))) == 2


def test_made_again_they_are_the_same_objects(tmp_path):
    path = make_image(tmp_path)
    first, second = made_of(path), made_of(path)
    assert [one.uid for one in first.objects] == [one.uid for one in second.objects]
    everything = [one.uid for one in first.objects]
    series = [read(one.content).SeriesInstanceUID for one in first.objects]
    assert len(set(everything + series)) == 8
    # of another threshold, model or image they are others; the series are those of study and model
    lower = [one.uid for one in made_of(path, threshold=0.2).objects]
    other_model = make_result(path, model=MODEL | dict(sha256='f' * 64))
    model = [one.uid for one in make_objects(other_model, path, make_map(path)).objects]
    path = make_image(tmp_path, SOPInstanceUID='1.2.3.44')
    image = made_of(path).objects
    everything += lower + model + [one.uid for one in image]
    assert len(set(everything)) == 16
    assert [read(one.content).SeriesInstanceUID for one in image] == series
    assert all(len(uid) <= 64 and pydicom.uid.UID(uid).is_valid for uid in everything)


def test_boxes_are_the_components_of_the_map_at_the_threshold(tmp_path):
    path = make_image(tmp_path)
    prob_map = make_map(path)
    # two peaks of one component at 0.25
    prob_map[4, 4:6] = prob_map[3, 4:6] = prob_map[5, 4:6] = 0.375
    result = make_result(path, boxes=[[8.0, 12.0, 36.0, 24.0]], scores=[0.875])
    for threshold, boxes in (
        (0.25, [[8, 12, 36, 24]]),
        (0.5, [[8, 12, 16, 24], [24, 12, 36, 24]]),
    ):
        found = findings_of(result, read_source(path), threshold, prob_map)
        assert sorted(found.boxes) == boxes
        made = make_objects(result, path, prob_map, ['sr'], threshold).objects[0]
        report = Comprehensive3DSR.from_dataset(read(made.content))
        assert len(report.content.get_planar_roi_measurement_groups()) == len(boxes)
        # what is made of the result alone is another object
        alone = make_objects(result, path, None, ['sr'], threshold).objects[0]
        assert alone.uid != made.uid
    assert findings_of(result, read_source(path), 0.5).boxes == [[8, 12, 36, 24]]


def test_threads_that_are_within_stay_silent_when_others_leave(recwarn):
    first, second = values_unsaid(), values_unsaid()
    logger = logging.getLogger('pydicom')
    before, filters = logger.propagate, list(warnings.filters)
    with first:
        second.__enter__()
    warnings.warn('Doe^Jane', stacklevel=1)
    assert not logger.propagate and not recwarn.list
    second.__exit__(None, None, None)
    assert logger.propagate is before and warnings.filters == filters


def test_kinds_that_there_are_none_of_are_named(tmp_path):
    path = make_image(tmp_path)
    made = make_objects(make_result(path), path, None, ['seg', 'sr', 'sr'])
    assert [one.kind for one in made.objects] == ['sr']
    assert made.left_out == dict(seg='there is no prob map')
    nothing = make_objects(make_result(path, boxes=[], scores=[]), path, np.zeros((16, 12)))
    assert nothing.left_out == dict(seg='no cell of the prob map reaches the threshold')
    for one in nothing.objects:
        (tmp_path / one.file_name).write_bytes(one.content)
        assert faults(tmp_path / one.file_name) == []
    with pytest.raises(ValueError, match='kinds of objects are'):
        made_of(path, kinds=['pdf'])


@pytest.mark.parametrize('threshold', [80, 0, -1, float('nan')])
def test_a_threshold_is_in_0_1(tmp_path, threshold):
    path = make_image(tmp_path)
    with pytest.raises(ValueError, match=rf'must lie in \(0, 1\], got {threshold:g}'):
        made_of(path, threshold=threshold)
    assert made_of(path, kinds=['sr'], threshold=1).objects


def test_another_precision_of_the_map_and_notes_are_said(tmp_path):
    path = make_image(tmp_path)
    for precision in (None, 'fp32'):
        same = made_of(path, kinds=['sr', 'seg'], map_precision=precision).objects
        assert not any(b'precision of the map' in one.content for one in same)
    result = make_result(path, precision='fp16', notes=['its header contradicts its pixels'])
    made = make_objects(result, path, make_map(path), ['sr', 'seg', 'sc'], map_precision='fp32')
    sr, seg, sc = (one.content for one in made.objects)
    assert b'precision: fp16' in sr and b'precision of the map: fp32' in sr
    assert b'note: its header contradicts its pixels' in sr
    assert b'precision of the map=fp32' in seg
    # a strip more
    (before,) = made_of(path, kinds=['sc']).objects
    assert read(sc).Rows > read(before.content).Rows
    # boxes of the result have no map
    (alone,) = make_objects(result, path, None, ['sr'], map_precision='fp32').objects
    assert b'precision of the map' not in alone.content


@pytest.mark.parametrize(
    'fields, text',
    [
        (dict(width=47, height=60), r'47 x 60 px, .* has 47 x 61'),
        (dict(sop_instance_uid='1.2.9'), 'another image'),
    ],
)
def test_a_result_of_another_image_is_an_error(tmp_path, fields, text):
    path = make_image(tmp_path)
    with pytest.raises(ValueError, match=text):
        make_objects(make_result(path, **fields), path)


def test_what_is_no_image_is_an_error_without_its_text(tmp_path):
    path = make_image(tmp_path)
    result = make_result(path)
    unscored = make_result(
        path,
        scored=False,
        reason='lateral',
        score=None,
        probability=None,
        flag=None,
        boxes=[],
        scores=[],
    )
    with pytest.raises(ValueError, match='not scored'):
        make_objects(unscored, path)
    make_image(tmp_path, StudyInstanceUID='Doe^Jane')
    with pytest.raises(SourceError, match='no valid StudyInstanceUID') as caught:
        make_objects(result, path)
    assert 'Doe' not in str(caught.value)
    path.write_bytes(b'no DICOM at all' * 20)
    with pytest.raises(SourceError):
        make_objects(result, path)
    with pytest.raises(FileNotFoundError):
        make_objects(result, tmp_path / 'none.dcm')


def test_real_images(tmp_path, shared_data):
    for path in sorted((shared_data / 'real_cxr' / 'dicom').glob('RG1_*.dcm')):
        made = make_objects(make_result(path), path, make_map(path))
        assert [one.kind for one in made.objects] == list(KINDS)
        for one in made.objects:
            file = tmp_path / one.file_name
            file.write_bytes(one.content)
            assert faults(file) == []
