# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmfrac.datasets import CXRDataset
from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.preparation.splits.folds import (
    HOLD_OUT,
    check_folds,
    choose_hold_out,
    hold_out_and_folds,
    read_folds,
    split_table,
    write_folds,
)
from mmfrac.utils.errors import AnnotationError

KINDS = dict(P_hos=(1, True), N=(0, True), P_pub=(1, False), U=(-1, False))


def coco(films, first_id=1, category=1):
    """COCO dict of ``(name, patient, subset, source)`` films; a P_hos film has two boxes."""
    images, annotations = [], []
    for index, (name, patient, subset, source) in enumerate(films):
        label, regions = KINDS[subset]
        image_id = first_id + index
        images.append(
            dict(id=image_id, file_name=name, width=20, height=10, label=label, regions=regions)
            | dict(source=source, patient_id=patient, age=40 + index)
        )
        annotations += [
            dict(
                id=7 + len(annotations) + offset,
                image_id=image_id,
                category_id=category,
                bbox=[offset, index % 5, 3, 2],
                site='rib',
            )
            for offset in range(2 * (subset == 'P_hos'))
        ]
    categories = [dict(id=category, name='fracture')]
    return dict(images=images, annotations=annotations, categories=categories)


def many_films(patients=60, name='a'):
    """One to three films of each patient, of all subsets and two sources."""
    subsets = ['P_hos', 'N', 'N', 'P_pub', 'N', 'P_hos', 'U']
    return [
        (f'{name}{patient}_{film}.png', f'p{patient}', subsets[(patient + film) % 7], source)
        for patient in range(patients)
        for film in range(1 + patient % 3)
        for source in ['hospital' if patient % 2 else 'public']
    ]


def written(path, data):
    path.write_text(json.dumps(data))
    return path


def splits_of(folder):
    return {
        str(path.relative_to(folder).with_suffix('')): json.loads(path.read_text())
        for path in folder.rglob('*.json')
        if path.name != 'folds.json'
    }


def patients_of(data):
    return {str(image['patient_id']) for image in data['images']}


def names_of(data):
    return sorted(image['file_name'] for image in data['images'])


films_of_patients = st.lists(
    st.lists(st.sampled_from(['P_hos', 'N', 'P_pub', 'U']), min_size=1, max_size=6),
    min_size=8,
    max_size=50,
)


@settings(max_examples=150, deadline=None)
@given(films_of_patients, st.integers(2, 5), st.sampled_from([0, 0.1, 0.3, 12]), st.integers(0, 9))
def test_a_patient_is_never_in_two_parts(films, num_folds, hold_out, seed):
    patients = [str(patient) for patient, subsets in enumerate(films) for _ in subsets]
    strata = [subset for subsets in films for subset in subsets]
    labels = [KINDS[subset][0] for subset in strata]
    try:
        places = hold_out_and_folds(patients, strata, labels, num_folds, hold_out, seed)
    except ValueError as error:
        assume('too few' not in str(error) and 'got' not in str(error))
        assert 'leaves nothing' in str(error)
        return
    assert len(set(zip(patients, places.tolist()))) == len(set(patients))
    assert set(places.tolist()) - {HOLD_OUT} == set(range(num_folds))
    for part in set(places.tolist()):
        assert {0, 1} <= {label for label, place in zip(labels, places) if place == part}
    assert (HOLD_OUT in places) == (hold_out > 0 and round(hold_out * len(labels)) > 0)
    again = hold_out_and_folds(patients, strata, labels, num_folds, hold_out, seed)
    assert np.array_equal(places, again)


