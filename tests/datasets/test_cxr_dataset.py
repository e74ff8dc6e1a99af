# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
import json
import time

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from mmfrac.datasets import CXRDataset
from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.preparation.checks.split_file import read_split
from mmfrac.utils.errors import AnnotationError, MissingImageError


def content():
    """Six films, one of each kind and two sources."""
    kinds = [(1, True, 'a'), (1, True, 'b'), (0, True, 'a'), (1, False, 'b'), (-1, False, 'b')]
    images = [
        dict(id=10 + i, file_name=f'{i}.png', width=40, height=30, label=label, regions=regions)
        | dict(source=source, patient_id=f'p{i}')
        for i, (label, regions, source) in enumerate(kinds)
    ]
    images.append(dict(id=99, file_name='sub/bare.png', width=40, height=30))
    boxes = [(10, [1.25, 2, 3.5, 4]), (10, [-0.5, 0, 41, 30.5]), (11, [0, 0, 0.5, 0.5])]
    annotations = [
        dict(id=i, image_id=image, category_id=1, bbox=box) for i, (image, box) in enumerate(boxes)
    ]
    annotations[0] |= dict(site='clavicle', segmentation=[[1, 2, 4, 2, 4, 6]], area=14)
    annotations[1]['iscrowd'] = 1
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='fracture')])


@pytest.fixture
def root(tmp_path):
    init_default_scope('mmdet')
    (tmp_path / 'images' / 'sub').mkdir(parents=True)
    for image in content()['images']:
        (tmp_path / 'images' / image['file_name']).touch()
    (tmp_path / 'a.json').write_text(json.dumps(content()))
    return tmp_path


def build(root, data=None, **options):
    if data is not None:
        (root / 'a.json').write_text(json.dumps(data))
    config = dict(type='CXRDataset', data_root=str(root), ann_file='a.json')
    return DATASETS.build(config | dict(data_prefix=dict(img='images')) | options)


def error_of(root, data, error=AnnotationError):
    with pytest.raises(error) as caught:
        build(root, data)
    return str(caught.value)


@pytest.mark.parametrize('serialize_data', [True, False])
def test_infos(root, serialize_data):
    dataset = build(root, serialize_data=serialize_data)
    assert len(dataset) == 6
    info = dataset.get_data_info(0)
    assert info['img_path'] == str(root / 'images' / '0.png') and info['img_id'] == 10
    assert (info['label'], info['regions'], info['source'], info['patient_id']) == (
        *(1, True, 'a'),
        'p0',
    )
    first, second = info['instances']
    assert first['bbox'] == [1.25, 2, 4.75, 6] and first['site'] == 'clavicle'
    assert first['polygon'] == [[1, 2, 4, 2, 4, 6]] and first['ignore_flag'] == 0
    assert second['bbox'] == [-0.5, 0, 40.5, 30.5] and second['ignore_flag'] == 1
    assert second['site'] is None and 'polygon' not in second
    assert dataset.get_data_info(1)['instances'][0]['bbox'] == [0, 0, 0.5, 0.5]
    bare = dataset.get_data_info(5)
    assert (bare['label'], bare['regions'], bare['source'], bare['patient_id']) == (
        *(0, True, 'unknown'),
        'sub/bare.png',
    )
    labels = dataset.labels()
    assert labels.dtype == np.int8 and labels.tolist() == [1, 1, 0, 1, -1, 0]
    assert dataset.file_names() == ['0.png', '1.png', '2.png', '3.png', '4.png', 'sub/bare.png']
    assert dataset.metainfo['classes'] == ('fracture',) and len(dataset.metainfo['palette']) == 1


@pytest.mark.parametrize(
    ('options', 'films'),
    [
        (dict(subset='P_hos'), '01'),
        (dict(subset=['N', 'U']), '24s'),
        (dict(subset='P_pub'), '3'),
        (dict(subset='U', test_mode=True), '4'),
        (dict(sources='a'), '02'),
        (dict(sources=['b', 'unknown'], subset=('P_hos', 'N')), '1s'),
        (dict(indices=2), '01'),
        (dict(subset='N', indices=[1]), 's'),
    ],
)
@pytest.mark.parametrize('serialize_data', [True, False])
def test_selection(root, options, films, serialize_data):
    dataset = build(root, serialize_data=serialize_data, **options)
    assert ''.join(name[0] for name in dataset.file_names()) == films
    assert len(dataset) == len(dataset.labels()) == len(films)


