# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Fields of annotation files, and boxes that are ignored, as the loader and the checks see them."""

import json

import numpy as np
import pytest
from pycocotools import mask

from mmfrac.datasets import CXRDataset
from mmfrac.datasets.coco_checks import _strayed, check_annotations, read_annotations
from mmfrac.datasets.labels import outline_of, patient_notes, similar_patients
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.io import read_json


def coco(*annotations, image=None, size=(80, 96), categories=('fracture',)):
    """Two images of ``size``; the boxes are on the first."""
    images = [dict(id=key, file_name=f'{key}.png', width=size[0], height=size[1]) for key in (1, 2)]
    images[0] |= image or {}
    boxes = [
        dict(id=index, image_id=1, category_id=1, bbox=[10, 10, 20, 20]) | annotation
        for index, annotation in enumerate(annotations, 1)
    ]
    names = [dict(id=index, name=name) for index, name in enumerate(categories, 1)]
    return dict(images=images, annotations=boxes, categories=names)


def load(tmp_path, data, **options):
    (tmp_path / 'a.json').write_text(json.dumps(data))
    return CXRDataset(ann_file=str(tmp_path / 'a.json'), check_files=False, **options)


IGNORED = [dict(iscrowd=1), dict(ignore=1), dict(iscrowd=True), dict(iscrowd=0, ignore=True)]


@pytest.mark.parametrize('flag', IGNORED, ids=str)
def test_an_image_whose_only_box_is_ignored_is_unknown(tmp_path, flag):
    info = load(tmp_path, coco(flag)).get_data_info(0)
    assert (info['label'], info['regions']) == (-1, False)
    assert [one['ignore_flag'] for one in info['instances']] == [1]
    both = load(tmp_path, coco(flag, {})).get_data_info(0)
    assert (both['label'], both['regions']) == (1, True)
    assert [one['ignore_flag'] for one in both['instances']] == [1, 0]


@pytest.mark.parametrize('flag', IGNORED, ids=str)
def test_ignored_boxes_are_no_lesions_of_a_stated_label(tmp_path, flag):
    for label in (0, 1, -1):
        assert check_annotations(coco(flag, image=dict(label=label))) == []
        info = load(tmp_path, coco(flag, image=dict(label=label))).get_data_info(0)
        assert (info['label'], info['regions']) == (label, label == 0)
    for fields in (dict(label=1, regions=True), dict(label=-1, regions=True), dict(regions=True)):
        (problem,) = check_annotations(coco(flag, image=fields))
        assert 'regions true, but no box' in problem
    (problem,) = check_annotations(coco({}, flag, image=dict(label=0)))
    assert 'label 0, but 1 box(es)' in problem
    # the hidden truth of a file does not make complete what is ignored
    info = load(tmp_path, coco(flag, image=dict(label=1)), complete_boxes=True).get_data_info(0)
    assert info['regions'] is False