def test_the_papers_hold_out_is_met_and_the_strata_are_kept():
    # 580 : 9858 hospital films of the paper, a tenth of them, one or two films a patient
    rng = np.random.default_rng(0)
    strata = rng.permutation(np.repeat([0, 1, 2], [116, 1500, 384]))
    patients = np.cumsum(rng.integers(0, 2, strata.size) | (np.arange(strata.size) % 2))
    groups = np.unique(patients, return_inverse=True)[1]
    chosen = choose_hold_out(groups, strata, 344, seed=4)[groups]
    assert chosen.sum() == 344
    # 344 * (116, 1500, 384) / 2000
    held = np.bincount(strata[chosen])
    assert np.abs(held - [20, 258, 66]).max() <= 1
    assert not np.array_equal(chosen, choose_hold_out(groups, strata, 344, seed=5)[groups])
    labels = (strata != 1).astype(int)
    places = hold_out_and_folds(patients.astype(str), strata.astype(str), labels, 5, 344, seed=4)
    sizes = [np.bincount(strata[places == fold], minlength=3) for fold in range(5)]
    for counts, whole in zip(np.transpose(sizes), [116, 1500, 384] - held):
        assert np.ptp(counts) <= 6 and counts.sum() == whole


def test_a_hold_out_is_no_choice_of_large_patients():
    # half of the films are of patients with ten, half of patients with one
    groups = np.concatenate([np.repeat(np.arange(50), 10), np.arange(50, 550)])
    chosen = choose_hold_out(groups, np.zeros(1000, np.int64), 200, seed=0)
    assert chosen[groups].sum() == 200
    assert 60 <= 10 * chosen[:50].sum() <= 140


def test_too_few_patients():
    patients = ['a', 'b', 'c', 'd', 'e', 'f'] * 20
    labels = [1, 1, 0, 0, 0, 0] * 20
    strata = [str(label) for label in labels]
    with pytest.raises(ValueError, match='too few patients: 2 have a film with fracture, and 5'):
        hold_out_and_folds(patients, strata, labels, 5, 0)
    with pytest.raises(ValueError, match='2 have a film with fracture, and 3 parts'):
        hold_out_and_folds(patients, strata, labels, 2, 20)
    assert set(hold_out_and_folds(patients, strata, labels, 2, 0)) == {0, 1}
    for hold_out, message in (
        (120, 'leaves nothing'),
        (-1, 'a hold-out is'),
        (2.5, 'a hold-out is'),
        (0.004, r'a hold-out of 0\.004 of 120 films is none: give a larger share'),
    ):
        with pytest.raises(ValueError, match=message):
            hold_out_and_folds(patients, strata, labels, 2, hold_out)
    with pytest.raises(ValueError, match='at least 2 folds'):
        hold_out_and_folds(patients, strata, labels, 1, 0)


def test_files(tmp_path):
    data = coco(many_films())
    file = written(tmp_path / 'all.json', data)
    counts = write_folds([file], tmp_path / 'folds', hold_out=0.2, seed=3)
    splits = splits_of(tmp_path / 'folds')
    assert set(splits) == {
        'test',
        *(f'fold{k}/{part}' for k in range(5) for part in ('train', 'val')),
    }
    assert set(splits) == set(counts)
    whole = {image['file_name']: image for image in data['images']}
    validated = Counter()
    for fold in range(5):
        parts = [splits['test'], splits[f'fold{fold}/train'], splits[f'fold{fold}/val']]
        assert sorted(sum(map(names_of, parts), [])) == sorted(whole)  # noqa: RUF017
        one, two, three = map(patients_of, parts)
        assert not one & two and not two & three and not one & three
        validated.update(names_of(parts[2]))
    assert set(validated.values()) == {1}
    assert set(validated) == set(whole) - set(names_of(splits['test']))
    for name, split in splits.items():
        assert check_annotations(split) == []
        assert all(image == whole[image['file_name']] for image in split['images'])
        wanted = {image['id'] for image in split['images']}
        assert split['annotations'] == [a for a in data['annotations'] if a['image_id'] in wanted]
        row = counts[name]
        assert row['films'] == len(split['images']) and row['boxes'] == len(split['annotations'])
        assert row['positives'] == row['P_hos'] + row['P_pub'] and row['boxes'] == 2 * row['P_hos']
        assert row['patients'] == len(patients_of(split))
    about = read_folds(tmp_path / 'folds')
    assert (about['seed'], about['folds'], about['hold_out']) == (3, 5, 0.2)
    assert about['sizes'] == counts
    for name, strata in about['strata'].items():
        assert sum(strata.values()) == counts[name]['films']
        assert (
            sum(n for key, n in strata.items() if key.startswith('P_hos ')) == counts[name]['P_hos']
        )
    lines = split_table(counts).splitlines()
    assert len(lines) == 12 and lines[1].split() == ['test', *map(str, counts['test'].values())]


