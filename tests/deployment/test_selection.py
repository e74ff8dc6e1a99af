# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os

import pytest

from mmfrac.datasets.radiographs.grey_scale import FLAT
from mmfrac.deployment.selection import ImageFacts, Selection
from tests.datasets.radiographs.test_read import deny
from tests.deployment.tiny_package import write_dicom, write_png


def reason(tmp_path, selection=None, **elements):
    facts = (selection or Selection()).facts(write_dicom(tmp_path / 'image', 3, **elements))
    assert (facts.sop_instance_uid, facts.study_instance_uid) == ('1.2.3.3', '1.2.5.1')
    return facts.reason


def test_a_frontal_chest_film_is_scored_and_its_header_told(tmp_path):
    facts = Selection().facts(write_dicom(tmp_path / 'image', 3))
    assert facts == ImageFacts('', 'PA', '1.2.3.3', '1.2.4.3', '1.2.5.1', 64, 48)
    assert set(facts.fields()) == set(ImageFacts._fields) - {'reason'}


@pytest.mark.parametrize(
    'elements, expected, wider',
    [
        (dict(ViewPosition='LL'), 'view lateral', dict(views=('lateral',))),
        (dict(ViewPosition='RAO'), 'view oblique', dict(views=('oblique',))),
        (dict(BodyPartExamined='HAND'), 'body part HAND', dict(body_parts=('HAND',))),
        (dict(BodyPartExamined='DOE'), 'body part another', dict(body_parts=('DOE',))),
        (dict(Modality='CT'), 'modality CT', dict(modalities=('CT',))),
        (dict(BurnedInAnnotation='YES'), 'annotation burned', dict(kinds=('burned_in',))),
        (dict(SeriesDescription='DOSE REPORT'), 'report', dict(kinds=('report',))),
        (dict(SeriesDescription='CHEST SOFT TISSUE'), 'dual', dict(kinds=('dual_energy',))),
        (
            dict(PresentationIntentType='FOR PROCESSING'),
            'for processing',
            dict(kinds=('for_processing',)),
        ),
        (
            dict(PatientOrientation=['L', 'H']),
            'stored upside down, by its PatientOrientation',
            dict(kinds=('not_upright',)),
        ),
        (
            dict(PatientOrientation=['F', 'R'], ViewPosition=''),
            'stored on its side',
            dict(kinds=('not_upright',)),
        ),
    ],
)
def test_what_is_left_out_is_scored_where_it_is_asked_for(tmp_path, elements, expected, wider):
    assert reason(tmp_path, **elements).startswith(expected)
    assert reason(tmp_path, Selection(**wider), **elements) == ''
    assert reason(tmp_path, Selection(everything=True), **elements) == ''


def test_an_image_of_one_value_is_not_scored():
    facts, notes = ImageFacts(view='PA'), ['its window is none', FLAT]
    found = Selection().facts_of_pixels(facts, (48, 64), notes)
    assert found.reason == 'all its pixels have one value' and found.error('a') is None
    assert (found.width, found.height, found.notes) == (64, 48, tuple(notes))
    assert Selection(everything=True).facts_of_pixels(facts, (48, 64), notes).reason == ''
    assert Selection().facts_of_pixels(facts, (48, 64), notes[:1]).reason == ''
    lateral = facts._replace(reason='view lateral')
    assert Selection().facts_of_pixels(lateral, (48, 64), notes).reason == 'view lateral'


def test_images_that_tell_no_view(tmp_path):
    unknown = Selection(views=('PA',))
    assert reason(tmp_path, ViewPosition='') == ''
    assert reason(tmp_path, unknown, ViewPosition='') == 'view not given'
    path = write_png(tmp_path / 'a.png')
    assert Selection().facts(path) == ImageFacts()
    assert unknown.facts(path).reason == 'view not given'


def test_files_that_are_no_image_have_a_reason(tmp_path):
    facts = Selection().facts(tmp_path / 'nowhere.dcm')
    assert facts.reason == 'no such file' and facts.error('a') == "no film 'a'"
    path = write_dicom(tmp_path / 'cut')
    path.write_bytes(path.read_bytes()[:-100])
    cut = Selection().facts(path)
    assert 'cut off' in cut.reason and cut.error('a').startswith(
        "cannot read film 'a': pixels cut off"
    )
    frames = write_dicom(tmp_path / 'frames', NumberOfFrames=2)
    # another thing than is wanted, but nothing is wrong with it
    facts = Selection().facts(frames)
    assert facts.reason == 'several frames' and facts.error('a') is None
    (tmp_path / 'empty').touch()
    assert Selection().facts(tmp_path / 'empty').reason == 'empty file'
    os.mkfifo(tmp_path / 'pipe')
    # what it is is said by whoever reads it
    assert Selection().facts(tmp_path / 'pipe').reason == ''


def test_images_that_are_stored_upright_or_mirrored_are_scored(tmp_path):
    for orientation in (['L', 'F'], ['R', 'F'], ['L', 'FP'], ['LA', 'F'], ['', '']):
        assert reason(tmp_path, PatientOrientation=orientation) == ''
    turned = {
        ('L', 'F'): (),
        ('R', 'F'): ('it is mirrored, by its PatientOrientation',),
        ('L', 'H'): ('it is stored upside down, by its PatientOrientation',),
    }
    for orientation, notes in turned.items():
        path = write_dicom(tmp_path / 'image', 3, PatientOrientation=list(orientation))
        facts = Selection(kinds=('not_upright',)).facts(path)
        assert facts.notes == notes
        facts = Selection(kinds=('not_upright',)).facts_of_pixels(facts, (48, 64), ['odd'])
        assert facts.notes == (*notes, 'odd')
    assert Selection().facts(path).notes == ()


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / 'image')
    deny(monkeypatch, path)
    facts = Selection().facts(path)
    assert facts.reason == 'permission denied: make it readable'
    assert facts.error('a') == "cannot read film 'a': permission denied: make it readable"


@pytest.mark.parametrize('options', [dict(views=('front',)), dict(kinds=('all',))])
def test_an_unknown_choice_is_refused(options):
    with pytest.raises(ValueError, match='is none of'):
        Selection(**options)
