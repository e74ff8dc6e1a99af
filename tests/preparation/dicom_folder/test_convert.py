# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import csv
import json
import os
import random
import re
import runpy
import shutil
import stat
import sys
import time
from dataclasses import replace

import pydicom
import pytest
from pydicom.data import get_testdata_file

from mmfrac.datasets import CXRDataset
from mmfrac.preparation.converters import ConvertOptions
from mmfrac.preparation.converters.conversion import Conversion
from mmfrac.preparation.dicom_folder import FolderOptions, convert_dicom_folder
from mmfrac.preparation.dicom_folder.header import DicomHeader
from mmfrac.preparation.dicom_folder.label_table import LabelTable
from mmfrac.utils.errors import AnnotationError
from tests.datasets.radiographs.test_dicom import make_dicom, ramp

KEY = 'k' * 32


def film(folder, name, seed=0, **header):
    """A film of 32 x 24 px, a patient and a study of its own unless the header says otherwise."""
    number = f'{len(list(folder.rglob("*"))) + 1}'
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = ramp()
    stored[0, 0] = int(number)
    fields = dict(
        SOPInstanceUID=f'1.2.3.{number}',
        StudyInstanceUID=f'1.2.8.{number}',
        PatientID=f'p{number}',
        PatientName='Doe^Jane',
        PatientBirthDate='19500102',
        Modality='DX',
        ViewPosition='PA',
    )
    make_dicom(path, stored, **fields | header)
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'films'
    folder.mkdir()
    (tmp_path / 'key').write_text(KEY)
    return folder


def convert(folder, table=None, out='a.json', workers=0, **options):
    general = {
        key: options.pop(key) for key in list(options) if key in ConvertOptions.__annotations__
    }
    if isinstance(table, str):
        (folder.parent / 'labels.csv').write_text(table)
        table = folder.parent / 'labels.csv'
    if 'links' not in options:
        options = dict(names='original') | options
    options = dict(key_file=folder.parent / 'key') | options
    out_file = folder.parent / 'out' / out
    summary, left_out = convert_dicom_folder(
        folder,
        out_file,
        table,
        ConvertOptions(workers=max(1, workers), **general),
        FolderOptions(**options),
    )
    data = json.loads(out_file.read_text())
    return summary, left_out, {image['file_name']: image for image in data['images']}, data


def originals(folder):
    """Path below the folder of each neutral name, as the maps have it."""
    paths = {}
    for file in (folder.parent / 'originals').iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for row in csv.DictReader(file.open(encoding='utf-8', errors='surrogateescape')):
            paths[row['file_name']] = os.path.relpath(row['original'], folder)
    return paths


def test_folder_without_table(folder):
    film(folder, 'a.dcm', PatientID='p1', ImageLaterality='R')
    film(folder, 'deep/er/b', PatientID='p1', StudyInstanceUID='1.2.8.1')
    film(folder, 'c.img', PatientID='p2', ViewPosition='', SeriesDescription='CHEST AP')
    film(folder, 'lateral.dcm', ViewPosition='LL')
    film(folder, 'lateral2.dcm', ViewPosition='', ProtocolName='Thorax LAT')
    film(folder, 'oblique.dcm', ViewPosition='RAO')
    film(folder, 'unknown.dcm', ViewPosition='')
    film(folder, 'ct.dcm', Modality='CT')
    (folder / 'cut.dcm').write_bytes((folder / 'a.dcm').read_bytes()[:-50])
    (folder / 'readme.txt').write_text('hello')
    (folder / 'DICOMDIR').write_bytes(b'\0' * 128 + b'DICM')
    summary, left_out, films, data = convert(folder)
    assert list(films) == ['a.dcm', 'c.img', 'deep/er/b', 'unknown.dcm']
    assert {image['label'] for image in films.values()} == {-1} and data['annotations'] == []
    a, b, c = films['a.dcm'], films['deep/er/b'], films['c.img']
    assert a['patient_id'] == b['patient_id'] != c['patient_id']
    assert a['study_id'] == b['study_id'] != c['study_id'] and a['study_id'] != a['patient_id']
    assert (a['view'], a['laterality'], c['view'], a['source']) == ('PA', 'R', 'AP', 'hospital')
    assert (a['width'], a['height']) == (32, 24) and 'laterality' not in b
    assert 'view' not in films['unknown.dcm']
    assert summary.subsets == dict(P_hos=0, N=0, P_pub=0, U=4) and summary.patients == 3
    assert summary.left_out == {
        'view lateral': 2,
        'view oblique': 1,
        'modality CT': 1,
        'pixels cut off': 1,
        'not a DICOM file': 1,
        'DICOMDIR index': 1,
    }
    assert summary.noted == {'films whose header does not tell the view': 1}
    assert {originals(folder)[one.file] for one in left_out} == {
        *('ct.dcm', 'cut.dcm', 'lateral.dcm', 'lateral2.dcm', 'oblique.dcm'),
    }
    text = str(summary)
    assert 'left out: view lateral' in text and 'noted: films whose header' in text
    dataset = CXRDataset(
        data_root=str(folder.parent), ann_file='out/a.json', data_prefix=dict(img='films')
    )
    assert len(dataset) == 4


