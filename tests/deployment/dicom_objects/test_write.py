# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import re
import runpy
import sys
from dataclasses import replace

import numpy as np
import pydicom
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
    prediction = ImagePrediction(first, boxes, scores, 0.875, make_map(first), (4.0, 4.0))
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
    written = write_objects(results, out, maps=tmp_path / 'maps')
    assert sorted(path.name for path in out.glob('*.dcm')) == names and not written.notes


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
        (file,) = out.glob('sr_*.dcm')
        said = file.read_bytes()
        assert f'precision: {precision}'.encode() in said
        assert (b'precision of the map: fp32' in said) == (precision == 'int8')
        assert len(written.notes) == (precision == 'int8')
    assert used == ['bf16', 'fp32']
    assert re.search('precision int8, which cannot be had here: .* in fp32', written.notes[0])


def saved_map(path, image, prob_map, score=None):
    boxes, scores = no_boxes()
    write_prediction(path, ImagePrediction(str(image), boxes, scores, score, prob_map, (4.0, 4.0)))


@pytest.mark.parametrize(
    'score, of_map, of_result, scores, error',
    [
        # in the two last scores of one model, of bf16 and of fp32
        (0.9998, 0.9998, 0.981, [0.981], r'image score is 0.99980, .* it is 0.98100: .* --package'),
        (None, 0.9998, 0.981, [0.981], r'highest value of the map is 0.99980, .* it is 0.98100'),
        (0.5, 0.5, 0.7, [0.7], 'image score is 0.5'),
        (0.875, 0.875, 0.85, [0.85], ''),
        (1.0, 1.0, 0.998, [0.998], ''),
        # an image score that is not the highest of the map
        (0.3, 0.9, 0.3, [0.9], ''),
        (None, 0.9, 0.3, [0.9], ''),
        (None, 0.1, 0.7, [], ''),
    ],
)
def test_a_map_of_another_model_is_refused(tmp_path, score, of_map, of_result, scores, error):
    path = make_image(tmp_path)
    boxes = [[8.0, 12.0, 36.0, 24.0]] * len(scores)
    result = make_result(path, score=of_result, boxes=boxes, scores=scores)
    (tmp_path / 'results.jsonl').write_text(result.to_json() + '\n')
    prob_map = np.where(make_map(path) > 0, of_map, 0).astype(np.float32)
    saved_map(tmp_path / 'maps/a.npz', path, prob_map, score)
    options = dict(maps=tmp_path / 'maps', kinds=['sr'])
    if not error:
        assert write_objects(tmp_path / 'results.jsonl', tmp_path / 'out', **options).counts
        return
    with pytest.raises(ValueError, match=rf'a.npz: the {error}' if 'the' not in error else error):
        write_objects(tmp_path / 'results.jsonl', tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    'precision, of_map, differs',
    [(None, 0.82, True), ('fp32', 0.82, True), ('bf16', 0.82, False), ('bf16', 0.7, True)],
)
def test_a_map_that_differs_is_the_error_of_its_image(tmp_path, precision, of_map, differs):
    results, maps = [], tmp_path / 'maps'
    for index, score in enumerate((0.875, of_map, of_map)):
        (tmp_path / str(index)).mkdir()
        path = make_image(tmp_path / str(index), SOPInstanceUID=f'1.2.3.{index}')
        results.append(make_result(path))
        saved_map(maps / f'{index}.npz', path, make_map(path), score)
    if precision is not None:
        (maps / 'run.json').write_text(json.dumps(dict(precision=precision)))
    # of two one differs, of three most
    for count in (2, 3):
        file = tmp_path / f'{count}.jsonl'
        file.write_text(''.join(one.to_json() + '\n' for one in results[:count]))
        options = dict(maps=maps, kinds=['sr'])
        if differs and count == 3:
            with pytest.raises(ValueError, match=r'2 of 3 maps differ .*1.npz: the image score'):
                write_objects(file, tmp_path / '3', **options)
            continue
        written = write_objects(file, tmp_path / f'out{count}', **options)
        assert written.counts == dict(sr=count - differs)
        assert list(written.errors) == [results[1].image] * differs
        assert all('1.npz: the image score is' in text for text in written.errors.values())


def test_a_damaged_map_is_the_error_of_its_image(tmp_path, results):
    (file,) = (tmp_path / 'maps').iterdir()
    (first, *_) = results.read_text().splitlines()
    np.savez(file, film=json.loads(first)['image'], score='high', boxes=np.zeros((0, 4)))
    written = write_objects(results, tmp_path / 'out', maps=tmp_path / 'maps', kinds=['sr'])
    assert written.counts == dict(sr=1)
    assert 'score must be numbers' in written.errors[json.loads(first)['image']]