def test_seed_decides(tmp_path):
    file = written(tmp_path / 'all.json', coco(many_films()))
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        write_folds([file], tmp_path / name, hold_out=20, seed=seed)
    one, same, other = (splits_of(tmp_path / name) for name in 'abc')
    assert one == same and one != other


def test_several_files_and_a_test_set_that_is_kept(tmp_path):
    one, two = coco(many_films(40)), coco(many_films(40, 'b'), category=3)
    test = coco([(f't{i}.png', f'q{i}', 'N' if i % 2 else 'P_hos', 'hospital') for i in range(6)])
    files = [written(tmp_path / f'{i}.json', data) for i, data in enumerate((one, two))]
    test_file = written(tmp_path / 'test.json', test)
    write_folds(files, tmp_path / 'folds', num_folds=3, test_file=test_file)
    splits = splits_of(tmp_path / 'folds')
    assert splits['test'] == test
    films = splits['fold1/train']['images'] + splits['fold1/val']['images']
    assert len({image['id'] for image in films}) == len(films) == 2 * len(one['images'])
    box = splits['fold1/val']['annotations'][0]
    image = next(i for i in splits['fold1/val']['images'] if i['id'] == box['image_id'])
    assert image['label'] == 1 and box['site'] == 'rib' and box['category_id'] == 1
    assert check_annotations(splits['fold1/train']) == []
    assert splits['fold1/train']['categories'] == [dict(id=1, name='fracture')]

    test['images'][0]['patient_id'] = 'p7'
    written(test_file, test)
    with pytest.raises(ValueError, match=r"4 films .* of 1 patients .*\['p7'\]: --drop-shared"):
        write_folds(files, tmp_path / 'new', num_folds=3, test_file=test_file)
    write_folds(files, tmp_path / 'new', num_folds=3, test_file=test_file, drop_shared=True)
    for name, split in splits_of(tmp_path / 'new').items():
        assert ('p7' in patients_of(split)) == (name == 'test')


def test_films_of_the_test_set_are_not_split(tmp_path):
    pool = coco(many_films(40))
    test = coco([(f't{i}.png', f'q{i}', 'N' if i % 2 else 'P_hos', 'hospital') for i in range(6)])
    # the third film of patient p5, whose id is spelt otherwise or absent
    test['images'][1] |= dict(file_name='./a5_2.png', patient_id='P-05')
    test['images'][3]['file_name'] = 'a8_1.png'
    del test['images'][3]['patient_id']
    file, test_file = written(tmp_path / 'all.json', pool), written(tmp_path / 'test.json', test)
    match = (
        r"2 films to split are in the test file, too, e\.g\. \['a5_2\.png', 'a8_1\.png'\]: --drop"
    )
    with pytest.raises(ValueError, match=match):
        write_folds([file], tmp_path / 'folds', num_folds=3, test_file=test_file)
    write_folds([file], tmp_path / 'folds', num_folds=3, test_file=test_file, drop_shared=True)
    splits = splits_of(tmp_path / 'folds')
    assert splits['test'] == test
    kept = {
        image['file_name'] for image in pool['images'] if image['patient_id'] not in ('p5', 'p8')
    }
    for fold in range(3):
        train, val = splits[f'fold{fold}/train'], splits[f'fold{fold}/val']
        assert {*names_of(train), *names_of(val)} == kept


