# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""PNG, TIFF and JPEG whose rows are missing or of another width: refused by name."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from mmfrac.datasets.radiographs import raster
from mmfrac.datasets.radiographs.read import RadiographError, read_radiograph

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4, (96, 128)).astype(np.uint8)
NOISE = RNG.integers(0, 256, (96, 128)).astype(np.uint8)
DEEP = RNG.integers(0, 60_000, (96, 128)).astype(np.uint16)


def refused(path, content):
    path.write_bytes(content)
    with pytest.raises(RadiographError) as caught:
        read_radiograph(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)
    return str(caught.value)


def png(pixels, width=None, height=None, rows=None, flip=None, end=True):
    """A PNG without filters; its header may say another size, and rows may be missing."""
    bits, kind = 8 * pixels.dtype.itemsize, 2 if pixels.ndim == 3 else 0
    lines = [b'\0' + row.astype(row.dtype.newbyteorder('>')).tobytes() for row in pixels[:rows]]
    head = struct.pack(
        '>2L5B', width or pixels.shape[1], height or pixels.shape[0], bits, kind, 0, 0, 0
    )
    content = b'\x89PNG\r\n\x1a\n'
    parts = [(b'IHDR', head), (b'IDAT', zlib.compress(b''.join(lines), 1)), (b'IEND', b'')]
    for name, data in parts if end else parts[:-1]:
        check = struct.pack('>L', zlib.crc32(name + data))
        content += struct.pack('>L', len(data)) + name + data + check
    if flip is not None:
        damaged = bytearray(content)
        damaged[flip] ^= 1
        content = bytes(damaged)
    return content


@pytest.mark.parametrize('pixels', [GREY, NOISE, DEEP, np.stack([NOISE] * 3, 2)])
def test_png(tmp_path, pixels):
    path = tmp_path / 'a.png'
    path.write_bytes(png(pixels))
    found = read_radiograph(path)
    full = 255 if pixels.dtype == np.uint8 else 65535
    values = pixels[..., 0] if pixels.ndim == 3 else pixels
    np.testing.assert_allclose(found, values / full, atol=1e-6)
    for rows in (1, 48, 94, 95):
        assert 'truncated' in refused(path, png(pixels, rows=rows))
    for width in (127, 129, 64, 255):
        refused(path, png(pixels, width=width))
    for height in (95, 97, 48, 192):
        if height > 96:
            refused(path, png(pixels, height=height))
        else:
            assert 'damaged' in refused(path, png(pixels, height=height))
    for flip in (17, 60, 500, -30):
        assert 'checksum' in refused(path, png(pixels, flip=flip)) or flip == 17
    assert 'truncated' in refused(path, png(pixels, end=False))
    assert 'truncated' in refused(path, png(pixels)[:-3])


def test_a_last_row_that_looks_undecoded(tmp_path):
    for pixels in (np.full((96, 128), 0xA5, np.uint8), np.full((96, 128), 0xA5A5, np.uint16)):
        pixels[0] = 7
        (tmp_path / 'a.png').write_bytes(png(pixels))
        assert read_radiograph(tmp_path / 'a.png')[-1, 0] > 0.6
        assert 'truncated' in refused(tmp_path / 'a.png', png(pixels, rows=95))


