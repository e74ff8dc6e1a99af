# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Files that would take gigabytes, and what is no file: refused before memory is taken."""

import os
import socket
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from mmfrac.datasets.radiographs.read import RadiographError, image_size, read_radiograph
from mmfrac.preparation.dicom_folder.header import read_header
from tests.datasets.radiographs.test_dicom import make_dicom, ramp


def refused(path, both=True):
    """The error of the reader, and of the reader of sizes; neither takes 50 MB."""
    tracemalloc.start()
    try:
        for read in (read_radiograph, image_size) if both else (read_radiograph,):
            with pytest.raises(RadiographError) as caught:
                read(path)
            assert str(path) in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    return str(caught.value)


def png_of_size(path, width, height):
    def chunk(name, content):
        return (
            struct.pack('>L', len(content))
            + name
            + content
            + struct.pack('>L', zlib.crc32(name + content))
        )

    head = struct.pack('>2L5B', width, height, 8, 0, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + chunk(b'IDAT', zlib.compress(bytes(10_000)))
        + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize('width, height', [(30_000, 30_000), (10_001, 10_000), (2**31 - 1, 1)])
def test_images_of_too_many_pixels(tmp_path, width, height):
    png_of_size(tmp_path / 'a.png', width, height)
    says = refused(tmp_path / 'a.png')
    assert f'{width} x {height} px' in says or 'MMFRAC_MAX_PIXELS' in says
    if width < 2**16:
        ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp((40, 48)), syntax=JPEG2000Lossless))
        ds.Rows, ds.Columns = height, width
        ds.save_as(tmp_path / 'a')
        assert f'{width} x {height} px' in refused(tmp_path / 'a')
        assert f'{width} x {height} px' in read_header('a', str(tmp_path)).detail


def test_the_limit_is_an_option(tmp_path, monkeypatch):
    path = make_dicom(tmp_path / 'a', ramp())
    cv2.imwrite(str(tmp_path / 'a.png'), ramp())
    monkeypatch.setenv('MMFRAC_MAX_PIXELS', '767')
    assert 'MMFRAC_MAX_PIXELS' in refused(path) and 'MMFRAC_MAX_PIXELS' in refused(
        tmp_path / 'a.png'
    )
    monkeypatch.setenv('MMFRAC_MAX_PIXELS', '768')
    assert read_radiograph(path).shape == read_radiograph(tmp_path / 'a.png').shape == (24, 32)
    monkeypatch.setenv('MMFRAC_MAX_PIXELS', 'many')
    with pytest.raises(ValueError, match="must be a number of pixels, got 'many'"):
        read_radiograph(path)


def test_deflated_bombs(tmp_path, monkeypatch):
    ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp()))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / 'sound')
    plain = read_radiograph(tmp_path / 'a')
    np.testing.assert_array_equal(read_radiograph(tmp_path / 'sound'), plain)
    assert image_size(tmp_path / 'sound') == (32, 24)
    header = read_header('sound', str(tmp_path))
    assert header.size == (32, 24) and not header.fault
    monkeypatch.setattr('mmfrac.datasets.radiographs.limits._REST', 2**20)
    monkeypatch.setenv('MMFRAC_MAX_PIXELS', '1000000')
    for name in ('private', 'pixels'):
        bomb = pydicom.dcmread(tmp_path / 'a')
        bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        if name == 'private':
            bomb.add_new(0x00091001, 'OB', bytes(40_000_000))
        else:
            bomb.PixelData = bytes(40_000_000)
        bomb.save_as(tmp_path / name)
        assert (tmp_path / name).stat().st_size < 100_000
        assert 'inflates to more' in refused(tmp_path / name)
        assert 'inflates to more' in read_header(name, str(tmp_path)).detail
    (tmp_path / 'cut').write_bytes((tmp_path / 'sound').read_bytes()[:-40])
    assert 'truncated' in refused(tmp_path / 'cut')


@pytest.mark.parametrize('start', ['mark', 'meta', 'nothing', 'no_preamble', 'elements'])
def test_zeros_in_the_place_of_a_header(tmp_path, start):
    # a file that was made for a copy, and never filled: each 8 of its bytes were an element
    content = Path(make_dicom(tmp_path / 'a', ramp())).read_bytes()
    meta = content.index(b'\x08\0\x16\0')
    kept = dict(
        mark=content[:132],
        meta=content[:meta],
        nothing=b'',
        no_preamble=content[132:meta],
        elements=content[: meta + 40],
    )[start]
    (tmp_path / 'b').write_bytes(kept + bytes(4_000_000))
    began = time.process_time()
    for read in (read_radiograph, image_size):
        with pytest.raises(RadiographError) as caught:
            read(tmp_path / 'b')
        assert ('damaged' in str(caught.value)) == (start not in ('nothing', 'no_preamble'))
    assert read_header('b', str(tmp_path)).fault
    assert time.process_time() - began < 5