def with_nodules():
    """Films of which four have fractures, each third a nodule and none a label; CXRDataset's labels."""
    data = coco([(f'{i}.png', f'p{i}', 'N', 'hospital') for i in range(24)])
    for image in data['images']:
        del image['label'], image['regions']
    data['categories'] = [dict(id=name, name=f) for name, f in enumerate(('fracture', 'nodule'))]
    data['annotations'] = [
        dict(id=10 * i + category, image_id=1 + i, category_id=category, bbox=[1, 1, 5, 5])
        for i in range(24)
        for category, every in enumerate((6, 3))
        if i % every == 0
    ]
    return data, [int(i % 6 == 0) for i in range(24)]


def test_boxes_of_other_categories_are_no_lesions(tmp_path):
    data, labels = with_nodules()
    file = written(tmp_path / 'all.json', data)
    counts = write_folds([file], tmp_path / 'folds', num_folds=2, hold_out=0)
    about = read_folds(tmp_path / 'folds')
    check_folds(tmp_path / 'folds', about)
    assert about['categories'] == list(CXRDataset.METAINFO['classes'])
    assert about['notes'] == [
        "boxes of 'nodule' (8) are no lesions, those of 'fracture' are; --category names others, as "
        'metainfo of a config does'
    ]
    for name, row in counts.items():
        read = CXRDataset(
            ann_file=str(tmp_path / 'folds' / f'{name}.json'), pipeline=[], check_files=False
        )
        assert (row['positives'], row['films']) == (read.labels().sum(), len(read))
        assert row['boxes'] == row['positives']
    # nor do they contradict label 0
    for image, label in zip(data['images'], labels):
        image['label'] = label
    written(file, data)
    assert counts == write_folds([file], tmp_path / 'labelled', num_folds=2, hold_out=0)
    both = ['fracture', 'nodule']
    with pytest.raises(AnnotationError, match=r'label 0, but 1 box\(es\)'):
        write_folds([file], tmp_path / 'both', num_folds=2, hold_out=0, category=both)
    written(file, with_nodules()[0])
    counts = write_folds([file], tmp_path / 'both', num_folds=2, hold_out=0, category=both)
    check_folds(tmp_path / 'both', read_folds(tmp_path / 'both'))
    assert counts['fold0/val']['positives'] + counts['fold1/val']['positives'] == 8
    assert counts['fold0/val']['boxes'] + counts['fold1/val']['boxes'] == 12
    with pytest.raises(AnnotationError, match=r"none of the classes \['fractur'\]"):
        write_folds([file], tmp_path / 'wrong', num_folds=2, hold_out=0, category='fractur')


def test_categories_of_other_names_and_of_several_files(tmp_path):
    data, _ = with_nodules()
    data['annotations'] = [one for one in data['annotations'] if one['category_id'] == 0]
    data['categories'] = [dict(id=0, name='rib fx')]
    file = written(tmp_path / 'all.json', data)
    counts = write_folds([file], tmp_path / 'folds', num_folds=2, hold_out=0)
    assert read_folds(tmp_path / 'folds')['categories'] is None
    assert counts['fold0/val']['positives'] == counts['fold0/val']['boxes'] == 2
    # folds of earlier versions do not name categories
    about = read_folds(tmp_path / 'folds')
    del about['categories']
    written(tmp_path / 'folds/folds.json', about)
    check_folds(tmp_path / 'folds', read_folds(tmp_path / 'folds'))
    # and count all, 'fracture' among them or not
    for name in about['sizes']:
        path = tmp_path / 'folds' / f'{name}.json'
        split = json.loads(path.read_text())
        split['categories'].append(dict(id=1, name='fracture'))
        for image in split['images']:
            of_image = [one for one in split['annotations'] if one['image_id'] == image['id']]
            image.update(label=1 if of_image else 0, regions=True)
        written(path, split)
    check_folds(tmp_path / 'folds', read_folds(tmp_path / 'folds'))
    # a file without the category, and one that spells it otherwise
    data['categories'] = [dict(id=0, name='fracture')]
    other = coco([(f'n{i}.png', f'n{i}', 'N', 'hospital') for i in range(4)])
    other['categories'] = []
    files = [written(file, data), written(tmp_path / 'other.json', other)]
    counts = write_folds(files, tmp_path / 'two', num_folds=2, hold_out=0)
    assert counts['fold0/val']['films'] + counts['fold1/val']['films'] == 28
    other = coco([('h0.png', 'h0', 'P_hos', 'hospital')])
    other['categories'][0]['name'] = 'Fractures'
    written(files[1], other)
    with pytest.raises(
        AnnotationError, match=r"category 'Fractures' has 2 boxes .* is it 'fracture'"
    ):
        write_folds(files, tmp_path / 'spelt', num_folds=2, hold_out=0)