def test_nothing_that_identifies_is_written(folder):
    film(folder, 'a.dcm', PatientID='doe1950', AccessionNumber='ACC77', StudyDate='20200304')
    film(
        folder, 'b.dcm', PatientID='id-b', StudyDescription='jane', ReferringPhysicianName='Who^Dr'
    )
    out = folder.parent / 'out' / 'a.json'
    convert(folder)
    for text in (out.read_text(),):
        assert not re.search('doe|jane|1950|ACC77|2020|Who|id-b|1\\.2\\.8', text, re.IGNORECASE)
    _, _, films, _ = convert(folder, patient_ids='original')
    assert films['b.dcm']['patient_id'] == 'id-b' and films['b.dcm']['study_id'] == '1.2.8.2'
    # an id that holds the name is hashed all the same
    assert re.fullmatch('[0-9a-f]{16}', films['a.dcm']['patient_id'])
    assert not re.search('doe|jane|1950', out.read_text(), re.IGNORECASE)


def test_ids_depend_on_the_key_alone(folder):
    for name in ('a.dcm', 'b.dcm'):
        film(folder, name, PatientID='same')
    first = convert(folder)[2]
    assert first == convert(folder, out='again.json', workers=2)[2]
    assert len({image['patient_id'] for image in first.values()}) == 1
    (folder.parent / 'key').write_text('l' * 32)
    other = convert(folder)[2]
    assert {i['patient_id'] for i in first.values()}.isdisjoint(
        {i['patient_id'] for i in other.values()}
    )


def test_films_without_patient_id_are_grouped_by_study(folder):
    film(folder, 'a', PatientID='', StudyInstanceUID='1.2.8.1')
    film(folder, 'b', PatientID='ANONYMOUS', StudyInstanceUID='1.2.8.1')
    film(folder, 'c', PatientID='anonymous', StudyInstanceUID='1.2.8.2')
    film(folder, 'd', PatientID='', StudyInstanceUID='')
    film(folder, 'e', PatientID='', StudyInstanceUID='')
    summary, _, films, _ = convert(folder)
    ids = [films[name]['patient_id'] for name in 'abcde']
    assert ids[0] == ids[1] and len(set(ids)) == 4
    assert summary.noted == {'films without PatientID (a patient a study)': 5}


def test_paths_with_names(folder):
    film(folder, 'Doe_Jane/a.dcm')
    film(folder, 'p/b.dcm')
    film(folder, '1950-01-02.dcm')
    summary, left_out, films, _ = convert(folder)
    reason = 'path holds the name or birth date of the patient'
    assert list(films) == ['p/b.dcm'] and summary.left_out == {reason: 2}
    assert not any('oe' in text or '1950' in text for one in left_out for text in one)
    links = folder.parent / 'links'
    summary, left_out, films, _ = convert(folder, links=links)
    assert len(films) == 3 and left_out == [] and summary.left_out == {}
    assert all(re.fullmatch(r'[0-9a-f]{16}\.dcm', name) for name in films)
    assert sorted(path.name for path in links.iterdir()) == sorted(films)
    targets = {os.path.realpath(links / name) for name in films}
    assert targets == {str(path) for path in folder.rglob('*.dcm')}
    assert films == convert(folder, links=links)[2]
    CXRDataset(data_root=str(folder.parent), ann_file='out/a.json', data_prefix=dict(img='links'))


def test_copies(folder):
    first = film(folder, 'a.dcm')
    shutil.copy(first, folder / 'copy.dcm')
    film(folder, 'other.dcm', SOPInstanceUID='1.2.3.1')
    summary, left_out, films, _ = convert(folder)
    assert list(films) == ['a.dcm', 'other.dcm']
    ((file, *why),) = left_out
    assert why == ['copy of another film', ''] and originals(folder)[file] == 'copy.dcm'
    assert summary.noted == {
        'films whose SOPInstanceUID another film has, other files (all are taken)': 1
    }


