# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json

import numpy as np
import pytest

from mmfrac.evaluation import froc
from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.offline import predictions
from mmfrac.evaluation.offline.ground_truth import ImageIndex, read_ground_truth
from mmfrac.evaluation.offline.image_prediction import ImagePrediction, PredictionError
from mmfrac.evaluation.offline.map_folder import MapFolder, MapFolderWriter
from mmfrac.evaluation.offline.model_results import evaluate_predictions
from mmfrac.evaluation.offline.predictions import open_predictions
from tests.evaluation.offline.prediction_files import (
    FILMS,
    prob_maps,
    write_coco,
    write_maps,
    write_table,
    write_truth,
)


def test_ground_truth(truth):
    assert [film.name for film in truth.images] == [row[0] for row in FILMS]
    first, *_, last = truth.images
    assert first.boxes.tolist() == [[8, 8, 24, 24]] and first.sites == ('rib',)
    assert first.shape == (32, 40) and first.patient == 'p1'
    assert first.fields == dict(sex='F', age=70)
    assert (last.label, last.regions, last.source) == (1, False, 'public')
    assert truth.category_ids == (1,)


def test_a_path_means_the_film_whose_name_is_its_end(truth):
    find = ImageIndex(truth).by_path
    for path in ('a/1.png', '/data/x/images/a/1.png', './a/1.png'):
        assert find(path).name == 'a/1.png'
    # of another folder, or without the folder that tells the two 1.png apart
    assert find('c/1.png') is None and find('1.png') is None
    assert ImageIndex(truth).by_id(3).name == 'b/1.png'
    assert ImageIndex(truth).by_id('3') is None


def test_maps_give_the_records_of_the_arrays(truth, tmp_path):
    maps = prob_maps()
    saved = open_predictions(write_maps(tmp_path / 'maps', maps), truth)
    assert saved.kind == 'folder' and saved.run['config'] == 'tiny.py'
    seen = []
    results = evaluate_predictions(
        truth, saved, Definitions(), lambda films: (seen.append(film) or film for film in films)
    )
    assert len(seen) == 5 and results.kinds == ('prob_map',)
    assert results.labels.tolist() == [1, 1, 0, 0, 1]
    assert results.with_regions.tolist() == [True] * 4 + [False]
    for film, record, score in zip(truth.images, results.records, results.scores):
        assert score == maps[film.name].max()
        if film.regions:
            expected = froc.image_record(maps[film.name], film.boxes, (4.0, 4.0))
            np.testing.assert_array_equal(record.thresholds, expected.thresholds)
            np.testing.assert_array_equal(record.lesion_scores, expected.lesion_scores)


def test_coco_and_table_give_the_same_records(truth, tmp_path):
    kinds = []
    found = []
    for path in (write_coco(tmp_path / 'r.json'), write_table(tmp_path / 'r.csv')):
        saved = open_predictions(path, truth)
        # of another category, so nothing on the fourth film
        assert saved.num_silent == 1
        results = evaluate_predictions(truth, saved, Definitions())
        kinds.append(saved.kind)
        found.append([(r.thresholds.tolist(), r.lesion_scores.tolist()) for r in results.measured])
        assert results.scores.tolist() == [0.75, 0.625, 0.25, 0, 0.875]
    assert kinds == ['COCO results', 'CSV']
    assert found[0] == found[1]
    assert found[0] == [([0.5], [0.75]), ([0.625], [0]), ([0.25], []), ([], [])]


def test_image_scores_of_a_table(truth, tmp_path):
    rows = (('b/2.png', '', '', '', '', 0.3), ('a/1.png', '', '', '', '', 0.125))
    saved = open_predictions(write_table(tmp_path / 'r.csv', rows), truth)
    assert saved.num_silent == 0
    scores = evaluate_predictions(truth, saved, Definitions()).scores
    assert scores.tolist() == [0.125, 0.625, 0.25, 0.3, 0.875]


def test_source_chooses_between_map_and_boxes(truth, tmp_path):
    box = dict(boxes=np.array([[0.0, 0, 4, 4]]), box_scores=np.array([0.5]), score=None)
    folder = write_maps(tmp_path / 'maps', prob_maps(), **box)
    saved = open_predictions(folder, truth)
    results = evaluate_predictions(truth, saved, Definitions(source='boxes'))
    assert results.kinds == ('boxes',) and set(results.scores) == {0.5}
    boxes = open_predictions(write_coco(tmp_path / 'r.json'), truth)
    with pytest.raises(PredictionError, match=r'a/1\.png: there is no prob_map'):
        evaluate_predictions(truth, boxes, Definitions(source='prob_map'))


