# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import gzip
import json

import cv2
import numpy as np
import pydicom
import pytest

from mmfrac.preparation.phantom import write_dicom
from mmfrac.preparation.semi_real import negatives_of_annotations, negatives_of_folder
from mmfrac.utils.errors import AnnotationError, MissingImageError


@pytest.fixture
def folder(tmp_path):
    films = tmp_path / 'films'
    for name in ('a/00000001_000.png', 'a/00000001_001.jpg', 'b/00000002_000.png'):
        (films / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(films / name), np.zeros((8, 8), np.uint8))
    write_dicom(films / 'b' / '00000003_000', np.zeros((8, 8), np.uint16), 'p', 1.0, False, 'DX')
    assert pydicom.dcmread(films / 'b' / '00000003_000').Rows == 8
    (films / 'notes.txt').write_text('no film')
    (films / '.hidden.png').write_text('')
    (films / '.thumbnails').mkdir()
    (films / '.thumbnails' / '00000001_000.png').write_text('')
    # as NIH's twelve folders of images often are
    (tmp_path / 'images_002').mkdir()
    (films / 'b').rename(tmp_path / 'images_002' / 'b')
    (films / 'b').symlink_to(tmp_path / 'images_002' / 'b')
    return films


def summary(films):
    return [(film.name, film.patient_id) for film in films]


def test_pattern_gives_the_patients(folder):
    films, left_out = negatives_of_folder(folder, pattern=r'(\d{8})_\d{3}')
    assert summary(films) == [
        ('a/00000001_000.png', '00000001'),
        ('a/00000001_001.jpg', '00000001'),
        ('b/00000002_000.png', '00000002'),
        ('b/00000003_000', '00000003'),
    ]
    assert left_out == {'file that is no film': 2}
    with pytest.raises(AnnotationError) as error:
        negatives_of_folder(folder, pattern=r'(0000000[12])_')
    assert error.value.problems == (
        "b/00000003_000: the pattern '(0000000[12])_' finds no patient",
    )


@pytest.mark.parametrize('pattern', ['(', r'\d{8}'])
def test_useless_pattern(folder, pattern):
    with pytest.raises(ValueError, match=r'regular expression|no group'):
        negatives_of_folder(folder, pattern=pattern)


def test_csv_gives_patients_and_selection(folder, tmp_path):
    table = tmp_path / 'patients.csv'
    table.write_text(
        'Patient ID,Image Index\n7,00000001_000.png\n7,a/00000001_001.jpg\n8,gone.png\n'
    )
    films, left_out = negatives_of_folder(folder, table, ('Image Index', 'Patient ID'))
    assert summary(films) == [('a/00000001_000.png', '7'), ('a/00000001_001.jpg', '7')]
    assert left_out == {
        'file that is no film': 2,
        'row of a film that is not in the folder': 1,
        'film without a row': 2,
    }


def test_everything_wrong_with_a_csv_at_once(folder, tmp_path):
    (folder / 'c').mkdir()
    cv2.imwrite(str(folder / 'c' / '00000002_000.png'), np.zeros((8, 8), np.uint8))
    table = tmp_path / 'patients.csv'
    table.write_text(
        'file_name,patient_id\n'
        '00000001_000.png,\n00000002_000.png,4\n00000003_000,5\nb/00000003_000,6\n'
    )
    with pytest.raises(AnnotationError) as error:
        negatives_of_folder(folder, table)
    assert [problem.rsplit(': ', 1)[0] for problem in error.value.problems] == [
        'patients.csv: line 2',
        'patients.csv: line 3',
        'patients.csv: line 5',
    ]
    with pytest.raises(AnnotationError, match=r'no column .*patient.*--columns'):
        negatives_of_folder(folder, table, ('file_name', 'patient'))


@pytest.mark.parametrize(
    'content',
    [
        'file_name,patient_id\n00000001_000.png,7\n'.encode('utf-16'),
        'File_Name;Patient_ID;Alter\n00000001_000.png;7;ü\n'.encode('cp1252'),
        gzip.compress(b'file_name\tpatient_id\tlabel\n00000001_000.png\t7\tno\n', mtime=0),
        # a fracture of a film that is not there
        b'file_name,patient_id,label\n00000001_000.png,7,0\ngone.png,8,1\n',
        # as CheXpert, MIMIC-CXR and others write films without any finding
        b'file_name,patient_id,No Finding,Fracture\n00000001_000.png,7,1.0,\n',
        b'file_name,patient_id,label\n00000001_000.png,7,No Finding\n',
        b'file_name,patient_id,label,fracture\n00000001_000.png,7,no-finding,nan\n',
        # of two such columns neither is known to be the label
        b'file_name,patient_id,Fracture,fracture\n00000001_000.png,7,0,0\n',
    ],
)
def test_csv_of_any_kind(folder, tmp_path, content):
    (tmp_path / 'patients.csv').write_bytes(content)
    films, _ = negatives_of_folder(folder, tmp_path / 'patients.csv')
    assert summary(films) == [('a/00000001_000.png', '7')]


