# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.datasets import CXRDataset
from mmfrac.datasets.labels import (
    CLASSES,
    counted_annotations,
    counted_classes,
    film_labels,
    ignored,
    labels_of_films,
    labels_of_info,
    lesions,
)


@pytest.mark.parametrize(
    ('fields', 'boxes', 'expected'),
    [
        ({}, 2, (1, True, 'unknown', 'a.png', 'P_hos')),
        ({}, 0, (0, True, 'unknown', 'a.png', 'N')),
        (dict(label=1), 0, (1, False, 'unknown', 'a.png', 'P_pub')),
        (dict(label=-1), 0, (-1, False, 'unknown', 'a.png', 'U')),
        (dict(regions=False), 1, (1, False, 'unknown', 'a.png', 'P_pub')),
        (dict(regions=False), 0, (-1, False, 'unknown', 'a.png', 'U')),
        (dict(label=0, source='x', patient_id=7), 0, (0, True, 'x', '7', 'N')),
    ],
)
def test_absent_fields(fields, boxes, expected):
    labels = film_labels(dict(file_name='a.png', **fields), boxes)
    assert (*labels, labels.subset) == expected


def test_boxes_are_those_of_the_film():
    images = [dict(id=5, file_name='a.png'), dict(id=3, file_name='b.png')]
    labels = labels_of_films(images, [dict(image_id=3), dict(image_id=3)])
    assert [film.label for film in labels] == [0, 1]


def test_labels_of_an_info_follow_the_same_rule():
    box = dict(bbox=[0, 0, 4, 4])
    # a CocoDataset of mmdet knows neither label nor regions
    assert labels_of_info(dict(img_path='a.png', instances=[box])).subset == 'P_hos'
    assert labels_of_info(dict(img_path='a.png', instances=[])).subset == 'N'
    assert labels_of_info(dict(label=1, regions=False, file_name='a.png')).subset == 'P_pub'
    assert labels_of_info(dict(label=1, instances=[])).regions is False


def test_ignored_instances_are_no_lesions():
    boxes = [dict(ignore_flag=0), dict(ignore_flag=1), dict()]
    assert lesions(boxes) == [boxes[0], boxes[2]] and ignored(boxes) == [boxes[1]]


def test_counted_categories():
    assert CXRDataset.METAINFO['classes'] == CLASSES
    assert counted_classes(['nodule', 'fracture']) == ['fracture']
    assert counted_classes(['nodule']) is None and counted_classes([]) is None
    assert counted_classes(['fracture'], 'nodule') == ['nodule']
    boxes = [dict(category_id=key) for key in (1, 2, 3)]
    names = {1: 'fracture', 2: 'nodule', 3: 'rib fracture'}
    assert counted_annotations(boxes, names, None) == boxes
    counted = counted_annotations(boxes, names, ['fracture'])
    assert counted == [boxes[0], dict(category_id=3, ignore=1)] and 'ignore' not in boxes[2]
