# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import os
import signal

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.preparation.phantom import (
    image_truth,
    paper_counts,
    render_image,
    write_dicom,
    write_phantom,
)
from mmfrac.preparation.phantom.phantom_set import ROLES, SPLITS, check_counts, plan_phantom

COUNTS = {
    'train': {'P_hos': 2, 'N_hos': 3, 'P_pub': 3, 'N_pub': 2},
    'val': {'P_hos': 1, 'N_hos': 1},
    'test': {'P_hos': 1, 'N_hos': 2},
}
SIZE = 64


def write(folder, **changes):
    settings_ = dict(size=SIZE, seed=3, workers=1, progress=False)
    return write_phantom(folder, **{'counts': COUNTS, **settings_, **changes})


@pytest.fixture(scope='module')
def phantom_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp('phantom') / 'set'
    return folder, write(folder)


def read_plane(path):
    record = pydicom.dcmread(path)
    plane = record.pixel_array
    return 4095 - plane if record.PhotometricInterpretation == 'MONOCHROME1' else plane


def inside_boxes(boxes, size, pad):
    mask = np.zeros((size, size), bool)
    for x1, y1, x2, y2 in boxes:
        top, left = max(0, int(y1 - pad)), max(0, int(x1 - pad))
        mask[top : int(np.ceil(y2 + pad)), left : int(np.ceil(x2 + pad))] = True
    return mask


def test_render_is_deterministic_and_seeded():
    first = render_image(5, 1, 96, 2)
    render_image(6, 0, 96, 1)
    again = render_image(5, 1, 96, 2)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert first.image.dtype == np.uint16 and first.image.shape == (96, 96)
    assert first.image.max() <= 4095 and first.image.std() > 400
    assert np.abs(first.image - render_image(5, 2, 96, 2).image.astype(float)).mean() > 50
    assert np.abs(first.image - render_image(4, 1, 96, 2).image.astype(float)).mean() > 50


@pytest.mark.parametrize('size', [128, 320])
@pytest.mark.parametrize('seed', range(6))
def test_fractures_change_the_film_inside_their_boxes_only(seed, size):
    broken = render_image(seed, 0, size, 3, 0.3)
    whole = render_image(seed, 0, size, 0)
    change = np.abs(broken.image.astype(float) - whole.image)
    assert len(broken.boxes) == 3
    outside = change[~inside_boxes(broken.boxes, size, 0.02 * size)]
    assert outside.max() < 0.35 * change.max()
    # Outside there is a faint tail of the step at most.
    assert np.mean(outside > 2) < 0.01
    for box in broken.boxes:
        assert change[inside_boxes([box], size, 0)].max() > 0.02 * 4095


@given(patient=st.integers(0, 10**6), film=st.integers(0, 9), count=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_boxes_lie_inside_the_film_on_distinct_bones(patient, film, count):
    boxes, sites, kinds = image_truth(patient, film, 256, count, 0.3)
    assert boxes.shape == (count, 4) and len(sites) == len(kinds) == count
    assert set(sites) <= {'rib', 'clavicle'} and set(kinds) <= {'acute', 'chronic'}
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 256).all()
    extent = boxes[:, 2:] - boxes[:, :2]
    assert (extent > 4).all() and (extent < 60).all()
    centres = (boxes[:, 2:] + boxes[:, :2]) / 2
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[~np.eye(count, dtype=bool)]
    assert gaps.size == 0 or gaps.min() > 5


def test_truth_without_the_film_and_at_any_size():
    film = render_image(8, 0, 128, 3, 0.5)
    boxes, sites, kinds = image_truth(8, 0, 128, 3, 0.5)
    np.testing.assert_array_equal(film.boxes, boxes)
    assert (film.sites, film.kinds) == (sites, kinds)
    np.testing.assert_allclose(image_truth(8, 0, 512, 3, 0.5)[0] / 4, boxes)
    small = render_image(8, 0, 64).image.astype(float)
    large = render_image(8, 0, 256).image.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.99


