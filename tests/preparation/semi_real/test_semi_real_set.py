# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmfrac.datasets import CXRDataset
from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.semi_real import (
    NegativeImage,
    Recipe,
    Shares,
    draw_contact_sheet,
    write_semi_real,
)
from mmfrac.preparation.semi_real.drawing import BOX_LEVEL
from mmfrac.utils.errors import AnnotationError
from tests.preparation.semi_real.chest_films import write_negatives

RECIPE = Recipe(seed=2, fractures=(1, 2), shares=Shares((0.6, 0.2, 0.2), 0.5, 1.0, 0.5))


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    return write_negatives(tmp_path_factory.mktemp('negatives'), patients=6, films=2)


@pytest.fixture(scope='module')
def semi_real(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp('made') / 'set'
    summary = write_semi_real(films, folder, RECIPE, workers=1, progress=False)
    return folder, summary


def everything(folder):
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def split(folder, name):
    return json.loads((folder / 'annotations' / f'{name}.json').read_text())


def test_summary_and_files_agree(semi_real):
    folder, summary = semi_real
    images = [image for name in ('train', 'val', 'test') for image in split(folder, name)['images']]
    assert len(images) == 12 and sum(image['label'] for image in images) >= 4
    rows = {line.split()[0]: line.split()[1:] for line in str(summary).splitlines()}
    for name in ('train', 'val', 'test', 'train_truth'):
        content = split(folder, name)
        assert rows[name][0] == str(len(content['images']))
        assert rows[name][4] == str(len(content['annotations']))
    # the patient whose films are noise stays negative where fractures were wanted
    assert set(summary.stayed_negative) <= {'both lungs not found', 'no rib clear enough'}
    assert not list(folder.rglob('*.part'))


def test_loads_with_the_data_set(semi_real):
    folder, _ = semi_real
    for name in ('train', 'val', 'test'):
        labels = [image['label'] for image in split(folder, name)['images']]
        loaded = CXRDataset(
            ann_file=f'annotations/{name}.json',
            data_root=str(folder),
            data_prefix=dict(img='images/'),
            pipeline=[],
            test_mode=True,
        )
        assert sorted(loaded.labels().tolist()) == sorted(labels)
        counts = dict.fromkeys(('P_hos', 'P_pub', 'N'), 0)
        for index in range(len(loaded)):
            info = loaded.get_data_info(index)
            positive = 'P_hos' if info['regions'] else 'P_pub'
            counts[positive if info['label'] else 'N'] += 1
            assert bool(info['instances']) == (info['label'] == 1 and info['regions'])
            assert info['source'] == (
                'hospital' if info['regions'] and info['label'] else info['source']
            )
        if name == 'train':
            assert all(counts.values()), counts
        else:
            assert counts['P_pub'] == 0 and {
                i['source'] for i in split(folder, name)['images']
            } == {'hospital'}


def test_truth_has_the_boxes_that_training_does_not(semi_real):
    folder, _ = semi_real
    train, truth = split(folder, 'train'), split(folder, 'train_truth')
    assert train['images'] == truth['images']
    hidden = {image['id'] for image in train['images'] if not image['regions']}
    assert hidden and not hidden & {box['image_id'] for box in train['annotations']}
    assert hidden <= {box['image_id'] for box in truth['annotations']}
    shown = [box['bbox'] for box in truth['annotations'] if box['image_id'] not in hidden]
    assert shown == [box['bbox'] for box in train['annotations']]


def test_patients_are_in_one_split(semi_real):
    folder, _ = semi_real
    patients = [
        {image['patient_id'] for image in split(folder, name)['images']}
        for name in ('train', 'val', 'test')
    ]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 6


def test_negatives_are_copies_and_positives_change_inside_their_boxes(semi_real, films):
    folder, _ = semi_real
    sources = {film.name: film for film in films}
    for name in ('train_truth', 'val', 'test'):
        content = split(folder, name)
        for image in content['images']:
            source = sources[image['file_name']]
            assert source.patient_id == image['patient_id']
            written = folder / 'images' / image['file_name']
            boxes = [b['bbox'] for b in content['annotations'] if b['image_id'] == image['id']]
            if not image['label']:
                assert written.read_bytes() == Path(source.path).read_bytes()
                continue
            before, after = read_radiograph(source.path), read_radiograph(written)
            assert cv2.imread(str(written), -1).dtype == np.uint16
            change = cv2.GaussianBlur(after - before, (0, 0), 1.0)
            outside = np.ones(before.shape, bool)
            for x, y, w, h in boxes:
                inner = np.s_[int(y) : int(y + h), int(x) : int(x + w)]
                assert np.abs(change[inner]).max() > 0.002
                outside[inner] = False
            # ribs this small are measured with a blur of one pixel
            assert np.abs(change[outside]).max() < 1.01 * BOX_LEVEL * np.abs(change).max()
            assert (before[outside] == after[outside]).mean() > 0.6


@pytest.mark.slow
def test_worker_count_changes_nothing(semi_real, films, tmp_path):
    folder, _ = semi_real
    write_semi_real(films[::-1], tmp_path / 'set', RECIPE, workers=2, progress=False)
    assert everything(tmp_path / 'set') == everything(folder)


def test_goes_on_where_it_was_interrupted(semi_real, films, tmp_path, monkeypatch):
    folder, _ = semi_real
    whole = everything(folder)
    for name, content in whole.items():
        place = tmp_path / 'set' / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    journal = tmp_path / 'set' / 'lesions.jsonl'
    lines = journal.read_text().splitlines(keepends=True)
    # killed while it wrote the journal, and one film was lost
    journal.write_text(''.join(lines[:9]) + lines[9][:30])
    lost = json.loads(lines[8])['file_name']
    (tmp_path / 'set' / 'images' / lost).unlink()
    (tmp_path / 'set' / 'annotations' / 'train.json').unlink()
    done = []
    from mmfrac.preparation.semi_real import semi_real_set as writer

    original = writer.write_semi_real_image

    def counted(images, recipe, plan):
        done.append(plan.image.name)
        return original(images, recipe, plan)

    monkeypatch.setattr(writer, 'write_semi_real_image', counted)
    write_semi_real(films, tmp_path / 'set', RECIPE, workers=1, progress=False)
    assert len(done) == 12 - 8
    assert everything(tmp_path / 'set') == whole


def test_another_set_is_only_replaced_on_demand(films, tmp_path):
    few = films[2:6]
    first = Recipe(shares=Shares((0.5, 0.0, 0.5), 0.5, 0.0, 0.0))
    second = Recipe(seed=1, shares=first.shares)
    write_semi_real(few, tmp_path, first, workers=1, progress=False)
    with pytest.raises(ValueError, match=r'of other seed.*--overwrite'):
        write_semi_real(few, tmp_path, second, workers=1, progress=False)
    with pytest.raises(ValueError, match='of other films'):
        write_semi_real(films[2:4] + films[6:8], tmp_path, first, workers=1, progress=False)
    for name in ('images/mine.png', 'annotations/mine.json', 'images/scans/1.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('years of work')
        with pytest.raises(ValueError, match='does not name as of this set'):
            write_semi_real(few, tmp_path, second, workers=1, overwrite=True, progress=False)
        assert (tmp_path / name).is_file() and (tmp_path / 'annotations/test.json').is_file()
        (tmp_path / name).unlink()
    write_semi_real(few, tmp_path, second, workers=1, overwrite=True, progress=False)
    assert json.loads((tmp_path / 'semi_real.json').read_text())['seed'] == 1
    (tmp_path / 'semi_real.json').unlink()
    with pytest.raises(ValueError, match='not semi-real'):
        write_semi_real(few, tmp_path, second, workers=1, overwrite=True, progress=False)
    assert len(list((tmp_path / 'images').rglob('*.png'))) == 4


def test_all_unreadable_films_are_named_and_nothing_is_annotated(films, tmp_path):
    folder = tmp_path / 'bad'
    folder.mkdir()
    bad = []
    for index in range(2):
        (folder / f'{index}.png').write_bytes(b'\x89PNG\r\n\x1a\nbroken')
        bad.append(NegativeImage(str(folder / f'{index}.png'), f'{index}.png', f'bad{index}'))
    recipe = Recipe(shares=Shares((0, 0, 1), 0.0, 0.5, 0.0))
    with pytest.raises(AnnotationError) as error:
        write_semi_real(bad + films[2:3], tmp_path / 'set', recipe, workers=1, progress=False)
    assert len(error.value.problems) == 2 and '0.png' in str(error.value)
    assert not list((tmp_path / 'set' / 'annotations').iterdir())


@pytest.mark.slow
def test_a_film_that_crashes_its_decoder_is_named(films, tmp_path, monkeypatch):
    def read(path):
        if path == films[3].path:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_radiograph(path)

    monkeypatch.setattr('mmfrac.preparation.semi_real.semi_real_set.read_radiograph', read)
    recipe = Recipe(shares=Shares((0, 0, 1), 0.0, 1.0, 0.0))
    with pytest.raises(AnnotationError, match='crashes its decoder') as error:
        write_semi_real(films[:6], tmp_path, recipe, workers=2, progress=False)
    assert len(error.value.problems) == 1 and films[3].path in str(error.value)
    assert not list((tmp_path / 'annotations').iterdir())
    # the others stay
    assert len([path for path in (tmp_path / 'images').rglob('*') if path.is_file()]) == 5


def test_linked_negatives(films, tmp_path):
    recipe = Recipe(shares=Shares((0, 0, 1), 0.0, 0.0, 0.0), link=True)
    write_semi_real(films[2:4], tmp_path, recipe, workers=1, progress=False)
    for film in films[2:4]:
        place = tmp_path / 'images' / film.name
        assert place.is_symlink() and place.read_bytes() == Path(film.path).read_bytes()


def test_names_that_clash_and_sources_in_the_output(films, tmp_path):
    path = films[2].path
    clash = [NegativeImage(path, 'a.dcm', 'p'), NegativeImage(path, 'a.dcm.png', 'p')]
    recipe = Recipe(shares=Shares((0, 0, 1)))
    with pytest.raises(AnnotationError, match=r'a\.dcm\.png: two films'):
        write_semi_real(clash, tmp_path / 'set', recipe, progress=False)
    (tmp_path / 'images').mkdir()
    own = tmp_path / 'images' / 'a.png'
    own.write_bytes(Path(path).read_bytes())
    with pytest.raises(AnnotationError, match='lies in the folder that is written'):
        write_semi_real([NegativeImage(str(own), 'a.png', 'p')], tmp_path, recipe, progress=False)


@pytest.mark.parametrize(
    'wrong', [dict(seed=-1), dict(difficulty=1.1), dict(fractures=(0, 1)), dict(fractures=(3, 2))]
)
def test_impossible_recipes(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_contact_sheet_shows_films_before_and_after(semi_real, films, tmp_path):
    folder, _ = semi_real
    shown = draw_contact_sheet(folder, films, tmp_path / 'sheet.png', number=3, columns=2)
    picture = cv2.imread(str(tmp_path / 'sheet.png'))
    assert shown == 3 and picture.shape[1] > 2 * 480 and picture.std() > 20
    # the box is drawn on the second picture of a pair only
    green = (picture[..., 1] > 200) & (picture[..., 2] < 60)
    columns = np.flatnonzero(green[: picture.shape[0] // 2].any(axis=0))
    assert 240 < columns.min() < 484
    with pytest.raises(ValueError, match='cannot write the picture'):
        draw_contact_sheet(folder, films, tmp_path / 'sheet.nothing', number=1)
