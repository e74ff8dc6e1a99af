# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from hypothesis import given
from hypothesis import strategies as st

from mmfrac.preparation.checks.data_check import (
    equal_pixels,
    odd_boxes,
    one_class,
    patients_in_several_splits,
    shared_images,
)
from mmfrac.preparation.checks.split_file import ImageEntry

SPLITS = ('train', 'val', 'test')


def film(split='train', name='a', patient=None, label=0, boxes=(), size=(100, 80)):
    return ImageEntry(split, name, f'images/{name}', size, label, patient, list(boxes))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SPLITS), st.sampled_from('abcdef'), st.none() | st.sampled_from('pqrs')
        ),
        max_size=20,
    )
)
def test_what_two_splits_share(rows):
    films = [film(split, name, patient) for split, name, patient in rows]
    patients = {p for _, _, p in rows if p and len({s for s, _, q in rows if q == p}) > 1}
    found = patients_in_several_splits(films)
    assert {finding.message.split()[1] for finding in found} == patients
    assert len(found) == len(patients)
    names = {n for _, n, _ in rows if len({s for s, m, _ in rows if m == n}) > 1}
    found = shared_images(films)
    assert {finding.image for finding in found} == names and len(found) == len(names)


def test_equal_pixels():
    def checks(*films):
        return [finding.check for finding in equal_pixels([films])]

    assert checks(film(), film(name='b')) == ['same_pixels']
    assert checks(film(), film('val', 'b')) == ['shared_pixels']
    assert checks(film(label=1), film('val', 'b')) == ['shared_pixels', 'label_conflict']
    # an unknown label contradicts none
    assert checks(film(label=-1), film(name='b'), film(name='c', label=None)) == ['same_pixels']


def test_odd_boxes():
    def messages(*boxes, **options):
        return [finding.message for finding in odd_boxes(film(boxes=boxes, **options))]

    assert messages([1, 1, 2, 2], [1, 1, 50, 40]) == []
    assert messages([1, 1, 1.9, 30]) == ['train: a: box [1, 1, 1.9, 30] is thinner than 2 px']
    assert messages([1, 1, 51, 40]) == ['train: a: box [1, 1, 51, 40] covers 26% of the film']
    assert messages([1, 1, 9, 9], [1, 1, 9, 9])[0].endswith('is there 2 times')
    assert messages([1, 1, 0, 9], [1, 1, -4, 9]) == []
    assert messages([1, 1, 1, 1], size=None) == []


def test_one_class():
    assert one_class('val', [film(label=0), film(label=1)]) == []
    assert 'no film' in one_class('val', [])[0].message
    assert '2 of label 0' in one_class('val', [film(), film(), film(label=-1)])[0].message
    assert 'none with a known label' in one_class('val', [film(label=-1)])[0].message
