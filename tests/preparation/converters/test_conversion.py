# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What all converters do alike, seen through the plain CSV."""

import json
import re
import tempfile
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given as random_cases
from hypothesis import settings
from hypothesis import strategies as st

from mmfrac.datasets import CXRDataset
from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.preparation.converters import ConvertOptions, convert_csv
from mmfrac.utils.errors import AnnotationError

GIVEN = ConvertOptions(size=(40, 30))


@pytest.fixture
def convert(tmp_path):
    """Converts lines of a CSV; returns summary, images and annotations."""

    def run(*lines, options=GIVEN, images='none', **more):
        (tmp_path / 't.csv').write_text('\n'.join(lines) + '\n', encoding='utf-8')
        out = tmp_path / 'out' / 'a.json'
        summary = convert_csv(tmp_path / 't.csv', tmp_path / images, out, options, **more)
        data = json.loads(out.read_text())
        assert check_annotations(data) == []
        return summary, data['images'], data['annotations']

    return run


def error_of(convert, *lines, count=None, **more):
    with pytest.raises(AnnotationError) as caught:
        convert(*lines, **more)
    if count is not None:
        assert len(caught.value.problems) == count
    return str(caught.value)


def test_films_and_boxes(convert, films, tmp_path):
    films('a b/ü.png', 'c.png', 'd.png', 'e.png')
    summary, images, annotations = convert(
        'path,label,patient_id,x1,y1,x2,y2,site,source',
        'a b/ü.png,1,p1,1,2,11,22,rib,',
        'c.png,0,p1,,,,,,elsewhere',
        'a b/ü.png,1,p1,5.5,5,40.4,30,clavicle,',
        'd.png,1,p2,,,,,,',
        'e.png,-1,p3,,,,,,',
        'a b/ü.png,,p1,5.5,5,40.4,30,clavicle,',
        options=ConvertOptions(),
        images='films',
    )
    found = [tuple(image.values())[1:] for image in images]
    assert found == [
        ('a b/ü.png', 40, 30, 1, True, 'csv', 'p1'),
        ('c.png', 40, 30, 0, True, 'elsewhere', 'p1'),
        ('d.png', 40, 30, 1, False, 'csv', 'p2'),
        ('e.png', 40, 30, -1, False, 'csv', 'p3'),
    ]
    assert [(a['bbox'], a['site']) for a in annotations] == [
        ([1, 2, 10, 20], 'rib'),
        ([5.5, 5, 34.5, 25], 'clavicle'),
    ]
    assert (summary.films, summary.positives, summary.boxes, summary.patients) == (4, 2, 2, 3)
    assert summary.left_out == {'repeated row': 1}
    assert summary.changed == {'boxes clipped to their film': 1}
    dataset = CXRDataset(
        data_root=str(tmp_path), ann_file='out/a.json', data_prefix=dict(img='films')
    )
    assert dataset.labels().tolist() == [1, 0, 1, -1]


@pytest.mark.parametrize(
    ('options', 'labels', 'left_out'),
    [
        (dict(), [1, 0, -1, -1], {}),
        (dict(uncertain='positive'), [1, 0, 1, -1], {}),
        (dict(uncertain='negative', blank='negative'), [1, 0, 0, 0], {}),
        (dict(uncertain='drop'), [1, 0, -1], {'uncertain label': 1}),
        (
            dict(uncertain='drop', blank='drop'),
            [1, 0],
            {'uncertain label': 1, 'no fracture label': 1},
        ),
    ],
)
def test_policies(convert, options, labels, left_out):
    lines = ('path,label', 'a,1', 'b,0', 'c,-1', 'd,')
    summary, images, _ = convert(*lines, options=replace(GIVEN, **options))
    assert [image['label'] for image in images] == labels and summary.left_out == left_out
    assert [image['regions'] for image in images] == [label == 0 for label in labels]
    assert 'patient_id' not in images[0] and summary.patients == len(labels)
    assert 'images have no patient_id: each counts as a patient' in str(summary)


@pytest.mark.parametrize(
    ('views', 'kept', 'left_out'),
    [
        ('frontal', 'ab', {'view L': 1, 'view not given': 1}),
        ('all', 'abcd', {}),
        (('l', 'PA'), 'ac', {'view ap': 1, 'view not given': 1}),
    ],
)
def test_views(convert, views, kept, left_out):
    lines = ('path,label,view', 'a,1,PA', 'b,0,ap', 'c,1,L', 'd,0,')
    summary, images, _ = convert(*lines, options=replace(GIVEN, views=views))
    assert ''.join(image['file_name'] for image in images) == kept
    assert summary.left_out == left_out