@pytest.mark.parametrize('name', ['iscrowd', 'ignore'])
@pytest.mark.parametrize('value', ['0', 'false', '1', 2, -1, 0.0, 1.0, None, [], {}])
def test_flags_of_boxes(name, value):
    (problem,) = check_annotations(coco({name: value}))
    assert f'{name} must be 0 or 1' in problem and 'annotations[0] (id 1' in problem


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (dict(area='400'), 'area must be a positive number'),
        (dict(area=-1), 'area must be a positive number'),
        (dict(area=0), 'area must be a positive number'),
        (dict(area=float('nan')), 'area must be a positive number'),
        (dict(area=10**400), 'area must be a positive number'),
        (dict(area=None), 'area must be a positive number'),
        (dict(site=3), 'site must be a string'),
        (dict(site=['rib']), 'site must be a string'),
        (dict(segmentation='rle'), 'segmentation must be'),
        (dict(segmentation=[1, 1, 5, 1, 5, 5]), 'segmentation must be'),
        (dict(segmentation=[[1, 1, 5, 1]]), 'at least three points'),
        (dict(segmentation=[[1, 1, 5, 1, 5, 5, 7]]), 'at least three points'),
        (dict(segmentation=[[1, 1, 5, '1', 5, 5]]), 'at least three points'),
        (dict(segmentation=[[1, 1, 5, 1, 5, float('inf')]]), 'at least three points'),
        (dict(segmentation=[[1, 1, 500, 1, 5, 5]]), 'outside its film of 80 x 96'),
        (dict(segmentation=dict(size=[80, 96], counts=[7680])), 'size [80, 96]'),
        (dict(segmentation=dict(size=[96, 80], counts=[7000, 681])), 'counts of the mask'),
        (dict(segmentation=dict(size=[96, 80], counts=[-1, 7681])), 'counts of the mask'),
        (dict(segmentation=dict(size=[96, 80])), 'counts of the mask'),
        (dict(segmentation=dict(size=[96, 80], counts=[10, 5])), 'they add up to 15'),
        (dict(segmentation=dict(size=[96, 80], counts='')), 'counts of the mask'),
        (dict(segmentation=dict(size=[96, 80], counts='zz~~~~!!')), 'counts of the mask'),
        (dict(segmentation=dict(size=[96, 80], counts='P' * 4000)), 'counts of the mask'),
        (dict(segmentation=dict(size=[96, 80], counts=r'\k1l1hb')), 'counts of the mask'),
        (dict(segmentation=dict(size=[96, 80], counts=[7680])), 'is empty'),
        (dict(segmentation=dict(size=[96, 80], counts=[7000, 680])), 'off its box'),
        (dict(segmentation=[[50, 50, 70, 50, 60, 80]]), 'x 50 to 70, y 50 to 80 (px), off its box'),
        (dict(isCrowd=1), "'isCrowd' is not read; is it 'iscrowd'?"),
        (dict(iscrowd=0, is_crowd=1), "'is_crowd' is not read; is it 'iscrowd'?"),
        (dict(difficult=1), "'difficult' is not read; is it 'ignore'?"),
        (dict(Site='rib'), "'Site' is not read; is it 'site'?"),
        (dict(bbox=[10, 10, '20', 20]), 'bbox must be four finite numbers'),
        (dict(bbox=[10, 10, True, 20]), 'bbox must be four finite numbers'),
        (dict(bbox=[10, 10, 10**400, 20]), 'bbox must be four finite numbers'),
        (dict(id=1.0), 'must be integers'),
        (dict(image_id='1'), 'must be integers'),
        (dict(category_id=True), 'must be integers'),
        (dict(id=10**30), 'must be integers'),
    ],
)
def test_fields_of_boxes(fields, words):
    problems = check_annotations(coco(fields))
    assert len(problems) == 1 and words in problems[0], problems
    assert len(problems[0]) < 300