def test_a_test_file_of_negatives_needs_no_category(tmp_path):
    file = written(tmp_path / 'a.json', coco(many_films()))
    test = coco([(f'n{i}.png', f'n{i}', 'N', 'hospital') for i in range(4)])
    for number, categories in enumerate(([], [dict(id=1, name='nodule')])):
        test['categories'] = categories
        kept = written(tmp_path / f'test{number}.json', test)
        for category in (None, 'fracture'):
            out = tmp_path / f'{number}{category}'
            counts = write_folds([file], out, 2, test_file=kept, category=category)
            assert (counts['test']['films'], counts['test']['positives']) == (4, 0)
            check_folds(out, read_folds(out))
            # and can be tested on
            read = CXRDataset(ann_file=str(out / 'test.json'), pipeline=[], check_files=False)
            assert read.labels().tolist() == [0] * 4
    test = coco([('h.png', 'h', 'P_hos', 'hospital')])
    test['categories'][0]['name'] = 'rib fracture'
    kept = written(tmp_path / 'rib.json', test)
    with pytest.raises(
        AnnotationError, match=r'none of the classes .* name those .*--category\)'
    ) as e:
        write_folds([file], tmp_path / 'rib', 2, test_file=kept)
    assert "its box of 'rib fracture' is of none of the classes; name that category" in str(e.value)


def test_sources_that_are_only_trained_on(tmp_path):
    films = [
        *((f'h{i}.png', f'h{i}', ['P_hos', 'N'][i % 2], 'hospital') for i in range(30)),
        *((f'u{i}.png', f'u{i}', 'P_pub', 'public') for i in range(20)),
        *((f'b{i}.png', f'h{i}', 'P_pub', 'public') for i in range(30)),
    ]
    file = written(tmp_path / 'all.json', coco(films))
    write_folds([file], tmp_path / 'folds', hold_out=6, eval_sources=['hospital'])
    splits = splits_of(tmp_path / 'folds')
    for fold in range(5):
        train, val = splits[f'fold{fold}/train'], splits[f'fold{fold}/val']
        assert {image['source'] for image in val['images']} == {'hospital'}
        assert {f'u{i}.png' for i in range(20)} <= set(names_of(train))
        held = patients_of(val) | patients_of(splits['test'])
        assert not patients_of(train) & held
        assert len(train['images']) == 20 + 2 * (30 - len(held))
    with pytest.raises(ValueError, match=r"no film of source \['clinic'\]"):
        write_folds([file], tmp_path / 'new', eval_sources=['clinic'])


def test_nothing_is_overwritten_or_half_written(tmp_path, monkeypatch):
    file = written(tmp_path / 'all.json', coco(many_films()))
    out = tmp_path / 'folds'
    write_folds([file], out, hold_out=20)
    before = splits_of(out)
    with pytest.raises(ValueError, match='--overwrite'):
        write_folds([file], out, hold_out=20, seed=1)
    synced = []

    def full_disk(descriptor):
        synced.append(descriptor)
        if len(synced) > 3:
            raise OSError('no space')

    with monkeypatch.context() as patched:
        patched.setattr('mmfrac.utils.io.os.fsync', full_disk)
        with pytest.raises(OSError, match='no space'):
            write_folds([file], out, hold_out=20, seed=1, overwrite=True)
    assert splits_of(out) == before and sorted(tmp_path.iterdir()) == [file, out]
    write_folds([file], out, num_folds=2, hold_out=20, seed=1, overwrite=True)
    assert not (out / 'fold2').exists() and sorted(tmp_path.iterdir()) == [file, out]
    (out / 'notes.txt').write_text('years of work')
    with pytest.raises(ValueError, match='files that mmfrac did not write'):
        write_folds([file], out, num_folds=3, hold_out=20, overwrite=True)
    assert (out / 'notes.txt').is_file() and (out / 'fold1').is_dir()
    (tmp_path / 'other').mkdir()
    with pytest.raises(ValueError, match='holds no folds'):
        write_folds([file], tmp_path / 'other', overwrite=True)