def test_missing_films(convert, films):
    films('a.png')
    lines = ('path,label', 'a.png,1', 'b.png,1', 'c.png,0')
    message = error_of(convert, *lines, options=ConvertOptions(), images='films', count=2)
    assert 't.csv: line 3: missing file' in message and 'line 4' in message
    options = ConvertOptions(missing='drop')
    summary, images, _ = convert(*lines, options=options, images='films')
    assert summary.left_out == {'film is not in the folder': 2} and len(images) == 1


def test_boxes_are_scaled_to_resized_films(convert, films):
    films('a.png', 'b.png')
    summary, images, annotations = convert(
        'path,label,x1,y1,x2,y2,width,height',
        'a.png,1,40,60,200,240,400,300',
        'b.png,1,4,6,20,24,40,30',
        options=ConvertOptions(),
        images='films',
    )
    assert [image['width'] for image in images] == [40, 40]
    assert [a['bbox'] for a in annotations] == [[4, 6, 16, 18]] * 2
    assert summary.changed == {'films with boxes scaled to the size of their file': 1}
    tables = replace(GIVEN, size='table')
    _, images, _ = convert('path,label,width,height', 'a.png,1,400,300', options=tables)
    assert images[0]['width'] == 400


BAD_ROWS = [
    ('a.png,1,p,0,0,5,5', None),
    (',1,p,0,0,5,5', 'no path'),
    ('b.png,2,p,,,,', "label '2' is none of"),
    ('c.png,1,,,,,', 'no patient id'),
    ('d.png,1,p,1,2,3,', "a box is x1, y1, x2, y2 (px), got ['1', '2', '3', '']"),
    ('e.png,1,p,1,2,3,x', "'x' is not a number"),
    ('f.png,1,p,5,5,1,1', 'has no positive size'),
    ('g.png,1,p,5,5,90,9', 'lies outside its film of 40 x 30 px'),
    ('h.png,0,p,5,5,9,9', 'label 0, but a box'),
    ('i.png,-1,p,5,5,9,9', 'label -1, but a box'),
    ('a.png,0,p,,,,', 'label 0, but 1 for the same film on line 2'),
    ('a.png,1,q,,,,', "patient 'q', but 'p' for the same film on line 2"),
    ('j.png,1,1.5E+12,,,,', 'rounded by a spreadsheet'),
    ('k.png,1,p,,,', '6 fields, the header has 7'),
]


def test_all_problems_at_once_and_nothing_is_written(convert, tmp_path):
    header = 'path,label,patient_id,x1,y1,x2,y2'
    rows, faults = zip(*BAD_ROWS)
    message = error_of(convert, header, *rows, count=len(rows) - 1)
    for line, fault in enumerate(faults, 2):
        named = re.search(rf't.csv: line {line}: (.*)', message)
        assert (named is None) if fault is None else (named and fault in named[1]), line
    assert message.startswith(f'{len(rows) - 1} problems in {tmp_path / "t.csv"}')
    assert [path.name for path in tmp_path.iterdir()] == ['t.csv']


@pytest.mark.parametrize(
    ('lines', 'words'),
    [
        (('path,label',), 'no row below its header'),
        (('name,label', 'a,1'), "no column 'path' or 'file_name'"),
        (('path,label,x1,y1', 'a,1,1,1'), 'there is only'),
        (('path,label,view', 'a,1,L'), 'no film is left of'),
    ],
)
def test_no_output(convert, tmp_path, lines, words):
    assert words in error_of(convert, *lines)
    assert [path.name for path in tmp_path.iterdir()] == ['t.csv']


def test_repeated_rows(convert):
    lines = ('path,label,patient_id', 'a,1,p', 'b,0,p', './a,1,p', 'x/../b,0,p')
    summary, images, _ = convert(*lines)
    assert len(images) == 2 and summary.left_out == {'repeated row': 2}
    for row in ('a,0,p', 'a,1,q'):
        message = error_of(convert, *lines, row, count=1)
        assert 'line 6: a: the same film as line 2, but with another content' in message


def test_repeated_rows_of_other_sources(convert):
    lines = ('path,label,source', 'a,1,A', 'b,0,nan', './a,1,B')
    message = error_of(convert, *lines, count=1)
    assert 'line 4: a: the same film as line 2, but with another content' in message
    boxed = ('path,label,source,x1,y1,x2,y2', 'a,1,A,,,,', 'a,1,B,,,,')
    assert "source 'B', but 'A' for the same film on line 2" in error_of(convert, *boxed, count=1)