def test_a_film_without_its_suffix_is_no_film_but_asked_about(truth, tmp_path):
    rows = ['film,x1,y1,x2,y2,score', 'a/2,1,1,9,9,0.5', 'b/3.dcm,1,1,9,9,0.5', 'a/2,2,2,9,9,0.4']
    # of two films
    rows += ['1,1,1,9,9,0.5', 'zebra,1,1,9,9,0.5']
    (tmp_path / 'p.csv').write_text('\n'.join(rows) + '\n')
    with pytest.raises(PredictionError) as caught:
        open_predictions(tmp_path / 'p.csv', truth)
    none = f'is no film of {truth.file}'
    assert list(caught.value.problems) == [
        f"p.csv: line 2: 'a/2' {none}; did you mean 'a/2.png'?",
        f"p.csv: line 3: 'b/3.dcm' {none}; did you mean 'b/3.png'?",
        f"p.csv: line 4: 'a/2' {none}; did you mean 'a/2.png'?",
        f"p.csv: line 5: '1' {none}",
        f"p.csv: line 6: 'zebra' {none}",
    ]


def test_names_alike_are_looked_for_once_and_only_where_one_is_unknown(
    truth, tmp_path, monkeypatch
):
    asked = []
    real = predictions._by_stem
    monkeypatch.setattr(predictions, '_by_stem', lambda truth: asked.append(truth) or real(truth))
    known, unknown = ('a/1.png', 1, 1, 9, 9, 0.5), ('a/7.png', 1, 1, 9, 9, 0.5)
    open_predictions(write_table(tmp_path / 'p.csv', [known] * 2), truth)
    assert not asked
    with pytest.raises(PredictionError):
        open_predictions(write_table(tmp_path / 'p.csv', [unknown, known, unknown]), truth)
    assert len(asked) == 1


def test_all_that_is_wrong_with_a_folder_is_said_at_once(truth, tmp_path):
    maps = prob_maps()
    del maps['b/1.png']
    folder = write_maps(tmp_path / 'maps', maps | {'c/9.png': maps['a/1.png']})
    np.savez(folder / 'again.npz', film=np.asarray('a/1.png'), prob_map=maps['a/1.png'])
    with pytest.raises(PredictionError) as caught:
        open_predictions(folder, truth)
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert 'film b/1.png is missing' in text
    assert '/elsewhere/images/c/9.png is no film of' in text
    assert 'film a/1.png again' in text


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(prob_map=np.full((8, 10), np.nan)), '80 cells that are NaN'),
        (dict(prob_map=np.zeros((8, 10)), map_scale=(2.0, 4.0)), r'32\.0 x 20\.0 px'),
        (dict(prob_map=np.zeros((8, 10)), map_scale=(4.0, -4.0)), 'map_scale must be'),
        (dict(score=float('nan')), 'image score is nan'),
        (dict(boxes=np.array([[5.0, 5, 1, 9]]), box_scores=np.ones(1)), 'x1 > x2'),
        (dict(boxes=np.zeros((2, 4))), r'\(2, 4\) and scores \(0,\)'),
    ],
)
def test_bad_films_are_named(truth, tmp_path, changes, message):
    saved = open_predictions(write_maps(tmp_path / 'maps', prob_maps(), **changes), truth)
    with pytest.raises(PredictionError, match=message) as caught:
        evaluate_predictions(truth, saved, Definitions())
    assert [line.split(':')[0] for line in caught.value.problems] == [row[0] for row in FILMS]


def test_damaged_and_foreign_files(truth, tmp_path):
    folder = write_maps(tmp_path / 'maps', prob_maps())
    path, _ = next(item for item in MapFolder(folder).images() if item[1].endswith('a/1.png'))
    np.savez(path, film=np.asarray('a/1.png'), something=1)
    with pytest.raises(PredictionError, match='neither prob_map nor boxes'):
        evaluate_predictions(truth, open_predictions(folder, truth), Definitions())
    path.write_bytes(b'PK\x03\x04cut')
    with pytest.raises(ValueError, match='is no sound'):
        open_predictions(folder, truth)
    with pytest.raises(FileNotFoundError, match='of predictions in the folder'):
        open_predictions(_empty(tmp_path), truth)
    with pytest.raises(FileNotFoundError, match='no predictions'):
        open_predictions(tmp_path / 'none.json', truth)
    (tmp_path / 'r.pkl').write_bytes(b'')
    with pytest.raises(ValueError, match='table'):
        open_predictions(tmp_path / 'r.pkl', truth)