@pytest.mark.parametrize('serialize_data', [True, False])
@pytest.mark.parametrize(('indices', 'films'), [(2, '01'), (-2, '4s'), ([3, 0, 3], '303')])
def test_subsets_keep_their_labels(root, serialize_data, indices, films):
    dataset = build(root, serialize_data=serialize_data)
    small = dataset.get_subset(indices)
    dataset.get_subset_(indices)
    for part in (dataset, small):
        assert ''.join(name[0] for name in part.file_names()) == films
        infos = [part.get_data_info(i) for i in range(len(part))]
        assert part.labels().tolist() == [info['label'] for info in infos]
        assert part.file_names() == [info['file_name'] for info in infos]
        assert part.img_paths() == [info['img_path'] for info in infos]
        assert part.regions().dtype == bool
        assert part.regions().tolist() == [info['regions'] for info in infos]


def test_hidden_boxes_can_be_trusted(root):
    data = content()
    data['annotations'].append(dict(id=9, image_id=13, category_id=1, bbox=[3, 3, 4, 4]))
    assert build(root, data, subset='P_hos').file_names() == ['0.png', '1.png']
    assert build(root, data, subset='P_pub').file_names() == ['3.png']
    trusting = build(root, data, subset='P_hos', complete_boxes=True)
    assert trusting.file_names() == ['0.png', '1.png', '3.png']
    assert trusting.get_data_info(2)['instances'][0]['bbox'] == [3, 3, 7, 7]
    # a label-only film without a box stays one
    assert build(root, content(), subset='P_pub', complete_boxes=True).file_names() == ['3.png']


def test_filter_empty_gt_keeps_what_has_a_label(root):
    dataset = build(root, filter_cfg=dict(filter_empty_gt=True, min_size=30))
    assert dataset.labels().tolist() == [1, 1, 0, 1, 0]
    with pytest.raises(ValueError, match='leaves none of the 6'):
        build(root, filter_cfg=dict(min_size=31))
    assert len(build(root, filter_cfg=dict(min_size=31), test_mode=True)) == 6


def test_lazy(root):
    dataset = build(root, lazy_init=True, ann_file='a.json')
    (root / 'a.json').write_text(json.dumps(content()))
    assert dataset.labels().tolist() == [1, 1, 0, 1, -1, 0]


def test_plain_coco_of_other_categories(root):
    data = content()
    for image in data['images']:
        for key in ('label', 'regions', 'source', 'patient_id'):
            image.pop(key, None)
    data['categories'] = [dict(id=4, name='effusion'), dict(id=7, name='break')]
    for annotation, category in zip(data['annotations'], (7, 4, 4)):
        annotation['category_id'] = category
    dataset = build(root, data, metainfo=dict(classes=('break',)))
    assert dataset.labels().tolist() == [1, 0, 0, 0, 0, 0]
    assert [i['bbox_label'] for i in dataset.get_data_info(0)['instances']] == [0]
    both = build(root, data, metainfo=dict(classes=('effusion', 'break')))
    assert both.labels().tolist() == [1, 1, 0, 0, 0, 0]
    assert [i['bbox_label'] for i in both.get_data_info(0)['instances']] == [1, 0]
    message = error_of(root, data)
    assert "['effusion', 'break']" in message and 'metainfo' in message


def test_unknown_names_and_nothing_left(root):
    for lazy in (True, False):
        with pytest.raises(ValueError, match=r"\['P_hosp'\].*'P_hos', 'N', 'P_pub', 'U'"):
            build(root, subset=['N', 'P_hosp'], lazy_init=lazy)
    with pytest.raises(ValueError, match=r"\['c'\].*'a': 2, 'b': 3"):
        build(root, sources='c')
    with pytest.raises(
        ValueError, match=r'nothing left.*it has 1 N of a, 1 P_hos of a.*whose boxes are complete'
    ):
        build(root, subset='P_pub', sources='a')
    empty = dict(content(), images=[], annotations=[])
    with pytest.raises(ValueError, match='no film'):
        build(root, empty)


