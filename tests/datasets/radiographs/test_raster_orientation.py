# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import io
import os

import numpy as np
import pytest
from PIL import Image

from mmfrac.datasets.radiographs.read import RadiographError, image_size, read_radiograph

# What is seen of the film [[0, 1, 2], [3, 4, 5]] (EXIF 2.32, tag 274).
SEEN = {
    1: [[0, 1, 2], [3, 4, 5]],
    2: [[2, 1, 0], [5, 4, 3]],
    3: [[5, 4, 3], [2, 1, 0]],
    4: [[3, 4, 5], [0, 1, 2]],
    5: [[0, 3], [1, 4], [2, 5]],
    6: [[3, 0], [4, 1], [5, 2]],
    7: [[5, 2], [4, 1], [3, 0]],
    8: [[2, 5], [1, 4], [0, 3]],
}


@pytest.mark.parametrize('kind', ['jpg', 'tif', 'lzw.tif', '16.tif'])
@pytest.mark.parametrize('orientation', SEEN)
def test_films_come_out_upright(tmp_path, kind, orientation):
    # every px as a block of 16 x 16, whole cells of JPEG
    film = np.kron(np.arange(6).reshape(2, 3) * 40, np.ones((16, 16))).astype(np.uint8)
    path = tmp_path / f'a.{kind}'
    if kind == 'jpg':
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(film).save(path, exif=exif, quality=100)
    else:
        stored = film.astype(np.uint16) * 257 if '16' in kind else film
        compression = 'tiff_lzw' if 'lzw' in kind else None
        Image.fromarray(stored).save(path, tiffinfo={274: orientation}, compression=compression)
    plane = read_radiograph(path)
    assert image_size(path) == plane.shape[::-1]
    assert plane.flags.c_contiguous and plane.flags.writeable
    np.testing.assert_allclose(plane[8::16, 8::16] * 255, np.array(SEEN[orientation]) * 40, atol=2)


@pytest.mark.parametrize('kind', ['PNG', 'late PNG', '16-bit PNG', 'colour PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', SEEN)
def test_png_and_webp_come_out_upright(tmp_path, kind, orientation):
    film = np.kron(np.arange(6).reshape(2, 3) * 40, np.ones((16, 16))).astype(np.uint8)
    stored = film.astype(np.uint16) * 257 if '16' in kind else film
    stored = np.stack([film] * 3, axis=2) if 'colour' in kind else stored
    exif = Image.Exif()
    exif[274] = orientation
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, kind.split()[-1], exif=exif, lossless=True)
    content = stream.getvalue()
    if 'late' in kind:
        at = content.index(b'eXIf') - 4
        end = at + 12 + int.from_bytes(content[at : at + 4], 'big')
        content = content[:at] + content[end:-12] + content[at:end] + content[-12:]
    path = tmp_path / 'a'
    path.write_bytes(content)
    for _ in range(2):
        plane = read_radiograph(path)
        assert image_size(path) == plane.shape[::-1]
        seen = np.array(SEEN[orientation]) * 40
        np.testing.assert_allclose(plane[8::16, 8::16] * 255, seen, atol=0.01)
        os.utime(path, (1e9, 1e9))  # not written a moment ago


def test_orientation_that_is_none(tmp_path):
    exif = Image.Exif()
    exif[274] = 9
    Image.fromarray(np.zeros((8, 16), np.uint8)).save(tmp_path / 'a.jpg', exif=exif)
    content = (tmp_path / 'a.jpg').read_bytes()
    assert read_radiograph(tmp_path / 'a.jpg').shape == (8, 16)
    (tmp_path / 'a.jpg').write_bytes(content.replace(b'Exif\0\0MM', b'Exif\0\0ZZ'))
    assert image_size(tmp_path / 'a.jpg') == (16, 8)
    assert read_radiograph(tmp_path / 'a.jpg').shape == (8, 16)


@pytest.mark.parametrize('suffix', ['png', 'gif', 'webp'])
def test_animations_are_no_films(tmp_path, suffix):
    films = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 200)]
    films[0].save(tmp_path / f'a.{suffix}', save_all=True, append_images=films[1:])
    with pytest.raises(RadiographError, match='2 pages'):
        read_radiograph(tmp_path / f'a.{suffix}')