@pytest.mark.parametrize('kind', ['empty', 'undefined', 'nested', 'known', 'deep'])
def test_sequences_of_items_without_end(tmp_path, kind):
    item, end = b'\xfe\xff\0\xe0', b'\xfe\xff\xdd\xe0' + bytes(4)
    item_end = b'\xfe\xff\x0d\xe0' + bytes(4)

    def sequence(items, length=2**32 - 1):
        # a VOI LUT, which is asked for
        rest = end if length == 2**32 - 1 else b''
        return b'\x28\0\x10\x30SQ\0\0' + struct.pack('<L', length) + items + rest

    empty = 200_000 * (item + bytes(4))
    inserted = dict(
        empty=sequence(empty),
        undefined=sequence(100_000 * (item + 4 * b'\xff' + item_end)),
        nested=sequence(item + 4 * b'\xff' + sequence(empty) + item_end),
        known=sequence(empty, len(empty)),
        deep=b'',
    )[kind]
    for _ in range(3000 if kind == 'deep' else 0):
        inserted = sequence(item + 4 * b'\xff' + inserted + item_end)
    content = Path(make_dicom(tmp_path / 'a', ramp())).read_bytes()
    pixels = content.index(b'\xe0\x7f\x10\0')
    (tmp_path / 'b').write_bytes(content[:pixels] + inserted + content[pixels:])
    began = time.process_time()
    with pytest.raises(RadiographError, match=r'elements|recursion'):
        read_radiograph(tmp_path / 'b')
    if kind != 'known':
        assert read_header('b', str(tmp_path)).fault
    assert time.process_time() - began < 5


@pytest.mark.parametrize('name', [b'tEXt', b'prVt', b'IDAT'])
@pytest.mark.parametrize('place', ['before', 'behind'])
def test_png_of_parts_without_end(tmp_path, name, place):
    Image.fromarray(ramp((40, 48), high=255, dtype=np.uint8)).save(tmp_path / 'a.png')
    content = (tmp_path / 'a.png').read_bytes()
    data = b'' if name == b'IDAT' else b'a\0b'
    part = struct.pack('>L', len(data)) + name + data + struct.pack('>L', zlib.crc32(name + data))
    at = content.index(b'IDAT') - 4 if place == 'before' else len(content) - 12
    (tmp_path / 'b.png').write_bytes(content[:at] + 200_000 * part + content[at:])
    began = time.process_time()
    with pytest.raises(RadiographError, match='parts'):
        read_radiograph(tmp_path / 'b.png')
    if place == 'before' and name != b'IDAT':
        with pytest.raises(RadiographError, match='parts'):
            image_size(tmp_path / 'b.png')
    assert time.process_time() - began < 2
    (tmp_path / 'c.png').write_bytes(content[:at] + 100 * part + content[at:])
    np.testing.assert_array_equal(
        read_radiograph(tmp_path / 'c.png'), read_radiograph(tmp_path / 'a.png')
    )


def test_codestreams_that_claim_or_give_more(tmp_path):
    frame = (
        b'\xff\xd8\xff\xc3\x00\x0b\x0c' + struct.pack('>2H', 40_000, 40_000) + b'\x01\x01\x11\x00'
    )
    segment = b'\x81\x00' * 400_000  # 51 MB of zeros
    rle = struct.pack('<16L', 2, 64, 64 + len(segment), *13 * [0]) + 2 * segment
    for syntax, stream in ((JPEGLosslessSV1, frame + bytes(500) + b'\xff\xd9'), (RLELossless, rle)):
        for size in ((24, 32), (40_000, 40_000)):
            ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp()))
            ds.file_meta.TransferSyntaxUID = syntax
            ds.Rows, ds.Columns = size
            ds.PixelData = encapsulate([stream])
            ds['PixelData'].VR, ds['PixelData'].is_undefined_length = 'OB', True
            ds.save_as(tmp_path / 'a')
            refused(tmp_path / 'a', both=size[0] > 24)


@pytest.mark.parametrize('shape', [(1, 3000), (3000, 1), (2, 129), (65, 1), (10, 641)])
def test_strips_are_no_radiographs(tmp_path, shape):
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / 'a.png')
    assert 'no radiograph' in refused(tmp_path / 'a.png')
    assert 'no radiograph' in refused(make_dicom(tmp_path / 'a', np.zeros(shape, np.uint16)))


def test_pipes_sockets_devices_and_folders(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'folder.dcm').mkdir()
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind('socket.png')
        for name, kind in (
            ('pipe.png', 'a pipe'),
            ('socket.png', 'a socket'),
            ('folder.dcm', 'a folder'),
            ('/dev/zero', 'a device'),
            ('/dev/null', 'a device'),
        ):
            assert f'it is {kind}' in refused(name)
    (tmp_path / 'link.png').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError):
        read_radiograph(tmp_path / 'link.png')
    with pytest.raises(RadiographError):
        read_radiograph('nul\0byte.png')