def test_all_problems_of_all_files_at_once(tmp_path):
    one, two = coco(many_films(6)), coco(many_films(6))
    one['images'][2]['label'] = 4
    three = coco([('z.png', 'z', 'N', 'a')])
    three['images'][0]['width'] = 0
    files = [written(tmp_path / f'{i}.json', d) for i, d in enumerate((two, two, one, three))]
    with pytest.raises(AnnotationError) as caught:
        write_folds(files, tmp_path / 'folds')
    problems = caught.value.problems
    assert len(problems) == len(two['images']) + 2
    assert f'{files[1]}: images[0] (id 1, a0_0.png): also in {files[0]}' in problems
    assert any(line.startswith(f'{files[2]}: images[2]') for line in problems)
    assert any(line.startswith(f'{files[3]}: images[0]') for line in problems)
    with pytest.raises(FileNotFoundError, match=r'none\.json'):
        write_folds([*files, tmp_path / 'none.json'], tmp_path / 'folds')


def test_damaged_folds_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'tools/split_folds\.py'):
        read_folds(tmp_path)
    file = written(tmp_path / 'all.json', coco(many_films()))
    write_folds([file], tmp_path / 'folds', hold_out=0)
    assert 'test' not in read_folds(tmp_path / 'folds')['sizes']
    (tmp_path / 'folds/fold3/val.json').unlink()
    with pytest.raises(ValueError, match=r"lacks \['fold3/val.json'\]"):
        read_folds(tmp_path / 'folds')
    (tmp_path / 'folds/folds.json').write_text('[]')
    with pytest.raises(ValueError, match='no list of folds'):
        read_folds(tmp_path / 'folds')


def test_patients_that_are_absent_or_unsure_are_noted(tmp_path):
    images = [
        dict(id=i, file_name=f'{i}.png', width=9, height=9, label=i % 2, regions=i % 2 == 0)
        for i in range(24)
    ]
    for image, patient in zip(images, (' P7', 'P7', '13', '00000013')):
        image['patient_id'] = patient
    file = tmp_path / 'all.json'
    file.write_text(
        json.dumps(dict(images=images, annotations=[], categories=[dict(id=1, name='fracture')]))
    )
    write_folds([file], tmp_path / 'folds', num_folds=2, hold_out=0)
    without, similar = read_folds(tmp_path / 'folds')['notes']
    assert without.startswith('20 of 24 images have no patient_id: each counts as a patient')
    assert "' P7' and 'P7'" in similar and "'00000013' and '13'" in similar


@pytest.mark.parametrize(
    'change',
    [
        *(dict(folds='5'), dict(folds=None), dict(folds=1), dict(folds=10**9), dict(folds=True)),
        *(dict(seed='0'), dict(seed=None), dict(sizes=[]), dict(sizes={}), dict(sizes=None)),
        *(dict(sizes={'../x': {}}), dict(sizes={'fold0/train': 3}), None, [], 3, '['),
    ],
)
def test_wrong_folds_are_refused_in_one_sentence(tmp_path, change):
    write_folds([written(tmp_path / 'a.json', coco(many_films()))], tmp_path / 'folds', hold_out=0)
    file = tmp_path / 'folds' / 'folds.json'
    about = json.loads(file.read_text())
    if change == '[':
        file.write_text('[' * 100_000)
    else:
        file.write_text(json.dumps(about | change if isinstance(change, dict) else change))
    with pytest.raises(ValueError, match=r'folds\.json is no list of folds \(.*split again'):
        read_folds(tmp_path / 'folds')