@pytest.mark.slow
def test_contrast_falls_with_difficulty():
    means = []
    for difficulty in (0.0, 0.3, 0.6, 1.0):
        contrast = []
        for seed in range(8):
            broken = render_image(seed, 0, 160, 2, difficulty)
            whole = render_image(seed, 0, 160, 0)
            change = np.abs(broken.image.astype(float) - whole.image)
            contrast += [change[inside_boxes([box], 160, 0)].mean() for box in broken.boxes]
        means.append(np.mean(contrast))
    assert means[0] > 1.15 * means[1] > 1.3 * means[2] > 1.3 * means[3] > 0
    assert means[3] > 0.1 * means[0]


def test_lungs_are_dark_and_bone_is_bright():
    film = render_image(0, 0, 256).image.astype(float)
    lungs = [film[80:140, 65:95].mean(), film[80:140, 165:190].mean()]
    assert max(lungs) < 0.7 * film[150:200, 118:138].mean()
    assert film[:20, :20].mean() < min(lungs)


@pytest.mark.parametrize(
    'arguments',
    [dict(size=8), dict(difficulty=1.5), dict(difficulty=-0.1), dict(num_fractures=-1)],
)
def test_render_rejects_impossible_values(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        render_image(0, 0, **arguments)


def test_too_many_fractures_are_an_error():
    with pytest.raises(ValueError, match='bones are free'):
        render_image(0, 0, 64, 40)


@pytest.mark.parametrize('modality', ['DX', 'CR'])
def test_dicom_round_trip_in_both_photometrics(tmp_path, modality):
    plane = render_image(1, 0, SIZE).image
    stored = {}
    for inverted in (False, True):
        path = tmp_path / f'{inverted}.dcm'
        write_dicom(path, plane, 'P1', 1.25, monochrome1=inverted, modality=modality)
        record = pydicom.dcmread(path)
        stored[inverted] = record.pixel_array
        np.testing.assert_array_equal(read_plane(path), plane)
        assert (record.Rows, record.Columns) == (SIZE, SIZE)
        assert (record.BitsAllocated, record.BitsStored, record.HighBit) == (16, 12, 11)
        assert (record.PatientID, record.Modality) == ('P1', modality)
        assert float(record.ImagerPixelSpacing[0]) == 1.25
        assert record.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert record.WindowWidth == 4096
    assert stored[False].astype(int).sum() + stored[True].astype(int).sum() == 4095 * SIZE**2
    assert sorted(os.listdir(tmp_path)) == ['False.dcm', 'True.dcm']


def test_dicom_rejects_planes_of_other_depth(tmp_path):
    with pytest.raises(ValueError, match='uint16'):
        write_dicom(tmp_path / 'a.dcm', np.full((4, 4), 5000, np.uint16), 'P1', 1.0)
    with pytest.raises(ValueError, match='modality'):
        write_dicom(tmp_path / 'a.dcm', np.zeros((4, 4), np.uint16), 'P1', 1.0, modality='MR')


def test_json_has_the_counts_and_hides_public_boxes(phantom_set):
    folder, summary = phantom_set
    content = {
        name: json.loads((folder / 'annotations' / f'{name}.json').read_text())
        for name in ('train', 'val', 'test', 'train_truth')
    }
    assert content['train']['images'] == content['train_truth']['images']
    for name, data in content.items():
        images = {image['id']: image for image in data['images']}
        assert len(images) == len(data['images'])
        assert data['categories'] == [{'id': 1, 'name': 'fracture'}]
        boxed = {a['image_id'] for a in data['annotations']}
        for image in images.values():
            public, label = image['source'] == 'public', image['label']
            assert image['regions'] == (not (public and label))
            assert (image['width'], image['height']) == (SIZE, SIZE)
            shown = label and (image['regions'] or name == 'train_truth')
            assert (image['id'] in boxed) == bool(shown)
            record = pydicom.dcmread(folder / 'images' / image['file_name'])
            assert record.PatientID == image['patient_id']
            assert record.pixel_array.shape == (SIZE, SIZE)
        for annotation in data['annotations']:
            x, y, w, h = annotation['bbox']
            assert w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= SIZE and y + h <= SIZE
            assert annotation['area'] == pytest.approx(w * h, abs=0.01)
            assert annotation['category_id'] == 1 and annotation['iscrowd'] == 0
            assert annotation['site'] in ('rib', 'clavicle')
            assert annotation['kind'] in ('acute', 'chronic')
    tally = dict.fromkeys(ROLES, 0)
    for image in content['train']['images']:
        tally['PN'[1 - image['label']] + '_' + image['source'][:3]] += 1
    assert tally == COUNTS['train']
    assert summary['train'] == {
        'films': 10,
        'positives': 5,
        'boxes': len(content['train_truth']['annotations']),
        'patients': len({image['patient_id'] for image in content['train']['images']}),
    }
    names = [image['file_name'] for s in SPLITS for image in content[s]['images']]
    assert sorted(names) == sorted(os.listdir(folder / 'images'))


def test_a_process_that_dies_ends_the_command(phantom_set, tmp_path, monkeypatch):
    names = sorted(os.listdir(phantom_set[0] / 'images'))

    def die_at_the_last(path, *args):
        if path.name == names[-1]:
            os.kill(os.getpid(), signal.SIGKILL)
        write_dicom(path, *args)

    monkeypatch.setattr('mmfrac.preparation.phantom.phantom_set.write_dicom', die_at_the_last)
    with pytest.raises(ChildProcessError, match='take fewer workers'):
        write(tmp_path, workers=2)
    # what is written stays; the other process may have been stopped within its film
    written = {name for name in os.listdir(tmp_path / 'images') if not name.startswith('.')}
    assert len(names) - 2 <= len(written) and written <= set(names[:-1])
    (tmp_path / f'images/.{names[0]}.0123456789abcdef.tmp').write_bytes(b'a part of a film')
    assert not (tmp_path / 'annotations/test.json').exists()
    monkeypatch.undo()
    write(tmp_path, workers=2)
    assert (tmp_path / 'annotations/test.json').exists()
    assert sorted(os.listdir(tmp_path / 'images')) == names


def test_set_does_not_depend_on_the_workers(phantom_set, tmp_path):
    folder, summary = phantom_set
    assert write(tmp_path, workers=2) == summary
    for path in sorted(folder.rglob('*.*')):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path


def test_resumes_and_refuses_other_parameters(tmp_path):
    counts = {'train': {'P_hos': 2, 'N_pub': 2}}
    write(tmp_path, counts=counts)
    films = sorted((tmp_path / 'images').iterdir())
    before = {film: (film.stat().st_mtime_ns, film.read_bytes()) for film in films}
    truth = (tmp_path / 'annotations' / 'train.json').read_bytes()
    films[0].unlink()
    (tmp_path / 'annotations' / 'train.json').unlink()
    (tmp_path / 'images' / f'.{films[0].name}.1.tmp').write_bytes(b'half a film')

    write(tmp_path, counts=counts)
    assert sorted((tmp_path / 'images').iterdir()) == films
    assert all(film.read_bytes() == before[film][1] for film in films)
    assert all(film.stat().st_mtime_ns == before[film][0] for film in films[1:])
    assert (tmp_path / 'annotations' / 'train.json').read_bytes() == truth

    with pytest.raises(ValueError, match=r'difficulty 0.3 instead of 0.9.*another folder'):
        write(tmp_path, counts=counts, difficulty=0.9)
    assert all(film.read_bytes() == before[film][1] for film in films)
    for name in ('images/mine.dcm', 'annotations/mine.json', 'images/scans/1.dcm'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('years of work')
        with pytest.raises(ValueError, match='which is not of the phantom set there'):
            write(tmp_path, counts={'train': {'N_pub': 1}}, seed=9, overwrite=True)
        assert (tmp_path / name).is_file() and all(film.is_file() for film in films)
        (tmp_path / name).unlink()
    (tmp_path / 'mine.txt').write_text('years of work')
    write(tmp_path, counts={'train': {'N_pub': 1}}, seed=9, overwrite=True)
    assert len(list((tmp_path / 'images').iterdir())) == 1 and (tmp_path / 'mine.txt').is_file()


@pytest.mark.parametrize('record', [None, 'damaged', '{}', '{"counts": 3}', '[]'])
def test_data_that_are_no_phantom_are_never_overwritten(record, tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'film.dcm').write_bytes(b'years of work')
    if record is not None:
        (tmp_path / 'phantom.json').write_text(record)
    with pytest.raises(ValueError, match='which is never overwritten'):
        write(tmp_path, counts={'train': {'N_pub': 1}}, overwrite=True)
    assert (tmp_path / 'images' / 'film.dcm').read_bytes() == b'years of work'


def test_a_complete_set_is_left_alone(tmp_path, monkeypatch):
    counts = {'train': {'P_hos': 1, 'P_pub': 2, 'N_pub': 1}, 'test': {'P_hos': 1}}
    first = write(tmp_path, counts=counts)
    assert first['train']['positives'] == 3 and first['train']['boxes'] >= 3
    monkeypatch.setattr('mmfrac.preparation.phantom.phantom_set.image_truth', None)
    assert write(tmp_path, counts=counts) == first
    next((tmp_path / 'images').iterdir()).unlink()
    with pytest.raises(
        TypeError
    ):  # a film is missing: its truth and that of the others is asked for
        write(tmp_path, counts=counts)


def test_refuses_a_folder_with_other_data(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'film.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'no phantom\.json'):
        write(tmp_path)


@given(
    counts=st.fixed_dictionaries(
        {
            'train': st.fixed_dictionaries({role: st.integers(0, 40) for role in ROLES}),
            'val': st.fixed_dictionaries({role: st.integers(0, 20) for role in ROLES[:2]}),
            'test': st.fixed_dictionaries({role: st.integers(1, 20) for role in ROLES[:2]}),
        }
    ),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_plan_keeps_counts_and_never_shares_a_patient(counts, seed):
    full = check_counts(counts)
    films = plan_phantom(full, seed, (1, 3))
    owner, names = {}, []
    for split in SPLITS:
        for role in ROLES:
            assert sum(film.role == role for film in films[split]) == full[split][role]
        for film in films[split]:
            source = film.role[2:]
            assert owner.setdefault(film.patient_id, (split, source)) == (split, source)
            positive = film.role.startswith('P')
            assert (1 <= film.num_fractures <= 3) if positive else film.num_fractures == 0
            names.append(film.file_name)
    assert len(set(names)) == len(names)
    seeds = {(film.patient_id, film.patient_seed) for s in SPLITS for film in films[s]}
    assert len(seeds) == len(owner) == len({patient_seed for _, patient_seed in seeds})
    assert films == plan_phantom(full, seed, (1, 3))


def test_about_a_third_is_monochrome1():
    films = plan_phantom(check_counts({'train': {'N_pub': 900}}), 0, (1, 3))['train']
    assert 0.28 < np.mean([film.monochrome1 for film in films]) < 0.39
    per_patient = np.bincount([int(film.patient_id[1:]) for film in films])[1:]
    assert set(per_patient) == {1, 2, 3}


def test_paper_counts():
    assert paper_counts(32184) == {'P_hos': 580, 'N_hos': 9858, 'P_pub': 4825, 'N_pub': 16921}
    assert paper_counts(16) == dict.fromkeys(ROLES, 4)
    for number in (17, 40, 100, 333, 679):
        counts = paper_counts(number)
        assert sum(counts.values()) == number and min(counts.values()) >= 4
    assert paper_counts(1000)['N_pub'] == pytest.approx(526, abs=2)
    with pytest.raises(ValueError, match='num_train=3'):
        paper_counts(3)


@pytest.mark.parametrize(
    'counts, message',
    [
        ({'dev': {'P_hos': 1}}, 'dev'),
        ({'val': {'P_pub': 1}}, 'P_pub'),
        ({'train': {'P_hos': -1}}, '-1'),
        ({'train': {'P_hos': 1.5}}, '1.5'),
        ({'train': {}}, 'no film'),
    ],
)
def test_counts_that_cannot_be_meant(tmp_path, counts, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, counts=counts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'changes', [dict(lesions_per_film=(2, 1)), dict(lesions_per_film=(0, 1)), dict(seed=-1)]
)
def test_settings_that_cannot_be_meant(tmp_path, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        write(tmp_path, **changes)