@pytest.mark.parametrize(
    'segmentation',
    [
        *(None, [], [[]], [[], []]),
        [[9, 9, 15, 9, 15, 15], []],
        [[1, 1, 80.9, 1, 5, 96.9]],
        dict(size=[96, 80], counts=[1900, 60, 5720]),
        dict(size=[96, 80], counts='\\k1l1hb5'),
    ],
)
def test_sound_outlines(tmp_path, segmentation):
    data = coco(dict(segmentation=segmentation, area=400.5, site=None, iscrowd=0, ignore=False))
    assert check_annotations(data) == []
    (instance,) = load(tmp_path, data).get_data_info(0)['instances']
    drawn = outline_of(segmentation)
    assert ('mask' in instance) is (drawn is not None)
    assert instance.get('polygon') == (drawn if isinstance(drawn, list) else None)


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        (dict(label=None), 'unknown label None'),
        (dict(label=1.0), 'unknown label 1.0'),
        (dict(regions=None), 'regions must be true or false'),
        (dict(regions='true'), 'regions must be true or false'),
        (dict(patient_id=1.5), 'patient_id must be'),
        (dict(patient_id=None), 'patient_id must be'),
        (dict(patient_id=True), 'patient_id must be'),
        (dict(patient_id=' '), 'names nobody'),
        (dict(patient_id='nan'), 'names nobody'),
        (dict(patient_id='None'), 'names nobody'),
        (dict(patient_id='Anonymous'), 'names nobody'),
        *((dict(patient_id=text), 'names nobody') for text in ('-', '?', '00000', 'NOID', '#REF!')),
        *((dict(patient_id=text), 'names nobody') for text in ('\u200b', '\u00a0', '***', '#N/A')),
        (dict(Label=1), "'Label' is not read; is it 'label'?"),
        (dict(labels=[1]), "'labels' is not read; is it 'label'?"),
        (dict(fracture=1), "'fracture' is not read; is it 'label'?"),
        (dict(patientId='p1'), "'patientId' is not read; is it 'patient_id'?"),
        (dict(Patient_ID='p1'), "'Patient_ID' is not read; is it 'patient_id'?"),
        (dict(isFractured=True), "no box, which means label 0, but its field 'isFractured'"),
        (dict(rib_fracture='yes'), "its field 'rib_fracture' says 'yes': write label"),
        (dict(findings=['nodule', 'Rib fracture']), "its field 'findings' says 'Rib fracture'"),
        (dict(image_class='possible fracture'), "field 'image_class' says 'possible fracture'"),
        (dict(width=80.0), 'width must be a positive integer'),
        (dict(height=10**7), 'height must be a positive integer'),
        (dict(width=10**400), 'an integer beyond 2**53'),
        (dict(file_name='/etc/passwd'), 'leads out of the image folder'),
        (dict(file_name='../x.png'), 'leads out of the image folder'),
        (dict(file_name='a/../../x.png'), 'leads out of the image folder'),
        (dict(file_name='..\\x.png'), 'leads out of the image folder'),
        (dict(file_name='C:\\x.png'), 'leads out of the image folder'),
        (dict(file_name='\\\\host\\x.png'), 'leads out of the image folder'),
    ],
)
def test_fields_of_images(fields, words):
    problems = check_annotations(coco(image=fields))
    assert len(problems) == 1 and words in problems[0], problems


@pytest.mark.parametrize(
    ('image', 'box'),
    [
        (dict(patient_id='0'), {}),
        (dict(patient_id='#12'), {}),
        (dict(patient_id='1000'), {}),
        (dict(license=1, coco_url='x', view='PA', laterality='L', width_mm=3), {}),
        (dict(label=1, labels=['rib fracture'], fracture=1), {}),
        (dict(findings=[], report='No fracture.', num_fractures=0, fracture_site=None), {}),
        (dict(coco_url='http://x/fracture/1.png', fracture_score=0.1, no_fracture=1), {}),
        ({}, dict(difficult=0, isCrowd=0, score=0.5, track_id=1)),
        ({}, dict(iscrowd=1, difficult=1)),
    ],
)
def test_fields_that_stay_as_they_are(image, box):
    assert check_annotations(coco(box, image=image)) == []


@pytest.mark.parametrize('name', ['./1.png', './/1.png', '1.png/', './/./1.png'])
def test_one_image_under_two_names(tmp_path, name):
    data = coco({}, image=dict(label=1))
    data['images'][1] |= dict(file_name=name, label=0)
    (problem,) = check_annotations(data)
    assert problem.endswith("duplicate file_name, also images[0], there as '1.png'")
    with pytest.raises(AnnotationError, match=r'duplicate file_name'):
        load(tmp_path, data)
    # alone it is a name like any other
    del data['images'][0], data['annotations'][0]
    assert load(tmp_path, data).get_data_info(0)['file_name'] == name


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (
            '{"images": [], "annotations": [1], "annotations": []}',
            r"key 'annotations' is there 2 times",
        ),
        (
            '[{"id": 7, "label": 1, "label": 0}]',
            r"key 'label' is there 2 times in the object of id 7",
        ),
        ('[{"label": 0, "label": 0}]', r"key 'label' .* with the keys label, and all"),
    ],
)
def test_a_key_twice(tmp_path, text, words):
    path = tmp_path / 'a.json'
    path.write_text(text)
    for read in (read_annotations, read_json):
        with pytest.raises(ValueError, match=rf'a\.json: {words}'):
            read(path)


