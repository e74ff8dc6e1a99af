# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Damaged tables: one clear error or a sound file, whatever the bytes are."""

import gzip
import json
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.preparation.converters import (
    ConvertOptions,
    convert_chestx_det,
    convert_chexpert,
    convert_coco,
    convert_csv,
    convert_mimic_cxr,
    convert_nih_cxr14,
    convert_padchest,
    convert_rsna,
    convert_vindr_cxr,
)
from tests.preparation.converters import test_public_sets as sets

CSV = (
    'path,label,patient_id,x1,y1,x2,y2',
    'a b/ü.png,1,p,1,2,9,9.5',
    'c.png,0,q,,,,',
    'd,-1,r,,,,',
)
DET = [
    dict(file_name='1.png', syms=['Fracture'], boxes=[[1, 1, 5, 5]]),
    dict(
        file_name='2.png', syms=['Mass'], boxes=[[1, 1, 5, 5]], polygons=[[[1, 1], [5, 1], [5, 5]]]
    ),
]


def nih(table, images, out, options):
    return convert_nih_cxr14([table], images, out, options)


def mimic(table, images, out, options):
    labels = Path(table).with_name('labels.csv')
    labels.write_text('\n'.join(sets.MIMIC_LABELS))
    return convert_mimic_cxr(labels, table, images, out, options)


SOURCES = dict(
    csv=(convert_csv, '\n'.join(CSV)),
    chexpert=(convert_chexpert, '\n'.join(sets.CHEXPERT)),
    mimic=(mimic, '\n'.join(sets.MIMIC_FILMS)),
    padchest=(convert_padchest, '\n'.join(sets.PADCHEST)),
    vindr=(convert_vindr_cxr, '\n'.join(sets.VINDR)),
    nih=(nih, '\n'.join(sets.GOOGLE)),
    rsna=(convert_rsna, '\n'.join(sets.RSNA)),
    coco=(convert_coco, sets.coco()),
    chestx_det=(partial(convert_chestx_det), json.dumps(DET)),
)
wounds = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 12),
        st.one_of(
            st.sampled_from(
                [b'', b'"', b',', b';', b'\n', b'\r', b'\0', b'\xff', b'-', b'e9', b'[']
            ),
            st.binary(max_size=4),
        ),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize('name', SOURCES)
@settings(max_examples=60, deadline=None)
@given(wounds=wounds, packed=st.booleans())
def test_damaged(name, wounds, packed):
    convert, text = SOURCES[name]
    data = text.encode()
    for place, length, new in wounds:
        start = int(place * len(data))
        data = data[:start] + new + data[start + length :]
    if packed and name not in ('coco', 'chestx_det'):
        data = gzip.compress(data)
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / 'table.csv', Path(folder) / 'out' / 'a.json'
        table.write_bytes(data)
        try:
            convert(table, folder, out, options=ConvertOptions(size=(4000, 4000)))
        except ValueError as error:
            assert 'table.csv' in str(error)
            assert not out.parent.exists()
        else:
            assert check_annotations(json.loads(out.read_text())) == []
        assert not list(Path(folder).glob('.*'))


@pytest.mark.parametrize('name', [name for name in SOURCES if name not in ('coco', 'chestx_det')])
def test_spreadsheet_forms(name, tmp_path):
    """Saved again by a spreadsheet: byte-order mark, CRLF, semicolons, blank lines at the end."""
    convert, text = SOURCES[name]
    plain, saved = tmp_path / 'plain.csv', tmp_path / 'saved.csv'
    plain.write_text(text)
    if name in ('padchest',):
        other = text.replace('\n', '\r\n') + '\r\n\r\n'
    else:
        other = text.replace(',', ';').replace('\n', '\r\n') + '\r\n\r\n'
    saved.write_bytes(other.encode('utf-8-sig'))
    options = ConvertOptions(size=(4000, 4000))
    convert(plain, 'no', tmp_path / 'a.json', options=options)
    convert(saved, 'no', tmp_path / 'b.json', options=options)
    assert (tmp_path / 'a.json').read_text() == (tmp_path / 'b.json').read_text()
