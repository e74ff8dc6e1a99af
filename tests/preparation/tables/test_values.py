# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.preparation.converters.convert_options import ConvertOptions, parse_size, parse_views
from mmfrac.preparation.tables.table import Problems, Table
from mmfrac.preparation.tables.values import read_label, read_length, read_number, read_patient


@pytest.mark.parametrize(
    ('texts', 'label'),
    [
        (('1', '1.0', '+1', 'YES', 'Positive', 'true', 'fracture'), 1),
        (('0', '0.0', '-0.0', 'no', 'Negative', 'FALSE', 'normal'), 0),
        (('-1', '-1.0', 'HEDGE', 'uncertain', 'unknown'), -1),
        (('', 'nan', 'NaN', 'None', 'N/A'), None),
    ],
)
def test_labels(texts, label):
    assert {read_label(text) for text in texts} == {label}


@pytest.mark.parametrize('text', ['2', '0.5', '1,0', 'x', '--', 'inf', '1e0x', '１'])
def test_no_label(text):
    with pytest.raises(ValueError, match='is none of'):
        read_label(text)


def test_numbers():
    values = [read_number(text) for text in ('12', '-3.50', '1e2', '.5', '7.0')]
    assert values == [12, -3.5, 100, 0.5, 7] and type(values[4]) is int
    assert read_number('12,5', decimal_comma=True) == 12.5
    for text in ('', 'x', 'nan', 'inf', '1e999', '12,5', '1 2', '0x10', '1_0'):
        with pytest.raises(ValueError, match='is not a number'):
            read_number(text)
    assert read_length('2048.0') == 2048
    for text in ('0', '-5', '10.5'):
        with pytest.raises(ValueError, match='width or height'):
            read_length(text)


@pytest.mark.parametrize(
    ('delimiter', 'first', 'second'),
    [('\t', '1,050', '0.9'), (';', '0,9', '1.050'), (';', '12', '1.5')],
)
def test_a_table_has_one_decimal_mark(tmp_path, delimiter, first, second):
    path = tmp_path / 't.csv'
    path.write_text(f'a{delimiter}b\n{first}{delimiter}{second}\n')
    table = Table(path, dict(a=('a',), b=('b',)), Problems())
    ((_, (one, other)),) = table.rows()
    table.number(one)
    if first == '12':
        assert table.number(other) == 1.5
        return
    for _ in range(2):
        with pytest.raises(ValueError, match=f"'{second}' beside '{first}'.* parts thousands"):
            table.number(other)


def test_patients():
    assert read_patient('839860488694292331637988235681460987').startswith('8398')
    for text in ('8.39860488694292E+35', '8,4E+35', '1E+05'):
        with pytest.raises(ValueError, match='rounded by a spreadsheet'):
            read_patient(text)
    for text in ('nan', 'patient', 'UNK', 'unknown patient'):
        with pytest.raises(ValueError, match='no patient id'):
            read_patient(text)
    for text in ('patient_000', 'Patient 7', 'patient00001', 'unknown7'):
        assert read_patient(text) == text


def test_options():
    assert parse_size('2500x2048') == (2500, 2048) and parse_size('table') == 'table'
    assert parse_views('frontal') == 'frontal' and parse_views('PA, COSTAL') == ('PA', 'COSTAL')
    assert parse_views('PA') == ('PA',)
    for wrong, words in (
        (dict(uncertain='maybe'), "'drop'"),
        (dict(blank='positive'), 'blank'),
        (dict(missing='no'), 'missing'),
        (dict(size='2500'), 'WIDTHxHEIGHT'),
        (dict(size=(0, 5)), 'positive'),
        (dict(workers=0), 'workers'),
        (dict(encoding='utf-9'), 'unknown encoding'),
    ):
        with pytest.raises(ValueError, match=words):
            ConvertOptions(**wrong)
