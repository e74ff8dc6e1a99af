# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import random
from dataclasses import fields, replace

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from mmfrac.preparation.dicom_folder import header as dicom_header
from mmfrac.preparation.dicom_folder.header import read_header
from tests.datasets.radiographs.test_dicom import make_dicom, ramp

HEADER = dict(
    PatientID='p17',
    PatientName='Doe^Jane',
    PatientBirthDate='19500102',
    StudyInstanceUID='1.2.8',
    SeriesInstanceUID='1.2.9',
    AccessionNumber='A5',
    Modality='DX',
    BodyPartExamined='CHEST',
    ViewPosition='PA',
    ImageLaterality='U',
    SeriesDescription='jane doe portable',
)
SYNTAXES = [
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    *(RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian),
]


def header_of(folder, name='a', **options):
    return read_header(name, str(folder), **options)


@pytest.mark.parametrize('syntax', SYNTAXES, ids=lambda uid: uid.name)
def test_what_is_read(tmp_path, syntax):
    make_dicom(tmp_path / 'a', ramp((40, 50)), syntax=syntax, **HEADER)
    header = header_of(tmp_path, verify=True)
    start, length = header.pixels
    if syntax == DeflatedExplicitVRLittleEndian:
        assert (start, length) == (0, 0)
    else:
        assert 0 < length <= (tmp_path / 'a').stat().st_size - start
    assert replace(header, pixels=(0, 0)) == dicom_header.DicomHeader(
        name='a',
        size=(50, 40),
        patient='p17',
        # compressing makes another instance of a film
        instance=pydicom.dcmread(tmp_path / 'a').SOPInstanceUID,
        series='1.2.9',
        study='1.2.8',
        accession='A5',
        modality='DX',
        body_part='CHEST',
        laterality='U',
        view='PA',
        photometric='MONOCHROME2',
    )
    values = ' '.join(str(getattr(header, field.name)) for field in fields(header)).lower()
    assert not any(word in values for word in ('doe', 'jane', '1950', 'portable'))


@pytest.mark.parametrize('part', ['no_preamble', 'no_meta'])
def test_without_preamble(tmp_path, part):
    make_dicom(tmp_path / 'whole', ramp(), **HEADER)
    if part == 'no_preamble':
        (tmp_path / 'a').write_bytes((tmp_path / 'whole').read_bytes()[132:])
    else:
        ds = pydicom.dcmread(tmp_path / 'whole')
        pydicom.dcmwrite(tmp_path / 'a', Dataset(ds), implicit_vr=True, little_endian=True)
    here, whole = header_of(tmp_path, verify=True), header_of(tmp_path, 'whole')
    assert here == replace(whole, name='a', pixels=here.pixels)
    assert here.pixels[1] == whole.pixels[1]


TEXTS = [
    *(
        b'',
        b' ',
        b'CHEST',
        b' a b ',
        b'A\\B',
        b'x\0',
        b'a\0b',
        b'\0\0',
        b'1.2.3\0',
        b'Doe^Jane=J',
        b'a\tb',
    ),
    *(
        b'a~b',
        b'\x1b$B;3ED\x1b(B',
        b'\xd4\xcf\xc0\xde',
        'Müller'.encode(),
        b'[x]',
        b'_{}|',
        b'\xff',
    ),
]