def test_choices(folder):
    film(folder, 'pa.dcm')
    film(folder, 'lat.dcm', ViewPosition='LATERAL')
    film(folder, 'none.dcm', ViewPosition='')
    film(folder, 'ot.dcm', Modality='OT', BodyPartExamined='CHEST')
    film(folder, 'hand.dcm', BodyPartExamined='HAND')

    def kept(**options):
        return list(convert(folder, **options)[2])

    every = dict(body_parts=('all',))
    assert kept() == ['none.dcm', 'ot.dcm', 'pa.dcm']
    assert kept(**every) == ['hand.dcm', 'none.dcm', 'ot.dcm', 'pa.dcm']
    assert kept(views='all', **every) == ['hand.dcm', 'lat.dcm', 'none.dcm', 'ot.dcm', 'pa.dcm']
    assert kept(views=('lateral',), unknown_views='drop') == ['lat.dcm']
    assert kept(unknown_views='drop', modalities=('DX',)) == ['pa.dcm']
    assert kept(body_parts=('CHEST', 'RIBS')) == ['none.dcm', 'ot.dcm', 'pa.dcm']
    for wrong in (dict(unknown_views='x'), dict(patient_ids='x'), dict(names='x')):
        with pytest.raises(ValueError, match="'x' is none of"):
            FolderOptions(**wrong)


TABLES = [
    ('path,label\na.dcm,1\nb.dcm,0\n', 'rows'),
    ('file;label\nexport\\a;1\nexport\\b;0\n', 'other folders, no suffix, semicolons'),
    ('SOPInstanceUID,label\n1.2.3.1,1\n1.2.3.2,0\n', 'instances'),
    ('SeriesInstanceUID,fracture\n1.9.1,yes\n1.9.2,no\n', 'series'),
    ('StudyInstanceUID,label\n1.2.8.1,1\n1.2.8.2,0\n', 'studies'),
    ('AccessionNumber\tlabel\nA1\t1\nA2\t0\n', 'accession numbers'),
]


@pytest.mark.parametrize('table', [text for text, _ in TABLES], ids=[name for _, name in TABLES])
def test_keys_of_tables(folder, table):
    for name, number in (('a', 1), ('b', 2), ('c', 3)):
        film(folder, f'{name}.dcm', SeriesInstanceUID=f'1.9.{number}', AccessionNumber=f'A{number}')
    summary, _, films, _ = convert(folder, table)
    assert [films[f'{name}.dcm']['label'] for name in 'abc'] == [1, 0, -1]
    assert summary.noted == {'films that the table does not name (label -1)': 1}
    assert summary.subsets == dict(P_hos=0, N=1, P_pub=1, U=1)


NO_IMAGE = 'rows of the table without a film that is kept'


def labels_of(films):
    return {name: image['label'] for name, image in films.items()}


@pytest.mark.parametrize(
    ('row', 'file'),
    [
        ('p1/IM0007.dcm', None),
        ('p1/IM0007', None),
        ('D:\\export\\p1\\IM0007.dcm', None),
        ('p9/IM0007.dcm', None),
        ('p9/IM0001.dcm', None),
        ('p1/IM0009.dcm', None),
        ('p2/IM0007.dcm', 'p2/IM0007.dcm'),
        ('/mnt/export/p2/IM0007', 'p2/IM0007.dcm'),
        ('IM0007.dcm', 'p2/IM0007.dcm'),
        ('p3/IM0001', 'p3/IM0001.dcm'),
        ('films/IM0009.dcm', 'IM0009.dcm'),
        # a UID is that of one film wherever it lies
        ('p1/1.2.840.113619.2.5.1770.dcm', 'p2/1.2.840.113619.2.5.1770.dcm'),
    ],
)
def test_a_row_of_a_file_that_is_not_there_labels_no_other_one(folder, row, file):
    named = ('p1/IM0001.dcm', 'p2/IM0001.dcm')
    others = ('p2/IM0007.dcm', 'p3/IM0001.dcm', 'IM0009.dcm', 'p2/1.2.840.113619.2.5.1770.dcm')
    for name in named + others:
        film(folder, name)
    table = f'path,label\np1/IM0001.dcm,0\n{row},1\np2/IM0001.dcm,0\n'
    summary, _, films, _ = convert(folder, table)
    expected = dict.fromkeys(named, 0) | dict.fromkeys(others, -1)
    assert labels_of(films) == expected | ({file: 1} if file else {})
    assert summary.left_out == ({} if file else {NO_IMAGE: 1})
    assert summary.noted.get('line of the first of these rows') == (None if file else 3)


@pytest.mark.parametrize('deep', ['', 'deep/'])
def test_one_folder_may_have_another_name_in_the_table(folder, deep):
    for name in ('s1.dcm', 's2.dcm', 'I1', 'I2'):
        film(folder, f'{deep}a/{name}')
    for below in ('', f'{deep}a/'):
        for name in ('DICOMDIR', '.DS_Store', 'readme.txt', 'VERSION'):
            (folder / below / name).write_text('hello')
    rows = '/mnt/x/s1.dcm,1\nmnt\\x\\s2.dcm,0\nx/I1,1\n/mnt/x/I2,0\n'
    expected = {f'{deep}a/{name}': k % 2 for k, name in enumerate(('I2', 'I1', 's2.dcm', 's1.dcm'))}
    assert labels_of(convert(folder, f'path,label\n{rows}')[2]) == expected
    # this folder is here, or is another one, without such a file
    for other in (f'{deep}a/', 'y/'):
        table = f'path,label\n{deep}a/s1.dcm,0\n{other}s3.dcm,1\ny/s2.dcm,1\n'
        summary, _, films, _ = convert(folder, table)
        assert labels_of(films) == dict.fromkeys(expected, -1) | {f'{deep}a/s1.dcm': 0}
        assert summary.left_out[NO_IMAGE] == 2