def test_words_for_no_value_are_no_source_and_no_site(convert):
    lines = ('path,label,x1,y1,x2,y2,site,source', 'a,1,1,1,9,9,nan,NaN', 'a,1,1,1,9,9,,none')
    summary, images, annotations = convert(*lines)
    assert [image['source'] for image in images] == ['csv'] and 'site' not in annotations[0]
    assert summary.left_out == {'repeated row': 1} and len(annotations) == 1
    _, images, _ = convert('path,label,source', 'a,1,nan', 'b,0,x')
    assert [image['source'] for image in images] == ['csv', 'x']


def test_a_box_that_is_there_with_and_without_its_site_is_one(convert):
    header = 'path,label,x1,y1,x2,y2,site'
    for sites in (('rib', ''), ('', 'rib'), ('nan', 'rib')):
        lines = (f'a,1,1,1,9,9,{site}' for site in sites)
        summary, _, annotations = convert(header, *lines, 'a,1,2,2,9,9,')
        assert [one.get('site') for one in annotations] == ['rib', None]
        assert summary.left_out == {'repeated box of a film': 1}
    # two sites are two lesions
    assert convert(header, 'a,1,1,1,9,9,rib', 'a,1,1,1,9,9,clavicle')[0].boxes == 2


@pytest.mark.parametrize('order', [1, -1])
def test_a_film_with_a_box_and_a_fracture_without_one(convert, order):
    header, rows = 'path,label,x1,y1,x2,y2', ('a,1,1,1,9,9', 'a,1,,,,')
    lines = (header, 'b,0,,,,', *rows[::order], 'a,1,2,2,9,9')
    unboxed, boxed = (4, 3) if order == 1 else (3, 4)
    message = error_of(convert, *lines, count=1)
    told = f'line {unboxed}: label 1 without a box, but a box of the same film on line {boxed}'
    assert told in message and 'leave this label blank' in message
    # a row that says nothing, or a label on each row with a box, leaves the boxes complete
    for more in (('a,,,,,',), ('a,1,2,2,9,9',)):
        _, images, _ = convert(header, rows[0], *more)
        assert (images[0]['label'], images[0]['regions']) == (1, True)


@pytest.mark.parametrize('box', ['1.050,1.200,1.300,1.400', '9.5,9,9.9,20', '1,2,9,2.5'])
def test_boxes_of_less_than_a_pixel(convert, box):
    message = error_of(convert, 'path,label,x1,y1,x2,y2', f'a,1,{box}', 'b,1,1.5,1,9,9', count=1)
    assert 'line 2: box' in message and 'has a side of less than 1 px: take it out if' in message


def test_marks_that_may_part_thousands(convert):
    header, options = 'path;label;x1;y1;x2;y2', ConvertOptions(size=(3000, 2500))
    for box in ('1,050;1,200;1,300;1,400', '950;1.200;1.300;2.400', '1,050;950;31,300;999'):
        message = error_of(convert, header, f'a;1;{box}', 'b;0;;;;', options=options)
        assert 't.csv: all lines: the mark in its numbers may part thousands' in message
    for box in ('1.050;1.200;31.300;131.400', '1.050;2;3.125;4.5', '1.050;2;3.125;1200', '1;2;3;4'):
        _, _, annotations = convert(header, f'a;1;{box}', options=options)
        assert annotations[0]['bbox'][0] == float(box.split(';')[0])
    message = error_of(convert, header, 'a;1;0.050;0.200;0.125;0.500', options=options, count=1)
    assert 'is it a part of the film, in [0, 1]?' in message


def test_one_file_under_two_names(convert, films):
    films('a.png')
    lines = ('path,label', 'a.PNG,1', 'a.png,1')
    message = error_of(convert, *lines, options=ConvertOptions(), images='films', count=1)
    assert 'the same film as line 2' in message


@pytest.mark.parametrize('names', [('P2/a.png', 'P1/a.png'), ('P1/a.png', 'P2/a.png')])
def test_a_film_that_is_missing_takes_no_other_file(convert, films, names):
    films('a.png', 'P1/a.png')
    lines = ('path,label', *(f'{name},{int(name.startswith("P2"))}' for name in names))
    message = error_of(convert, *lines, options=ConvertOptions(), images='films', count=1)
    assert f'line {2 + names.index("P2/a.png")}: missing file' in message
    options = ConvertOptions(missing='drop')
    summary, images, _ = convert(*lines, options=options, images='films')
    assert [(image['file_name'], image['label']) for image in images] == [('P1/a.png', 0)]
    assert summary.left_out == {'film is not in the folder': 1}


