# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from pathlib import Path

import pytest

from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.experiments.benchmark import load_benchmark
from mmfrac.experiments.fold_films import NUM_FOLDS, check_choices, write_fold_films
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.io import read_json, write_json

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/benchmarks'
BOX = [8.0, 8.0, 10.0, 10.0]


def film(number, label, source, regions=None):
    content = dict(
        id=number,
        file_name=f'{number}.png',
        width=64,
        height=64,
        label=label,
        source=source,
        patient_id=f'p{number}',
    )
    return content if regions is None else {**content, 'regions': regions}


def write(path, films, boxed):
    boxes = [
        dict(id=i, image_id=one['id'], category_id=1, bbox=BOX, area=100.0, iscrowd=0)
        for i, one in enumerate((one for one in films if one['id'] in boxed), 1)
    ]
    content = dict(images=films, annotations=boxes, categories=[dict(id=1, name='fracture')])
    write_json(path, content)


@pytest.fixture
def root(tmp_path):
    """40 training films: 10 each of P_hos, P_pub and negatives of both; 10 to validate, 4 to test."""
    folder = tmp_path / 'data'
    (folder / 'images').mkdir(parents=True)
    (folder / 'images/1.png').write_bytes(b'a film')
    annotations = folder / 'annotations'
    train = [film(n, 1, 'hospital', True) for n in range(1, 11)]
    train += [film(n, 1, 'public', False) for n in range(11, 21)]
    train += [film(n, 0, ('hospital', 'public')[n % 2], True) for n in range(21, 41)]
    write(annotations / 'train.json', train, range(1, 11))
    write(annotations / 'train_truth.json', train, range(1, 21))
    val = [film(n, n % 2, 'hospital', True) for n in range(41, 51)]
    write(annotations / 'val.json', val, range(41, 51, 2))
    write(annotations / 'test.json', [film(n, n % 2, 'public') for n in range(51, 55)], (51, 53))
    return folder


def films_of(folder, part):
    """Name of each film to its number of boxes."""
    content = read_json(folder / 'annotations' / f'{part}.json')
    names = {image['id']: image['file_name'] for image in content['images']}
    counts = dict.fromkeys(names.values(), 0)
    for box in content['annotations']:
        counts[names[box['image_id']]] += 1
    return counts


def test_a_fold_is_tested_with_hidden_boxes_and_trained_without(root, tmp_path):
    tested = {}
    for fold in range(NUM_FOLDS):
        out = write_fold_films(root, tmp_path / 'work' / str(fold), fold)
        assert (out / 'images/1.png').read_bytes() == b'a film'
        train, truth = films_of(out, 'train'), films_of(out, 'train_truth')
        held_out = films_of(out, 'test')
        assert held_out == films_of(out, 'val')
        assert len(train) == 40 and len(held_out) == 10
        assert not set(train) & set(held_out)
        # FROC leaves lesions out where boxes are not said to be known
        images = read_json(out / 'annotations/test.json')['images']
        assert all(image['regions'] for image in images)
        for name, boxes in train.items():
            number = int(name[:-4])
            assert boxes == (number <= 10 or (number > 40 and number % 2))
            assert truth[name] == (number <= 20 or (number > 40 and number % 2))
        tested |= held_out
    # each film once, those of P_pub with the boxes that training has not seen; no test film
    assert tested == {f'{n}.png': int(n <= 20 or (n > 40 and n % 2 == 1)) for n in range(1, 51)}


def test_fields_of_the_films_stay(root, tmp_path):
    out = write_fold_films(root, tmp_path / 'fold', 0)
    images = {
        image['file_name']: image for image in read_json(root / 'annotations/train.json')['images']
    }
    for image in read_json(out / 'annotations/train.json')['images']:
        given = images.get(image['file_name'])
        if given is not None:
            assert {**image, 'id': 0} == {**given, 'id': 0}


def test_without_a_truth_there_is_none_of_a_fold(root, tmp_path):
    # nor that of an earlier call
    write_fold_films(root, tmp_path / 'fold', 1)
    (root / 'annotations/train_truth.json').unlink()
    out = write_fold_films(root, tmp_path / 'fold', 1)
    assert not (out / 'annotations/train_truth.json').exists()
    assert sum(films_of(out, 'train').values()) + sum(films_of(out, 'test').values()) == 15


def test_the_same_call_gives_the_same_bytes(root, tmp_path):
    first = write_fold_films(root, tmp_path / 'a', 2)
    files = {path.name: path.read_bytes() for path in (first / 'annotations').iterdir()}
    write_fold_films(root, tmp_path / 'a', 2)
    assert files == {path.name: path.read_bytes() for path in (first / 'annotations').iterdir()}


def test_films_that_have_moved_are_found(root, tmp_path):
    write_fold_films(root, tmp_path / 'a', 0)
    moved = root.rename(tmp_path / 'elsewhere')
    out = write_fold_films(moved, tmp_path / 'a', 0)
    assert (out / 'images/1.png').read_bytes() == b'a film'


def test_boxes_that_the_truth_adds_to_a_film_stay_hidden(root, tmp_path):
    path = root / 'annotations/train_truth.json'
    content = read_json(path)
    content['annotations'] += [
        {**box, 'id': 100 + box['id'], 'bbox': [30.0, 30.0, 9.0, 9.0]}
        for box in content['annotations']
    ]
    write_json(path, content)
    out = write_fold_films(root, tmp_path / 'a', 0)
    assert set(films_of(out, 'train').values()) == {0, 1}
    assert set(films_of(out, 'train_truth').values()) >= {0, 2}
    # with all boxes
    assert {boxes for name, boxes in films_of(out, 'test').items() if int(name[:-4]) <= 20} == {2}