@pytest.mark.parametrize(
    ('files', 'rows', 'labels'),
    [
        # a row agrees by its folders, so the others do not name this folder by another name
        (('A/IM1.dcm', 'A/IM2.dcm'), 'A/IM1.dcm,0\nB/IM2.dcm,1', (0, -1)),
        (('A/IM1.dcm', 'A/IM2.dcm'), 'B/IM2.dcm,1\nD:\\export\\A\\IM1.dcm,0', (0, -1)),
        # several folders in the table, or here
        (
            ('A/IM1.dcm', 'A/IM2.dcm', 'A/IM3.dcm'),
            'B/IM1.dcm,1\nC/IM2.dcm,1\nIM3.dcm,0',
            (-1, -1, 0),
        ),
        (('a/s1.dcm', 'b/s2.dcm'), 'x/s1.dcm,1\ns2.dcm,0', (-1, 0)),
        (('a/s1.dcm', 'b/s2.dcm', 's3.dcm'), 'x/s1.dcm,1\nx/s2.dcm,1\ny/s3.dcm,0', (-1, -1, 0)),
        # several here that are one in the table, under names of one file each
        (('a/s1.dcm', 'b/s2.dcm'), '/o/x/s1.dcm,1\no\\x\\s2,0', (1, 0)),
        (('a/one.dcm', 'b/two.dcm', 'c/two.dcm'), 'x/one.dcm,1\nx/two.dcm,0', (1, -1, -1)),
        # but not if it is here
        (('a/s1.dcm', 'b/s2.dcm', 's3.dcm'), 'o/b/s1.dcm,1\no/b/s3.dcm,0', (-1, -1, 0)),
        # the last folder, or a UID
        (('new/a/s1.dcm', 'new/b/s2.dcm'), 'old/a/s1.dcm,1\nold/b/s2.dcm,0', (1, 0)),
        (
            ('a/1.2.840.113619.2.5.1770', 'b/s2.dcm'),
            'x/1.2.840.113619.2.5.1770,1\nb/s2.dcm,0',
            (1, 0),
        ),
    ],
)
def test_folders_of_rows_that_are_not_those_of_the_files(folder, files, rows, labels):
    for name in files:
        film(folder, name)
    summary, _, films, _ = convert(folder, f'path,label\n{rows}\n')
    assert labels_of(films) == dict(zip(files, labels))
    assert summary.left_out.get(NO_IMAGE, 0) == rows.count('\n') + 1 - sum(k >= 0 for k in labels)


@pytest.mark.parametrize(
    ('file', 'row', 'labelled'),
    [
        ('P{}/IM0001.dcm', '/export/P{}/IM0001.dcm', 4000),
        ('P{}/IM0001.dcm', 'x/Q{}/IM0001.dcm', 0),
        ('P{}/DICOM/IM0001', 'P{}/DICOM/IM0001', 4000),
        ('P{}/DICOM/image', 'Q{}/DICOM/image', 0),
        ('P{}/DICOM/image', 'DICOM/image', 0),
    ],
)
def test_many_files_of_one_name_take_no_long(tmp_path, file, row, labelled):
    files = [file.format(number) for number in range(4000)]
    rows = ''.join(f'{row.format(number)},{number % 2}\n' for number in range(4000))
    (tmp_path / 'a.csv').write_text(f'path,label\n{rows}')
    conversion = Conversion(tmp_path, tmp_path / 'a.json', ConvertOptions(), 'hospital')
    table = LabelTable(tmp_path / 'a.csv', conversion, files)
    began = time.process_time()
    table.read()
    # one look at each file for each row takes 30 s
    assert time.process_time() - began < 3
    found = [table.find(DicomHeader(name)) for name in files]
    assert [one.label for one in found if one] == [number % 2 for number in range(labelled)]


def test_a_uid_is_one_film_under_any_folders(folder):
    uid = '1.2.840.113619.2.5.1770'
    film(folder, f'{uid}.dcm')
    table = f'path,label\ntrain/{uid}.dcm,1\nall/{uid}.dcm,1\n'
    assert labels_of(convert(folder, table)[2]) == {f'{uid}.dcm': 1}