def test_runs_of_masks_are_those_of_pycocotools():
    random = np.random.default_rng(0)
    for _ in range(200):
        height, width = random.integers(1, 40, 2).tolist()
        plane = (random.random((height, width)) < random.random()).astype(np.uint8)
        plane = np.repeat(plane, random.integers(1, 50), axis=0)
        encoded = mask.encode(np.asfortranarray(plane))
        height = plane.shape[0]
        found = np.flatnonzero(plane.any(0)), np.flatnonzero(plane.any(1))
        data = coco(
            dict(segmentation=dict(size=[height, width], counts=encoded['counts'].decode()))
        )
        data['images'][0] |= dict(width=width, height=height)
        data['annotations'][0]['bbox'] = [0, 0, width, height]
        problems = check_annotations(data)
        assert ('is empty' in ''.join(problems)) is (not plane.any()), problems
        if plane.any():
            assert problems == []
            x, y, w, h = mask.toBbox(encoded).tolist()
            assert (x, y) <= (found[0][0], found[1][0]) and w > 0 and h > 0
            assert _strayed(data['annotations'][0]['segmentation'], [x, y, w, h], height) is None
            off = [x + w + 1.5, y, w, h]
            assert 'off its' in str(_strayed(data['annotations'][0]['segmentation'], off, height))


def test_names_out_of_the_folder_are_taken_where_allowed(tmp_path):
    data = coco(image=dict(file_name='/data/x..y.png'))
    assert load(tmp_path, data, allow_outside=True).file_names()[0] == '/data/x..y.png'
    assert check_annotations(coco(image=dict(file_name='a/..b/x..png'))) == []


@pytest.mark.parametrize(
    ('boxes', 'words'),
    [
        ([[0.1, 0.1, 0.2, 0.3]], 'is it a part of the film, in [0, 1]'),
        ([[0, 0, 1, 1]], 'is it a part of the film, in [0, 1]'),
        ([[0.5, 0.25, 0.5, 0.75], [0.1, 0.1, 0.05, 0.05]], 'is it a part of the film, in [0, 1]'),
        ([[50, 60, 70, 90]], 'is it [x1, y1, x2, y2]?'),
        ([[1, 80, 79, 95]], 'is it [x1, y1, x2, y2]?'),
        ([[75, 10, 20, 20]], 'are width and height of the film exchanged'),
    ],
)
def test_boxes_of_another_form(boxes, words):
    problems = check_annotations(coco(*(dict(bbox=box) for box in boxes)))
    assert len(problems) == len(boxes) and all(words in one for one in problems)


def test_one_tiny_box_among_others_is_a_box():
    assert check_annotations(coco(dict(bbox=[0, 0, 0.5, 0.5]), {}, {})) == []
    assert check_annotations(coco(dict(bbox=[10, 10, 40, 30], area=600), {}, {})) == []


@pytest.mark.parametrize(
    ('bbox', 'area', 'is_corners'),
    [
        ([10, 10, 40, 30], 600, True),
        ([0.5, 2, 10.25, 9], 68.25, True),
        ([10, 10, 40, 30], 1200, False),
        # of a mask, of an image of another size, of a box that begins in the corner
        ([10, 10, 40, 30], 500, False),
        ([10, 10, 40, 30], 99999, False),
        ([0, 0, 40, 30], 1200, False),
        ([40, 30, 10, 10], 100, False),
    ],
)
def test_corners_are_told_by_the_area(bbox, area, is_corners):
    problems = check_annotations(coco(dict(bbox=bbox, area=area)))
    assert [one for one in problems if 'right for [x1, y1, x2, y2]' in one] == problems
    assert bool(problems) is is_corners
    outline = [[11, 11, 30, 11, 30, 20]]
    assert (
        check_annotations(coco(dict(bbox=[10, 10, 40, 30], area=600, segmentation=outline))) == []
    )