def test_films_whose_boxes_nobody_knows_stay_so(root, tmp_path):
    for part in ('train', 'train_truth'):
        path = root / f'annotations/{part}.json'
        content = read_json(path)
        content['images'][39] |= dict(label=-1, regions=False)
        content['annotations'] = [box for box in content['annotations'] if box['image_id'] != 15]
        write_json(path, content)
    held_out = {}
    for fold in range(NUM_FOLDS):
        out = write_fold_films(root, tmp_path / str(fold), fold)
        content = read_json(out / 'annotations/test.json')
        assert not check_annotations(content)
        held_out |= {image['id']: image['regions'] for image in content['images']}
    assert not any(held_out[number] for number in (15, 40))
    assert all(held_out[number] for number in range(1, 51) if number not in (15, 40))


@pytest.mark.parametrize('has_truth', [True, False])
def test_films_that_may_have_more_boxes_stay_so(root, tmp_path, has_truth):
    """Some of their boxes are known: those of the truth are all of them, others need not be."""
    annotations = root / 'annotations'
    content = read_json(annotations / 'val.json')
    for image in content['images']:
        if image['label']:
            image['regions'] = False
    write_json(annotations / 'val.json', content)
    content = read_json(annotations / 'train.json')
    for image in content['images'][:10]:
        image['regions'] = False
    write_json(annotations / 'train.json', content)
    if not has_truth:
        (annotations / 'train_truth.json').unlink()
    for fold in range(NUM_FOLDS):
        out = write_fold_films(root, tmp_path / str(fold), fold)
        for image in read_json(out / 'annotations/test.json')['images']:
            number = int(image['file_name'][:-4])
            assert image['regions'] == (image['label'] == 0 or (has_truth and number <= 20))


def test_a_truth_that_lacks_a_known_box_is_an_error(root, tmp_path):
    path = root / 'annotations/train_truth.json'
    content = read_json(path)
    for box in content['annotations']:
        box['bbox'] = [1.0, 1.0, 5.0, 5.0]
    write_json(path, content)
    with pytest.raises(ValueError, match=r'train_truth\.json lacks a box that .* has in its own'):
        write_fold_films(root, tmp_path / 'a', 0)


def test_without_films_nothing_is_made(root, tmp_path):
    (root / 'images').rename(tmp_path / 'images')
    with pytest.raises(FileNotFoundError, match=r'no folder .*images; is .* the data root\?'):
        write_fold_films(root, tmp_path / 'a', 0)
    assert not (tmp_path / 'a').exists()


def test_what_chooses_by_the_validation_films_is_refused():
    for name, what in (
        ('phantom_v2', 'the search of'),
        ('semi_real_v1', 'the search of'),
        ('detectors_phantom', 'the epoch'),
    ):
        benchmark = load_benchmark(CONFIGS / f'{name}.py')
        with pytest.raises(ValueError, match=f'chooses {what}'):
            check_choices(benchmark, list(benchmark.methods.values()))
    benchmark = load_benchmark(CONFIGS / 'semi_real_v2.py')
    check_choices(benchmark, list(benchmark.methods.values()))


@pytest.mark.parametrize('fold', [-1, NUM_FOLDS])
def test_there_is_no_such_fold(root, tmp_path, fold):
    with pytest.raises(ValueError, match=rf'folds 0 to {NUM_FOLDS - 1}, got {fold}'):
        write_fold_films(root, tmp_path / 'fold', fold)


def test_a_patient_of_the_test_films_is_an_error(root, tmp_path):
    content = read_json(root / 'annotations/test.json')
    content['images'][0]['patient_id'] = 'p1'
    write_json(root / 'annotations/test.json', content)
    with pytest.raises(ValueError, match=r'patients of the test file'):
        write_fold_films(root, tmp_path / 'fold', 0)


def test_a_damaged_truth_is_named(root, tmp_path):
    content = read_json(root / 'annotations/train_truth.json')
    content['annotations'][0]['image_id'] = 999
    write_json(root / 'annotations/train_truth.json', content)
    with pytest.raises(AnnotationError, match=r'train_truth\.json'):
        write_fold_films(root, tmp_path / 'fold', 0)


def test_a_truth_of_other_films_is_an_error(root, tmp_path):
    content = read_json(root / 'annotations/train_truth.json')
    content['images'][3]['file_name'] = 'other.png'
    write_json(root / 'annotations/train_truth.json', content)
    with pytest.raises(ValueError, match=r"is not the truth of train\.json beside it: '4\.png'"):
        write_fold_films(root, tmp_path / 'fold', 0)


def test_a_damaged_training_file_is_named(root, tmp_path):
    write_json(root / 'annotations/train.json', dict(images=[]))
    with pytest.raises(AnnotationError, match=r'train\.json'):
        write_fold_films(root, tmp_path / 'fold', 0)


def test_what_is_to_ask_about_patients_is_said(root, tmp_path):
    lines = []
    write_fold_films(root, tmp_path / 'fold', 0, report=lines.append)
    assert not lines
    for part in ('train', 'train_truth'):
        path = root / f'annotations/{part}.json'
        content = read_json(path)
        del content['images'][0]['patient_id']
        write_json(path, content)
    write_fold_films(root, tmp_path / 'fold', 0, report=lines.append)
    (line,) = lines
    assert line.startswith('note: 1 of 54 images have no patient_id')