@pytest.mark.parametrize('second', ['y/a.dcm', 'y/a', '/x/y/a.dcm'])
@pytest.mark.parametrize('where', ['', 'deep'])
def test_two_paths_of_a_table_that_are_one_file_here(folder, second, where):
    film(folder, f'{where}/a.dcm'.strip('/'))
    same = 'path,label\nx/a.dcm,1\na.dcm,1\nold/x/a.dcm,1\n'
    assert convert(folder, same)[0].films == 1
    with pytest.raises(AnnotationError, match=r'line 5: its path and that on line 4 .* one file'):
        convert(folder, same + f'{second},1\n', out='b.json')


def test_boxes_and_policies(folder):
    for name in 'abcde':
        film(folder, f'{name}.dcm')
    film(folder, 'lat.dcm', ViewPosition='LL')
    table = (
        'path,label,x1,y1,x2,y2,site\n'
        'a.dcm,1,2,3,12,13,rib\na.dcm,,20,3,32.5,13,clavicle\n'
        'b.dcm,1,,,,,\nc.dcm,0,,,,,\nd.dcm,-1,,,,,\ne.dcm,,,,,,\nlat.dcm,1,1,1,5,5,\n'
        'gone.dcm,1,,,,,\n'
    )
    summary, _, films, data = convert(folder, table)
    assert [(films[f'{n}.dcm']['label'], films[f'{n}.dcm']['regions']) for n in 'abcde'] == [
        *((1, True), (1, False), (0, True), (-1, False), (-1, False)),
    ]
    assert [a['bbox'] for a in data['annotations']] == [[2, 3, 10, 10], [20, 3, 12, 10]]
    assert [a['site'] for a in data['annotations']] == ['rib', 'clavicle']
    assert summary.changed == {'boxes clipped to their film': 1}
    assert summary.left_out['rows of the table without a film that is kept'] == 2
    films = convert(folder, table, uncertain='positive', blank='drop')[2]
    assert films['d.dcm']['label'] == 1 and 'e.dcm' not in films


def test_labels_of_a_study_reach_its_films_but_boxes_do_not(folder):
    for name in ('a', 'b'):
        film(folder, name, StudyInstanceUID='1.2.8.1')
    _, _, films, _ = convert(folder, 'study_uid,label\n1.2.8.1,1\n')
    assert [films[name]['label'] for name in 'ab'] == [1, 1]
    with pytest.raises(AnnotationError, match=r'line 2: boxes of study .* several films'):
        convert(folder, 'study_uid,label,x1,y1,x2,y2\n1.2.8.1,1,1,1,5,5\n', out='b.json')
    # the surest key counts
    _, _, films, _ = convert(folder, 'study_uid,path,label\n1.2.8.1,,1\n,b,0\n')
    assert [films[name]['label'] for name in 'ab'] == [1, 0]


def test_boxes_of_a_copy_of_another_size(folder):
    film(folder, 'a.dcm')
    film(folder, 'b.dcm')
    header = 'path,label,x1,y1,x2,y2,width,height\n'
    summary, _, films, data = convert(
        folder, header + 'a.dcm,1,4,6,20,24,64,48\nb.dcm,1,4,6,20,24,,\n'
    )
    assert [a['bbox'] for a in data['annotations']] == [[2, 3, 8, 9], [4, 6, 16, 18]]
    assert (films['a.dcm']['width'], films['a.dcm']['height']) == (32, 24)
    assert summary.changed == {'films with boxes scaled to the size of their file': 1}
    assert summary.unread == {}
    for sides, words in (
        ('64,', r'line 2: the copy on which boxes were drawn has a width alone'),
        ('wide,48', r'line 2: column width does not hold a length'),
        ('48,64', r'line 2: .*are width and height exchanged there'),
        ('64,64', r'line 2: .*its sides are scaled by 0\.5 and 0\.375'),
        ('64,48\na.dcm,1,1,1,9,9,32,24', r'line 3: another size than for the same film on line 2'),
    ):
        with pytest.raises(AnnotationError, match=words):
            convert(folder, f'{header}a.dcm,1,4,6,20,24,{sides}\n', out='b.json')
    # without a box the size does not matter
    films = convert(folder, 'study_uid,label,width,height\n1.2.8.1,1,9,9\n1.2.8.1,1,8,\n')[2]
    assert films['a.dcm']['label'] == 1
    data = convert(folder, header + 'a.dcm,1,4,6,20,24,64,64\n', allow_stretched=True)[3]
    assert data['annotations'][0]['bbox'] == [2, 2.25, 8, 6.75]


