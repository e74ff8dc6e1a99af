# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Headers that contradict their pixels or hold nonsense: an error each, never another picture."""

import pathlib
import random
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from mmfrac.datasets.radiographs.codestream import (
    JPEG_2000,
    codestream_header,
    codestream_size,
)
from mmfrac.datasets.radiographs.read import RadiographError, image_size, read_radiograph
from tests.datasets.radiographs.test_dicom import error_of, make_dicom, ramp


@pytest.mark.parametrize(
    'header', [dict(Rows=23), dict(Columns=30), dict(BitsAllocated=8, BitsStored=8, HighBit=7)]
)
def test_more_native_pixels_than_the_header_says(tmp_path, header):
    # 24 x 32 px of 16 bits are 1536 bytes
    path = make_dicom(tmp_path / 'a', ramp(), **header)
    assert 'but there are 1536' in error_of(path)


def test_two_frames_without_their_number(tmp_path):
    assert 'several frames' in error_of(make_dicom(tmp_path / 'a', ramp((48, 32)), Rows=24))


@pytest.mark.parametrize('rest', [bytes(range(62)), bytes(640)])  # a row is 64 bytes
def test_trailing_bytes_are_no_fault(tmp_path, rest):
    path = make_dicom(tmp_path / 'a', ramp())
    plain = read_radiograph(path)
    ds = pydicom.dcmread(path)
    ds.PixelData += rest
    ds.save_as(path)
    np.testing.assert_array_equal(read_radiograph(path), plain)


@pytest.mark.parametrize('rows, columns', [(32, 24), (23, 32), (24, 31), (25, 32)])
def test_codestream_of_another_size(tmp_path, rows, columns):
    path = make_dicom(tmp_path / 'a', ramp((64, 96)), syntax=JPEG2000Lossless)
    ds = pydicom.dcmread(path)
    ds.Rows, ds.Columns = 64 + rows - 24, 96 + columns - 32
    ds.save_as(path)
    message = error_of(path)
    assert f'{ds.Columns} x {ds.Rows} px, its pixels are 96 x 64 px' in message


def test_codestream_sizes_by_hand():
    frame = b'\x00\x0b\x08\x00\x40\x01\x00\x01\x01\x11\x00'  # 8 bits, 64 lines of 256
    comment = b'\xff\xfe\x00\x04ab'
    for marker in (b'\xff\xc0', b'\xff\xc3', b'\xff\xf7'):  # baseline, lossless, JPEG-LS
        assert codestream_size(b'\xff\xd8' + comment + b'\xff' + marker + frame) == (256, 64)
    # a table of Huffman codes (C4) is no frame
    assert codestream_size(b'\xff\xd8\xff\xc4\x00\x09' + 7 * b'\x01' + b'\xff\xc0' + frame) == (
        256,
        64,
    )
    corners = b''.join(value.to_bytes(4, 'big') for value in (110, 70, 10, 20))
    head = b'\xff\x4f\xff\x51\x00\x29\x00\x00' + corners + bytes(16) + b'\x00\x01\x8b'
    assert codestream_size(head) == (100, 50)
    assert codestream_header(head) == (JPEG_2000, 100, 50, 1, 12, True)
    unknown = (b'', b'\xff\xd8', b'\xff\xd8\xff\xc0\x00', b'abc', b'\xff\x4f\xff\x51')
    assert [codestream_size(one) for one in unknown] == 5 * [None]
    # 0 lines: their number follows later
    assert codestream_size(b'\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x01\x00\x01\x01\x11\x00') is None


def test_real_codestreams_of_another_size(shared_data, tmp_path):
    for path in sorted((shared_data / 'real_cxr' / 'dicom').iterdir()):
        ds = pydicom.dcmread(path)
        ds.Rows += 100  # of the JPEG-LS film this ended the process
        ds.save_as(tmp_path / 'a.dcm')
        assert f'its pixels are {ds.Columns} x {ds.Rows - 100} px' in error_of(tmp_path / 'a.dcm')


@pytest.mark.parametrize('slope', ['nan', 'inf', '1e308', '0'])
def test_rescale_that_gives_no_values(tmp_path, slope):
    path = make_dicom(
        tmp_path / 'a',
        ramp(),
        RescaleSlope=slope,
        RescaleIntercept='0',
        WindowCenter=9,
        WindowWidth=9,
    )
    message = error_of(path)
    assert 'RescaleSlope is' in message and 'header' in message


@pytest.mark.parametrize('window', [('nan', '100'), ('100', 'nan'), ('inf', '100'), ('100', 'inf')])
def test_windows_that_are_no_numbers_count_as_absent(tmp_path, window):
    plain = read_radiograph(make_dicom(tmp_path / 'a', ramp()))
    center, width = window
    path = make_dicom(tmp_path / 'b', ramp(), WindowCenter=center, WindowWidth=width)
    np.testing.assert_array_equal(read_radiograph(path), plain)


def test_text_in_place_of_a_number(tmp_path):
    path = make_dicom(tmp_path / 'a', ramp(), WindowCenter='99998888', WindowWidth='100')
    content = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(content.replace(b'99998888', b'2048,0  '))
    message = error_of(path)
    assert '2048,0' in message and 'header' in message and 'truncated' not in message


@pytest.mark.parametrize('seed', range(4))
def test_any_header_gives_a_film_or_one_error(tmp_path, seed):
    dice = random.Random(seed)
    whole = make_dicom(
        tmp_path / 'a',
        ramp((4, 4)),
        syntax=ExplicitVRLittleEndian,
        NumberOfFrames='1',
        WindowCenter='2048',
        WindowWidth='4096',
        RescaleSlope='1',
        RescaleIntercept='0',
    )
    content = pathlib.Path(whole).read_bytes()
    films = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(dice.choice((1, 1, 3))):
            damaged[dice.randrange(132, len(content) - 32)] = dice.randrange(256)
        (tmp_path / 'b').write_bytes(damaged[: dice.choice((len(content), len(content) - 40))])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for read in (image_size, read_radiograph):
                try:
                    plane = read(tmp_path / 'b')
                except RadiographError:
                    continue
                if read is read_radiograph:
                    films += 1
                    assert plane.dtype == np.float32 and np.isfinite(plane).all()
    assert films > 30
