# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import pytest

from mmfrac.apis.inferencer import checked_image, list_images
from mmfrac.deployment.archive_inputs import list_entries
from mmfrac.deployment.onnx.runtime import find_images


def test_folders_give_what_holds_a_film(tmp_path):
    (tmp_path / 'b' / 'series').mkdir(parents=True)
    png = cv2.imencode('.png', np.zeros((4, 4), np.uint8))[1].tobytes()
    for name in ('b/film.PNG', 'a.png', '.hidden.png', 'b/series/1.2.840.113'):
        (tmp_path / name).write_bytes(png)
    (tmp_path / 'broken.dcm').write_bytes(b'')
    (tmp_path / 'notes').write_text('films of the first day')
    (tmp_path / 'labels.csv').write_text('film,label\n')
    (tmp_path / 'DICOMDIR').write_bytes(bytes(128) + b'DICM')
    names = ['a.png', 'b/film.PNG', 'b/series/1.2.840.113', 'broken.dcm']
    assert list_images(str(tmp_path)) == [str(tmp_path / name) for name in names]


def test_folders_behind_links_are_searched(tmp_path):
    png = cv2.imencode('.png', np.zeros((4, 4), np.uint8))[1].tobytes()
    for name in ('films/a.png', 'site/b.png'):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(png)
    (tmp_path / 'films' / 'site').symlink_to(tmp_path / 'site')
    (tmp_path / 'films' / 'loop').symlink_to('.')
    expected = [str(tmp_path / 'films' / name) for name in ('a.png', 'site/b.png')]
    assert list_images(tmp_path / 'films') == expected
    folder = str(tmp_path / 'films')
    assert [entry['image'] for entry in list_entries([folder])] == expected
    assert list(find_images([folder])) == expected


def test_an_exported_detector_takes_the_files_that_torch_takes(tmp_path):
    for suffix in ('.png', '.pgm', '.webp', ''):
        image = cv2.imencode(suffix or '.png', np.zeros((8, 8), np.uint8))[1].tobytes()
        (tmp_path / f'film{suffix}').write_bytes(image)
    (tmp_path / 'gone.dcm').symlink_to('nowhere')
    (tmp_path / 'notes').write_text('none')
    assert list(find_images([str(tmp_path)])) == list_images(tmp_path)
    assert len(list_images(tmp_path)) == 5


def test_files_and_planes_keep_their_order(tmp_path):
    plane = np.zeros((2, 2))
    films = list_images([tmp_path / 'z.png', plane, 'a'])
    assert films[0] == str(tmp_path / 'z.png') and films[1] is plane and films[2] == 'a'
    assert list_images('a') == ['a'] and list_images(plane)[0] is plane


def test_inputs_that_are_no_films(tmp_path):
    with pytest.raises(FileNotFoundError, match='no film in'):
        list_images(tmp_path)
    for wrong in ([], 3, [3]):
        with pytest.raises(ValueError, match='film'):
            list_images(wrong)


def test_planes_are_checked():
    np.testing.assert_allclose(checked_image(np.array([[0, 51, 255]], np.uint8)), [[0, 0.2, 1]])
    plane = checked_image(np.full((3, 4), 0.5))
    assert plane.dtype == np.float32 and plane.shape == (3, 4)
    for wrong in (
        np.zeros((3, 4, 3)),
        np.zeros((0, 4)),
        np.full((2, 2), 1.5),
        np.full((2, 2), np.nan),
        np.full((2, 2), 4000, np.uint16),
    ):
        with pytest.raises(ValueError, match='plane'):
            checked_image(wrong)