@pytest.mark.parametrize('name', ['Fracture', 'fractures', ' fracture', 'FRACTURE'])
def test_a_class_in_another_spelling_loses_no_lesion(tmp_path, name):
    data = coco({}, dict(category_id=2), categories=('fracture', name))
    with pytest.raises(
        AnnotationError, match=rf"category '{name}' has 1 boxes .* is it 'fracture'\?"
    ):
        load(tmp_path, data)
    both = load(tmp_path, data, metainfo=dict(classes=('fracture', name)))
    assert len(both.get_data_info(0)['instances']) == 2
    # a category without boxes loses none
    assert load(tmp_path, coco({}, categories=('fracture', name))).labels().tolist() == [1, 0]


def test_a_positive_whose_box_is_of_another_category():
    positive, categories = dict(label=1, regions=True), ('fracture', 'rib fracture')
    data = coco(dict(category_id=2), image=positive, categories=categories)
    assert check_annotations(data) == []
    (problem,) = check_annotations(data, ('fracture',))
    assert "its box of 'rib fracture' is of none of the classes" in problem
    assert '--category' in problem and 'or write regions false' in problem
    data['annotations'] = []
    (problem,) = check_annotations(data, ('fracture',))
    assert problem.endswith('but no box; regions false if the boxes are unknown')


def test_boxes_of_another_fracture_alone_are_no_negative(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmfrac.datasets.cxr_dataset.print_log', lambda text, **_: said.append(text)
    )
    categories = ('rib fracture', 'clavicle fracture', 'nodule')
    meta = dict(metainfo=dict(classes=('rib fracture',)))
    clavicle, nodule = dict(category_id=2), dict(category_id=3)
    for boxes, label in (
        ([clavicle], -1),
        ([clavicle, nodule], -1),
        ([nodule], 0),
        ([clavicle, {}], 1),
    ):
        data = coco(*boxes, categories=categories)
        dataset = load(tmp_path, data, **meta)
        assert dataset.labels().tolist() == [label, 0]
    assert said[0].endswith(
        "1 images without label have no box of the classes ['rib fracture'], but of "
        "'clavicle fracture': label -1"
    )
    assert said[-1].endswith("but of 'nodule': label 0") and len(said) == 4
    stated = coco(clavicle, image=dict(label=0), categories=categories)
    assert load(tmp_path, stated, **meta).labels().tolist() == [0, 0]


@pytest.mark.parametrize('bracket', ['[', '{"a":', '[{"a":[', '{"images":['])
def test_deep_json_is_refused(tmp_path, bracket):
    (tmp_path / 'a.json').write_text(bracket * 100_000)
    with pytest.raises(AnnotationError, match='is not JSON'):
        read_annotations(str(tmp_path / 'a.json'))


@pytest.mark.parametrize(
    ('ids', 'groups'),
    [
        ([' P7', 'P7', 'P8'], [[' P7', 'P7']]),
        (['13', '00000013'], [['00000013', '13']]),
        (['p7', 'P7'], [['P7', 'p7']]),
        (['13.0', '13', '14'], [['13', '13.0']]),
        (['P-7', 'P7', 'P_007'], [['P-7', 'P7', 'P_007']]),
        (['Ｐ７', 'P7'], [['P7', 'Ｐ７']]),
        (['P7\u00a0', 'P7'], [['P7', 'P7\xa0']]),
        (['P7\u200b', 'P7', "'P7"], [["'P7", 'P7', 'P7\u200b']]),
        (['A\u20137', 'A-7', 'A/7', 'A7,'], [['A-7', 'A/7', 'A7,', 'A\u20137']]),
        (['1.2.31', '1.23.1', '12.31'], []),
        (['1-23', '12-3', '123'], []),
        (['P7', 'P70', 'Q7', '7'], []),
        (['100', '10', '1'], []),
        (['---', '-'], [['-', '---']]),
    ],
)
def test_similar_patients(ids, groups):
    assert similar_patients(ids) == groups


def test_notes_on_patients():
    assert patient_notes(['p1', 'p1', 'p2']) == []
    without, similar = patient_notes([None, None, ' P7', 'P7', 13])
    assert '2 of 5 images have no patient_id: each counts as a patient' in without
    assert "' P7' and 'P7'" in similar and '1 groups' in similar
