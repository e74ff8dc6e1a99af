# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Sixty folders and headers with invented names: no output holds a part of one."""

import json
import os
import re
import runpy
import stat
import sys
import traceback
from pathlib import Path

import pytest

from mmfrac.preparation.converters import ConvertOptions
from mmfrac.preparation.dicom_folder import FolderOptions, convert_dicom_folder
from mmfrac.utils.errors import AnnotationError
from tests.preparation.dicom_folder.test_convert import KEY, convert, film, folder

__all__ = ['folder']

# PatientName, path of the file, and what must not be found of either
PEOPLE = [
    *(('Quexford^Zelda', 'QuexfordZelda/1.dcm', 'quexford zelda'),),
    *(('Quexford^Zelda', 'zeldaquexford_1950.dcm', 'quexford zelda'),),
    *(('Brömsgård^Åke', 'Broemsgaard_Aake/2.dcm', 'broemsgaard aake brömsgård'),),
    *(('Müßigbrod^Jörg', 'muessigbrod/3.dcm', 'muessigbrod müßigbrod jörg'),),
    *(('Wójcikowska^Zofia', 'wojcikowska-z.dcm', 'wojcikowska wójcikowska zofia'),),
    *(('Щербатюк^Ярослав', 'Shcherbatyuk/5.dcm', 'shcherbatyuk щербатюк ярослав'),),
    *(('Щербатюк^Ярослав', 'щербатюк_я/6.dcm', 'щербатюк ярослав'),),
    *(('Παπαδόγλου^Ευτυχία', 'Papadoglou/7.dcm', 'papadoglou παπαδόγλου ευτυχία'),),
    *(
        ('欧阳靖雯', '欧阳靖雯胸片/8.dcm', '欧阳 靖雯'),
        ('欧阳靖雯', 'ouyangjingwen.dcm', 'ouyang jingwen'),
    ),
    *(('鳩山^由紀夫=はとやま^ゆきお', 'はとやまゆきお/9.dcm', '鳩山 由紀夫 はとやま ゆきお'),),
    *(
        ('남궁^민수', '남궁민수/10.dcm', '남궁 민수'),
        ('남궁^민수', 'namgungminsu.dcm', 'namgung minsu'),
    ),
    *(
        ('الحسيني^زينب', 'الحسيني/11.dcm', 'الحسيني زينب'),
        ('الحسيني^زينب', 'alhusayni.dcm', 'alhusayni'),
    ),
    *(('בן־דוד^רחלי', 'רחלי/12.dcm', 'רחלי'), ('चतुर्वेदी^अनुष्का', 'चतुर्वेदी.dcm', 'चतुर्वेदी')),
    *(
        ('สุวรรณภูมิ^นภา', 'สุวรรณภูมิ.dcm', 'สุวรรณภูมิ'),
        ("O'Gallchobhair^Sadhbh", 'OGallchobhair.dcm', 'gallchobhair'),
    ),
    *(
        ('Nguyễn^Thị Quỳnh', 'nguyenthiquynh.dcm', 'quynh nguyễn'),
        ('İşgüzar^Gül', 'isguzar.dcm', 'isguzar işgüzar'),
    ),
    *(
        ('Þórsdóttir^Ýrr', 'thorsdottir.dcm', 'thorsdottir þórsdóttir'),
        ('Li^Xy', 'LiXyqq/13.dcm', 'lixyqq'),
    ),
]
# ids, numbers and dates as they stand in paths
NUMBERS = [
    *(
        'MRN00871234/1.dcm',
        'mrn-0087-1234.dcm',
        '00871234/film.dcm',
        'ACC7788991.dcm',
        'A-7788-991/x',
    ),
    *('1950-01-02/a.dcm', '02011950.dcm', '2.1.1950.dcm', '2 Jan 1950.dcm', 'born_jan_02_1950.dcm'),
    *('500102.dcm', '昭和25年1月2日.dcm', '19500102_chest.dcm', '1950_01.dcm', 'dob02-01-50.dcm'),
    *(
        'SSN123-45-6789.dcm',
        '123456789.dcm',
        'NHS9434765919.dcm',
        'room12bed4.dcm',
        'bed4_dr_who.dcm',
    ),
    *('tel0301234567.dcm', 'x@example.org.dcm', '12_Elm_Street.dcm', 'scan 17-03-2020 0815.dcm'),
    *('20200317/0815.dcm', '2020.03.17.dcm', 'march17.dcm', '17MAR2020.dcm', 'wk12-2020.dcm'),
    *('p00871234_quexford/1', 'ICU/bay3/00871234', 'Elm.dcm', 'insured_A123456780.dcm'),
]
FORBIDDEN = (
    *(
        '871234',
        '0087-1234',
        '7788',
        '1950',
        '2020',
        '500102',
        'jan_02',
        '2 Jan',
        '昭和',
        '02-01-50',
    ),
    *('123-45', '123456789', '9434765919', 'bed4', 'room12', '0301234567', 'example.org', 'Elm'),
    *('0815', 'march17', '17MAR', 'wk12', 'bay3', 'A123456780', 'dob', 'born', 'MRN', 'SSN', 'NHS'),
)


