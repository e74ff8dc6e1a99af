# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import io

import numpy as np
import pytest
from PIL import Image

from mmfrac.preparation.checks.data_check import (
    BLANK_SPREAD,
    INVERTED,
    alike_images,
    file_facts,
    inversion_score,
    pixel_digest,
    thumbnail_of,
)
from mmfrac.preparation.checks.split_file import ImageEntry
from tests.preparation.checks.broken_set import chest


def test_digest_is_of_the_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, (300, 50)).astype(np.uint16)
    pixels[0, 0] = 2**16 - 1
    for name in ('a.png', 'b.tif'):
        Image.fromarray(pixels).save(tmp_path / name)
    pixels[299, 49] ^= 1  # one level of 65536
    Image.fromarray(pixels).save(tmp_path / 'c.png')
    a, b, c = (file_facts(str(tmp_path / name)) for name in ('a.png', 'b.tif', 'c.png'))
    assert a == b and a.size == (50, 300) and a.digest != c.digest
    plane = np.zeros((4, 6), np.float32)
    assert pixel_digest(plane) != pixel_digest(plane.reshape(6, 4))


def test_blank_films(tmp_path):
    def spread(pixels):
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / 'a.png')
        return file_facts(str(tmp_path / 'a.png')).spread

    film = np.full((100, 100), 90)
    assert spread(film) == 0
    film[:4, :10] = 255  # a marker on an empty film
    assert spread(film) < BLANK_SPREAD
    assert spread(chest(0)) > 0.5


@pytest.mark.parametrize('turns', range(4))
def test_inverted_films_are_told_however_they_lie(turns):
    film = np.rot90(chest(0) / np.float32(255), turns).copy()
    assert inversion_score(film) < -INVERTED and inversion_score(1 - film) > INVERTED
    # margins of a detector or of collimation do not count
    framed = np.pad(1 - film, ((20, 20), (10, 30)))
    assert inversion_score(framed) > INVERTED
    assert abs(inversion_score(np.full((90, 70), 0.3, np.float32))) < 1e-3


def test_films_that_look_alike(shared_data):
    """Copies in other formats and sizes do, other films of the same patients do not."""
    paths = sorted((shared_data / 'semi_real_v1' / 'images').glob('*_???.png'))[:200]
    films, copies = [], []
    for index, path in enumerate(paths):
        film = np.asarray(Image.open(path).convert('L'))
        films.append((film_of('train', path.name), thumbnail_of(film / np.float32(255))))
        if index % 5 == 0:
            content = io.BytesIO()
            # brighter and of less contrast besides, as another window makes it
            dull = np.rint(20 + 0.8 * film).astype(np.uint8)
            small = Image.fromarray(dull).resize([side // 2 for side in dull.shape[::-1]])
            small.save(content, 'JPEG', quality=80)
            copy = np.asarray(Image.open(content)) / np.float32(255)
            copies.append((film_of('val', path.name), thumbnail_of(copy)))
    found = [
        (one.split, one.message.split()[-1], one.image) for one in alike_images(films + copies)
    ]
    assert found == [('val', entry.name, entry.name) for entry, _ in copies]
    others = [(film_of(str(index), entry.name), of) for index, (entry, of) in enumerate(films)]
    assert alike_images(others) == []


def film_of(split, name):
    return ImageEntry(split, name, name)


def test_real_films_and_their_inverted_copies(shared_data):
    paths = sorted((shared_data / 'semi_real_v1' / 'images').iterdir())[::20]
    scores, inverted = [], []
    for path in paths:
        film = np.asarray(Image.open(path).convert('L')) / np.float32(255)
        scores.append(inversion_score(film))
        inverted.append(inversion_score(1 - film))
    assert max(scores) < INVERTED
    assert np.mean(np.array(inverted) > INVERTED) > 0.9
