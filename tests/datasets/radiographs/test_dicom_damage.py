# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Headers that contradict their pixels or hold nonsense: an error each, never another picture."""

import io
import pathlib
import random
import struct
import warnings

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from mmfrac.datasets.radiographs.codestream import (
    JPEG_2000,
    codestream_header,
    gap_fault,
    tile_fault,
)
from mmfrac.datasets.radiographs.header_check import codestream_of
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
        header = codestream_header(b'\xff\xd8' + comment + b'\xff' + marker + frame)
        assert (header.width, header.height) == (256, 64)
    # a table of Huffman codes (C4) is no frame
    header = codestream_header(b'\xff\xd8\xff\xc4\x00\x09' + 7 * b'\x01' + b'\xff\xc0' + frame)
    assert (header.width, header.height) == (256, 64)
    corners = b''.join(value.to_bytes(4, 'big') for value in (110, 70, 10, 20))
    head = b'\xff\x4f\xff\x51\x00\x29\x00\x00' + corners + bytes(16) + b'\x00\x01\x8b'
    assert codestream_header(head) == (JPEG_2000, 100, 50, 1, 12, True, '')
    unknown = (b'', b'\xff\xd8', b'\xff\xd8\xff\xc0\x00', b'abc', b'\xff\x4f\xff\x51')
    assert [codestream_header(one) for one in unknown] == 5 * [None]
    # 0 lines: their number follows later
    frame = b'\x00\x0b\x08\x00\x00\x01\x00\x01\x01\x11\x00'
    assert codestream_header(b'\xff\xd8\xff\xc0' + frame).height == 0


def tiled(parts, tiles=(2, 2), end=True):
    """A JPEG 2000 codestream without pixels; ``parts``: tile, and how many parts it says to have."""
    size = (8 * tiles[0] - 1, 8 * tiles[1] - 1, 0, 0, 8, 8, 0, 0)
    head = b'\xff\x4f\xff\x51\x00\x29\x00\x00' + struct.pack('>8L', *size) + b'\0\1\x07\1\1'
    comment = b'\xff\x64\x00\x04\xff\x90'  # a mark of a part within a segment is none
    body = b''.join(
        b'\xff\x90\x00\x0a' + struct.pack('>HL2B', tile, 16, 0, count) + b'\xff\x93ab'
        for tile, count in parts
    )
    return head + comment + body + (b'\xff\xd9' if end else b'')


def test_missing_tiles_by_hand():
    four = [(0, 1), (1, 0), (3, 2), (2, 1), (3, 0)]
    for stream in (tiled(four), tiled(four, end=False), tiled(four)[:-6], tiled([(0, 0)], (1, 1))):
        assert tile_fault(stream) is None
        assert tile_fault(bytes(4) + b'jP  ' + bytes(60) + stream) is None
    assert tile_fault(tiled(four[:2])) == 'truncated: 2 of its 4 tiles are missing'
    assert tile_fault(tiled(four[1:])) == 'truncated: 1 of its 4 tiles are missing'
    assert tile_fault(tiled(four[:-1])) == 'truncated: parts of 1 of its 4 tiles are missing'
    for other in (b'', b'\xff\xd8', tiled(four)[:30], b'\x89PNG'):
        assert tile_fault(other) is None