def everybody(folder):
    """The corpus, some of it broken or of no use; returns what must not be found."""
    words = set(FORBIDDEN)
    for index, (name, path, parts) in enumerate(PEOPLE):
        words |= set(parts.split())
        # a code string has no character set
        code = name.encode().decode('latin-1')
        film(
            folder,
            path,
            SpecificCharacterSet='ISO_IR 192',
            PatientName=name,
            PatientID=f'MRN0087{index:04d}',
            AccessionNumber='ACC7788991',
            StudyDate='20200317',
            StudyDescription=f'{name} in bay3',
            SeriesDescription=f'{name} 1950',
            ProtocolName=f'for {name}',
            BodyPartExamined=('CHEST', code, 'HAND')[index % 3],
            Modality=('DX', 'DX', 'DX', 'DX', code, 'CT')[index % 6],
            ViewPosition=('PA', '', 'LL', 'PA')[index % 4],
            BurnedInAnnotation=('NO', 'NO', 'NO', 'NO', 'YES')[index % 5],
            ImageComments=name,
            OtherPatientIDs='MRN00871234',
        )
    for index, path in enumerate(NUMBERS):
        made = film(
            folder, path, PatientName='Quexford^Zelda', PatientID='MRN00871234', ViewPosition='PA'
        )
        if index % 4 == 1:
            made.write_bytes(made.read_bytes()[:-60])
        elif index % 4 == 2:
            made.write_bytes(made.read_bytes().replace(b'PA', b'\xff\xff'))
        elif index % 8 == 3:
            made.write_bytes(b'\0' * 128 + b'DICM' + b'Quexford' * 40)
    (folder / 'QuexfordZelda' / 'letter.txt').write_text('Zelda Quexford')
    return words


def found_in(text, words):
    low = text.lower()
    return sorted(word for word in words if word.lower() in low)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / 'films'
    folder.mkdir()
    (tmp_path / 'secret').mkdir()
    (tmp_path / 'secret' / 'key').write_text(KEY)
    assert len(PEOPLE) + len(NUMBERS) >= 54
    return folder, everybody(folder)


@pytest.mark.parametrize('table', [None, 'paths', 'broken'])
def test_no_output_holds_a_part_of_a_name(corpus, tmp_path, repository, monkeypatch, capfd, table):
    folder, words = corpus
    tool = repository / 'tools' / 'dataset_converters' / 'dicom_folder.py'
    out = tmp_path / 'out' / 'annotations' / 'train.json'
    args = [folder, out, '--key-file', tmp_path / 'secret' / 'key', '--workers', 1, '--verify']
    args += ['--left-out', tmp_path / 'out' / 'left_out.csv']
    if table:
        rows = [f'"{path}",{index % 2}' for index, (_, path, _) in enumerate(PEOPLE)]
        if table == 'broken':
            rows += [f'"{PEOPLE[0][1]}",7', '"2020.03.17.dcm\0",1', '"00871234/film.dcm",1,3']
        (tmp_path / 'secret' / 'l.csv').write_text('\n'.join(['path,label', *rows]) + '\n')
        args += ['--table', tmp_path / 'secret' / 'l.csv']
    monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, args)])
    try:
        runpy.run_path(str(tool), run_name='__main__')
    except SystemExit as left:
        assert table == 'broken' and left.code == 1
    said = capfd.readouterr()
    for text in (said.out, said.err):
        assert found_in(text.replace(str(tmp_path), ''), words) == []
    if table == 'broken':
        assert not (tmp_path / 'out').exists()
        return
    images = json.loads(out.read_text())['images']
    assert len(images) > 15 and all(
        re.fullmatch('[0-9a-f]{16}.dcm', i['file_name']) for i in images
    )
    listed = 0
    for parent, _, files in os.walk(tmp_path / 'out'):
        for name in files:
            listed += 1
            assert found_in(name, words) == []
            if not Path(parent, name).is_symlink():
                assert found_in(Path(parent, name).read_text(), words) == [], name
    assert listed == len(images) + 2
    (original,) = (tmp_path / 'secret' / 'originals').iterdir()
    assert stat.S_IMODE(original.stat().st_mode) == 0o600
    assert 'QuexfordZelda' in original.read_text() and str(original) in said.out
    assert stat.S_IMODE((out.parent / 'train_images').stat().st_mode) == 0o700