def test_missing_paths(root):
    for options, name in (
        (dict(data_root=str(root / 'gone')), 'gone'),
        (dict(data_prefix=dict(img='pictures')), 'pictures'),
        (dict(ann_file='b.json'), 'b.json'),
    ):
        with pytest.raises(FileNotFoundError, match=name) as caught:
            build(root, **options)
        assert '--data-root' in str(caught.value) and 'make_phantom' in str(caught.value)


def test_missing_films_are_all_named(root):
    for name in ('1.png', '3.png', 'sub/bare.png'):
        (root / 'images' / name).unlink()
    message = error_of(root, content(), MissingImageError)
    assert 'a.json: images[1] (id 11, 1.png): missing file' in message
    assert '3 problems' in message and str(root / 'images' / 'sub' / 'bare.png') in message
    assert issubclass(MissingImageError, FileNotFoundError)
    assert len(build(root, check_files=False)) == 6
    assert len(build(root, sources='a')) == 2  # films left out need not be there


def test_not_json(root):
    (root / 'a.json').write_text('{"images": [')
    with pytest.raises(AnnotationError, match=r'a\.json is not JSON'):
        build(root)


def changed(path, value, drop=False):
    data = copy.deepcopy(content())
    *parents, last = path
    place = data
    for key in parents:
        place = place[key]
    if drop:
        del place[last]
    else:
        place[last] = value
    return data


@pytest.mark.parametrize(
    ('path', 'value', 'words'),
    [
        (['images'], {}, "'images' must be a list"),
        (['images', 1], 7, 'images[1]: must be an object'),
        (
            ['images', 1, 'label'],
            2,
            'images[1] (id 11, 1.png): unknown label 2, valid are (-1, 0, 1)',
        ),
        (['images', 1, 'label'], True, 'unknown label True'),
        (['images', 1, 'label'], '1', "unknown label '1'"),
        (['images', 1, 'regions'], 1, 'regions must be true or false'),
        (['images', 1, 'width'], 0, 'width must be a positive integer'),
        (['images', 1, 'height'], '30', 'height must be a positive integer'),
        (['images', 1, 'source'], None, 'source must be a string'),
        (['images', 1, 'patient_id'], [], 'patient_id must be'),
        (['images', 1, 'file_name'], '', 'file_name must be a non-empty string'),
        (['images', 1, 'id'], 10, 'images[1] (id 10, 1.png): duplicate id, also images[0]'),
        (['images', 1, 'file_name'], '0.png', 'duplicate file_name, also images[0]'),
        (
            ['images', 2, 'label'],
            1,
            'images[2] (id 12, 2.png): label 1 with regions true, but no box',
        ),
        (['images', 0, 'label'], 0, 'images[0] (id 10, 0.png): label 0, but 1 box(es)'),
        (['images', 0, 'label'], -1, 'label -1 (unknown), but 1 box(es)'),
        (['annotations', 0], None, 'annotations[0]: must be an object'),
        (['annotations', 0, 'id'], 1, 'annotations[1] (id 1): duplicate id, also annotations[0]'),
        (['annotations', 0, 'image_id'], 5, 'annotations[0] (id 0): image_id 5 is no (sound) film'),
        (['annotations', 0, 'category_id'], 2, 'unknown category_id 2, valid are [1]'),
        (['annotations', 0, 'bbox'], [1, 2, 3], 'bbox must be four finite numbers'),
        (['annotations', 0, 'bbox', 2], float('nan'), 'bbox must be four finite numbers'),
        (['annotations', 0, 'bbox', 2], 0, 'has no positive size'),
        (['annotations', 0, 'bbox', 3], -4, 'has no positive size'),
        (
            ['annotations', 0, 'bbox', 0],
            38.6,
            'film 0.png): box [38.6, 2, 3.5, 4] (x, y, w, h) lies',
        ),
        (['annotations', 0, 'bbox', 1], -1.1, 'outside its film of 40 x 30 px'),
        (['categories', 0, 'name'], 'rib', "none of the classes ['fracture']"),
        (['categories', 0], 'fracture', "categories[0]: must be an object with 'id' and 'name'"),
    ],
)
def test_each_problem(root, path, value, words):
    message = error_of(root, changed(path, value))
    assert words in message and 'a.json: ' in message


