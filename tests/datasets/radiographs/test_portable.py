# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""PBM, PGM and PPM: as Pillow reads them, in a fraction of its time, or refused by name."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from mmfrac.datasets.radiographs.portable import is_slow_portable, portable_samples
from mmfrac.datasets.radiographs.read import RadiographError, image_size, read_radiograph
from tests.datasets.radiographs.test_raster_check import refused

RNG = np.random.default_rng(0)


def portable(kind, values, most):
    """A file of values (h, w) or (h, w, 3), binary from P4 on."""
    height, width = values.shape[:2]
    head = f'{kind}\n# a comment\n{width} {height}\n' + (f'{most}\n' if most else '')
    if kind in ('P1', 'P2', 'P3'):
        lines = [' '.join(map(str, row)) for row in values.reshape(height, -1)]
        return (head + '\n'.join(lines) + '\n').encode()
    return head.encode() + values.astype('>u2' if most > 255 else 'u1').tobytes()


@pytest.mark.parametrize('most', [1, 7, 100, 254, 255, 256, 1000, 4095, 65534, 65535])
@pytest.mark.parametrize('kind', ['P2', 'P3', 'P5', 'P6'])
def test_equals_pillow(tmp_path, kind, most):
    shape = (23, 31, 3) if kind in ('P3', 'P6') else (23, 31)
    values = RNG.integers(0, most + 1, shape)
    content = portable(kind, values, most)
    with Image.open(io.BytesIO(content)) as image:
        if is_slow_portable(image):
            found = portable_samples(image, io.BytesIO(content))
            if image.mode == 'RGB' and most > 255:
                # of which Pillow keeps 8 bits
                expected = np.rint(values / most * 65535)
            else:
                expected = np.asarray(image)
            np.testing.assert_array_equal(found, expected)
        else:
            assert most in (255, 65535) and kind in ('P5', 'P6')
    (tmp_path / 'a.pgm').write_bytes(content)
    assert image_size(tmp_path / 'a.pgm') == (31, 23)
    if values.ndim == 2:
        values[0, 0] = most  # so that its depth is seen
        (tmp_path / 'a.pgm').write_bytes(portable(kind, values, most))
        np.testing.assert_allclose(read_radiograph(tmp_path / 'a.pgm'), values / most, atol=0.002)


@pytest.mark.parametrize('space', ['', ' ', '\n'])
def test_bitmaps_as_text(tmp_path, space):
    bits = RNG.integers(0, 2, (9, 13))
    text = space.join(map(str, bits.ravel()))
    (tmp_path / 'a.pbm').write_text(f'P1\n13 9\n{text}\n')
    np.testing.assert_array_equal(read_radiograph(tmp_path / 'a.pbm'), 1 - bits)
    assert 'others than 0 and 1' in refused(tmp_path / 'a.pbm', b'P1\n13 9\n' + b'2' * 117)
    assert 'of its 117 samples there are 5' in refused(tmp_path / 'a.pbm', b'P1\n13 9\n01001')


@pytest.mark.parametrize('kind', ['P2', 'P3', 'P5', 'P6'])
def test_samples_that_are_too_large_or_missing(tmp_path, kind):
    values = np.full((8, 9, 3) if kind in ('P3', 'P6') else (8, 9), 1000)
    content = portable(kind, values, 1000)
    values[4, 4] = 1001
    assert 'says 1000 for white, but there is 1001' in refused(
        tmp_path / 'a.pgm', portable(kind, values, 1000)
    )
    assert f'{values.size} samples, but there are' in refused(tmp_path / 'a.pgm', content[:-12])
    for wrong in (b'-5 ', b'1.5', b'abc', b'99999999999999999999 '):
        if kind in ('P2', 'P3'):
            assert 'damaged' in refused(tmp_path / 'a.pgm', content.replace(b'1000', wrong, 3))


@pytest.mark.parametrize('most', [255, 1000, 65535])
def test_several_images(tmp_path, most):
    for kind, shape in (('P5', (8, 9)), ('P6', (8, 9, 3))):
        if (kind, most) == ('P6', 65535):
            continue
        content = portable(kind, RNG.integers(0, 256, shape), most)
        (tmp_path / 'a.pgm').write_bytes(content + b'\n')
        read_radiograph(tmp_path / 'a.pgm')
        assert 'several images' in refused(tmp_path / 'a.pgm', content + content)
    bitmap = b'P4\n9 3\n' + bytes(range(6))
    assert 'several images' in refused(tmp_path / 'a.pbm', bitmap * 2)
    floats = b'Pf\n4 4\n-1.0\n' + np.linspace(0, 1, 16).astype('<f4').tobytes()
    assert 'several images' in refused(tmp_path / 'a.pfm', floats * 2)


def test_what_takes_pillow_long(tmp_path):
    deep = RNG.integers(0, 4096, (1024, 1024))
    text = b'1 ' * 80 * 96
    start = time.process_time()
    for name, content in (
        ('a', b'P5 #' + bytes([97]) * 6_000_000),
        ('b', b'P5 80 96' + b'\n#a' * 300_000 + b'\n255\n' + bytes(7680)),
        ('c', b'P6' + b' ' * 6_000_000),
    ):
        message = refused(tmp_path / name, content)
        assert 'its header is longer than 65536 bytes; leave its comments out' in message
        with pytest.raises(RadiographError):
            image_size(tmp_path / name)
    assert 'of text for 7680 samples' in refused(
        tmp_path / 'd', b'P2 80 96 255\n' + b'#a\n' * 300_000 + text
    )
    (tmp_path / 'e').write_bytes(b'P2 80 96 1\n' + b'#a\n' * 10_000 + text)
    assert read_radiograph(tmp_path / 'e', []).min() == 1
    for kind in ('P2', 'P5'):
        (tmp_path / 'f').write_bytes(portable(kind, deep, 4095))
        np.testing.assert_allclose(read_radiograph(tmp_path / 'f'), deep / 4095, atol=1e-4)
    # some 25 s with Pillow alone
    assert time.process_time() - start < 5


def test_a_bitmap_that_looks_like_a_comment(tmp_path):
    (tmp_path / 'a.pbm').write_bytes(b'P4\n1024 1024\n' + b'#' * 1024 * 128)
    assert read_radiograph(tmp_path / 'a.pbm').shape == (1024, 1024)