def _empty(tmp_path):
    folder = tmp_path / 'empty'
    folder.mkdir()
    return folder


def test_npz_without_a_name_is_named_by_its_path(truth, tmp_path):
    for name, prob_map in prob_maps().items():
        path = tmp_path / 'plain' / f'{name}.npz'
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, prob_map=prob_map, map_scale=[4, 4])
    saved = open_predictions(tmp_path / 'plain', truth)
    assert evaluate_predictions(truth, saved, Definitions()).kinds == ('prob_map',)


def test_all_that_is_wrong_with_coco_results(truth, tmp_path):
    rows = [
        dict(image_id=9, category_id=1, bbox=[0, 0, 1, 1], score=0.5),
        dict(image_id=1, category_id=1, bbox=[0, 0, 1], score=0.5),
        dict(image_id=1, category_id=1, bbox=[0, 0, 1, 1]),
        dict(image_id=2, category_id=1, bbox=[0, 0, 1, 1], score=float('nan')),
        dict(image_id=2, category_id=1, bbox=[0, 0, -1, 1], score=0.1),
    ]
    path = tmp_path / 'r.json'
    path.write_text(json.dumps(rows))
    with pytest.raises(PredictionError) as caught:
        open_predictions(path, truth)
    text = str(caught.value)
    for said in ('r.json[0]: image_id 9 is no film', 'r.json[1]: ', "r.json[2]: no 'score'"):
        assert said in text
    assert 'a/2.png: a box or its score is NaN' in text
    path.write_text('{}')
    with pytest.raises(ValueError, match='must hold a list'):
        open_predictions(path, truth)
    path.write_text('[')
    with pytest.raises(ValueError, match='is not JSON'):
        open_predictions(path, truth)


def test_all_that_is_wrong_with_a_table(truth, tmp_path):
    rows = (
        ('z.png', 0, 0, 1, 1, 0.5),
        ('a/1.png', 0, 0, 'x', 1, 0.5),
        ('a/1.png', 0, 0, 1, 1, 'nan'),
        ('b/1.png', '', '', '', '', 0.5),
        ('b/1.png', '', '', '', '', 0.5),
    )
    with pytest.raises(PredictionError) as caught:
        open_predictions(write_table(tmp_path / 'r.csv', rows), truth)
    text = str(caught.value)
    assert "r.csv: line 7: 'z.png' is no film" in text
    assert 'line 8: x2 must be' in text and 'line 9: score must be' in text
    assert 'b/1.png: more than one image score' in text
    (tmp_path / 'r.csv').write_text('film,x,y\n')
    with pytest.raises(ValueError, match='needs the columns'):
        open_predictions(tmp_path / 'r.csv', truth)


def test_files_of_two_folders_are_not_taken_for_one_film(truth, tmp_path):
    same = [('/x/a/1.png', 0, 0, 2, 2, 0.5), ('./a/1.png', 0, 0, 3, 3, 0.5)]
    found = open_predictions(write_table(tmp_path / 'r.csv', same), truth)
    assert found.kind == 'CSV'
    path = write_table(tmp_path / 'r.csv', [])
    head = path.read_text().splitlines()[0]
    path.write_text(f'{head}\nx/a/1.png,0,0,1,1,.5\ny/a/1.png,0,0,1,1,.9\nb/1.png,0,0,1,1,.9\n')
    with pytest.raises(
        PredictionError, match=r"line 3: film 'y/a/1.png', but 'x/a/1.png' was taken"
    ):
        open_predictions(path, truth)


def test_the_folder_appears_whole_and_replaces_predictions_only(tmp_path):
    folder = tmp_path / 'out'
    for _ in range(2):
        writer = MapFolderWriter(folder)
        writer.start()
        kept = sorted(path.name for path in folder.glob('*')) if folder.exists() else []
        film = ImagePrediction('x/1.png', np.zeros((0, 4)), np.zeros(0), 0.5)
        other = ImagePrediction('y/1.png', np.zeros((0, 4)), np.zeros(0), 0.25)
        assert writer.write(film) == writer.write(film) != writer.write(other)
        # until it is finished nothing changes
        assert (sorted(p.name for p in folder.glob('*')) if folder.exists() else []) == kept
        writer.finish({})
        assert len(list(folder.glob('*.npz'))) == 2
        assert [path.name for path in tmp_path.iterdir()] == ['out']
    (tmp_path / 'films').mkdir()
    (tmp_path / 'films/1.png').write_bytes(b'')
    with pytest.raises(ValueError, match='holds 1 files that mmfrac did not write'):
        MapFolderWriter(tmp_path / 'films')