def test_width_and_height_of_the_boxes_themselves(folder):
    film(folder, 'a.dcm')
    film(folder, 'b.dcm')
    table = (
        'path,label,x1,y1,x2,y2,width,height\n'
        'a.dcm,1,4,6,20,24,16,18\na.dcm,1,2.1,2,10.3,8,8.2,6\nb.dcm,,,,,,,\n'
    )
    summary, _, _, data = convert(folder, table)
    first, second = (one['bbox'] for one in data['annotations'])
    assert first == [4, 6, 16, 18] and second == pytest.approx([2.1, 2, 8.2, 6])
    assert summary.noted == {'rows whose width and height are those of their box': 2}
    # one row has those of a copy: so have all
    with pytest.raises(AnnotationError, match=r'line 3: column width does not hold a length'):
        convert(folder, table + 'b.dcm,,4,6,20,24,32,24\n', out='b.json')


def test_a_film_with_a_box_and_a_fracture_without_one(folder):
    film(folder, 'a.dcm')
    header = 'path,label,x1,y1,x2,y2,site\n'
    with pytest.raises(
        AnnotationError,
        match=r'line 3: label 1 without a box, but a box of the same film on line 2',
    ):
        convert(folder, header + 'a.dcm,1,1,1,9,9,\na.dcm,1,,,,,\n')
    films, data = convert(
        folder, header + 'a.dcm,1,1,1,9,9,nan\na.dcm,,,,,,\na.dcm,1,1,1,9,9,rib\n'
    )[2:]
    assert films['a.dcm']['regions'] and [one['site'] for one in data['annotations']] == ['rib']


def test_marks_that_may_part_thousands_are_told_without_their_number(folder):
    film(folder, 'a.dcm')
    with pytest.raises(AnnotationError, match=r'all lines: the mark in its numbers') as caught:
        convert(folder, 'path;label;x1;y1;x2;y2\na.dcm;1;1.100;2;13.200;20\n')
    assert '1.100' not in str(caught.value)


def test_patients_of_the_table(folder):
    for name in 'abc':
        film(folder, name, PatientID='')
    film(folder, 'd', PatientID='0')
    film(folder, 'e', PatientID='h5')
    film(folder, 'f', PatientID='h5')
    film(folder, 'g', PatientID='h6')
    table = 'path,label,patient_id\na,1,P7\nb,0,P7\nc,0,unknown\nd,0,P8\ne,0,P8\nf,0,h5\ng,0,\n'
    summary, _, films, _ = convert(folder, table)
    ids = {name: films[name]['patient_id'] for name in 'abcdefg'}
    assert ids['a'] == ids['b'] and ids['d'] == ids['e'] == ids['f']
    assert len(set(ids.values())) == 4 and not any(
        'P7' in one or 'h5' in one for one in ids.values()
    )
    assert summary.noted == {
        'films without PatientID (the patient of the table)': 3,
        'films without PatientID (a patient a study)': 1,
        'films whose PatientID, not that of the table, counts': 1,
    }
    # as it does for the same patient of a header
    original = convert(folder, table.replace('P7', 'h6'), patient_ids='original')[2]
    assert [original[name]['patient_id'] for name in 'abdefg'] == [*('h6', 'h6'), *['h5'] * 3, 'h6']
    for rows, words in (
        ('a,1,8.39E+35\n', r'line 2: its header names no patient, and a spreadsheet has rounded'),
        ('a,1,P1\na,1,P2\n', r'line 3: another patient than for the same film on line 2'),
    ):
        with pytest.raises(AnnotationError, match=words) as caught:
            convert(folder, f'path,label,PatientID\n{rows}', out='b.json')
        assert not re.search('8.39|P1', str(caught.value))
    assert convert(folder, 'path,label,patient_id\ne,1,8.39E+35\n')[0].films == 7


def test_a_patient_of_the_table_that_is_a_0_is_nobody(folder):
    film(folder, 'a', PatientID='')
    film(folder, 'b', PatientID='0')
    film(folder, 'c', PatientID='h5')
    summary, _, films, _ = convert(folder, 'path,label,patient_id\na,1,0\nb,0,0\nc,0,0\n')
    assert len({image['patient_id'] for image in films.values()}) == 3
    assert summary.noted == {'films without PatientID (a patient a study)': 2}


def test_all_problems_of_a_table_at_once(folder):
    film(folder, 'a.dcm')
    film(folder, 'b.dcm')
    film(folder, 'x/same.dcm')
    film(folder, 'y/same.dcm')
    table = (
        'path,label,x1,y1,x2,y2\n'
        'a.dcm,7,,,,\n'
        'a.dcm,1,1,1,90,9\n'
        'b.dcm,0,1,1,5,5\n'
        'b.dcm,0,,,,\nb.dcm,1,,,,\n'
        ',1,,,,\n'
        'same.dcm,1,,,,\n'
        'a.dcm,1,1,1,5,\n'
        'a.dcm,1,1,x,5,9\n'
    )
    with pytest.raises(AnnotationError) as caught:
        convert(folder, table)
    text = str(caught.value)
    for line, words in (
        *(
            (2, 'column label does not hold'),
            (3, 'lies outside its film'),
            (4, 'label 0, but a box'),
        ),
        *((6, 'label 1, but 0'), (7, 'no file, UID or accession'), (8, 'may be 2 files')),
        *(
            (9, 'a box is x1, y1, x2, y2 .*but y2 has no number'),
            (10, 'column y1 does not hold a number'),
        ),
    ):
        assert re.search(f'labels.csv: line {line}: .*{words}', text), (line, words, text)
    assert '8 problems' in text and not (folder.parent / 'out').exists()


