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

import pydicom
import pytest

from mmfrac.datasets import CXRDataset
from mmfrac.preparation.converters import ConvertOptions
from mmfrac.preparation.dicom_folder import FolderOptions, convert_dicom_folder
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


def test_names_that_are_not_repeated_tell_files_whatever_folders_a_table_has(folder):
    film(folder, 'a/s1.dcm')
    film(folder, 'b/s2.dcm')
    film(folder, 'a/I1')
    film(folder, 'b/I2')
    for name in ('DICOMDIR', '.DS_Store', 'readme.txt', 'VERSION'):
        for below in 'ab':
            (folder / below / name).write_text('hello')
    table = 'path,label\n/mnt/x/s1.dcm,1\nC:\\y\\s2.dcm,0\n/mnt/x/I1,1\n/mnt/x/I2,0\n'
    expected = {'a/s1.dcm': 1, 'b/s2.dcm': 0, 'a/I1': 1, 'b/I2': 0}
    assert labels_of(convert(folder, table)[2]) == expected
    # this folder is here, without such a file
    summary, _, films, _ = convert(folder, 'path,label\na/s1.dcm,0\na/s2.dcm,1\n')
    assert labels_of(films) == {'a/s1.dcm': 0, 'b/s2.dcm': -1, 'a/I1': -1, 'b/I2': -1}
    assert summary.left_out[NO_IMAGE] == 1


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
        ('path,lbl\na,1\n', "no column 'label'"),
        ('name,label\na,1\n', 'no column that names films'),
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


def test_missing_inputs_and_nothing_left(folder):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        convert(folder.parent / 'nowhere')
    with pytest.raises(AnnotationError, match='no film is left'):
        convert(folder)
    film(folder, 'a.dcm', ViewPosition='LL')
    with pytest.raises(AnnotationError, match='1 view lateral'):
        convert(folder)
    with pytest.raises(FileNotFoundError, match=r'none\.csv'):
        convert(folder, folder / 'none.csv')
    with pytest.raises(ValueError, match='column'):
        convert(folder, 'path,label\na,1\n', columns=dict(colour='x'))


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
    summary, left_out = convert_dicom_folder(
        folder, out, None, ConvertOptions(verify=True, workers=2), options
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
