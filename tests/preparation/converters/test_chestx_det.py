# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from mmfrac.datasets import CXRDataset
from mmfrac.preparation.converters import CocoImage, Lesion, convert_chestx_det, write_coco
from mmfrac.utils.errors import AnnotationError

NAMES = ['nih_name,det_name', '00000007_001.png,71.png', '00000007_002.png,72.png']


def records():
    return [
        dict(
            file_name='71.png',
            syms=['Effusion', 'Fracture', 'fracture'],
            boxes=[[0, 0, 9, 9], [2, 3, 12, 13], [20, -1, 41, 30]],
            polygons=[
                [[0, 0], [9, 0], [9, 9]],
                [[2, 3], [12, 3], [12, 13]],
                [[20, 0], [41, 0], [30, 30]],
            ],
        ),
        dict(
            file_name='72.png',
            syms=['Mass'],
            boxes=[[1, 1, 5, 5]],
            polygons=[[[1, 1], [5, 1], [5, 5]]],
        ),
        dict(file_name='73.png', syms=[], boxes=[], polygons=[]),
    ]


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'films').mkdir()
    for name in ('71.png', '00000007_002.png', '73.png'):
        Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / 'films' / name)
    (tmp_path / 'names.csv').write_text('\n'.join(NAMES))
    return tmp_path


def convert(root, data=None, names=True, **options):
    text = data if isinstance(data, str) else json.dumps(records() if data is None else data)
    (root / 'det.json').write_text(text)
    manifest = root / 'names.csv' if names else None
    return convert_chestx_det(
        root / 'det.json', root / 'films', root / 'out' / 'a.json', manifest, **options
    )


def error_of(root, data, error=AnnotationError, **options):
    with pytest.raises(error) as caught:
        convert(root, data, **options)
    assert not (root / 'out').exists()
    return str(caught.value)


def test_convert(root):
    summary = convert(root, source='elsewhere')
    data = json.loads((root / 'out' / 'a.json').read_text())
    films = [tuple(image.values()) for image in data['images']]
    assert list(data['images'][0]) == [
        *('id', 'file_name', 'width', 'height'),
        *('label', 'regions', 'source', 'patient_id'),
    ]
    assert films == [
        (1, '71.png', 40, 30, 1, True, 'elsewhere', '00000007'),
        (2, '00000007_002.png', 40, 30, 0, True, 'elsewhere', '00000007'),
        (3, '73.png', 40, 30, 0, True, 'elsewhere'),
    ]
    assert data['categories'] == [dict(id=1, name='fracture')]
    first, second = data['annotations']
    assert first == dict(
        id=1,
        image_id=1,
        category_id=1,
        bbox=[2, 3, 10, 10],
        area=100,
        iscrowd=0,
        segmentation=[[2, 3, 12, 3, 12, 13]],
    )
    assert second['bbox'] == [20, 0, 20, 30] and second['id'] == 2
    assert second['segmentation'] == [[20, 0, 40, 0, 30, 30]]
    assert (summary.films, summary.positives, summary.boxes, summary.patients) == (3, 1, 2, 2)
    assert summary.changed == {'boxes clipped to their film': 1} and summary.polygons == 2
    assert summary.left_out == {
        'Effusion boxes, another finding': 1,
        'Mass boxes, another finding': 1,
    }
    text = str(summary)
    assert 'a.json' in text and 'left out: Mass' in text and 'changed: boxes clipped' in text
    dataset = CXRDataset(
        data_root=str(root), ann_file='out/a.json', data_prefix=dict(img='films'), subset='P_hos'
    )
    assert dataset.file_names() == ['71.png']


def test_names_without_map(root):
    message = error_of(root, None, names=False)
    assert 'records[1] (72.png): missing file' in message and '1 problem' in message
    data = records()
    for record, name in zip(data, ('71.png', '00000007_002.png', '73.png')):
        record['file_name'] = name
        del record['polygons']
    summary = convert(root, data, names=False)
    assert (summary.patients, summary.polygons) == (3, 0)


@pytest.mark.parametrize(
    ('index', 'change', 'words'),
    [
        (0, dict(boxes=[[0, 0, 9, 9]]), '3 syms but 1 boxes'),
        (0, dict(polygons=[]), '3 syms but 0 polygons'),
        (0, dict(syms='Fracture'), "'syms' must be a list"),
        (0, dict(syms=[1, 2, 3]), "'syms' must be strings"),
        (1, dict(file_name=5), "'file_name' must be a string"),
        (1, dict(file_name='99.png'), 'records[1] (99.png): missing file'),
        (1, dict(file_name='71.png'), 'the same film as records[0]'),
        (1, dict(boxes=[[1, 1, 5]]), 'boxes[0] (Mass): a box is four numbers'),
        (1, dict(boxes=[[1, 1, None, 2]]), 'a box is four numbers'),
        (1, dict(boxes=[[1, 1, 42, 2]]), 'box [1, 1, 42, 2] lies outside its film of 40 x 30 px'),
        (1, dict(boxes=[[5, 1, 5, 2]]), 'has no positive size'),
        (1, dict(boxes=[[5, 5, 1, 1]]), 'has no positive size'),
        (1, dict(polygons=[[[1, 1], [2, 2]]]), 'at least three points'),
        (1, dict(polygons=['x']), 'at least three points'),
        (1, dict(polygons=[[[1, 1], [5, 50], [5, 5]]]), 'polygon lies outside'),
    ],
)
def test_each_problem(root, index, change, words):
    data = records()
    data[index] |= change
    assert words in error_of(root, data)