@pytest.mark.parametrize(
    'name', ['thesis.txt', 'run.json', 'sub/scan.dcm', '.hidden', 'mine.npz', '1.png.0123abcd.npz']
)
def test_what_a_user_has_in_a_folder_of_predictions_is_kept(name, tmp_path):
    """A run.json does not make a folder ours."""
    folder = tmp_path / 'keep'
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text('{}')
    if name != 'run.json':
        (folder / 'run.json').write_text('{"num_films": 3}')
    with pytest.raises(ValueError, match='mmfrac did not write'):
        MapFolderWriter(folder)
    (folder / name).rename(tmp_path / 'aside')
    (folder / 'run.json').unlink(missing_ok=True)
    writer = MapFolderWriter(folder)
    writer.start()
    writer.write(ImagePrediction('x/1.png', np.zeros((0, 4)), np.zeros(0), 0.5))
    # put there while the model was evaluated
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'aside').rename(folder / name)
    with pytest.raises(ValueError, match='mmfrac did not write'):
        writer.finish({})
    assert (folder / name).read_text() == '{}'


def test_leftovers_go_and_another_writer_does_not(tmp_path):
    folder, partial = tmp_path / 'out', tmp_path / '.out.partial'
    film = ImagePrediction('x/1.png', np.zeros((0, 4)), np.zeros(0), 0.5)
    writer = MapFolderWriter(folder)
    writer.start()
    writer.write(film)
    with pytest.raises(ValueError, match='another process works in'):
        MapFolderWriter(folder).start()
    assert len(list(partial.glob('*.npz'))) == 1
    # as a killed process leaves it
    writer._held.close()
    writer = MapFolderWriter(folder)
    writer.start()
    assert not list(partial.glob('*.npz'))
    writer._held.close()
    (partial / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match=r"holds 'notes\.txt' that none has written"):
        MapFolderWriter(folder).start()
    assert (partial / 'notes.txt').read_text() == 'mine'


def test_ignored_boxes_of_the_annotation_file(tmp_path):
    path = write_truth(tmp_path / 'test.json')
    content = json.loads(path.read_text())
    # beside the lesions of the first two images a box to ignore, and a crowd
    rest = dict(category_id=1, area=36)
    content['annotations'] += [
        dict(rest, id=10, image_id=1, bbox=[0, 0, 6, 6], iscrowd=0, ignore=1),
        dict(rest, id=11, image_id=2, bbox=[32, 22, 6, 6], iscrowd=1),
    ]
    path.write_text(json.dumps(content))
    truth = read_ground_truth(path)
    first, second = truth.images[:2]
    assert first.boxes.tolist() == [[8, 8, 24, 24]] and first.sites == ('rib',)
    assert first.ignore_boxes.tolist() == [[0, 0, 6, 6]]
    assert second.ignore_boxes.tolist() == [[32, 22, 38, 28]]
    assert truth.images[2].ignore_boxes.shape == (0, 4)
    saved = open_predictions(write_coco(tmp_path / 'r.json'), truth)
    records = evaluate_predictions(truth, saved, Definitions()).records
    # (0, 0, 4, 4) and (30, 20, 38, 30), centre (34, 25), are no false positives any more
    assert [record.thresholds.tolist() for record in records[:3]] == [[], [], [0.25]]
    assert [record.lesion_scores.tolist() for record in records[:2]] == [[0.75], [0]]
    maps = {name: np.zeros((8, 10), np.float32) for name in prob_maps()}
    prob_map = maps['a/1.png']
    prob_map[4, 4], prob_map[0, 0], prob_map[7, 9] = 0.75, 0.5, 0.25
    saved = open_predictions(write_maps(tmp_path / 'maps', maps), truth)
    record = evaluate_predictions(truth, saved, Definitions()).records[0]
    assert record.thresholds.tolist() == [0.25] and record.false_positives.tolist() == [1]
    assert record.lesion_scores.tolist() == [0.75]