@pytest.mark.parametrize('packing', [None, 'tiff_lzw', 'tiff_adobe_deflate', 'packbits'])
@pytest.mark.parametrize('pixels', [GREY, DEEP])
def test_tiff(tmp_path, packing, pixels):
    path = tmp_path / 'a.tif'
    Image.fromarray(pixels).save(path, compression=packing)
    content, sound = path.read_bytes(), read_radiograph(path)
    assert sound.shape == pixels.shape

    def changed(**values):
        data = bytearray(content)
        (offset,) = struct.unpack_from('<L', data, 4)
        (count,) = struct.unpack_from('<H', data, offset)
        tags = dict(width=256, height=257, count=279)
        for at in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from('<2HL', data, at)
            for name, value in values.items():
                if tag == tags[name] and number == 1:
                    struct.pack_into('<L' if kind == 4 else '<H', data, at + 8, value)
        return bytes(data)

    for width in (127, 129, 64, 256):
        refused(path, changed(width=width))
    for height in (97, 128, 192):
        refused(path, changed(height=height))
    refused(path, content[: len(content) // 2])
    refused(path, changed(count=50))


@pytest.mark.parametrize('packed', [False, True])
def test_planes_of_16_bit_colour(tmp_path, packed):
    height, width = DEEP.shape
    planes = [DEEP, DEEP // 2, DEEP // 3]
    parts = [plane.astype('<u2').tobytes() for plane in planes]
    parts = [zlib.compress(part) if packed else part for part in parts]
    fields = 11
    behind = 8 + 2 + 12 * fields + 4
    starts = [behind + 32 + sum(map(len, parts[:index])) for index in range(3)]
    sizes = list(map(len, parts))
    entries = (
        *(
            (256, 3, 1, width),
            (257, 3, 1, height),
            (258, 3, 3, behind),
            (259, 3, 1, 8 if packed else 1),
        ),
        *((262, 3, 1, 2), (273, 4, 3, behind + 8), (277, 3, 1, 3), (278, 3, 1, height)),
        *((279, 4, 3, behind + 20), (284, 3, 1, 2), (339, 3, 1, 1)),
    )
    content = struct.pack('<2sHLH', b'II', 42, 8, fields)
    content += b''.join(struct.pack('<2H2L', *entry) for entry in entries) + bytes(4)
    content += struct.pack('<4H3L3L', 16, 16, 16, 0, *starts, *sizes)
    assert 'planes of their own' in refused(tmp_path / 'a.tif', content + b''.join(parts))


@pytest.mark.parametrize('kind', ['PNG', 'BMP'])
def test_pixels_without_a_colour_in_the_palette(tmp_path, kind):
    # more than 2 KiB of pixels, and all numbers to 15
    numbers = NOISE % 16
    image = Image.frombytes('P', NOISE.shape[::-1], numbers.tobytes())
    image.putpalette(np.repeat(np.arange(16) * 15, 3).astype(np.uint8).tobytes())
    stream = io.BytesIO()
    options = dict(bits=8, transparency=bytes(range(16))) if kind == 'PNG' else {}
    image.save(stream, kind, **options)
    content = stream.getvalue()
    assert len(content) > 4096
    (tmp_path / 'a').write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = read_radiograph(tmp_path / 'a')
    np.testing.assert_allclose(found, numbers * 15 / 255, atol=1e-6)
    if kind == 'PNG':
        at = content.index(b'PLTE') - 4
        (length,) = struct.unpack_from('>L', content, at)
        chunk = content[at + 4 : at + 8 + 3 * 8]
        palette = struct.pack('>L', 24) + chunk + struct.pack('>L', zlib.crc32(chunk))
        damaged = content[:at] + palette + content[at + 12 + length :]
        assert 'palette has 8 colours' in refused(tmp_path / 'b', damaged)


def test_tiff_tags_of_other_types(tmp_path):
    path = tmp_path / 'a.tif'
    Image.fromarray(DEEP).save(path)
    content = path.read_bytes()
    (offset,) = struct.unpack_from('<L', content, 4)
    (count,) = struct.unpack_from('<H', content, offset)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for at in range(offset + 2, offset + 2 + 12 * count, 12):
            for kind in (0, 2, 5, 7, 12, 13):
                data = bytearray(content)
                struct.pack_into('<H', data, at + 2, kind)
                path.write_bytes(data)
                try:
                    read_radiograph(path, [])
                except RadiographError:
                    continue


def tiff_of(values, sample_format, packed, order='<'):
    """A TIFF of one strip of values (h, w) that lie in that byte order."""
    data = zlib.compress(values.tobytes()) if packed else values.tobytes()
    height, width = values.shape
    tags = [
        *((256, width), (257, height), (258, 8 * values.itemsize), (259, 8 if packed else 1)),
        *((262, 1), (273, 8 + 2 + 10 * 12 + 4), (277, 1), (278, height), (279, len(data))),
        (339, sample_format),
    ]
    fields = b''.join(
        struct.pack(order + '2HL', tag, 3, 1) + struct.pack(order + '2H', value, 0)
        for tag, value in tags
    )
    magic = b'II*\0' if order == '<' else b'MM\0*'
    return magic + struct.pack(order + 'LH', 8, len(tags)) + fields + bytes(4) + data


@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('kind', ['u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'f4'])
def test_sample_formats_of_a_tiff(tmp_path, kind, order, packed):
    shares = np.random.default_rng(1).uniform(0, 1, (40, 50))
    shares[0, :2] = 0, 1
    if kind == 'f4':
        values, expected = 3000 * shares - 9, shares
    else:
        facts = np.iinfo(kind)
        values = np.rint(facts.min + shares * (float(facts.max) - facts.min))
        expected = (values - facts.min) / (float(facts.max) - facts.min)
    stored = values.astype(order + kind)
    path = tmp_path / 'a.tif'
    content = tiff_of(stored, 'uif'.index(kind[0]) + 1, packed, order)
    path.write_bytes(content)
    if (order, kind) == ('>', 'u4'):
        assert 'of a kind that is not read' in refused(path, content)
    else:
        for _ in range(2):
            np.testing.assert_allclose(read_radiograph(path), expected, atol=1e-6)
            os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize('kind', ['u1', 'u2', 'i4', 'f4'])
def test_a_large_tiff_is_read_as_a_small_one(tmp_path, kind):
    values = np.random.default_rng(2).integers(0, 200, (40, 50)).astype(kind)
    planes = []
    for is_large in (False, True):
        Image.fromarray(values).save(tmp_path / 'a.tif', big_tiff=is_large)
        assert (tmp_path / 'a.tif').read_bytes().startswith(b'II+\0' if is_large else b'II*\0')
        planes.append(read_radiograph(tmp_path / 'a.tif'))
    np.testing.assert_array_equal(*planes)


def test_a_large_tiff_of_a_kind_that_is_not_read(tmp_path):
    path = tmp_path / 'a.tif'
    Image.fromarray(DEEP).save(path, big_tiff=True)
    content = bytearray(path.read_bytes())
    (offset,) = struct.unpack_from('<Q', content, 8)
    (count,) = struct.unpack_from('<Q', content, offset)
    for at in range(offset + 8, offset + 8 + 20 * count, 20):
        if struct.unpack_from('<H', content, at) == (258,):  # bits of a sample
            struct.pack_into('<H', content, at + 12, 64)
    assert 'not read' in refused(path, bytes(content))


def test_signed_bytes_without_a_negative_one(tmp_path):
    values = np.arange(128, dtype=np.int8).reshape(8, 16)
    (tmp_path / 'a.tif').write_bytes(tiff_of(values, 2, False))
    assert np.array_equal(read_radiograph(tmp_path / 'a.tif'), values / np.float32(255))


@pytest.mark.parametrize('options', [{}, dict(progressive=True), dict(subsampling=0)])
@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
def test_jpeg(tmp_path, options, mode):
    stream = io.BytesIO()
    film = Image.fromarray(NOISE if mode == 'L' else np.stack([NOISE] * 3, 2))
    film.convert(mode).save(stream, 'JPEG', quality=90, **options)
    content, path = stream.getvalue(), tmp_path / 'a.jpg'
    path.write_bytes(content)
    assert np.abs(read_radiograph(path) * 255 - NOISE).mean() < 8
    cut = len(content) // 3 if 'progressive' in options else len(content) * 2 // 3
    refused(path, content[:cut])
    if not options.get('progressive'):
        assert 'last rows are missing' in refused(path, content[:cut] + b'\xff\xd9')


@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
def test_a_jpeg_that_is_grey_at_its_end(tmp_path, mode):
    film = NOISE.copy()
    film[64:] = 128
    image = Image.fromarray(film).convert(mode)
    if mode == 'CMYK':
        image = Image.merge('CMYK', 4 * [Image.fromarray(film)])
    image.save(tmp_path / 'a.jpg', quality=95)
    expected = 128 / 255 if mode != 'CMYK' else (127 / 255) ** 2
    assert read_radiograph(tmp_path / 'a.jpg')[-1, -1] == pytest.approx(expected, abs=0.01)


def test_formats_that_run_other_programs(tmp_path):
    content = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n'
    assert 'neither DICOM nor an image' in refused(tmp_path / 'a.png', content)


@pytest.mark.parametrize('name', ['a.png', 'a.tif'])
def test_a_file_is_looked_at_once_and_again_when_it_was_changed(tmp_path, monkeypatch, name):
    looked = []
    for check in ('png_fault', 'tiff_fault'):
        own = getattr(raster, check)
        monkeypatch.setattr(raster, check, lambda *args, own=own: looked.append(1) or own(*args))
    path = tmp_path / name
    values = np.random.default_rng(0).integers(0, 255, (70, 60)).astype(np.uint8)
    Image.fromarray(values).save(path)
    read_radiograph(path)
    os.utime(path, (1e9, 1e9))  # not written a moment ago
    planes = [read_radiograph(path) for _ in range(3)]
    assert len(looked) == 2
    assert all(np.array_equal(plane, values / np.float32(255)) for plane in planes)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(RadiographError, match=r'truncated|damaged'):
        read_radiograph(path)
    assert len(looked) == 3
