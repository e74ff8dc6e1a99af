# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Predictions that would give wrong figures without an error."""

import contextlib
import io
import json
import zipfile

import numpy as np
import pytest

from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.offline.ground_truth import read_ground_truth
from mmfrac.evaluation.offline.image_prediction import ImagePrediction, PredictionError
from mmfrac.evaluation.offline.map_folder import MapFolder
from mmfrac.evaluation.offline.model_results import evaluate_predictions
from mmfrac.evaluation.offline.predictions import open_predictions
from tests.evaluation.offline.prediction_files import (
    FILMS,
    prob_maps,
    write_coco,
    write_maps,
    write_table,
)
from tests.zip_files import encrypted


def results_of(path, truth):
    return evaluate_predictions(truth, open_predictions(path, truth), Definitions())


def test_results_that_are_all_of_other_categories(truth, tmp_path):
    path = write_coco(tmp_path / 'r.json')
    rows = json.loads(path.read_text())
    for row in rows:
        row['category_id'] -= 1
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=rf'no result .* there are {len(rows) - 1} of 0, 1 of 6'):
        open_predictions(path, truth)
    path.write_text('[]')  # a detector that finds nothing
    assert open_predictions(path, truth).num_silent == len(FILMS)


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_encodings_of_json(truth, tmp_path, encoding):
    plain = results_of(write_coco(tmp_path / 'r.json'), truth)
    for name in ('r.json', 'test.json'):
        text = (tmp_path / name).read_text(encoding='utf-8')
        (tmp_path / name).write_text(text, encoding=encoding)
    again = results_of(tmp_path / 'r.json', read_ground_truth(tmp_path / 'test.json'))
    np.testing.assert_array_equal(again.scores, plain.scores)


@pytest.mark.parametrize(
    'change',
    [
        lambda text: text.replace(',', ';'),
        lambda text: text.replace(',', ';').replace('.', ','),
        lambda text: text.replace(',', '\t').replace('\n', '\r\n'),
        lambda text: text.replace('film,', 'Film ,', 1),
    ],
    ids=['semicolons', 'decimal commas', 'tabs', 'blanks and case'],
)
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_forms_of_tables(truth, tmp_path, change, encoding):
    path = write_table(tmp_path / 'r.csv')
    plain = results_of(path, truth)
    text = path.read_text()
    names = dict(zip((name for name, *_ in FILMS), ('f1', 'f2', 'f3', 'f4', 'f5')))
    # only numbers hold a dot, then
    for name, short in names.items():
        text = text.replace(name, short)
    changed = change(text)
    for name, short in names.items():
        changed = changed.replace(short, name)
    path.write_text(changed, encoding=encoding, newline='')
    again = results_of(path, truth)
    np.testing.assert_array_equal(again.scores, plain.scores)


@pytest.mark.parametrize(
    'text, words',
    [
        # decimal commas between commas: x1 10, y1 5 would be read, and score 30
        ('film,x1,y1,x2,y2,score\na/1.png,10,5,20,5,30,5,40,5,0,9\n', 'line 2: 11 fields'),
        ('film,x1,y1,x2,y2,score,score\na/1.png,1,1,2,2,.5,.9\n', "'score' is there twice"),
        ('image_id,x1,y1,x2,y2,score\n²,1,1,2,2,.5\n', "'²' is no film"),
        ('film,x1,y1,x2,y2,score\na/1.png,1,1,2,2,1_0\n', 'score must be a finite number'),
    ],
)
def test_tables_that_would_be_misread(truth, tmp_path, text, words):
    (tmp_path / 'r.csv').write_text(text)
    with pytest.raises(ValueError, match=words):
        open_predictions(tmp_path / 'r.csv', truth)


def test_bytes_of_another_encoding_are_named_with_file_and_line(truth, tmp_path):
    path = write_table(tmp_path / 'r.csv')
    path.write_bytes(path.read_bytes() + 'fil\xe9.png,1,1,2,2,.5\n'.encode('latin-1'))
    with pytest.raises(PredictionError, match=r'r\.csv: line \d+: film: .* is not utf-8'):
        open_predictions(path, truth)


def test_logits_are_no_probabilities():
    boxes = np.array([[0, 0, 4, 4]], np.float64)
    assert not ImagePrediction('a', boxes, np.array([0.5])).faults((8, 8))
    (fault,) = ImagePrediction('a', boxes, np.array([-0.5])).faults((8, 8))
    assert 'box score is -0.5' in fault and 'sigmoid' in fault
    cells = np.array([[0.0, -2.0], [3.0, 1.0]], np.float32)
    (fault,) = ImagePrediction('a', boxes, np.array([0.5]), None, cells, (4, 4)).faults((8, 8))
    assert 'down to -2' in fault and 'sigmoid' in fault


def test_boxes_off_their_film():
    # of 20 x 10 px (w x h); what only overlaps, or touches, is a detector's rounding
    for box, is_off in (
        ((19, 9, 30, 30), False),
        ((20, 0, 25, 5), False),
        ((-5, -5, 0, 3), False),
        ((20.5, 0, 25, 5), True),
        ((0, 10.5, 5, 12), True),
        ((-5, 0, -1, 5), True),
        ((0, -9, 5, -1), True),
    ):
        faults = ImagePrediction('a', np.array([box], np.float64), np.ones(1)).faults((10, 20))
        assert bool(faults) == is_off, box
    assert 'lies off the film of 20 x 10 px' in faults[0]