@pytest.mark.parametrize('charset', ['', 'ISO_IR 13', 'ISO_IR 192', '\\ISO 2022 IR 87'])
@pytest.mark.parametrize('syntax', [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.filterwarnings('ignore')
def test_texts_are_those_of_pydicom(tmp_path, charset, syntax):
    keywords = ('PatientID', 'PatientName', 'ImageType', 'StudyInstanceUID', 'AcquisitionTime')
    for text in TEXTS:
        ds = Dataset()
        ds.SpecificCharacterSet = charset.split('\\')
        for keyword in keywords:
            vr = pydicom.datadict.dictionary_VR(keyword)
            ds[keyword] = RawDataElement(
                Tag(keyword), vr, len(text), text, 0, syntax == ImplicitVRLittleEndian, True
            )
        pydicom.dcmwrite(
            tmp_path / 'a', ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True
        )
        for keyword in keywords:
            here, slow = (pydicom.dcmread(tmp_path / 'a', force=True) for _ in range(2))
            value = slow.get(keyword)
            if isinstance(value, MultiValue):
                value = '\\'.join(map(str, value))
            expected = str('' if value is None else value).replace('\0', '').strip()
            assert dicom_header._text(here, keyword) == expected, (keyword, text)


def test_view_from_descriptions_codes_and_orientation(tmp_path):
    def view(**header):
        make_dicom(tmp_path / 'a', ramp(), **header)
        return header_of(tmp_path).view

    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = 'R-1', 'SNM3', 'left lateral'
    assert view() == ''
    assert view(ViewPosition='', SeriesDescription='Thorax seitlich') == 'lateral'
    assert view(ProtocolName='CHEST LAT') == 'lateral'
    assert view(ViewPosition='PA', SeriesDescription='LATERAL') == 'PA'
    assert view(ViewCodeSequence=Sequence([code]), SeriesDescription='PA') == 'lateral'
    assert view(PatientOrientation=['A', 'F']) == 'lateral'
    assert view(PatientOrientation=['L', 'F'], ProtocolName='AP') == 'AP'


@pytest.mark.parametrize(
    ('name', 'content', 'fault'),
    [
        ('a.txt', b'hello', dicom_header.NO_DICOM),
        ('a.png', b'\x89PNG\r\n\x1a\n' + b'\0' * 300, dicom_header.NO_DICOM),
        ('a', b'\x08\0\x05\0' + b'\xff' * 300, dicom_header.NO_DICOM),
        ('empty.dcm', b'', dicom_header.EMPTY),
        ('mark.dcm', b'\0' * 128 + b'DICM', dicom_header.DAMAGED),
        ('rest.dcm', b'\0' * 128 + b'DICM' + b'\xff' * 400, dicom_header.DAMAGED),
        ('DICOMDIR', b'\0' * 128 + b'DICM', dicom_header.INDEX),
        ('one', b'\x08', dicom_header.NO_DICOM),
    ],
)
def test_other_files(tmp_path, name, content, fault):
    (tmp_path / name).write_bytes(content)
    assert header_of(tmp_path, name).fault == fault


def test_what_is_no_file(tmp_path):
    (tmp_path / 'dangling').symlink_to(tmp_path / 'nowhere')
    assert header_of(tmp_path, 'dangling').fault == dicom_header.DAMAGED
    os.mkfifo(tmp_path / 'pipe')  # would wait for ever
    assert header_of(tmp_path, 'pipe').fault == dicom_header.NO_DICOM


@pytest.mark.parametrize('syntax', SYNTAXES[:5], ids=lambda uid: uid.name)
@pytest.mark.parametrize('share', [0.6, 0.9, 0.99])
def test_cut_off_pixels_are_seen_without_decoding(tmp_path, syntax, share):
    stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    make_dicom(tmp_path / 'a', stored, syntax=syntax, **HEADER)
    content = (tmp_path / 'a').read_bytes()
    (tmp_path / 'a').write_bytes(content[: int(share * len(content))])
    assert header_of(tmp_path).fault == dicom_header.CUT_OFF


def test_each_fault_of_a_film(tmp_path):
    def fault(stored=None, **header):
        make_dicom(tmp_path / 'a', ramp() if stored is None else stored, **header)
        return header_of(tmp_path)

    assert fault(NumberOfFrames=1).fault == ''
    frames = fault(np.zeros((24, 16), np.uint16), NumberOfFrames=3, Rows=8)
    assert (frames.fault, frames.detail) == (dicom_header.FRAMES, '')
    assert fault(Rows=0).fault == dicom_header.DAMAGED
    assert fault(Columns=40_000).fault == dicom_header.DAMAGED
    assert fault(Rows=25).fault == dicom_header.CUT_OFF
    ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp()))
    del ds.PixelData
    ds.save_as(tmp_path / 'a')
    none = header_of(tmp_path)
    assert none.fault == dicom_header.NO_PIXELS and 'Computed Radiography' in none.detail
    make_dicom(tmp_path / 'doe.dcm', ramp(), **HEADER)
    named = header_of(tmp_path, 'doe.dcm')
    assert named == dicom_header.DicomHeader('doe.dcm', dicom_header.NAMED)
    assert header_of(tmp_path, 'doe.dcm', any_name=True).view == 'PA'
    make_dicom(tmp_path / 'a', ramp(), **HEADER | dict(PatientID='DOE-1950'))
    assert header_of(tmp_path).id_tells_identity


def test_verify_decodes(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    make_dicom(tmp_path / 'a', noise, syntax=JPEG2000Lossless)
    content = bytearray((tmp_path / 'a').read_bytes())
    start = content.index(b'\xff\x4f\xff\x51')
    content[start : start + 200] = bytes(200)
    (tmp_path / 'a').write_bytes(content)
    assert header_of(tmp_path).fault == ''
    assert header_of(tmp_path, verify=True).fault == dicom_header.UNDECODED


@pytest.mark.parametrize('seed', range(4))
def test_any_damage_is_a_fault_or_a_header(tmp_path, seed):
    draw = random.Random(seed)
    make_dicom(tmp_path / 'whole', ramp((40, 50)), syntax=draw.choice(SYNTAXES), **HEADER)
    whole = (tmp_path / 'whole').read_bytes()
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 5, 50])):
            content[draw.randrange(128, min(900, len(content)))] = draw.randrange(256)
        if draw.random() < 0.3:
            del content[draw.randrange(len(content)) :]
        (tmp_path / 'a').write_bytes(content)
        header = header_of(tmp_path)
        assert header.fault or (header.size[0] > 0 and header.size[1] > 0)