def test_objects_of_another_threshold_do_not_stay(tmp_path, results):
    out = tmp_path / 'out'
    write_objects(results, out, threshold=0.5)
    other = tmp_path / 'other.jsonl'
    (tmp_path / 'new').mkdir()
    image = make_image(tmp_path / 'new', SOPInstanceUID='1.2.3.9')
    other.write_text(make_result(image).to_json() + '\n')
    write_objects(other, out, threshold=0.5)
    (out / 'mine.dcm').write_bytes(next(out.glob('sr_*.dcm')).read_bytes())
    before = {path.name for path in out.glob('*.dcm')}
    # another kind at the same threshold contradicts nothing
    assert not write_objects(other, out, threshold=0.5, kinds=['sr']).notes
    assert {path.name for path in out.glob('*.dcm')} == before
    written = write_objects(other, out, threshold=0.25, kinds=['sr'])
    assert re.match('1 objects of the same images, .* at another threshold', written.notes[0])
    left = {path.name for path in out.glob('*.dcm')}
    # those of other kinds and of other images, and of others
    (gone,) = before - left
    assert gone.startswith('sr_') and len(left - before) == 1 and 'mine.dcm' in left
    # and of another model
    changed = replace(make_result(image), model=dict(name='frac_test', sha256='f' * 64))
    other.write_text(changed.to_json() + '\n')
    for threshold, counts in ((0.5, 4), (0.25, 4)):
        written = write_objects(other, out, threshold=threshold, kinds=['sr'])
        assert len(written.notes) == (threshold == 0.25)
        assert len(list(out.glob('sr_*.dcm'))) == counts
    assert left < {path.name for path in out.glob('*.dcm')}


def test_objects_of_other_kinds_with_or_without_map_stay(tmp_path):
    path = make_image(tmp_path)
    results, maps, out = tmp_path / 'results.jsonl', tmp_path / 'maps', tmp_path / 'out'
    results.write_text(make_result(path).to_json() + '\n')
    saved_map(maps / 'a.npz', path, make_map(path), 0.875)

    def kinds_of(written):
        names = sorted(file.name for file in out.glob('*.dcm'))
        assert len(written.notes) <= 1
        return ' '.join(name.split('_')[0] for name in names), bool(written.notes)

    assert kinds_of(write_objects(results, out)) == ('gsps sc sr', False)
    written = write_objects(results, out, maps=maps, kinds=['seg'])
    assert kinds_of(written) == ('gsps sc seg sr', False)
    # of each kind that is made anew that of the boxes alone goes, and no other
    written = write_objects(results, out, maps=maps, kinds=['sr'])
    assert kinds_of(written) == ('gsps sc seg sr', True)
    assert re.match('1 objects .* with or without prob map', written.notes[0])
    # without a map nothing is known of the segmentation
    written = write_objects(results, out, threshold=0.5)
    assert kinds_of(written) == ('gsps sc seg sr', True)
    # and with one, that there is none
    written = write_objects(results, out, maps=maps, kinds=['seg'], threshold=1)
    assert written.left_out == {'seg: no cell of the prob map reaches the threshold': 1}
    assert kinds_of(written) == ('gsps sc sr', True)


def test_a_segmentation_stays_where_another_image_alone_has_a_map(tmp_path):
    lines, out = [], tmp_path / 'out'
    for index in range(2):
        (tmp_path / str(index)).mkdir()
        path = make_image(tmp_path / str(index), SOPInstanceUID=f'1.2.3.{index}')
        lines.append(make_result(path).to_json() + '\n')
        for folder in ('both', 'one')[: 2 - index]:
            saved_map(tmp_path / folder / f'{index}.npz', path, make_map(path), 0.875)
    (tmp_path / 'results.jsonl').write_text(''.join(lines))
    for folder, threshold, count in (('both', 0.5, 2), ('one', 0.25, 1)):
        options = dict(maps=tmp_path / folder, threshold=threshold, kinds=['seg'])
        written = write_objects(tmp_path / 'results.jsonl', out, **options)
        assert written.counts == dict(seg=count)
    assert written.notes[0].startswith('1 objects') and len(list(out.glob('seg_*.dcm'))) == 2


def test_of_earlier_objects_only_those_of_new_kinds_are_read(tmp_path, monkeypatch):
    path = make_image(tmp_path)
    (tmp_path / 'results.jsonl').write_text(make_result(path).to_json() + '\n')
    write_objects(tmp_path / 'results.jsonl', tmp_path / 'out', threshold=0.5)
    read, dcmread = [], pydicom.dcmread

    def noted(file, **options):
        ds = dcmread(file, **options)
        read.append((file.name, {one.keyword for one in ds}))
        return ds

    monkeypatch.setattr(pydicom, 'dcmread', noted)
    write_objects(tmp_path / 'results.jsonl', tmp_path / 'out', kinds=['sr'], threshold=0.5)
    assert read == []
    write_objects(tmp_path / 'results.jsonl', tmp_path / 'out', kinds=['sr'])
    ((name, tags),) = read
    assert name.startswith('sr_') and 'ContentSequence' not in tags


@pytest.mark.parametrize('threshold', [80, 0, -1, float('nan')])
def test_a_threshold_is_in_0_1(tmp_path, results, threshold):
    with pytest.raises(ValueError, match=r'must lie in \(0, 1\]'):
        write_objects(results, tmp_path / 'out', threshold=threshold)