@pytest.mark.parametrize(
    'path',
    [['images'], ['annotations'], ['categories']]
    + [['images', 0, key] for key in ('id', 'file_name', 'width', 'height')]
    + [['annotations', 0, key] for key in ('id', 'image_id', 'category_id', 'bbox')],
)
def test_each_missing_field(root, path):
    assert repr(path[-1]) in error_of(root, changed(path, None, drop=True))


@pytest.mark.parametrize('categories', [[], [dict(id=3, name='rib')]])
def test_a_file_without_boxes_needs_no_class(root, categories):
    """As ``mmfrac check`` has it."""
    data = content()
    data['images'] = data['images'][2:]
    data.update(annotations=[], categories=categories)
    dataset = build(root, data, test_mode=True, pipeline=[])
    assert dataset.labels().tolist() == [0, 1, -1, 0]
    assert not any(dataset.get_data_info(index)['instances'] for index in range(4))
    found = read_split('a', str(root / 'a.json'), str(root / 'images'), category='fracture')
    assert found.findings == []
    # a box is of a class
    data['annotations'] = [dict(id=1, image_id=13, category_id=3, bbox=[1, 1, 5, 5])]
    words = "none of the classes ['fracture'] is among the categories"
    assert words in error_of(root, data)
    found = read_split('a', str(root / 'a.json'), str(root / 'images'), category='fracture')
    assert any(words in str(finding) for finding in found.findings)


def test_sound_files_have_no_problems():
    assert check_annotations(content()) == []
    edge = changed(['annotations', 0, 'bbox'], [-1, -1, 42, 32])
    assert check_annotations(edge) == []
    assert check_annotations([1]) == ['the file must hold a JSON object, it holds a list']


def test_all_problems_in_one_error(root):
    data = content()
    data['images'][2]['label'] = 5
    data['images'][3]['regions'] = True
    data['annotations'][0]['bbox'] = [0, 0, 400, 4]
    del data['annotations'][2]['category_id']
    message = error_of(root, data)
    assert '5 problems' in message
    for words in ('images[2]', 'images[3]', 'annotations[0]', 'annotations[2]', 'images[1]'):
        assert words in message
    data['images'] = [dict(id=i, file_name=f'{i}.png', width=-1, height=9) for i in range(70)]
    data['annotations'] = []
    message = error_of(root, data)
    assert '70 problems' in message and '... and 20 more' in message
    assert message.count('images[') == 50


def test_large_file_is_quick(tmp_path):
    count = 50_000
    data = dict(
        images=[
            dict(id=i, file_name=f'{i}.png', width=512, height=512, label=i % 2, regions=i % 4 != 1)
            for i in range(count)
        ],
        annotations=[
            dict(id=i, image_id=i, category_id=1, bbox=[1, 2, 30, 40]) for i in range(3, count, 4)
        ],
        categories=[dict(id=1, name='fracture')],
    )
    (tmp_path / 'a.json').write_text(json.dumps(data))
    start = time.perf_counter()
    dataset = CXRDataset(data_root=str(tmp_path), ann_file='a.json', check_files=False)
    assert time.perf_counter() - start < 8
    assert len(dataset) == count and dataset.labels().sum() == count // 2


def test_real_files(shared_data):
    root = shared_data / 'semi_real_v1'
    sizes = {}
    for split in ('train', 'val', 'test'):
        for subset in ('P_hos', 'P_pub', 'N', None):
            try:
                dataset = build(
                    root,
                    ann_file=f'annotations/{split}.json',
                    subset=subset,
                )
            except ValueError as error:
                assert 'nothing left' in str(error)
                continue
            sizes[split, subset] = len(dataset)
    assert sizes == {
        ('train', 'P_hos'): 66,
        ('train', 'P_pub'): 260,
        ('train', 'N'): 353,
        ('train', None): 679,
        ('val', 'P_hos'): 13,
        ('val', 'N'): 58,
        ('val', None): 71,
        ('test', 'P_hos'): 54,
        ('test', 'N'): 165,
        ('test', None): 219,
    }