@pytest.mark.parametrize('share', [0, 0.3, 0.6, 0.9, 0.99])
def test_cut_npz(truth, tmp_path, share):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    path, _ = next(iter(MapFolder(folder).images()))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r'is no sound \.npz'):
        open_predictions(folder, truth)


def test_npz_with_flipped_bytes_is_never_a_traceback(truth, tmp_path):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    path, _ = next(iter(MapFolder(folder).images()))
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            results_of(folder, truth)


@pytest.mark.parametrize(
    'members, words',
    [
        (dict(boxes=np.array([['a'] * 4]), box_scores=np.ones(1)), 'boxes must be numbers'),
        (dict(prob_map=np.ones((2, 2)), score=np.ones(3)), 'score must be one number'),
    ],
)
def test_npz_of_other_types(truth, tmp_path, members, words):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    path, film = next(iter(MapFolder(folder).images()))
    np.savez(path, film=np.asarray(film), **members)
    with pytest.raises(PredictionError, match=words):
        results_of(folder, truth)


def test_one_array_in_place_of_an_archive(truth, tmp_path):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    path, _ = next(iter(MapFolder(folder).images()))
    with path.open('wb') as file:
        np.save(file, np.ones((2, 2)))
    with pytest.raises(ValueError, match=r'np\.savez writes names'):
        open_predictions(folder, truth)


@pytest.mark.parametrize(
    'text, words', [('{"a": ', 'is not JSON'), ('[]', 'must hold a JSON object')]
)
def test_damaged_run_file(truth, tmp_path, text, words):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    (folder / 'run.json').write_text(text)
    with pytest.raises(ValueError, match=rf'run\.json .*{words[-8:]}'):
        open_predictions(folder, truth)


def packed(path, members):
    """A ``.npz`` of these bytes."""
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in members.items():
            archive.writestr(f'{name}.npy', content)


def array_bytes(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def with_header(text, size=0):
    """An array file of another header, in version 1 or with a length of 4 bytes in version 2."""
    encoded = text.encode('latin1')
    if len(encoded) < 1 << 16:
        start = b'\x93NUMPY\x01\x00' + len(encoded).to_bytes(2, 'little')
    else:
        start = b'\x93NUMPY\x02\x00' + len(encoded).to_bytes(4, 'little')
    return start + encoded + bytes(size)


def shape_of(text, size=0):
    return with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }}\n", size)


BROKEN_ARRAYS = {
    'unbalanced': with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (((((((4,"),
    'deep': with_header('(' * 60000),
    'huge': with_header("{'descr': '<f4'," + ' ' * 3_000_000 + '}'),
    'length beyond the file': b'\x93NUMPY\x02\x00\xff\xff\xff\x7f{}',
    'gigabytes': shape_of('(1000000, 1000000)', 64),
    'overflow': shape_of('(99999999999, 99999999999, 99999999999)', 64),
    'digits': shape_of('(' + '9' * 5000 + ',)', 64),
    'negative': shape_of('(-4, 4)', 64),
    'text': shape_of("('a', 4)", 64),
    'a call': with_header(
        "{'descr': __import__('os').system('x'), 'fortran_order': False, 'shape': ()}"
    ),
    'object': with_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", 8),
    'structured': with_header(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }\n", 4
    ),
    'too little': shape_of('(4, 4)', 60),
    'too much': shape_of('(4, 4)', 68),
    'no array': b'hello',
    'nothing': b'',
    'version 9': b'\x93NUMPY\x09\x00' + bytes(100),
}


@pytest.mark.parametrize('kind', BROKEN_ARRAYS)
@pytest.mark.parametrize('member', ['prob_map', 'film'])
def test_arrays_that_are_none(truth, tmp_path, kind, member):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    path, name = next(iter(MapFolder(folder).images()))
    members = dict(film=array_bytes(np.asarray(name)), map_scale=array_bytes(np.array([4.0, 4.0])))
    members['prob_map'] = array_bytes(np.zeros((8, 10), np.float32))
    packed(path, members)
    results_of(folder, truth)
    packed(path, members | {member: BROKEN_ARRAYS[kind]})
    with pytest.raises(ValueError, match=r'is no sound \.npz') as raised:
        results_of(folder, truth)
    assert len(str(raised.value)) < 1000


def test_an_encrypted_archive(truth, tmp_path):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    path, _ = next(iter(MapFolder(folder).images()))
    path.write_bytes(encrypted(path.read_bytes()))
    with pytest.raises(ValueError, match='is encrypted'):
        results_of(folder, truth)


@pytest.mark.parametrize(
    'text',
    [
        '{"num_films": -1}',
        '{"num_films": true}',
        '{"num_films": "5"}',
        '{"num_films": 5.5}',
        '{"versions": []}',
        '{"config_text": 7}',
        '{"checkpoint": {}}',
        '{"seed": "x"}',
        '{"seed": true}',
        '{"precision": ["fp32"]}',
        '{"precision": 16}',
        '{"weights": "0123abcd"}',
        '{"x": NaN}',
        '{"x": [-Infinity]}',
        '{"x":' * 20000,
        '[]',
        '',
    ],
)
def test_a_run_file_that_is_none(truth, tmp_path, text):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    (folder / 'run.json').write_text(text)
    with pytest.raises(ValueError, match=r'run\.json.* remove it or copy it anew|must hold a JSON'):
        open_predictions(folder, truth)


def test_of_which_weights_predictions_are(truth, tmp_path):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    assert results_of(folder, truth).weights == ()
    (folder / 'run.json').write_text('{"weights": ["01", "23"]}')
    assert results_of(folder, truth).weights == ('01', '23')