@pytest.mark.parametrize('tile', [0, 4, 8])
def test_a_tile_is_missing(tmp_path, tile):
    film = ramp((96, 90), high=255, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(film).save(stream, 'JPEG2000', no_jp2=True, tile_size=(32, 32))
    whole = stream.getvalue()
    starts = [at for at in range(len(whole)) if whole[at : at + 4] == b'\xff\x90\x00\x0a']
    assert len(starts) == 9
    cut = whole[: starts[tile]] + whole[[*starts, len(whole) - 2][tile + 1] :]
    for content in (whole, cut):
        with_frames(tmp_path / 'a.dcm', film, JPEG2000Lossless, [content])
        (tmp_path / 'a.j2k').write_bytes(content)
        for name in ('a.dcm', 'a.j2k'):
            if content is whole:
                assert np.corrcoef(read_radiograph(tmp_path / name).flat, film.flat)[0, 1] > 0.99
            else:
                assert '1 of its 9 tiles are missing' in error_of(tmp_path / name)


@pytest.mark.parametrize('options', [{}, dict(irreversible=True), dict(precinct_size=(128, 128))])
def test_zeros_in_the_place_of_pixels(tmp_path, options):
    film = np.random.default_rng(0).integers(0, 256, (160, 200)).astype(np.uint8)
    whole = stream_of(film, 'JPEG2000', no_jp2=True, **options)
    for start, stop in ((-9000, -2), (-9000, -4000)):
        gap = whole[:start] + bytes(stop - start) + whole[stop:]
        with_frames(tmp_path / 'a.dcm', film, JPEG2000, [gap])
        (tmp_path / 'a.j2k').write_bytes(gap)
        for name in ('a.dcm', 'a.j2k'):
            assert 'zeros stand in the place of its pixels' in error_of(tmp_path / name)


def test_films_of_nothing_have_no_gaps():
    for value in (0, 128, 255):
        film = np.full((700, 800), value, np.uint8)
        for options in (
            {},
            dict(tile_size=(64, 64)),
            dict(precinct_size=(16, 16), num_resolutions=3),
        ):
            layers = dict(quality_mode='rates', quality_layers=[40, 20, 10, 5, 1])
            for more in ({}, layers, dict(irreversible=True)):
                stream = stream_of(film, 'JPEG2000', no_jp2=True, **options, **more)
                assert gap_fault(stream) is None
    # packets of nothing, one byte each
    head = stream_of(film, 'JPEG2000', no_jp2=True, precinct_size=(16, 16), num_resolutions=1)
    head = head[: head.index(b'\xff\x93') + 2]
    assert gap_fault(head + bytes(2300) + b'\xff\xd9') is None
    assert gap_fault(head + bytes(2500) + b'\xff\xd9') is not None


def with_frames(path, film, syntax, fragments, **header):
    """A DICOM film of fragments, with an empty table of offsets."""
    ds = pydicom.dcmread(make_dicom(path, film, 8, **header))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(fragments, has_bot=False)
    ds['PixelData'].VR, ds['PixelData'].is_undefined_length = 'OB', True
    ds.save_as(path)
    return path


def stream_of(film, kind, **options):
    stream = io.BytesIO()
    Image.fromarray(film).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize('kind', ['JPEG', 'JPEG2000', 'RLE'])
def test_two_frames_in_fragments(tmp_path, kind):
    film = ramp((40, 48), high=255, dtype=np.uint8)
    syntax = dict(JPEG=JPEGBaseline8Bit, JPEG2000=JPEG2000Lossless, RLE=RLELossless)[kind]
    if kind == 'RLE':
        ds = pydicom.dcmread(make_dicom(tmp_path / 'a', film, 8, RLELossless))
        (one,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    else:
        one = stream_of(film, kind, **(dict(no_jp2=True) if kind == 'JPEG2000' else {}))
    one += bytes(len(one) % 2)
    frames = [[one, one], [one, one, one]]
    frames += [] if kind == 'RLE' else [[*halves(one), *halves(one)]]
    for fragments in frames:
        path = with_frames(tmp_path / 'b', film, syntax, fragments)
        count = len(b''.join(fragments)) // len(one)
        assert f'it has {count} frames, a film has one' in error_of(path)
    plain = read_radiograph(with_frames(tmp_path / 'c', film, syntax, [one]))
    if kind != 'RLE':
        for fragments in ([one[:10], one[10:20], one[20:]], [one[:300], one[300:]]):
            path = with_frames(tmp_path / 'd', film, syntax, fragments)
            np.testing.assert_array_equal(read_radiograph(path), plain)
    if kind == 'JPEG':
        # a preview within the image
        preview = b'\xff\xe1' + (2 + len(one)).to_bytes(2, 'big') + one
        path = with_frames(tmp_path / 'e', film, syntax, [one[:2] + preview + one[2:]])
        np.testing.assert_array_equal(read_radiograph(path), plain)


def halves(stream):
    return [stream[: len(stream) // 2 & ~1], stream[len(stream) // 2 & ~1 :]]


@pytest.mark.parametrize('share', [0.4, 0.9])
@pytest.mark.parametrize('kind', ['grey', 'YBR_FULL_422', 'RGB'])
def test_jpeg_films_that_end_early_with_an_end_mark(tmp_path, kind, share):
    film = np.random.default_rng(3).integers(0, 255, (64, 72)).astype(np.uint8)
    header, options = {}, {}
    if kind != 'grey':
        film = np.stack([film, 255 - film, film // 2], axis=2)
        header = dict(SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation=kind)
        options = dict(keep_rgb=True) if kind == 'RGB' else {}
    whole = stream_of(film, 'JPEG', quality=95, **options)
    cut = whole[: int(len(whole) * share)] + b'\xff\xd9'
    path, found = tmp_path / 'a', []
    for fragments in ([whole], halves(whole), [whole[:20], whole[20:]]):
        with_frames(path, film, JPEGBaseline8Bit, fragments, **header)
        found.append(read_radiograph(path))
    assert all(np.array_equal(plane, found[0]) for plane in found)
    for fragments in ([cut], halves(cut), [cut[:20], cut[20:]]):
        with_frames(path, film, JPEGBaseline8Bit, fragments, **header)
        assert 'its last rows are missing' in error_of(path)


@pytest.mark.parametrize('share', [0.5, 0.8])
@pytest.mark.parametrize(
    'name',
    ['JPGExtended.dcm', 'SC_rgb_jpeg_gdcm.dcm', 'MR_small_jpeg_ls_lossless.dcm', 'RG1_JLSN.dcm'],
)
def test_other_codestreams_that_end_early_with_an_end_mark(shared_data, tmp_path, name, share):
    path = shared_data / 'real_cxr' / 'dicom' / name
    if not path.exists():
        path = pydicom.data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f'this pydicom brings no {name}')
    read_radiograph(path)
    ds = pydicom.dcmread(path)
    whole = codestream_of(ds.PixelData)
    ds.PixelData = encapsulate([whole[: int(len(whole) * share)] + b'\xff\xd9'], has_bot=False)
    ds.save_as(tmp_path / 'a')
    assert 'truncated' in error_of(tmp_path / 'a')


def test_jpeg_films_that_are_grey_at_their_end(tmp_path):
    film = np.full((64, 72), 128, np.uint8)
    film[:40] = ramp((40, 72), high=255)
    for pixels in (film, np.stack([film] * 3, axis=2)):
        header = dict(SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation='RGB')
        header = header if pixels.ndim == 3 else dict(WindowCenter=128, WindowWidth=256)
        content = stream_of(pixels, 'JPEG', quality=97)
        path = with_frames(tmp_path / 'a', pixels, JPEGBaseline8Bit, [content], **header)
        np.testing.assert_allclose(read_radiograph(path), film / 255, atol=0.04)


@pytest.mark.parametrize('kind', ['JPEG', 'JPEG2000'])
def test_planes_of_colour_are_no_matter_of_a_codestream(tmp_path, kind):
    grey = ramp((40, 48), high=255, dtype=np.uint8)
    film = np.stack([grey, 255 - grey, grey // 2], axis=2)
    header = dict(SamplesPerPixel=3, PlanarConfiguration=1, PhotometricInterpretation='RGB')
    options = dict(quality=97, subsampling=0) if kind == 'JPEG' else dict(no_jp2=True)
    syntax = JPEGBaseline8Bit if kind == 'JPEG' else JPEG2000Lossless
    path = with_frames(tmp_path / 'a', film, syntax, [stream_of(film, kind, **options)], **header)
    expected = film @ (0.299, 0.587, 0.114) / 255
    np.testing.assert_allclose(read_radiograph(path), expected, atol=0.03)


def test_8_bit_pixels_of_which_the_header_says_12(tmp_path):
    film = ramp((40, 48), high=255, dtype=np.uint8)
    path = with_frames(tmp_path / 'a', film, JPEGBaseline8Bit, [stream_of(film, 'JPEG')])
    expected = read_radiograph(path)
    ds = pydicom.dcmread(path)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.save_as(path)
    np.testing.assert_allclose(read_radiograph(path), expected, atol=1e-6)


@pytest.mark.parametrize('rows, columns', [(20, 32), (24, 30), (23, 32)])
def test_run_lengths_of_more_pixels_than_the_header_says(tmp_path, rows, columns):
    path = make_dicom(tmp_path / 'a', ramp(), syntax=RLELossless)
    ds = pydicom.dcmread(path)
    ds.Rows, ds.Columns = rows, columns
    ds.save_as(path)
    assert 'more pixels than its header says' in error_of(path)


def test_colours_that_would_be_turned_twice(tmp_path):
    grey = ramp((40, 48), high=255, dtype=np.uint8)
    film = np.stack([grey, 255 - grey, grey // 2], axis=2)
    expected = film @ (0.299, 0.587, 0.114) / 255
    colour = dict(SamplesPerPixel=3, PlanarConfiguration=0)
    streams = {
        'JPEG': (JPEGBaseline8Bit, stream_of(film, 'JPEG', quality=97, subsampling=0)),
        'YBR_RCT': (JPEG2000Lossless, stream_of(film, 'JPEG2000', no_jp2=True, mct=1)),
        'YBR_ICT': (JPEG2000, stream_of(film, 'JPEG2000', no_jp2=True, mct=1, irreversible=True)),
    }
    refused = {
        'JPEG': ('YBR_ICT', 'YBR_RCT'),
        'YBR_RCT': ('YBR_FULL', 'YBR_FULL_422'),
        'YBR_ICT': ('YBR_FULL', 'YBR_FULL_422'),
    }
    for stored, (syntax, stream) in streams.items():
        for said in ('RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_ICT', 'YBR_RCT'):
            header = dict(PhotometricInterpretation=said, **colour)
            path = with_frames(tmp_path / 'a', film, syntax, [stream], **header)
            if said in refused[stored]:
                fault = f'says PhotometricInterpretation {said}, its pixels are {stored}'
                assert fault in error_of(path)
            else:
                np.testing.assert_allclose(read_radiograph(path), expected, atol=0.03)


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