def test_all_problems_at_once_and_the_old_file_stays(root):
    convert(root)
    before = (root / 'out' / 'a.json').read_text()
    data = records()
    data[0]['boxes'][0] = [0, 0, 90, 9]
    data[1] = 'nothing'
    data[2]['file_name'] = 'x.png'
    with pytest.raises(AnnotationError) as caught:
        convert(root, data)
    assert '3 problems' in str(caught.value) and 'records[1]' in str(caught.value)
    assert (root / 'out' / 'a.json').read_text() == before
    assert [p.name for p in (root / 'out').iterdir()] == ['a.json']


def test_unreadable_film(root):
    (root / 'films' / '73.png').write_bytes(b'not a film')
    assert 'records[2] (73.png): cannot read film' in error_of(root, None)


@pytest.mark.parametrize(
    ('data', 'words'), [('[', 'is not JSON'), ('{}', 'list of records'), ('[]', 'empty list')]
)
def test_wrong_file(root, data, words):
    assert words in error_of(root, data)


def test_missing_inputs(root):
    for names in (
        ('no.json', 'films', None),
        ('det.json', 'no', None),
        ('det.json', 'films', 'no'),
    ):
        (root / 'det.json').write_text(json.dumps(records()))
        paths = [root / n if n else None for n in names]
        with pytest.raises(FileNotFoundError, match='no'):
            convert_chestx_det(paths[0], paths[1], root / 'out' / 'a.json', paths[2])


def test_wrong_map(root):
    (root / 'names.csv').write_text('nih,det\n')
    assert "no column 'nih_name', 'det_name'" in error_of(root, None)
    (root / 'names.csv').write_text('\n'.join([*NAMES, NAMES[1], '0.png,']))
    assert '2 problems' in error_of(root, None)


def test_writer_refuses_what_the_loader_would(tmp_path):
    lesion = Lesion((1, 1, 5, 50), site='rib')
    films = [
        CocoImage('a.png', 20, 20, 1, True, 's', 'p', [lesion]),
        CocoImage('a.png', 20, 20, 1, True, 's', 'p'),
    ]
    with pytest.raises(AnnotationError, match='3 problems'):
        write_coco(films, tmp_path / 'a.json')
    assert not list(tmp_path.iterdir())
    lesion.box = (1, 1, 5, 5)
    summary = write_coco([films[0]], tmp_path / 'deep' / 'a.json')
    written = json.loads((tmp_path / 'deep' / 'a.json').read_text())
    assert written['annotations'][0]['site'] == 'rib' and summary.boxes == 1


@pytest.mark.parametrize('form', ['chestxdet10', 'chestxdet10_nih_names', 'chestx_det'])
def test_real_annotations(shared_data, tmp_path, form):
    root = shared_data / 'real_cxr'
    out = tmp_path / 'a.json'
    summary = convert_chestx_det(root / f'{form}.json', root / 'images', out, root / 'manifest.csv')
    assert (summary.films, summary.positives, summary.boxes) == (20, 8, 21)
    assert summary.patients == 17 and summary.changed == {}
    assert summary.polygons == (21 if form == 'chestx_det' else 0)
    dataset = CXRDataset(
        data_root=str(root), ann_file=str(out), data_prefix=dict(img='images'), serialize_data=False
    )
    assert (dataset.labels() == 1).sum() == 8 and len(dataset) == 20
    patients = [info['patient_id'] for info in dataset.data_list]
    assert patients.count('00009925') == 4
    if form == 'chestx_det':
        for info in dataset.data_list:
            for instance in info['instances']:
                points = np.reshape(instance['polygon'][0], (-1, 2))
                box = np.concatenate([points.min(0), points.max(0)])
                np.testing.assert_allclose(box, instance['bbox'], atol=1.5)


def test_tool(root, repository, monkeypatch, capsys):
    tool = repository / 'tools' / 'dataset_converters' / 'chestx_det.py'
    convert(root)
    out = root / 'cli.json'

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
        runpy.run_path(str(tool), run_name='__main__')

    films, names = root / 'films', root / 'names.csv'
    run(root / 'det.json', films, out, '--names', names, '--source', 'here')
    assert 'fracture boxes' in capsys.readouterr().out
    assert [image['source'] for image in json.loads(out.read_text())['images']] == ['here'] * 3
    with pytest.raises(SystemExit) as left:
        run(root / 'det.json', films, root / 'b.json')
    assert left.value.code == 1 and not (root / 'b.json').exists()
    assert 'AnnotationError: 1 problem' in capsys.readouterr().err


def test_a_fracture_under_another_name_is_no_negative(root):
    data = records()
    data[0]['syms'][0] = 'Rib Fractures'
    assert "'Rib Fractures' is a fracture, but not written 'Fracture'" in error_of(root, data)


def test_a_map_of_another_set_is_refused(root):
    (root / 'names.csv').write_text('nih_name,det_name\n00000001_000.png,9.png\n')
    assert 'films is in names.csv' in error_of(root, None)
