# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import runpy
import sys
from dataclasses import replace

import pytest

from mmfrac.deployment.dicom_objects import write
from mmfrac.deployment.dicom_objects.write import write_objects
from mmfrac.deployment.results import ResultError
from mmfrac.deployment.scorer import PackageScorer
from mmfrac.evaluation.offline.image_prediction import ImagePrediction, no_boxes
from mmfrac.evaluation.offline.map_folder import write_prediction
from tests.deployment.dicom_objects.variants import make_image, make_map, make_result
from tests.deployment.tiny_package import tiny_package, write_dicom


@pytest.fixture
def results(tmp_path):
    """Two scored images, one lateral, one that is gone; a map of the first."""
    lines = []
    for index in range(3):
        (tmp_path / str(index)).mkdir()
        path = make_image(tmp_path / str(index), SOPInstanceUID=f'1.2.3.{index}')
        lines.append(make_result(path, image=str(path)))
    boxes, scores = no_boxes()
    first = lines[0].image
    prediction = ImagePrediction(first, boxes, scores, 0.8, make_map(first), (4.0, 4.0))
    write_prediction(tmp_path / 'maps' / 'a.npz', prediction)
    nothing = dict(score=None, probability=None, flag=None, boxes=[], scores=[])
    lines.append(make_result(first, scored=False, reason='lateral', **nothing))
    (tmp_path / '2' / 'image.dcm').unlink()
    file = tmp_path / 'results.jsonl'
    file.write_text(''.join(one.to_json() + '\n' for one in lines))
    return file


def test_command(tmp_path, results, monkeypatch, capsys, repository):
    out = tmp_path / 'out'
    arguments = [str(results), '--out', str(out), '--maps', str(tmp_path / 'maps')]
    monkeypatch.setattr(sys, 'argv', ['mmfrac dicom', *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(repository / 'tools/deployment/dicom_objects.py'), run_name='__main__')
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out.splitlines() == [
        *('sc: 2', 'gsps: 2', 'sr: 2', 'seg: 1'),
        'left out: 1 x seg: there is no prob map',
        'left out: 4 x image not scored: lateral',
        f'written: {out}',
    ]
    assert said.err.startswith('not written: ') and '2/image.dcm' in said.err
    names = sorted(path.name for path in out.glob('*.dcm'))
    assert len(names) == 7 and not any('Doe' in name for name in names)
    # again: the same files
    write_objects(results, out, maps=tmp_path / 'maps')
    assert sorted(path.name for path in out.glob('*.dcm')) == names


def test_relative_paths_and_files_of_others(tmp_path, results):
    path = make_image(tmp_path / '2', SOPInstanceUID='1.2.3.2')
    (tmp_path / 'one.jsonl').write_text(make_result(path, image='2/image.dcm').to_json() + '\n')
    written = write_objects(tmp_path / 'one.jsonl', tmp_path / 'out', images=tmp_path, kinds=['sr'])
    assert written.counts == dict(sr=1) and not written.errors
    (file,) = (tmp_path / 'out').glob('*.dcm')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / file.name).write_text('mine')
    with pytest.raises(ValueError, match='was not written by mmfrac'):
        write_objects(tmp_path / 'one.jsonl', tmp_path / 'other', images=tmp_path, kinds=['sr'])
    assert (tmp_path / 'other' / file.name).read_text() == 'mine'


def test_images_of_one_uid_do_not_overwrite_each_other(tmp_path):
    folders = [tmp_path / name for name in 'abc']
    for folder in folders:
        folder.mkdir()
    paths = [make_image(folder, SOPInstanceUID='1.2.3.2') for folder in folders]
    scores = (0.9, 0.1, 0.9000001)
    results = [replace(make_result(path), score=score) for path, score in zip(paths, scores)]
    (tmp_path / 'results.jsonl').write_text(''.join(one.to_json() + '\n' for one in results))
    written = write_objects(tmp_path / 'results.jsonl', tmp_path / 'out', kinds=['sr', 'sc'])
    assert written.counts == dict(sr=1, sc=1)
    assert written.left_out == {'copy of an image that has them': 2}
    assert list(written.errors) == [results[1].image]
    assert f"SOPInstanceUID of '{results[0].image}'" in written.errors[results[1].image]
    alone = tmp_path / 'alone.jsonl'
    alone.write_text(results[0].to_json() + '\n')
    write_objects(alone, tmp_path / 'alone', kinds=['sr', 'sc'])
    names = [
        sorted(path.name for path in (tmp_path / out).glob('*.dcm')) for out in ('out', 'alone')
    ]
    assert names[0] == names[1]


def test_a_line_that_is_no_result_is_named(tmp_path):
    (tmp_path / 'results.jsonl').write_text('{}\n')
    with pytest.raises(ResultError, match='line 1'):
        write_objects(tmp_path / 'results.jsonl', tmp_path / 'out')


def test_maps_are_computed_in_the_precision_of_the_results(tmp_path, monkeypatch):
    package = tiny_package(tmp_path)
    path = write_dicom(tmp_path / 'image.dcm', 1)
    (scored,) = PackageScorer(package, device='cpu', precision='bf16')([str(path)])
    used = []

    class Noted(PackageScorer):
        def prob_map(self, path):
            used.append(self.inferencer.precision)
            return super().prob_map(path)

    monkeypatch.setattr(write, 'PackageScorer', Noted)
    for precision in ('bf16', 'int8'):
        result = replace(scored.result, precision=precision)
        (tmp_path / 'results.jsonl').write_text(result.to_json() + '\n')
        out = tmp_path / precision
        written = write_objects(tmp_path / 'results.jsonl', out, package=package.path, kinds=['sr'])
        assert written.counts == dict(sr=1)
    assert used == ['bf16', 'fp32']
