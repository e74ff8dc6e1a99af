# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The check of headers and the reader agree: what one calls damaged, the other does not read."""

import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from mmfrac.datasets.radiographs.read import RadiographError, read_radiograph
from mmfrac.preparation.dicom_folder.header import read_header
from tests.datasets.radiographs.test_dicom import make_dicom, ramp

# What only a decoder knows.
UNDECODED = (
    'pixel data (',
    'no decoder',
    'missing codec',
    'have a sign',
    'no sign',
    'lie elsewhere',
)


def agree(path):
    """Whether both take a file, and that they agree."""
    header = read_header(os.path.basename(path), os.path.dirname(path), any_name=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            plane = read_radiograph(path)
    except RadiographError as error:
        reason = str(error)
        assert header.fault or any(part in reason for part in UNDECODED) or header_only(reason), (
            reason
        )
        return False
    assert not header.fault, (path, header.fault, header.detail)
    assert header.size == plane.shape[::-1]
    return True


def header_only(reason):
    """Faults of how values are shown, which a folder's header check leaves to the reader."""
    return 'its header cannot be followed' in reason or 'colours have a sign' in reason


def test_files_of_pydicom():
    # those that come with the package; others would be fetched
    folder = Path(pydicom.data.__file__).parent / 'test_files'
    inside = sorted(map(str, folder.glob('*.dcm')))
    taken = [path for path in inside if agree(path)]
    assert len(inside) > 40 and len(taken) > 15


def test_subsampled_colour(tmp_path):
    grey = ramp((16, 16), 0, 255, np.uint8)
    pairs = np.stack([grey[:, ::2], grey[:, 1::2]], -1).reshape(16, 8, 2)
    stored = np.concatenate([pairs, np.full((16, 8, 2), 128, np.uint8)], -1)
    header = dict(SamplesPerPixel=3, PlanarConfiguration=0)
    header |= dict(PhotometricInterpretation='YBR_FULL_422', Columns=16)
    path = make_dicom(tmp_path / 'a.dcm', stored, 8, **header)
    assert agree(path)
    np.testing.assert_allclose(read_radiograph(path), grey / 255, atol=0.01)
    ds = pydicom.dcmread(path)
    ds.PixelData = ds.PixelData[:-20]
    ds.save_as(path)
    assert not agree(path)


@pytest.mark.parametrize('cut', [8, 0, 30])
def test_without_the_delimiter(tmp_path, cut):
    path = make_dicom(tmp_path / 'a.dcm', ramp((40, 48)), syntax=JPEG2000Lossless)
    content = (tmp_path / 'a.dcm').read_bytes()
    (tmp_path / 'a.dcm').write_bytes(content[: len(content) - cut])
    assert agree(path) == (cut < 9)


def test_compressed_pixels_under_an_uncompressed_syntax(tmp_path):
    ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp((40, 48)), syntax=JPEG2000Lossless))
    content = ds.PixelData
    for stream in (content, content + bytes(9000), encapsulate([bytes(6000)])):
        plain = pydicom.dcmread(make_dicom(tmp_path / 'b.dcm', ramp((40, 48))))
        plain.PixelData = stream
        plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        plain.save_as(tmp_path / 'b.dcm')
        assert not agree(str(tmp_path / 'b.dcm'))
        assert 'compressed' in read_header('b.dcm', str(tmp_path)).detail


@pytest.mark.parametrize(
    'header',
    [
        dict(Rows=25),
        dict(Rows=0),
        dict(BitsStored=17),
        dict(HighBit=16),
        dict(BitsAllocated=12),
        dict(PixelRepresentation=2),
        dict(SamplesPerPixel=3),
        dict(PhotometricInterpretation='RGB'),
        dict(NumberOfFrames='3'),
        dict(),
        dict(HighBit=15),
        dict(PhotometricInterpretation='MONOCHROME1'),
    ],
)
@pytest.mark.parametrize('syntax', [ExplicitVRLittleEndian, JPEG2000Lossless])
def test_fields_that_cannot_be(tmp_path, header, syntax):
    path = make_dicom(tmp_path / 'a.dcm', ramp((40, 48)), syntax=syntax)
    ds = pydicom.dcmread(path)
    for name, value in header.items():
        setattr(ds, name, value)
    ds.save_as(path)
    assert agree(path) == (
        not header or 'MONOCHROME1' in header.values() or header == dict(HighBit=15)
    )
