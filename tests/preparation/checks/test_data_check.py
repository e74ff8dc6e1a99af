# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import random
import shutil
from collections import Counter

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmfrac.datasets import CXRDataset
from mmfrac.preparation.checks import check_data, severities, write_check_report
from mmfrac.preparation.phantom import render_image, write_dicom
from tests.preparation.checks.broken_set import SHAPE, broken_set, chest, sound_set


def check(root, *args, **options):
    return check_data(root, *args, **dict(workers=0, progress=False) | options)


def test_sound_set(tmp_path):
    root = sound_set(tmp_path / 'data').write()
    report, films = check(root)
    assert report.findings == [] and films == {} and report.decoded == 4
    assert '0 errors, 0 warnings' in str(report)
    train = report.splits['train']
    assert (train.films, train.positives, train.negatives, train.boxes) == (2, 1, 1, 1)


@pytest.fixture(scope='module')
def broken(tmp_path_factory):
    return broken_set(tmp_path_factory.mktemp('broken') / 'data')


@pytest.mark.parametrize('workers', [0, 2])
def test_each_fault_is_found_once(broken, workers):
    root, expected = broken
    report, films = check(root, workers=workers)
    assert report.counts == expected
    by_check = {name: report.of_check(name) for name in expected}

    def names(check):
        return {finding.image for finding in by_check[check]}

    assert names('unreadable_film') == {'cut.png', 'text.png', 'empty.dcm', 'huge.dcm'}
    assert names('label') == {'healthy.png', 'boxless.png'}
    assert names('odd_box') == {'thin.png', 'large.png'}
    assert names('inverted') == {'inverted.png'} and names('blank_film') == {'blank.png'}
    assert '80 x 96 px, the film has 80 x 50' in by_check['wrong_size'][0].message
    assert 'one.png' in by_check['same_pixels'][0].message
    assert 'three.png' in by_check['shared_pixels'][0].message
    assert by_check['shared_patient'][0].message == 'patient p is in train (p_a.png), val (p_b.png)'
    assert 'train_b.png is in train, val' in by_check['shared_film'][0].message
    assert 'train/inverted.png' in films and 'train/gone.png' not in films
    kinds = [report.severity[finding.check] for finding in report.findings]
    assert kinds == sorted(kinds) and report.num_warnings == 5
    text = str(report)
    assert 'error: unreadable films: 4 (unreadable_film)' in text and 'cut.png' in text


def test_without_decoding_files_are_only_looked_for(broken):
    report, _ = check(broken[0], decode=False)
    assert report.counts['missing_film'] == 1 and report.decoded == 0
    assert 'unreadable_film' not in report.counts and 'same_pixels' not in report.counts
    assert report.counts['shared_film'] == 1


def test_severities(broken):
    chosen = severities(errors=['inverted'], warnings=['box'], off=['label', 'odd_box'])
    report, _ = check(broken[0], severity=chosen)
    assert report.severity['inverted'] == 'error' and report.severity['box'] == 'warning'
    assert 'label' not in report.counts and 'odd_box' not in report.counts
    assert report.num_warnings == 2
    assert set(severities(strict=True).values()) == {'error'}
    assert severities(off=['inverted'], strict=True)['inverted'] == 'off'
    with pytest.raises(ValueError, match=r"\['nothing'\], valid are \['root'"):
        severities(errors=['nothing'])
    with pytest.raises(ValueError, match='two severities'):
        severities(errors=['box'], off=['box'])


def test_report_as_json(broken, tmp_path):
    report, _ = check(broken[0])
    write_check_report(report, tmp_path / 'deep' / 'a.json')
    data = json.loads((tmp_path / 'deep' / 'a.json').read_text())
    assert data['ok'] is False and data['errors'] == report.num_errors
    assert data['checks']['box'] == dict(
        severity='error', title='boxes outside their film or without size', found=1
    )
    assert len(data['findings']) == len(report.findings) and data['splits']['train']['films'] == 20
    assert {'check', 'severity', 'split', 'film', 'message'} == set(data['findings'][0])


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('', 'not JSON'),
        ('{"images": [', 'not JSON'),
        ('[' * 100_000, 'not JSON'),
        ('\x80\x81', 'not JSON'),
    ],
)
def test_damaged_annotation_file(tmp_path, content, words):
    root = sound_set(tmp_path / 'data').write()
    (root / 'annotations' / 'val.json').write_bytes(content.encode('latin-1'))
    report, _ = check(root)
    assert report.counts == dict(file=1) and words in report.findings[0].message
    assert report.splits['train'].films == 2 and report.decoded == 2


