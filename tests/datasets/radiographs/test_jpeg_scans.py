# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""JPEG with a gap between its start and its end mark: decoders go on after it without a word."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from mmfrac.datasets.radiographs.jpeg_scans import scans_fault
from mmfrac.datasets.radiographs.read import read_radiograph
from tests.datasets.radiographs.test_dicom import error_of
from tests.datasets.radiographs.test_dicom_damage import with_frames

FILM = cv2.GaussianBlur(
    np.random.default_rng(0).integers(0, 256, (96, 136)).astype(np.uint8), (5, 5), 0
)


def jpeg(mode='L', size=(136, 96), **options):
    stream = io.BytesIO()
    image = Image.fromarray(FILM).convert(mode).resize(size)
    image.save(stream, 'JPEG', quality=90, **options)
    return stream.getvalue()


def errors_of(tmp_path, stream):
    """What is wrong with it as a file, and in a DICOM file."""
    (tmp_path / 'a.jpg').write_bytes(stream)
    with_frames(tmp_path / 'a.dcm', FILM, JPEGBaseline8Bit, [stream])
    return [error_of(tmp_path / name) for name in ('a.jpg', 'a.dcm')]


@pytest.mark.parametrize('filler', [b'\0', b'\xff'])
@pytest.mark.parametrize('options', [dict(restart_marker_rows=1), dict(restart_marker_blocks=5)])
def test_a_hole_between_restart_marks(tmp_path, options, filler):
    whole = jpeg(**options)
    third = len(whole) // 3
    hole = whole[:third] + third * filler + whole[2 * third :]
    for error in errors_of(tmp_path, hole):
        assert 'damaged' in error and 'restart marks' in error
    # as many marks of eight as before
    marks = [whole.index(bytes((0xFF, 0xD0 + number))) for number in (2, 4)]
    other = whole[: marks[0]] + whole[marks[1] :]
    for error in errors_of(tmp_path, other):
        assert 'restart marks' in error
    other = whole[: marks[0]] + whole[marks[1] : marks[1] + 2] + whole[marks[0] + 2 :]
    for error in errors_of(tmp_path, other):
        assert 'restart marks are not in their order' in error


def test_restart_marks_tell_of_another_size(tmp_path):
    whole = jpeg(restart_marker_rows=1)
    at = whole.index(b'\xff\xc0') + 5
    for height, width in ((80, 136), (112, 136), (96, 64), (96, 272)):
        (tmp_path / 'a.jpg').write_bytes(
            whole[:at] + struct.pack('>2H', height, width) + whole[at + 4 :]
        )
        assert 'restart marks' in error_of(tmp_path / 'a.jpg')


@pytest.mark.parametrize('mode', ['L', 'RGB', 'CMYK'])
@pytest.mark.parametrize('progressive', [False, True])
def test_sound_scans(tmp_path, mode, progressive):
    for size in ((136, 96), (137, 97), (8, 8), (17, 33)):
        for options in (
            *({}, dict(restart_marker_rows=1), dict(restart_marker_rows=2)),
            *(dict(restart_marker_blocks=1), dict(restart_marker_blocks=7)),
            dict(restart_marker_blocks=60_000),
        ):
            for subsampling in (0, 1, 2):
                stream = jpeg(
                    mode, size, progressive=progressive, subsampling=subsampling, **options
                )
                assert scans_fault(stream) is None
    # one mark more, behind the last unit
    stream = jpeg(restart_marker_rows=1)
    (tmp_path / 'a.jpg').write_bytes(stream)
    (tmp_path / 'b.jpg').write_bytes(stream[:-2] + b'\xff\xd3\xff\xd9')
    assert np.array_equal(read_radiograph(tmp_path / 'a.jpg'), read_radiograph(tmp_path / 'b.jpg'))


@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_scans_of_a_progressive_jpeg_are_missing(tmp_path, mode):
    whole = jpeg(mode, progressive=True)
    starts = [at for at in range(len(whole)) if whole[at : at + 2] == b'\xff\xda']
    assert len(starts) > 5
    for start in starts[1:]:
        (tmp_path / 'a.jpg').write_bytes(whole[:start] + b'\xff\xd9')
        assert 'the last of its scans' in error_of(tmp_path / 'a.jpg')


def test_scans_without_end(tmp_path):
    whole = jpeg(progressive=True)
    start = whole.rindex(b'\xff\xda')
    (tmp_path / 'a.jpg').write_bytes(whole[:start] + 501 * whole[start:-2] + b'\xff\xd9')
    assert 'more than 500 scans' in error_of(tmp_path / 'a.jpg')
