# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.preparation.converters import CocoImage, CocoWriter, Lesion, write_coco
from mmfrac.utils.errors import AnnotationError


def film(name='a.png', label=0, regions=True, lesions=(), patient='p', size=(40, 30)):
    return CocoImage(name, *size, label, regions, 'here', patient, list(lesions))


POSITIVE = film('b.png', 1, True, [Lesion((1, 2, 11, 22), site='rib'), Lesion((0, 0, 40, 30))])


def test_one_by_one(tmp_path):
    out = tmp_path / 'deep' / 'er' / 'a.json'
    outline = Lesion((1, 1, 5, 5), polygon=[1, 1, 5, 1, 5, 5])
    films = [film(), POSITIVE, film('c.png', 1, False), film('ü ö.png', 1, True, [outline])]
    with CocoWriter(out) as writer:
        assert [writer.add(one) for one in films] == [[]] * 4
        assert not out.parent.exists()
        summary = writer.finish(dict(lateral=7), dict(clipped=1))
    data = json.loads(out.read_text())
    assert list(data) == ['images', 'annotations', 'categories']
    assert check_annotations(data) == []
    assert [image['id'] for image in data['images']] == [1, 2, 3, 4]
    assert data['images'][3]['file_name'] == 'ü ö.png'
    found = [(a['id'], a['image_id'], a['bbox'], a.get('site')) for a in data['annotations']]
    assert found == [
        (1, 2, [1, 2, 10, 20], 'rib'),
        (2, 2, [0, 0, 40, 30], None),
        (3, 4, [1, 1, 4, 4], None),
    ]
    assert (summary.films, summary.positives, summary.boxes, summary.polygons) == (4, 3, 3, 1)
    assert summary.subsets == dict(P_hos=2, N=1, P_pub=1, U=0) and summary.patients == 1
    table = str(summary)
    for words in ('positives', 'left out: lateral', '7', 'changed: clipped', str(out)):
        assert words in table
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == ['a.json']


@pytest.mark.parametrize(
    ('bad', 'words'),
    [
        (film(size=(0, 30)), 'width must be a positive integer'),
        (film(label=2), 'unknown label 2'),
        (film(''), 'file_name must be a non-empty string'),
        (film('x.png', 1, True), 'no box'),
        (film('x.png', 0, True, [Lesion((0, 0, 5, 5))]), 'label 0, but 1 box'),
        (film('x.png', -1, True, [Lesion((0, 0, 5, 5))]), 'label -1 (unknown), but 1 box'),
        (film('x.png', 1, True, [Lesion((0, 0, 5, 50))]), 'outside its film'),
        (film('x.png', 1, True, [Lesion((5, 0, 5, 5))]), 'no positive size'),
        (film('x.png', 1, True, [Lesion((0, 0, float('nan'), 5))]), 'four finite numbers'),
        (POSITIVE, 'duplicate file_name, also images[0]'),
    ],
)
def test_a_fault_leaves_nothing_behind(tmp_path, bad, words):
    out = tmp_path / 'deep' / 'a.json'
    with CocoWriter(out) as writer:
        assert writer.add(POSITIVE) == []
        assert words in writer.add(bad)[0]
        assert writer.add(film('last.png')) == []
        with pytest.raises(ValueError, match='not written'):
            writer.finish()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AnnotationError, match=r'images\[1\] \(id 2'):
        write_coco([POSITIVE, bad], out)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_keeps_the_old_file(tmp_path):
    out = tmp_path / 'a.json'
    write_coco([film()], out)
    before = out.read_bytes()
    with pytest.raises(KeyboardInterrupt), CocoWriter(out) as writer:
        writer.add(POSITIVE)
        raise KeyboardInterrupt
    with CocoWriter(out) as writer:
        writer.add(POSITIVE)
    assert out.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['a.json']


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ValueError, match='is a folder'):
        CocoWriter(tmp_path)
    with pytest.raises(ValueError, match='is not a folder'):
        CocoWriter(tmp_path / 'file' / 'a.json')


sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))
lesions = st.lists(
    st.tuples(*[st.integers(-3, 63)] * 4).map(lambda box: Lesion((*map(float, box),))), max_size=3
)
films = st.lists(
    st.builds(
        film,
        name=st.sampled_from(['a', 'b', 'ü/c', 'd"\\', '']),
        label=st.sampled_from([-1, 0, 1]),
        regions=st.booleans(),
        lesions=lesions,
        patient=st.sampled_from(['p', 'q']),
        size=sizes,
    ),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(films)
def test_writes_what_the_loader_accepts_and_nothing_else(films):
    """The checks of the writer, one film at a time, against those of the loader on the whole."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'a.json'
        images, annotations = [], []
        for one in films:
            images.append(
                dict(id=len(images) + 1, file_name=one.file_name, label=one.label)
                | dict(width=one.width, height=one.height, regions=one.regions)
            )
            for lesion in one.lesions:
                x1, y1, x2, y2 = lesion.box
                annotations.append(
                    dict(id=len(annotations) + 1, image_id=len(images), category_id=1)
                    | dict(bbox=[x1, y1, x2 - x1, y2 - y1])
                )
        data = dict(
            images=images, annotations=annotations, categories=[dict(id=1, name='fracture')]
        )
        if check_annotations(data):
            with pytest.raises(AnnotationError):
                write_coco(films, out)
            assert not out.exists()
        else:
            summary = write_coco(films, out)
            written = json.loads(out.read_text())
            assert check_annotations(written) == []
            assert [a['bbox'] for a in written['annotations']] == [a['bbox'] for a in annotations]
            assert summary.films == len(images) and summary.boxes == len(annotations)
            assert sum(summary.subsets.values()) == summary.films