def test_folders_that_are_taken_off_the_names_are_told(convert, films):
    films('1.png', '7.png', folder='hospA')
    lines = ('path,label', 'hospB/7.png,1', 'hospA/1.png,0')
    message = error_of(convert, *lines, options=ConvertOptions(), images='hospA', count=1)
    assert re.search(r"line 2: missing file .*7\.png; other films .* without the 'hospA/'", message)
    options = ConvertOptions(missing='drop')
    summary, images, _ = convert(*lines, options=options, images='hospA')
    assert [image['file_name'] for image in images] == ['1.png']
    assert "films are in the image folder without the 'hospA/' of their names" in summary.notes


def test_other_names_of_columns(convert):
    columns = dict(path='Datei', label='fx', patient_id='pid')
    _, images, _ = convert('pid;fx;Datei', 'p;1;a', columns=columns)
    assert images[0]['file_name'] == 'a' and images[0]['patient_id'] == 'p'
    assert "no column 'pid'" in error_of(convert, 'fx;Datei', '1;a', columns=columns)
    with pytest.raises(ValueError, match="'wrong' is none of"):
        convert('path,label', 'a,1', columns=dict(wrong='x'))


def test_verify_names_the_line(convert, films):
    root = films('a.png', 'b.png', 'c.png')
    (root / 'b.png').write_bytes((root / 'b.png').read_bytes()[:100])
    lines = ('path,label', 'a.png,1', 'b.png,1', 'c.png,0')
    assert convert(*lines, options=ConvertOptions(), images='films')[0].films == 3
    options = ConvertOptions(verify=True, workers=2)
    message = error_of(convert, *lines, options=options, images='films', count=1)
    assert 't.csv: line 3: cannot read film' in message


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    def peak(count):
        rows = (f'hospital/folder/film_{i:08d}.png,{i % 2},p{i // 3}' for i in range(count))
        (tmp_path / 't.csv').write_text('path,label,patient_id\n' + '\n'.join(rows))
        tracemalloc.start()
        convert_csv(tmp_path / 't.csv', tmp_path, tmp_path / 'a.json', GIVEN)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(3_000), peak(12_000)
    # names of films and patients, and where they were seen: the films themselves would take 2 kB
    assert (many - few) / 9_000 < 800


names = st.sampled_from(['a', 'b', 'ü/c d', 'e.png'])
lines = st.lists(
    st.tuples(
        names,
        st.sampled_from(['1', '0', '-1', '', '1.0', 'no', 'what']),
        st.sampled_from(['p', 'q', '']),
        st.sampled_from(['', '', '1,2,9,9', '3,3,8,8.5', '5,5,1,1', '1,2,3,', '0,0,99,9']),
        st.sampled_from(['PA', 'L', '']),
    ),
    max_size=6,
)
policies = st.sampled_from(['unknown', 'negative', 'drop'])


@settings(max_examples=300, deadline=None)
@random_cases(lines, policies, policies, st.booleans())
def test_every_row_is_a_film_or_a_box_or_counted_or_named(lines, uncertain, blank, boxed):
    """Nothing is lost silently, and what is written is sound."""
    options = replace(GIVEN, uncertain=uncertain, blank=blank)
    header = 'path,label,patient_id,' + ('x1,y1,x2,y2,' if boxed else '') + 'view'
    text = [header]
    for path, label, patient, box, view in lines:
        box = (box or ',,,') + ',' if boxed else ''
        text.append(f'{path},{label},{patient},{box}{view}')
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / 't.csv', Path(folder) / 'a.json'
        table.write_text('\n'.join(text), encoding='utf-8')
        try:
            summary = convert_csv(table, folder, out, options)
        except AnnotationError as error:
            assert not out.exists()
            named = [re.match(r't.csv: line (\d+): ', one) for one in error.problems]
            assert all(match and 2 <= int(match[1]) <= len(text) for match in named if match)
            return
        data = json.loads(out.read_text())
        assert check_annotations(data) == []
        assert summary.films == len(data['images']) and summary.boxes == len(data['annotations'])
        rows_of = Counter(path for path, *_ in lines)
        if boxed:
            # boxes beyond a film's first stand on rows of their own
            written = Counter(a['image_id'] for a in data['annotations'])
            extra = sum(count - 1 for count in written.values())
            dropped = summary.left_out.get('repeated row', 0)
            films = len(rows_of)
            assert films + extra + dropped <= len(lines)
            unseen = sum(n for reason, n in summary.left_out.items() if reason != 'repeated row')
            assert summary.films + unseen == films
        else:
            assert summary.films + sum(summary.left_out.values()) == len(lines)