@pytest.mark.parametrize(
    'name, value',
    [
        *[('folds', value) for value in (0, -1, 7, 2.0, '2', None, True, [2])],
        *[('sizes', value) for value in (None, [], 'x', {}, {'../x': {}}, {'fold0/train': 3})],
        ('sizes', {'fold0/train': {}, 'fold0/val': {}}),
        *[('seed', value) for value in (-1, 'x', float('nan'), float('inf'), True)],
        *[('hold_out', value) for value in (-1, 'x', float('nan'))],
        *[('categories', value) for value in ('fracture', [1], 3)],
        *[('films', value) for value in (-1, 1.5, '3', None, float('nan'))],
        *[('positives', value) for value in (10**6, -1)],
    ],
)
def test_a_list_of_folds_with_impossible_values(name, value, tmp_path):
    file = written(tmp_path / 'all.json', coco(many_films(6)))
    write_folds([file], tmp_path / 'folds', num_folds=2, hold_out=0)
    path = tmp_path / 'folds/folds.json'
    about = json.loads(path.read_text())
    assert read_folds(tmp_path / 'folds')['folds'] == 2
    if name in ('films', 'positives'):
        about['sizes']['fold0/val'][name] = value
    else:
        about[name] = value
    path.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r'folds\.json is no list of folds'):
        read_folds(tmp_path / 'folds')


def test_a_file_twice_is_no_other_film(tmp_path):
    file = written(tmp_path / 'all.json', coco(many_films()))
    (tmp_path / 'again.json').hardlink_to(file)
    for other in (file, tmp_path / 'again.json'):
        with pytest.raises(AnnotationError, match=rf'{other.name}: the same file is given twice'):
            write_folds([file, other], tmp_path / 'folds', hold_out=0)
    for hold_out in (float('inf'), float('nan')):
        with pytest.raises(ValueError, match='a hold-out is a number of films or a share below 1'):
            write_folds([file], tmp_path / 'folds', hold_out=hold_out)


def test_folds_that_were_changed(tmp_path):
    folder = tmp_path / 'folds'
    write_folds([written(tmp_path / 'a.json', coco(many_films()))], folder, 3, hold_out=20)
    about = read_folds(folder)
    check_folds(folder, about)
    with pytest.raises(ValueError, match=r"sizes has 'fold2/train'"):
        written(folder / 'folds.json', about | dict(folds=2))
        read_folds(folder)
    splits = {name: json.loads((folder / f'{name}.json').read_text()) for name in about['sizes']}
    one = dict(id=10**6, file_name='new.png', width=9, height=9, label=0, patient_id='new')
    more = dict(splits['fold1/train'], images=[*splits['fold1/train']['images'], one])
    with pytest.raises(
        ValueError, match=r'train\.json is not that of folds\.json, which says films'
    ):
        written(folder / 'fold1/train.json', more)
        check_folds(folder, about)
    written(folder / 'fold1/train.json', splits['fold1/train'])
    for held in ('fold1/val', 'test'):
        leak = splits['fold1/train']['images'][0]['patient_id']
        changed = [{**splits[held]['images'][0], 'patient_id': leak}]
        written(folder / f'{held}.json', splits[held] | dict(images=changed, annotations=[]))
        told = {name: {} for name in about['sizes']}
        match = rf"1 patients of fold1/train\.json are in {held}\.json, too, e\.g\. '{leak}'"
        if held == 'test':
            match = match.replace('fold1/train', r'fold\d/train')
        with pytest.raises(ValueError, match=match):
            check_folds(folder, about | dict(sizes=told))
        # one film of the training set under another patient
        image = splits['fold1/train']['images'][0]
        image = dict(image, patient_id='new', label=0, file_name=f'./{image["file_name"]}')
        written(folder / f'{held}.json', splits[held] | dict(images=[image], annotations=[]))
        match = rf'1 films of fold\d/train\.json are in {held}\.json, too, e\.g\. '
        with pytest.raises(ValueError, match=match):
            check_folds(folder, about | dict(sizes=told))
        written(folder / f'{held}.json', splits[held])
