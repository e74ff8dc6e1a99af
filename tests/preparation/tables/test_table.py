# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import csv
import gzip
import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.preparation.tables.table import Problems, Table
from mmfrac.utils.errors import AnnotationError

WANTED = dict(path=('path', 'file_name'), label=('label',))
ROWS = [(2, ['a b/ü.png', '1', '']), (3, ['c.png', '0', ''])]
LONG = ('path,label\n' + '\n'.join(f'{i * 7919**3},1' for i in range(20_000))).encode()
TEXT = 'path,label,other\na b/ü.png,1,x\nc.png,0,y\n'


def read(path, **options):
    """Rows of a table and what is wrong with it."""
    problems = Problems()
    table = Table(path, WANTED, problems, dict(view=('view',)), **options)
    rows = list(table.rows())
    try:
        problems.raise_any([str(path)])
    except AnnotationError as error:
        return rows, str(error)
    return rows, ''


def read_bytes(tmp_path, data, name='t.csv', **options):
    (tmp_path / name).write_bytes(data)
    return read(tmp_path / name, **options)


def zipped(**files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


@pytest.mark.parametrize(
    'data',
    [
        TEXT.encode(),
        TEXT.encode('utf-8-sig'),
        TEXT.encode('utf-16'),
        TEXT.replace('\n', '\r\n').encode(),
        TEXT.replace('\n', '\r').encode(),
        TEXT.replace(',', ';').encode(),
        TEXT.replace(',', '\t').encode(),
        TEXT.rstrip('\n').encode(),
        gzip.compress(TEXT.encode('utf-8-sig'), mtime=0),
        zipped(t=TEXT.encode()),
        zipped(**{'t.csv': TEXT.encode(), '__MACOSX/t.csv': b'x'}),
        TEXT.replace('path,label', ' Path , LABEL ').encode(),
        TEXT.replace('c.png,0,y', ' c.png , 0 ,y,,').encode(),
        TEXT.replace('c.png,0,y', '"c.png","0",y').encode(),
    ],
    ids=range(14),
)
@pytest.mark.parametrize('name', ['t.csv', 't.csv.gz', 'no suffix ü'])
def test_every_form(tmp_path, data, name):
    assert read_bytes(tmp_path, data, name) == (ROWS, '')


def test_lines_count_from_the_top_of_the_file(tmp_path):
    data = b'sep=;\r\n\r\nlabel;path;note\r\n1;a;"two\r\nlines"\r\n;;\r\n\r\n0;b;x\r\n'
    assert read_bytes(tmp_path, data) == ([(4, ['a', '1', '']), (8, ['b', '0', ''])], '')


def test_optional_and_renamed_columns(tmp_path):
    data = b'file_name,view,label\na,PA,1\n'
    assert read_bytes(tmp_path, data) == ([(2, ['a', '1', 'PA'])], '')


def test_empty_names_at_the_end_of_the_header(tmp_path):
    assert read_bytes(tmp_path, b'path,label,,,\na,1\n') == ([(2, ['a', '1', ''])], '')


def test_what_is_wrong_with_many_lines_is_said_once():
    problems = Problems()
    for line in (9, 2, 3, 4, 6, 11, 13, 15):
        problems.add('t.csv', line, 'odd')
    problems.add('t.csv', 3, 'other')
    problems.add('u.csv', 3, 'odd')
    assert len(problems.lines) == 10 and problems.lines[1] == 't.csv: line 3: odd'
    with pytest.raises(AnnotationError) as caught:
        problems.raise_any(['a', 'b'])
    assert list(caught.value.problems) == problems.lines
    assert str(caught.value).splitlines() == [
        '10 problems in a, b:',
        '  t.csv: lines 2-4, 6, 9, 11, 13, 15 (8 rows): odd',
        '  t.csv: line 3: other',
        '  u.csv: line 3: odd',
    ]
    for number in range(60):
        problems.add('v.csv', number, f'fault {number}')
        problems.add('v.csv', 100 + number, f'fault {number}')
    with pytest.raises(AnnotationError) as caught:
        problems.raise_any(['all'])
    message = str(caught.value)
    # 50 of 63 different ones
    assert message.startswith('130 problems in all:\n')
    assert message.endswith(
        'lines 46, 146 (2 rows): fault 46\n  ... and 26 more: v.csv lines 47-59, 147-159'
    )


def test_50_runs_of_lines_with_one_fault_are_all_named_and_more_are_counted():
    for number, end in ((50, '98, 100 (50 rows)'), (51, '98, 100, ... (51 rows)')):
        problems = Problems()
        for line in range(2, 2 * number + 2, 2):
            problems.add('t.csv', line, 'odd')
        with pytest.raises(AnnotationError) as caught:
            problems.raise_any(['t.csv'])
        line = str(caught.value).splitlines()[1]
        assert line.startswith('  t.csv: lines 2, 4, 6, 8, 10, 12, ')
        assert line.endswith(f'{end}: odd') and line.count(', ') == end.count('...') + 49


def test_tables_of_one_file_name_are_named_by_their_paths(tmp_path):
    problems = Problems()
    a, b, c = paths = [tmp_path / 'a/t.csv', tmp_path / 'b/t.csv', tmp_path / 'c.csv']
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text('label\n1,2\n')
    # a column is missing in the first before the second is there
    Table(a, dict(path=('path',)), problems)
    tables = [Table(path, dict(label=('label',)), problems) for path in (a, b, c)]
    assert [table.name for table in tables] == [str(a), str(b), 'c.csv']
    assert not any(list(table.rows()) for table in tables)
    with pytest.raises(AnnotationError) as caught:
        problems.raise_any(['all'])
    head, header, *rows = str(caught.value).splitlines()
    assert head == '4 problems in all:'
    assert header.startswith(f"  {a}: header: no column 'path'")
    fault = 'line 2: 2 fields, the header has 1'
    assert rows == [f'  {a}: {fault}', f'  {b}: {fault}', f'  c.csv: {fault}']
    assert [line[2:] for line in rows] == list(caught.value.problems[1:])


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', 'the table is empty'),
        (b'\xef\xbb\xbf\n\n', 'the table is empty'),
        (b'path,label\n', 'no row below its header'),
        (b'path,label\n\n,\n', 'no row below its header'),
        (
            b'image;klasse;label\n',
            "no column 'path' or 'file_name'; wanted: 'path' or 'file_name', 'label'; found: 'image', "
            "'klasse', 'label'",
        ),
        (b'a.png,1\nb.png,0\n', "found: 'a.png', '1'; is the first line a header?"),
        (b'path,label,Label\na,1,1\n', "column 'label' is there twice"),
        (b'\x89PNG\r\n\x1a\n' + bytes(range(256)) * 4, "no column 'path'"),
        (
            gzip.compress(LONG, mtime=0)[:-20_000],
            'the file is damaged from here on (Compressed file ended',
        ),
        (gzip.compress(LONG, mtime=0)[:12], 'the file cannot be read'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_files_that_are_no_table(tmp_path, data, words):
    message = read_bytes(tmp_path, data)[1]
    assert words in message and '1 problem in ' in message and 't.csv: ' in message


@pytest.mark.parametrize(
    ('row', 'words'),
    [
        (b'b,1', '2 fields, the header has 3'),
        (b'b', '1 field, the header has 3'),
        (b'b,1,2,3', '4 fields, the header has 3'),
        (b'"b"x,1,2', 'not a row of a table'),
        (b'b\xe9.png,1,2', "path: b'b\\xe9.png' is not utf-8"),
        (b'"b\nc.png",1,2', "path: 'b\\nc.png' holds '\\n'; a quote may be missing"),
        (b'b\0.png,1,2', "path: 'b\\x00.png' holds '\\x00'"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(tmp_path, row, words):
    rows, message = read_bytes(tmp_path, b'path,label,x\na,1,\n' + row + b'\nc,0,\nd,1,2,3,4\n')
    more = row.count(b'\n')
    assert rows == [(2, ['a', '1', '']), (4 + more, ['c', '0', ''])]
    head, bad, last = message.splitlines()
    assert head.startswith('2 problems in ')
    assert bad.startswith(f'  t.csv: line 3: {words}')
    assert last == f'  t.csv: line {5 + more}: 5 fields, the header has 3'


def test_a_quote_that_never_ends(tmp_path):
    rows, message = read_bytes(tmp_path, b'path,label\na,1\n"b,1\nc,0\nd,0\n')
    assert len(rows) == 1 and 't.csv: line 3: not a row of a table: unexpected end' in message


def test_bytes_outside_the_columns_that_are_read_do_not_matter(tmp_path):
    assert read_bytes(tmp_path, b'path,label,report\na,1,\xe9\n') == ([(2, ['a', '1', ''])], '')


def test_another_encoding(tmp_path):
    data = 'path,label\nü.png,1\n'.encode('cp1252')
    assert 'is not utf-8' in read_bytes(tmp_path, data)[1]
    assert read_bytes(tmp_path, data, encoding='cp1252')[0] == [(2, ['ü.png', '1', ''])]


def test_no_file_and_no_table(tmp_path):
    for path, words in ((tmp_path / 'no.csv', 'no such file'), (tmp_path, 'it is a folder')):
        with pytest.raises(FileNotFoundError, match=words):
            read(path)
    for data, words in (
        (zipped(a='', b=''), 'holds 2 files'),
        (zipped(**{'[Content_Types].xml': '', 'xl': ''}), 'is a workbook'),
    ):
        with pytest.raises(ValueError, match=words):
            read_bytes(tmp_path, data)


def test_progress(tmp_path, capsys):
    (tmp_path / 't.csv').write_text('path,label\n' + 'a,1\n' * 1200)
    assert len(read(tmp_path / 't.csv', progress=True)[0]) == 1200
    assert '100%' in capsys.readouterr().err
    read(tmp_path / 't.csv')
    assert capsys.readouterr().err == ''


def test_many_problems_are_all_placed(tmp_path):
    # each with another number of fields
    lines = ['x,' * (index + 2) + 'x' if index % 3 else 'a,1' for index in range(120)]
    _, message = read_bytes(tmp_path, '\n'.join(['path,label', *lines]).encode())
    assert message.startswith('80 problems') and '... and 30 more: t.csv lines' in message
    tail = message.rsplit('lines ', 1)[1]
    assert tail.startswith('78-79, 81-82') and tail.endswith('120-121')


field = st.text(st.characters(blacklist_categories=('Cs', 'Cc')), max_size=8).map(str.strip)
table_rows = st.lists(st.tuples(field.filter(bool), field, field), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(
    table_rows,
    st.sampled_from(',;\t|'),
    st.sampled_from(['\n', '\r\n', '\r']),
    st.sampled_from(['utf-8', 'utf-8-sig', 'utf-16']),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)
def test_what_is_written_is_read(rows, delimiter, end, encoding, quoting, packed):
    text = io.StringIO(newline='')
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([('label', 'view', 'path'), *rows])
    data = text.getvalue().encode(encoding)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 't.csv'
        path.write_bytes(gzip.compress(data) if packed else data)
        found, message = read(path)
    # str.splitlines knows more line ends than csv does: none of them may break a row
    assert message == ''
    assert found == [
        (line, [path, label, view]) for line, (label, view, path) in enumerate(rows, 2)
    ]
