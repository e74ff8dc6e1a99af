# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmfrac  # noqa: F401
from mmfrac.datasets.label_fraction import LabelFraction, kept_patients
from mmfrac.utils.config import set_label_fraction
from mmfrac.utils.errors import MissingImageError

# patients a to j with 1 to 4 boxes on one or two films each, among negatives and label-only films
BOXES = dict(a=[1], b=[2, 2], c=[1, 1], d=[3], e=[1], f=[2], g=[1, 3], h=[1], i=[2], j=[1])


def content():
    images, annotations = [], []
    for patient, films in BOXES.items():
        for count in films:
            images.append(dict(label=1, regions=True, patient_id=patient, source='hospital'))
            annotations += [
                dict(image_id=len(images), category_id=1, bbox=[4 * i, 3, 3, 5])
                for i in range(count)
            ]
        images.append(dict(label=0, regions=True, patient_id=patient, source='hospital'))
        images.append(dict(label=1, regions=False, patient_id=patient, source='public'))
    for index, image in enumerate(images):
        image |= dict(id=index + 1, file_name=f'{index}.png', width=32, height=32)
    for index, annotation in enumerate(annotations):
        annotation['id'] = index + 1
    return dict(images=images, annotations=annotations, categories=[dict(id=1, name='fracture')])


@pytest.fixture
def root(tmp_path):
    init_default_scope('mmdet')
    (tmp_path / 'a.json').write_text(json.dumps(content()))
    return tmp_path


def build(root, **options):
    config = dict(type='CXRDataset', data_root=str(root), ann_file='a.json', check_files=False)
    return DATASETS.build(config | options)


def infos(dataset):
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def test_as_many_boxes_as_come_nearest():
    boxes = dict.fromkeys('abcdefghij', 2)
    assert len(kept_patients(boxes, 0.5)) == 5
    assert len(kept_patients(boxes, 0.54)) == 5 and len(kept_patients(boxes, 0.56)) == 6
    assert len(kept_patients(boxes, 0.001)) == 1 and len(kept_patients(boxes, 1)) == 10
    assert kept_patients({}, 0.5) == set()


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.text(max_size=4), st.integers(1, 9), min_size=1, max_size=40),
    st.lists(st.floats(0.01, 1), min_size=2, max_size=4),
    st.integers(0, 5),
    st.randoms(),
)
def test_nested_near_the_share_and_blind_to_the_order(boxes, fractions, seed, random):
    shuffled = list(boxes.items())
    random.shuffle(shuffled)
    smaller: set[str] = set()
    for fraction in sorted(fractions):
        kept = kept_patients(boxes, fraction, seed)
        assert kept == kept_patients(dict(shuffled), fraction, seed)
        assert smaller <= kept and kept
        total = sum(boxes.values())
        off = abs(sum(boxes[patient] for patient in kept) - fraction * total)
        assert (
            off <= max(max(boxes.values()) / 2, boxes[next(iter(kept))] * (len(kept) == 1)) + 1e-9
        )
        smaller = kept


def test_every_process_decides_alike():
    # a fixed expectation: hash() would differ from run to run
    boxes = {name: sum(films) for name, films in BOXES.items()}
    assert kept_patients(boxes, 0.3) == {'f', 'g', 'h'}
    seeds = {frozenset(kept_patients(dict.fromkeys(BOXES, 1), 0.3, seed)) for seed in range(9)}
    assert len(seeds) > 1


@pytest.mark.parametrize('fraction', [0.05, 0.25, 0.5, 1.0])
def test_the_other_films_keep_their_label_alone(root, fraction):
    whole = build(root)
    films = infos(build(root, label_fraction=fraction))
    assert [film['file_name'] for film in films] == whole.file_names()
    kept = {film['patient_id'] for film in films if film['instances']}
    assert kept == kept_patients({name: sum(n) for name, n in BOXES.items()}, fraction)
    for film, before in zip(films, infos(whole)):
        if before['instances'] and film['patient_id'] not in kept:
            assert film == before | dict(regions=False, instances=[])
        else:
            assert film == before  # a patient's films lose their boxes together, or none does
    # the data sets of supervised and label-only films complete each other
    parts = [build(root, label_fraction=fraction, subset=name) for name in ('P_hos', 'N', 'P_pub')]
    assert sorted(name for part in parts for name in part.file_names()) == sorted(
        whole.file_names()
    )
    assert all(film['instances'] for film in infos(parts[0]))


def test_the_other_films_can_be_dropped(root):
    kept = build(root, label_fraction=0.25, subset='P_hos').file_names()
    public = build(root, subset='P_pub').file_names()
    dropping = dict(fraction=0.25, rest='drop')
    assert build(root, label_fraction=dropping, subset='P_hos').file_names() == kept
    assert build(root, label_fraction=dropping, subset='P_pub').file_names() == public
    assert len(build(root, label_fraction=dropping)) == len(kept) + 2 * len(BOXES)
    assert len(build(root, label_fraction=0.25, subset='P_pub')) > len(public)


def test_a_missing_film_is_named_by_its_place_in_the_file(root):
    dropping = dict(fraction=0.1, rest='drop')
    last = len(content()['images']) - 1
    with pytest.raises(MissingImageError) as caught:
        build(root, label_fraction=dropping, check_files=True)
    assert f'images[{last}] (id {last + 1}, {last}.png): missing' in caught.value.problems[-1]


@pytest.mark.parametrize(
    'value', [0, -0.1, 1.5, True, dict(fraction=0.5, rest='keep'), dict(seed=1), dict(share=0.1)]
)
def test_bad_options_are_refused(root, value):
    with pytest.raises(ValueError, match='label_fraction'):
        build(root, label_fraction=value)
    assert LabelFraction.of(None) is None


def test_no_box_is_hidden_from_a_test(root):
    (root / 'a.json').write_text('not read')
    with pytest.raises(ValueError, match='label_fraction in a test'):
        build(root, label_fraction=0.5, test_mode=True)


@pytest.mark.parametrize('name', ['frac_sup.py', 'phantom/frac_ssl_phantom.py'])
def test_set_label_fraction_reaches_every_training_set_alone(repository, name):
    cfg = Config.fromfile(repository / 'configs' / name)
    set_label_fraction(cfg._cfg_dict, 0.1, seed=3)
    train = cfg.train_dataloader.dataset
    for dataset in train.get('datasets', [train]):
        assert dataset.label_fraction == dict(fraction=0.1, seed=3, rest='P_pub')
    assert 'label_fraction' not in cfg.val_dataloader.dataset