@pytest.mark.parametrize(
    'content',
    ['null', '[]', '7', '{}', '{"images": 5, "annotations": [], "categories": []}'],
)
def test_json_of_another_shape(tmp_path, content):
    root = sound_set(tmp_path / 'data').write()
    (root / 'annotations' / 'val.json').write_text(content)
    report, _ = check(root)
    assert report.counts['field'] >= 1 and report.splits['train'].films == 2


def test_missing_folders(tmp_path):
    report, _ = check(tmp_path / 'nowhere')
    assert report.counts == dict(root=1) and 'nowhere' in report.findings[0].message
    root = sound_set(tmp_path / 'data').write()
    shutil.rmtree(root / 'images')
    report, _ = check(root)
    assert report.counts == dict(root=1) and 'images' in report.findings[0].message
    (root / 'annotations' / 'train.json').rename(root / 'annotations' / 'fold_0.json')
    (root / 'annotations' / 'val.json').unlink()
    report, _ = check(root)
    assert 'fold_0.json' in report.findings[0].message
    report, _ = check(root, ['annotations/fold_0.json', 'annotations/none.json'])
    assert report.counts == dict(root=1, file=1)


def test_names_that_no_file_can_have(tmp_path):
    data = sound_set(tmp_path / 'data')
    for name in ('nul\0.png', 'half\ud800.png', 'x' * 5000 + '.png', '../../etc', 'dir'):
        data.film('train', name, pixels=False)
    (tmp_path / 'data' / 'images' / 'dir').mkdir()
    report, _ = check(data.write())
    assert report.counts == dict(unreadable_film=4, field=1)
    assert "'../../etc' leads out of the image folder" in str(report)
    str(report).encode()
    assert check(data.root, decode=False)[0].counts['missing_film'] == 4
    report, _ = check(data.root, allow_outside=True)
    assert report.counts['unreadable_film'] + report.counts['missing_film'] == 5


def test_patients_that_are_absent_or_unsure(tmp_path):
    data = sound_set(tmp_path / 'data')
    data.film('train', 'a.png', patient_id=' P7')
    data.film('val', 'b.png', patient_id='P7')
    data.film('val', 'c.png', patient_id='13')
    data.film('val', 'd.png', patient_id='00000013')
    data.film('train', 'e.png')
    del data.splits['train']['images'][-1]['patient_id']
    report, _ = check(data.write())
    assert report.counts == dict(no_patient=1, similar_patients=2)
    text = str(report)
    assert 'train: 1 of 4 images have no patient_id: each counts as a patient' in text
    assert "are these one patient? ' P7' in train, 'P7' in val" in text
    assert "'00000013' in val, '13' in val" in text and '0 errors, 3 warnings' in text


def test_sides_that_are_exchanged(tmp_path):
    data = sound_set(tmp_path / 'data')
    data.film('train', 'a.png', width=96, height=80)
    report, _ = check(data.write())
    assert report.counts == dict(wrong_size=1)
    assert '96 x 80 px, the film has 80 x 96: width and height are exchanged' in str(report)


def test_doubtful_headers_are_named(tmp_path):
    root = tmp_path / 'data'
    data = sound_set(root)
    image = render_image(3, 4, size=64)
    write_dicom(root / 'images' / 'd.dcm', image.image, 'd', image.pixel_mm)
    ds = pydicom.dcmread(root / 'images' / 'd.dcm')
    ds.WindowCenter, ds.WindowWidth = 2000, 0
    ds.save_as(root / 'images' / 'd.dcm')
    data.film('train', 'd.dcm', pixels=False, width=64, height=64)
    report, _ = check(data.write())
    assert report.counts == dict(doubtful=1)
    assert 'd.dcm: its window (center 2000.0, width 0.0) is none and is not used' in str(report)


def test_boxes_of_other_categories_are_no_lesions(tmp_path):
    data = sound_set(tmp_path / 'data')
    data.film('train', 'nodule.png', 0, [[30, 40, 12, 10]])
    data.film('train', 'callus.png', 0, [[30, 40, 12, 10]])
    train = data.splits['train']
    train['categories'] += [dict(id=2, name='nodule'), dict(id=3, name='old callus')]
    for number, annotation in enumerate(train['annotations']):
        annotation['category_id'] = number + 1
    for image in train['images'][2:]:
        del image['label'], image['regions']
    report, _ = check(data.write())
    assert report.findings == []
    counts = report.splits['train']
    assert (counts.positives, counts.negatives, counts.unknown, counts.boxes) == (1, 2, 1, 1)
    read = CXRDataset(
        data_root=str(data.root), ann_file='annotations/train.json', pipeline=[], check_files=False
    )
    assert Counter(read.labels().tolist()) == {1: 1, 0: 2, -1: 1}
    train['images'][2]['label'] = 0
    assert check(data.write())[0].findings == []
    report, _ = check(data.root, category=['fracture', 'nodule'])
    assert report.splits['train'].boxes == 2 and report.splits['val'].boxes == 1
    assert [finding.image for finding in report.of_check('label')] == ['nodule.png']
    report, _ = check(data.root, category='fractur')
    assert report.counts['field'] == 2 and "classes ['fractur']" in str(report)
    # one of negatives alone needs no category
    val = data.splits['val']
    kept = dict(val)
    val.update(annotations=[], categories=[])
    val['images'] = [image for image in val['images'] if image['label'] == 0]
    assert val['images'] and 'field' not in check(data.write(), category='fracture')[0].counts
    val.update(kept)
    # files that call their fractures otherwise
    for content in data.splits.values():
        content['categories'] = [dict(id=n, name=f'lesion {n}') for n in (1, 2, 3)]
    assert check(data.write())[0].splits['train'].boxes == 3