@pytest.mark.parametrize(
    ('table', 'words'),
    [
        (
            'path,lbl\na,1\n',
            r"no column 'label'.*'path', 1 others.* shown; .*: --column label=OTHER",
        ),
        ('a.dcm,1\nb.dcm,0\n', r"no column 'label'.*; is the first line a header\?"),
        ('name,label\na,1\n', r'no column that names films.*--column path=OTHER'),
        ('path,label,x1,y1\na.dcm,1,1,1\n', 'there is only'),
        ('path,label\nz.dcm,1\n', 'none of its 1 rows'),
        ('StudyInstanceUID,label\n9.9,1\n', 'none of its 1 rows'),
        ('', 'empty'),
    ],
)
def test_tables_that_do_not_fit(folder, table, words):
    film(folder, 'a.dcm')
    with pytest.raises(AnnotationError, match=words):
        convert(folder, table)
    assert not (folder.parent / 'out').exists()


def test_a_label_spelt_otherwise_is_one_line_for_all_its_rows(folder):
    names = [film(folder, f'{number}.dcm').name for number in range(4)]
    labels = ['Fx', 'normal', 'Fx', 'Fx']
    table = '\n'.join(['path,label', *map(','.join, zip(names, labels))]) + '\n'
    with pytest.raises(AnnotationError) as caught:
        convert(folder, table)
    head, line = str(caught.value).splitlines()
    assert line.startswith(
        '  labels.csv: lines 2, 4-5 (3 rows): column label does not hold 1 (yes, '
    )
    assert 'no fracture' in line and 'hedge) or blank; ' in line
    assert head.startswith('3 problems in ') and len(caught.value.problems) == 3


def test_missing_inputs_and_nothing_left(folder):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        convert(folder.parent / 'nowhere')
    table = folder.parent / 'rows.csv'
    table.write_text('path,label\na.dcm,1\n')
    with pytest.raises(AnnotationError, match=r'^no film is left.*: there is no file in it$'):
        convert(folder, table)
    (folder / 'a.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    with pytest.raises(
        AnnotationError, match=r'none of its 1 files is a DICOM image; .*plain-csv$'
    ):
        convert(folder, table)
    shutil.copy(get_testdata_file('DICOMDIR'), folder / 'DICOMDIR')
    with pytest.raises(
        AnnotationError, match=r'none of its 2 files is .*; a DICOMDIR lists .* too$'
    ):
        convert(folder)
    (folder / 'a.ZIP').write_bytes(b'PK\x03\x04')
    with pytest.raises(
        AnnotationError, match=r'none of its 3 files .*; packed .*: 1; unpack them$'
    ):
        convert(folder)
    film(folder, 'a.dcm', ViewPosition='LL')
    with pytest.raises(AnnotationError, match='1 view lateral'):
        convert(folder, table)
    with pytest.raises(AnnotationError, match='1 view lateral'):
        convert(folder)
    with pytest.raises(FileNotFoundError, match=r'none\.csv'):
        convert(folder, folder / 'none.csv')
    with pytest.raises(ValueError, match='column'):
        convert(folder, 'path,label\na,1\n', columns=dict(colour='x'))


def test_a_folder_of_links_that_holds_the_films(folder):
    film(folder, 'dicom/a.dcm')
    for links in (folder, folder.parent):
        with pytest.raises(ValueError, match=r'holds the films themselves: .*--links'):
            convert(folder, links=links)
    (folder / 'dicom/a.dcm').unlink()
    with pytest.raises(AnnotationError, match='there is no file in it'):
        convert(folder, links=folder.parent)


def test_links_of_an_earlier_conversion_take_no_label_away(folder):
    film(folder, 'z.dcm')
    # the first of these comes before the film
    for name in ('0', '1'):
        films = convert(folder, 'path,label\nz.dcm,1\n', links=folder / name)[2]
        assert [one['label'] for one in films.values()] == [1]
    assert len(list((folder / '0').iterdir())) == 1


@pytest.mark.parametrize('name', ['label', 'fracture', 'Fracture'])
def test_a_column_is_renamed_by_any_of_its_names(folder, name):
    film(folder, 'a.dcm')
    films = convert(folder, 'file,diagnosis\na.dcm,yes\n', columns={name: 'diagnosis'})[2]
    assert [one['label'] for one in films.values()] == [1]


