# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Label tables through their converters: what is written is what the table says, or it is refused."""

import csv
import gzip
import io
import json
import random
import tempfile
import zipfile
from pathlib import Path

from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.preparation.converters import (
    ConvertOptions,
    convert_chexpert,
    convert_csv,
    convert_mimic_cxr,
    convert_nih_cxr14,
    convert_padchest,
    convert_rsna,
    convert_vindr_cxr,
)
from mmfrac.utils.errors import AnnotationError
from tests.fuzz.engine import Kind, WrongError, damage_bytes, register

_ROWS = {
    'plain': (
        'path,label,patient_id,x1,y1,x2,y2,site',
        *(f'{k}.png,{k % 2},p{k},{"10,20,30,40,rib" if k % 2 else ",,,,"}' for k in range(8)),
    ),
    'chexpert': (
        'Path,Frontal/Lateral,No Finding,Fracture',
        *(
            f'train/patient{k}/study1/view1_frontal.jpg,Frontal,{a},{b}'
            for k, (a, b) in enumerate([('1.0', ''), ('', '1.0'), ('', '0.0'), ('', '-1.0')])
        ),
    ),
    'padchest': (
        'ImageID,PatientID,Projection,Labels',
        "a.png,p1,PA,\"['rib fracture', 'nodule']\"",
        'b.png,p2,AP,"[\'normal\']"',
        "c.png,p3,PA,\"['nodule' 'fracture']\"",
    ),
    'mimic': ('subject_id,study_id,Fracture,No Finding', '10,20,1.0,', '11,21,,1.0', '12,22,0,'),
    'vindr': (
        'image_id,rad_id,class_name,x_min,y_min,x_max,y_max',
        *('a,R1,Rib fracture,10,20,30,40', 'a,R2,Rib fracture,11,20,30,41', 'a,R3,No finding,,,,'),
        *('b,R1,No finding,,,,', 'c,R1,Cardiomegaly,5,5,50,50'),
    ),
    'nih': (
        'Image Index,Patient ID,Fracture,View Position',
        *('00000001_000.png,1,YES,PA', '00000002_000.png,2,NO,AP', '00000003_000.png,3,NO,PA'),
    ),
    'rsna': ('patientId,Target,x,y,width,height', 'a,0,,,,', 'b,1,5,5,9,9', 'b,1,50,5,9,9'),
}

_METADATA = 'dicom_id,subject_id,study_id,ViewPosition\na,10,20,PA\nb,11,21,AP\nc,12,22,PA\n'

_CELLS = (
    *('', ' ', '0', '1', '-1', '1.0', '2', 'nan', 'yes', 'No', '=1+1', '"', "''", '[]', '-', '1e5'),
    *("['rib fracture' 'x']", '["a" "b"', '../x.png', '/x.png', '0.1', '-5', '99999', '1,5', '\0'),
    *('Fracture', 'rib fractures', '\x1b[2J', 'ü', '王'),
)


def seeds(folder: Path) -> list[Path]:
    """A table of each set; the plain one in several packings."""
    paths = []
    for name, rows in _ROWS.items():
        text = '\n'.join(rows) + '\n'
        forms = {'': text.encode()}
        if name == 'plain':
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
                archive.writestr('t.csv', text)
            forms |= {
                '_bom': b'\xef\xbb\xbf' + text.encode(),
                '_utf16': text.encode('utf-16'),
                '_gz': gzip.compress(text.encode(), mtime=0),
                '_zip': packed.getvalue(),
                '_semicolon': text.replace(',', ';').encode(),
            }
        for form, content in forms.items():
            paths.append(folder / f'{name}{form}.csv')
            paths[-1].write_bytes(content)
    return paths


def damage(content: bytes, dice: random.Random) -> bytes:
    """Bytes, or some cells, rows or columns."""
    if dice.random() < 0.4 or content[:2] in (b'\x1f\x8b', b'PK', b'\xff\xfe'):
        return damage_bytes(content, dice)
    rows = list(csv.reader(io.StringIO(content.decode('utf-8-sig'))))
    for _ in range(dice.choice((1, 1, 2, 4))):
        row = dice.choice(rows)
        match dice.randrange(6):
            case 0:
                rows.append(list(row))
            case 1:
                del row[dice.randrange(len(row)) :]
                row.append('')
            case 2:
                first, second = (dice.randrange(len(rows[0])) for _ in range(2))
                for one in rows:
                    if len(one) > max(first, second):
                        one[first], one[second] = one[second], one[first]
            case _:
                row[dice.randrange(len(row))] = dice.choice(_CELLS)
    text = io.StringIO()
    csv.writer(text, lineterminator=dice.choice(('\n', '\r\n'))).writerows(rows)
    return text.getvalue().encode()


def read(path: Path, source: Path) -> tuple[str, int]:
    """Convert, and hold what is written against the rows of the table."""
    kind = source.stem.split('_')[0]
    options = ConvertOptions(size=(80, 96))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'a.json'
        try:
            if kind == 'mimic':
                metadata = Path(folder) / 'metadata.csv'
                metadata.write_text(_METADATA)
                summary = convert_mimic_cxr(path, metadata, 'no', out, options)
            elif kind == 'nih':
                summary = convert_nih_cxr14([path], 'no', out, options)
            else:
                convert = dict(
                    plain=convert_csv,
                    chexpert=convert_chexpert,
                    padchest=convert_padchest,
                    vindr=convert_vindr_cxr,
                    rsna=convert_rsna,
                )[kind]
                summary = convert(path, 'no', out, options)
        except ValueError as error:
            if path.name not in str(error) or out.exists():
                raise WrongError(f'no sentence that names the file: {error}') from error
            raise AnnotationError(f'{path.name}: {str(error).splitlines()[0]}') from error
        content = json.loads(out.read_text())
    if check_annotations(content):
        raise WrongError(f'written: {check_annotations(content)[0]}')
    if any(ord(letter) < 32 and letter != '\n' for letter in str(summary)):
        raise WrongError('a control character in the summary')
    _check_negatives(kind, path, content)
    return 'read', path.stat().st_size


def _check_negatives(kind: str, path: Path, content: dict) -> None:
    """A slow twin: an image of label 0 has a row that says so, and none that says otherwise."""
    column = dict(plain='label', nih='fracture').get(kind)
    raw = path.read_bytes()
    if column is None or raw[:2] in (b'\x1f\x8b', b'PK', b'\xff\xfe', b'\xfe\xff'):
        return
    text = raw.decode('utf-8-sig', 'replace')
    delimiter = ';' if text.partition('\n')[0].count(';') > 2 else ','
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    rows = [[cell.strip() for cell in row] for row in rows if any(row)]
    head = [name.lower() for name in rows[0]]
    if column not in head:
        return
    at = head.index(column)
    name = next((head.index(one) for one in ('path', 'image index', 'image') if one in head), 0)
    for image in content['images']:
        if image['label'] != 0:
            continue
        named = [row for row in rows[1:] if len(row) > max(at, name)]
        cells = [row[at].lower() for row in named if row[name] == image['file_name']]
        words = ('0', '0.0', 'no', 'n', 'false', 'negative', '-0', '+0', '00', '0.', '')
        if not cells or not any(cell in words[:-1] for cell in cells):
            raise WrongError(f'{image["file_name"]} is label 0, its rows say {cells}')
        if any(cell not in words for cell in cells):
            raise WrongError(f'{image["file_name"]} is label 0, one of its rows says {cells}')


KIND = register(Kind('tables', seeds, damage, read, (AnnotationError,), '.csv'))