def test_copies_in_another_format_are_found(tmp_path):
    data = sound_set(tmp_path / 'data')
    deep = np.rint(chest(90) * 257.0 + np.random.default_rng(0).integers(0, 257, SHAPE))
    deep = deep.clip(0, 65535).astype(np.uint16)
    data.film('train', 'deep.png', pixels=deep)
    data.film('train', 'eight.png', pixels=(deep >> 8).astype(np.uint8))
    data.film('val', 'copy.jpg', pixels=(deep >> 8).astype(np.uint8))
    report, _ = check(data.write())
    # within a split they may be, of one film in several
    assert report.counts == dict(alike=2) and report.num_errors == 0
    assert {finding.message for finding in report.findings} == {
        'val: copy.jpg looks like train: deep.png',
        'val: copy.jpg looks like train: eight.png',
    }
    report, _ = check(data.root, severity=severities(off=['alike']))
    assert report.findings == []


def test_one_file_under_two_spellings_is_decoded_once(tmp_path):
    data = sound_set(tmp_path / 'data')
    data.film('val', './train_b.png', pixels=False)
    report, _ = check(data.write())
    assert report.counts == dict(shared_film=1) and report.decoded == 4


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_in_any_field(tmp_path_factory, data):
    root = tmp_path_factory.mktemp('any') / 'data'
    broken = sound_set(root)
    content = broken.splits['train']
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from(['images', 'annotations', 'categories']))
        record = data.draw(st.sampled_from(content[part]))
        key = data.draw(st.sampled_from([*record, 'patient_id', 'ignore']))
        record[key] = data.draw(JSON_VALUES | st.sampled_from([10**400, -(2**70), 1e308]))
    report, _ = check(broken.write())
    str(report), json.dumps(report.to_dict())
    assert report.splits['val'].films == 2


@pytest.mark.parametrize('seed', range(3))
def test_damaged_bytes_of_films_never_stop_the_check(tmp_path, shared_data, seed):
    data = sound_set(tmp_path / 'data')
    sources = [
        *sorted((shared_data / 'real_cxr' / 'dicom').iterdir()),
        *sorted((shared_data / 'semi_real_v1' / 'images').iterdir())[:3],
    ]
    draw = random.Random(seed)
    for index, source in enumerate(sources):
        content = bytearray(source.read_bytes())
        start = draw.choice([0, 128, 400, len(content) // 2])
        for _ in range(draw.choice([1, 20, 2000])):
            content[draw.randrange(start, min(len(content), start + 5000))] = draw.randrange(256)
        if draw.random() < 0.3:
            del content[draw.randrange(len(content)) :]
        name = f'{index}{source.suffix}'
        (data.root / 'images' / name).write_bytes(content)
        data.film('train', name, pixels=False)
    report, _ = check(data.write(), workers=1)
    assert report.decoded + report.counts.get('unreadable_film', 0) == 4 + len(sources)


def test_real_films_are_sound(shared_data, tmp_path):
    """No false alarm on real films, among them one that its header inverts."""
    root = tmp_path / 'data'
    data = sound_set(root)
    for path in sorted((shared_data / 'real_cxr' / 'images').iterdir())[:6]:
        shutil.copy(path, root / 'images')
        data.film('train', path.name, pixels=False, width=1024, height=1024)
    fake = shared_data / 'real_cxr' / 'dicom' / 'Fake_MONOHR1.dcm'
    shutil.copy(fake, root / 'images')
    data.film('train', fake.name, pixels=False, width=1024, height=1024)
    report, _ = check(data.write(), workers=2)
    assert report.counts == dict(inverted=1) and report.findings[0].image == fake.name
    assert np.isfinite(report.findings[0].weight)