def options(tmp_path, **more):
    return FolderOptions(key_file=tmp_path / 'secret' / 'key', **more)


def test_nothing_of_others_is_replaced(corpus, tmp_path):
    folder, _ = corpus
    out, key = tmp_path / 'a.json', ConvertOptions(workers=1)
    (tmp_path / 'mine.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='is no map of originals and is not replaced'):
        convert_dicom_folder(
            folder, out, None, key, options(tmp_path, map_file=tmp_path / 'mine.csv')
        )
    assert (tmp_path / 'mine.csv').read_text() == 'a,b\n1,2\n' and not out.exists()
    convert_dicom_folder(folder, out, None, key, options(tmp_path))
    first = sorted((tmp_path / 'a_images').iterdir())
    # the same again, over its own links and map
    convert_dicom_folder(folder, out, None, key, options(tmp_path))
    assert sorted((tmp_path / 'a_images').iterdir()) == first
    link = first[0]
    link.unlink()
    link.write_text('mine')
    before = out.read_bytes()
    with pytest.raises(ValueError, match='1 files under the names of links'):
        convert_dicom_folder(folder, out, None, key, options(tmp_path))
    assert link.read_text() == 'mine' and out.read_bytes() == before


def test_links_in_the_folder_itself_are_no_films(corpus, tmp_path):
    folder, _ = corpus
    key = ConvertOptions(workers=1)
    counts = [
        convert_dicom_folder(folder, folder / 'a.json', None, key, options(tmp_path))[0].films
        for _ in range(2)
    ]
    assert counts[0] == counts[1]


def test_links_are_never_films_of_their_folder(corpus, tmp_path):
    folder, _ = corpus
    key = ConvertOptions(workers=1)
    out = tmp_path / 'out.json'
    with pytest.raises(ValueError, match='holds the films themselves'):
        convert_dicom_folder(folder, out, None, key, options(tmp_path, links=folder))
    assert not out.exists() and not any(path.is_symlink() for path in folder.rglob('*'))
    # of an earlier conversion with other links, too
    films = [
        convert_dicom_folder(folder, out, None, key, options(tmp_path, links=folder / name))[
            0
        ].films
        for name in ('one', 'two')
    ]
    assert films[0] == films[1] and any((folder / 'one').iterdir())


def test_similar_patient_ids_are_asked_about_and_not_named(corpus, tmp_path):
    folder, _ = corpus
    film(folder, 'p1.dcm', PatientID='00871234', PatientName='x')
    film(folder, 'p2.dcm', PatientID='871234', PatientName='x')
    summary, _ = convert_dicom_folder(
        folder, tmp_path / 'a.json', None, ConvertOptions(workers=1), options(tmp_path)
    )
    assert any('patient ids differ only in blanks' in note for note in summary.notes)
    assert '871234' not in str(summary)


CELLS = [
    ('path,label\na.dcm,"Fraktur bei Quexford, Zelda"\n', 'line 2: column label does not hold'),
    ('path,label,x1,y1,x2,y2\na.dcm,1,Zelda,2,3,4\n', 'line 2: column x1 does not hold a number'),
    ('path,label,x1,y1,x2,y2\na.dcm,1,1,2,Zelda,\n', 'line 2: a box is .*, but y2 has no number'),
    ('path;label;x1;y1;x2;y2\na.dcm;1;1,5;Zelda;3;4\n', 'line 2: column y1 does not hold a number'),
    ('path,label\na.dcm,"Zel\nda"\n', 'line 2: label: holds'),
    ('path,label\na.dcm,1,Zelda\n', 'line 2: 3 fields, the header has 2'),
    ('Quexford,Zelda,label\na.dcm,x,1\n', 'no column that names films'),
    # a table without a header: its first row stands for one
    ('path,Zelda,Quexford\na.dcm,x,1\n', "no column 'label' .*found: 'path', 2 others, which are"),
]


@pytest.mark.parametrize(('table', 'words'), CELLS)
def test_no_error_quotes_a_cell_of_a_table_of_labels(folder, table, words):
    film(folder, 'a.dcm')
    with pytest.raises(AnnotationError, match=words) as caught:
        convert(folder, table)
    shown = ''.join(traceback.format_exception(caught.value))
    assert not re.search('quexford|zel|da\\b', str(caught.value), re.IGNORECASE)
    assert 'Zelda' not in shown.partition('AnnotationError')[2]