def test_links_in_the_folder_end(folder):
    film(folder, 'a/b.dcm')
    (folder / 'a' / 'loop').symlink_to(folder)
    outside = folder.parent / 'outside'
    outside.mkdir()
    film(outside, 'c.dcm', SOPInstanceUID='1.5', PatientID='other')
    (folder / 'there').symlink_to(outside)
    assert list(convert(folder)[2]) == ['a/b.dcm', 'there/c.dcm']


def test_films_that_are_not_stored_upright(folder):
    film(folder, 'a.dcm', PatientOrientation=['L', 'F'])
    film(folder, 'b.dcm', PatientOrientation=['R', 'F'])
    film(folder, 'c.dcm', PatientOrientation=['L', 'H'])
    film(folder, 'd.dcm', PatientOrientation=['F', 'R'])
    summary, _, films, _ = convert(folder)
    assert list(films) == ['a.dcm', 'b.dcm'] and 'mirrored' in str(summary)
    assert summary.left_out == {
        'stored upside down or on its side, by its PatientOrientation': 2,
    }
    assert len(convert(folder, keep=('not_upright',))[2]) == 4


@pytest.mark.parametrize('seed', range(3))
def test_damaged_folder(folder, shared_data, seed):
    """Whatever is left out is counted and listed; what is kept can be decoded."""
    draw = random.Random(seed)
    sources = sorted((shared_data / 'real_cxr' / 'dicom').iterdir())
    film(folder, 'sound.dcm')
    for index in range(12):
        content = bytearray(draw.choice(sources).read_bytes())
        for _ in range(draw.choice([1, 50, 3000])):
            content[draw.randrange(draw.choice([400, 3000, len(content)]))] = draw.randrange(256)
        if draw.random() < 0.4:
            del content[draw.randrange(len(content)) :]
        (folder / f'{index}').write_bytes(content)
    listed = folder.parent / 'left.csv'
    summary, _, films, _ = convert(folder, verify=True, workers=1, left_out_file=listed)
    rows = list(csv.DictReader(listed.open()))
    assert len(films) + len(rows) == 13 and sum(summary.left_out.values()) == len(rows)
    assert all(row['reason'] for row in rows) and 'sound.dcm' in films


def test_real_films(shared_data, tmp_path):
    folder = shared_data / 'real_cxr' / 'dicom'
    (tmp_path / 'key').write_text(KEY)
    options = FolderOptions(key_file=tmp_path / 'key', names='original')
    out = tmp_path / 'a.json'
    # one of them lies upside down, and its header says on its side
    summary, left_out = convert_dicom_folder(folder, out, None, ConvertOptions(), options)
    assert summary.films == 4 and [one.detail for one in left_out] == ['stored on its side']
    summary, left_out = convert_dicom_folder(
        *(folder, out, None, ConvertOptions(verify=True, workers=2)),
        replace(options, keep=('not_upright',)),
    )
    assert (summary.films, summary.patients, left_out) == (5, 3, [])
    images = json.loads(out.read_text())['images']
    assert [image.get('view') for image in images] == ['PA', 'PA', 'frontal', 'PA', 'PA']
    for image in images:
        ds = pydicom.dcmread(folder / image['file_name'], stop_before_pixels=True)
        assert (image['width'], image['height']) == (ds.Columns, ds.Rows)
    assert not re.search('1957|1940|CompressedSamples|9RG1', out.read_text())


def test_tool(folder, repository, monkeypatch, capsys):
    tool = repository / 'tools' / 'dataset_converters' / 'dicom_folder.py'
    film(folder, 'a.dcm')
    film(folder, 'lat.dcm', ViewPosition='LL')
    (folder.parent / 'l.csv').write_text('name;fx\na;1\n')
    out, listed = folder.parent / 'a.json', folder.parent / 'left.csv'

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(tool), str(folder), str(out), *map(str, args)])
        runpy.run_path(str(tool), run_name='__main__')
        return capsys.readouterr()

    key = ('--key-file', folder.parent / 'key', '--workers', 1)
    kept = ('--names', 'original')
    names = ('--column', 'path=name', '--column', 'label=fx')
    said = run('--table', folder.parent / 'l.csv', *names, '--left-out', listed, *key, *kept)
    assert 'with fracture, label only (P_pub)' in said.out and f'wrote {listed}' in said.out
    assert 'Doe' not in said.out and 'lat.dcm' not in said.out + said.err
    (name,) = [one for one, path in originals(folder).items() if path == 'lat.dcm']
    assert f'left out: {name}: view lateral' in said.out
    assert listed.read_text() == f'file,reason,detail\n{name},view lateral,\n'
    assert json.loads(out.read_text())['images'][0]['label'] == 1
    with pytest.raises(SystemExit) as left:
        run('--table', folder.parent / 'l.csv', '--column', 'label', *key)
    assert left.value.code == 1 and 'is not NAME=OTHER' in capsys.readouterr().err