def test_column_of_labels_that_holds_something_else(folder, tmp_path):
    table = tmp_path / 'patients.csv'
    table.write_text('Label,patient_id\n00000001_000.png,7\n')
    films, _ = negatives_of_folder(folder, table, ('label', 'patient_id'))
    assert summary(films) == [('a/00000001_000.png', '7')]
    table.write_text('Label,Fracture,patient_id\n00000001_000.png,1.0,7\n')
    with pytest.raises(AnnotationError, match=r"has label '1\.0', and"):
        negatives_of_folder(folder, table, ('label', 'patient_id'))


@pytest.mark.parametrize(
    ('rows', 'match'),
    [
        ('file_name,patient_id,patient_id\n{},7,8\n', r"column 'patient_id' is there twice"),
        ('file_name,patient_id\n{},' + 'x' * 2**18 + '\n', r'line 2: not a row of a table'),
        ('file_name,patient_id\n{},unknown\n', r'patients\.csv: line 2: no patient id'),
        ('file_name,patient_id\n{},8.39E+35\n', r'was rounded by a spreadsheet'),
        ('file_name,patient_id\n{}\n', r'1 field, the header has 2'),
        ('file_name,patient_id,label\n{},7,1\n', r"line 2: film '0.*' has label '1', and"),
        ('file_name,patient_id,Fracture\n{},7,-1.0\n', r"has label '-1\.0', and .* alone: take"),
        ('file_name,patient_id,label,Fracture\n{},7,0,yes\n', r"has label 'yes'"),
        ('file_name,patient_id,label\n{},7,healed\n', r"has label 'healed'"),
    ],
)
def test_csv_that_cannot_be_used(folder, tmp_path, rows, match):
    table = tmp_path / 'patients.csv'
    table.write_text(rows.format('00000001_000.png'))
    with pytest.raises(AnnotationError, match=match):
        negatives_of_folder(folder, table)


def test_pattern_that_finds_nobody(folder):
    with pytest.raises(AnnotationError, match=r"0000001_000\.png: .* finds '000': no patient id"):
        negatives_of_folder(folder, pattern=r'_(\d{3})')


def test_missing_inputs(folder, tmp_path):
    for wrong in (dict(), dict(patients='x.csv', pattern='(x)')):
        with pytest.raises(ValueError, match='either a CSV'):
            negatives_of_folder(folder, **wrong)
    with pytest.raises(FileNotFoundError, match='no folder'):
        negatives_of_folder(tmp_path / 'gone', pattern='(x)')
    with pytest.raises(FileNotFoundError, match=r'no CSV .*x\.csv'):
        negatives_of_folder(folder, 'x.csv')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='no film without fracture'):
        negatives_of_folder(tmp_path / 'empty', pattern='(x)')


def annotated(tmp_path, images, annotations=()):
    file = tmp_path / 'all.json'
    content = dict(
        images=[dict(id=i, width=8, height=8, **image) for i, image in enumerate(images)],
        annotations=list(annotations),
        categories=[dict(id=1, name='fracture')],
    )
    file.write_text(json.dumps(content))
    return file


def test_only_negatives_of_an_annotation_file(folder, tmp_path):
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 3, 3], area=9, iscrowd=0)
    file = annotated(
        tmp_path,
        [
            dict(file_name='b/00000002_000.png', label=0, patient_id=2),
            dict(file_name='a/00000001_000.png', patient_id='1'),
            dict(file_name='a/00000001_001.jpg', label=-1, patient_id='1'),
            dict(file_name='b/00000003_000', patient_id='3'),
        ],
        [box],
    )
    films, left_out = negatives_of_annotations(file, folder)
    assert summary(films) == [('b/00000002_000.png', '2'), ('b/00000003_000', '3')]
    assert left_out == {'label 1, has a fracture': 1, 'label -1, unknown': 1}


def test_names_stay_below_the_output(folder, tmp_path):
    absolute = str(folder / 'a' / '00000001_000.png')
    file = annotated(
        tmp_path,
        [
            dict(file_name=absolute, label=0, patient_id='1'),
            dict(file_name='../films/b/00000002_000.png', label=0, patient_id='2'),
        ],
    )
    films, _ = negatives_of_annotations(file, folder, allow_outside=True)
    by_patient = {film.patient_id: film for film in films}
    assert by_patient['1'].name == absolute.lstrip('/') and by_patient['1'].path == absolute
    assert by_patient['2'].name == 'films/b/00000002_000.png'


def test_annotations_without_patient_or_film(folder, tmp_path):
    file = annotated(tmp_path, [dict(file_name='a/00000001_000.png', label=0)])
    with pytest.raises(AnnotationError, match=r"images\[0\].*no 'patient_id'"):
        negatives_of_annotations(file, folder)
    file = annotated(tmp_path, [dict(file_name='gone.png', label=0, patient_id='1')])
    with pytest.raises(MissingImageError, match=r'missing file .*gone\.png'):
        negatives_of_annotations(file, folder)
    with pytest.raises(FileNotFoundError, match='no annotation file'):
        negatives_of_annotations(tmp_path / 'gone.json', folder)
