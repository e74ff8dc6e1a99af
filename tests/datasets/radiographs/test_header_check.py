# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Headers that contradict their pixels or themselves: read right, or one error by name."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from mmfrac.datasets.radiographs.read import read_radiograph
from tests.datasets.radiographs.test_dicom import error_of, make_dicom, ramp

WINDOW = dict(WindowCenter=2048, WindowWidth=4096)


def read(path):
    notes = []
    return read_radiograph(path, notes), notes


def test_samples_in_the_upper_bits(tmp_path):
    plain, _ = read(make_dicom(tmp_path / 'a', ramp(), **WINDOW))
    for bits, high in ((12, 15), (12, 13), (10, 15), (11, 14), (12, 14)):
        stored = ramp(high=2**bits - 1)
        expected = read(make_dicom(tmp_path / 'b', stored, bits, **WINDOW))[0]
        lifted = stored << np.uint16(high + 1 - bits)
        found, notes = read(make_dicom(tmp_path / 'c', lifted, bits, HighBit=high, **WINDOW))
        np.testing.assert_array_equal(found, expected)
        assert notes == []
    # values that lie low after all, and values that lie anywhere
    found, notes = read(make_dicom(tmp_path / 'd', ramp(), HighBit=15, **WINDOW))
    np.testing.assert_array_equal(found, plain)
    assert 'HighBit 15' in notes[0]
    assert 'HighBit 15' in error_of(make_dicom(tmp_path / 'e', ramp(high=65535), HighBit=15))
    assert 'HighBit 16' in error_of(make_dicom(tmp_path / 'f', ramp(), HighBit=16))


@pytest.mark.parametrize('syntax', [None, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize('bits', [8, 10, 11])
def test_values_above_bits_stored(tmp_path, bits, syntax):
    expected, _ = read(make_dicom(tmp_path / 'a', ramp((80, 96)), **WINDOW))
    kind = {} if syntax is None else dict(syntax=syntax)
    ds = pydicom.dcmread(make_dicom(tmp_path / 'b', ramp((80, 96)), **kind, **WINDOW))
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.save_as(tmp_path / 'b')
    found, notes = read(tmp_path / 'b')
    np.testing.assert_array_equal(found, expected)
    assert notes == [f'its header says BitsStored {bits}, its values need 12 bits']


@pytest.mark.parametrize('row', [0, 1, 77])
@pytest.mark.parametrize('dtype', [np.uint16, np.int16])
def test_a_single_value_above_bits_stored(tmp_path, row, dtype):
    stored = ramp((80, 96), high=1000, dtype=dtype)
    stored[row, 3] = 5000
    found, notes = read(make_dicom(tmp_path / 'a', stored, **WINDOW))
    assert found[row, 3] == 1 and len(notes) == 1 and 'BitsStored 12' in notes[0]
    if dtype == np.int16:
        stored[row, 3] = -2048
        assert read(make_dicom(tmp_path / 'b', stored, **WINDOW))[1] == []
        stored[row, 3] = -2049
        assert 'BitsStored 12' in read(make_dicom(tmp_path / 'c', stored, **WINDOW))[1][0]


def test_signed_values_with_and_without_a_sign_in_the_bits_above(tmp_path):
    stored = ramp(low=-2000, high=2000, dtype=np.int16)
    window = dict(WindowCenter=0, WindowWidth=4096)
    expected, _ = read(make_dicom(tmp_path / 'a', stored, 16, **window))
    for name, pixels in (('b', stored), ('c', stored & np.int16(0x0FFF))):
        found, notes = read(make_dicom(tmp_path / name, pixels, 12, **window))
        np.testing.assert_array_equal(found, expected)
        assert notes == []
    found, notes = read(make_dicom(tmp_path / 'd', stored, 10, **window))
    np.testing.assert_array_equal(found, expected)
    assert 'BitsStored 10' in notes[0]


@pytest.mark.parametrize('kind', [np.uint32, np.uint64])
def test_bits_above_those_stored_of_deep_films(tmp_path, kind):
    film = ramp()
    expected, _ = read(make_dicom(tmp_path / 'a', film, **WINDOW))

    def same(name, pixels, bits=12, **header):
        header = WINDOW | header
        found, notes = read(make_dicom(tmp_path / name, pixels, bits, **header))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        return notes

    deep = film.astype(kind)
    top = 8 * deep.itemsize - 1
    assert same('b', deep) == []
    assert same('c', deep << (top - 11), HighBit=top) == []
    overlay = deep | (np.arange(deep.size).reshape(deep.shape) % 2).astype(kind) << top
    assert same('d', deep, 10) == ['its header says BitsStored 10, its values need 12 bits']
    found, notes = read(make_dicom(tmp_path / 'e', overlay))
    assert notes == [f'its header says BitsStored 12, its values need {top + 1} bits']
    ds = pydicom.dcmread(make_dicom(tmp_path / 'f', overlay, **WINDOW))
    ds.add_new(0x60000102, 'US', top)
    ds.save_as(tmp_path / 'f')
    found, notes = read(tmp_path / 'f')
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert notes == []
    signed = (film.astype(int) - 2048).astype(f'i{deep.itemsize}')
    center = dict(WindowCenter=0, PixelRepresentation=1)
    assert same('g', signed, **center) == []
    assert same('h', signed & 0xFFF, **center) == []


@pytest.mark.parametrize('padding', [-3.4e38, -1000.0])
@pytest.mark.parametrize('kind', [np.float32, np.float64])
@pytest.mark.parametrize('limit', [None, -5.0])
def test_padding_of_float_films(tmp_path, kind, padding, limit):
    film = ramp(high=100).astype(kind) / 7
    film[:, :8] = padding
    film[:, 8:10] = padding if limit is None else limit
    ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp()))
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = 8 * film.itemsize
    prefix = 'Float' if kind == np.float32 else 'DoubleFloat'
    setattr(ds, f'{prefix}PixelData', film.tobytes())
    setattr(ds, f'{prefix}PixelPaddingValue', padding)
    if limit is not None:
        setattr(ds, f'{prefix}PixelPaddingRangeLimit', limit)
    ds.save_as(tmp_path / 'a')
    found, notes = read(tmp_path / 'a')
    assert notes == [] and (found[:, :10] == 0).all()
    body = film[:, 10:]
    expected = (body - body.min()) / np.ptp(body)
    np.testing.assert_allclose(found[:, 10:], expected, atol=1e-6)


@pytest.mark.parametrize('vr', ['SL', 'US'])  # a long one, or its halves
def test_padding_of_32_bit_films(tmp_path, vr):
    film = ramp().astype(np.int32) * 1000
    film[:, :8] = -300_000
    ds = pydicom.dcmread(make_dicom(tmp_path / 'a', film, 32))
    low, high = -300_000 % 2**16, -300_000 % 2**32 >> 16
    ds.add_new(0x00280120, vr, -300_000 if vr == 'SL' else [low, high])
    ds.save_as(tmp_path / 'a')
    found, _ = read(tmp_path / 'a')
    body = film[:, 8:]
    assert (found[:, :8] == 0).all()
    np.testing.assert_allclose(found[:, 8:], (body - body.min()) / np.ptp(body), atol=1e-6)


@pytest.mark.parametrize('padding', [-2000, -1999, -5])
def test_padding_with_another_sign(tmp_path, padding):
    stored = ramp(low=-1500, high=1500, dtype=np.int16)
    stored[:5] = padding
    paths = []
    for name, vr, value in (('a', 'SS', padding), ('b', 'US', padding % 2**16)):
        header = dict(PhotometricInterpretation='MONOCHROME1')
        ds = pydicom.dcmread(make_dicom(tmp_path / name, stored, **header))
        ds.add_new(0x00280120, vr, value)
        ds.save_as(tmp_path / name)
        paths.append(tmp_path / name)
    planes = [read(path)[0] for path in paths]
    assert (planes[1][:5] == 0).all() and planes[1][5, 0] == 1
    np.testing.assert_array_equal(*planes)


@pytest.mark.parametrize('written', ['monochrome1', ' MONOCHROME1', 'Monochrome1 '])
def test_photometric_interpretation_in_any_letters(tmp_path, written):
    expected, _ = read(make_dicom(tmp_path / 'a', ramp(), PhotometricInterpretation='MONOCHROME1'))
    for syntax in ({}, dict(syntax=JPEG2000Lossless)):
        path = make_dicom(tmp_path / 'b', ramp((40, 40)), **syntax)
        ds = pydicom.dcmread(path)
        ds['PhotometricInterpretation'] = pydicom.dataelem.DataElement(
            0x00280004, 'CS', written, validation_mode=pydicom.config.IGNORE
        )
        ds.save_as(path)
        found, notes = read(path)
        assert found[0, 0] == 1 and found[-1, -1] == 0 and notes == []
    assert expected[0, 0] == 1


@pytest.mark.parametrize('written', ['MONOCHROME', 'MONOCHROME3', 'RGB', 'CMYK', 'YBR_FULL'])
def test_photometric_interpretations_that_are_none(tmp_path, written):
    for syntax in ({}, dict(syntax=JPEG2000Lossless)):
        path = make_dicom(tmp_path / 'a', ramp((40, 40)), **syntax)
        ds = pydicom.dcmread(path)
        ds.PhotometricInterpretation = written
        ds.save_as(path)
        assert f"PhotometricInterpretation '{written}'" in error_of(path)


def test_rescale_with_one_half_missing(tmp_path):
    window = dict(WindowCenter=1048, WindowWidth=4096)
    whole = dict(RescaleSlope=1, RescaleIntercept=-1000)
    expected, _ = read(make_dicom(tmp_path / 'a', ramp(), **whole, **window))
    found, notes = read(make_dicom(tmp_path / 'b', ramp(), RescaleIntercept=-1000, **window))
    np.testing.assert_array_equal(found, expected)
    assert notes == ['its header has RescaleIntercept without RescaleSlope']
    found, notes = read(make_dicom(tmp_path / 'c', ramp(), RescaleSlope=2, **window))
    expected, _ = read(make_dicom(tmp_path / 'd', 2 * ramp(), 13, **window))
    np.testing.assert_array_equal(found, expected)
    assert notes == ['its header has RescaleSlope without RescaleIntercept']


@pytest.mark.parametrize(
    'header, says',
    [
        (dict(WindowCenter=2048, WindowWidth=0), 'window'),
        (dict(WindowCenter=2048, WindowWidth=-1), 'window'),
        (dict(WindowCenter=2048), 'window'),
        (dict(WindowWidth=2048), 'window'),
        (dict(WindowCenter='nan', WindowWidth='9'), 'window'),
        (dict(VOILUTSequence=[Dataset()]), 'VOI LUT has no data'),
        (dict(PresentationLUTShape='INVERSE'), 'PresentationLUTShape INVERSE'),
    ],
)
@pytest.mark.filterwarnings('ignore:Invalid value')
def test_what_is_not_used_is_noted(tmp_path, header, says):
    plain, _ = read(make_dicom(tmp_path / 'a', ramp()))
    for _ in range(2):  # a header that is known is noted, too
        found, notes = read(make_dicom(tmp_path / 'b', ramp(), **header))
        np.testing.assert_array_equal(found, plain)
        assert len(notes) == 1 and says in notes[0]


@pytest.mark.parametrize('value', [0, 1, 77, 4095])
@pytest.mark.parametrize('header', [{}, WINDOW, dict(PhotometricInterpretation='MONOCHROME1')])
def test_one_value_is_noted(tmp_path, value, header):
    plane, notes = read(make_dicom(tmp_path / 'a', np.full((9, 9), value, np.uint16), **header))
    assert (plane == 0).all() and 'all its pixels have one value' in notes


def test_a_window_of_an_unknown_function_is_linear(tmp_path):
    expected, notes = read(make_dicom(tmp_path / 'a', ramp(), VOILUTFunction='LINEAR', **WINDOW))
    assert notes == []
    found, notes = read(make_dicom(tmp_path / 'b', ramp(), VOILUTFunction='FOO', **WINDOW))
    np.testing.assert_array_equal(found, expected)
    assert notes == [
        'its VOILUTFunction is none of LINEAR, LINEAR_EXACT, SIGMOID and counts as LINEAR'
    ]


@pytest.mark.parametrize('factor, declared', [(1, 16), (257, 16), (1, 8), (16, 16)])
@pytest.mark.parametrize('allocated', [np.uint8, np.uint16])
def test_palettes_that_use_fewer_bits_than_they_declare(tmp_path, factor, declared, allocated):
    film = ramp((16, 16), 0, 200, allocated)
    header = dict(PhotometricInterpretation='PALETTE COLOR')
    for colour in ('Red', 'Green', 'Blue'):
        entries = np.arange(256, dtype='<u2') * factor
        name = f'{colour}PaletteColorLookupTable'
        header[f'{name}Descriptor'] = [256, 0, declared]
        header[f'{name}Data'] = entries.astype('<u2' if declared == 16 else 'u1').tobytes()
    found, notes = read(make_dicom(tmp_path / 'a', film, 8, **header))
    full = factor / (2 ** (255 * factor).bit_length() - 1)
    np.testing.assert_allclose(found, film * full, atol=1e-6)
    assert notes == []


@pytest.mark.parametrize('field', ['WindowCenter', 'WindowWidth', 'RescaleSlope'])
def test_decimal_commas(tmp_path, field):
    header = dict(WINDOW, RescaleSlope=1, RescaleIntercept=0)
    path = make_dicom(tmp_path / 'a', ramp(), **header | {field: '99998888'})
    content = (tmp_path / 'a').read_bytes()
    (tmp_path / 'a').write_bytes(content.replace(b'99998888', b'20,5    '))
    assert f"{field} is '20,5', no number" in error_of(path)
    (tmp_path / 'a').write_bytes(content.replace(b'99998888', b'Doe^Jane'))
    assert f'{field} is no number' in error_of(path) and 'Doe' not in error_of(path)


def with_codestream(path, stored, **changes):
    """A JPEG 2000 film whose header is changed after it was compressed."""
    ds = pydicom.dcmread(make_dicom(path, stored, changes.pop('bits', 12), JPEG2000Lossless))
    for name, value in changes.items():
        setattr(ds, name, value)
    ds.save_as(path)
    return str(path)


def test_codestreams_of_another_depth_or_sign(tmp_path):
    film = ramp((40, 48))
    plain, _ = read(make_dicom(tmp_path / 'a', film))
    for depth in (13, 14, 16):  # 12 bits that are called more
        path = with_codestream(tmp_path / 'b', film, BitsStored=depth, HighBit=depth - 1)
        found, notes = read(path)
        np.testing.assert_array_equal(found, plain)
        assert notes == []
    # unsigned pixels, of which the upper half would be negative
    assert 'have a sign' in error_of(with_codestream(tmp_path / 'c', film, PixelRepresentation=1))
    low = ramp((40, 48), high=2000)
    found, _ = read(with_codestream(tmp_path / 'd', low, PixelRepresentation=1))
    np.testing.assert_array_equal(found, read(make_dicom(tmp_path / 'e', low))[0])
    signed = ramp((40, 48), -2000, 2000, np.int16)
    assert 'no sign' in error_of(with_codestream(tmp_path / 'f', signed, PixelRepresentation=0))


def test_codestreams_of_another_kind(tmp_path):
    ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp((40, 48)), syntax=JPEG2000Lossless))
    ds.file_meta.TransferSyntaxUID = JPEGLSLossless
    ds.save_as(tmp_path / 'a')
    assert 'says JPEG-LS, its pixels are JPEG 2000' in error_of(tmp_path / 'a')
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    for syntax in (pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.ImplicitVRLittleEndian):
        ds = pydicom.dcmread(make_dicom(tmp_path / 'b', ramp((40, 48)), syntax=JPEG2000Lossless))
        content = ds.PixelData + bytes(10_000)
        plain = pydicom.dcmread(make_dicom(tmp_path / 'c', ramp((40, 48)), syntax=syntax))
        plain.PixelData = content
        plain.save_as(tmp_path / 'c')
        assert 'are compressed' in error_of(tmp_path / 'c')


def test_two_codestreams_of_one_frame(tmp_path):
    ds = pydicom.dcmread(make_dicom(tmp_path / 'a', ramp((40, 48)), syntax=JPEG2000Lossless))
    (stream,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([stream, stream])
    ds.save_as(tmp_path / 'a')
    assert '2 frames' in error_of(tmp_path / 'a')


def test_a_jpeg_that_ends_early(tmp_path):
    from PIL import Image

    grey = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, 'JPEG', quality=95)
    content = stream.getvalue()
    for cut in (content, content[:1500] + b'\xff\xd9', content[:1500]):
        ds = pydicom.dcmread(make_dicom(tmp_path / 'a', grey, 8))
        ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
        ds.PixelData = encapsulate([cut])
        ds['PixelData'].VR, ds['PixelData'].is_undefined_length = 'OB', True
        ds.save_as(tmp_path / 'a')
        if cut is content:
            assert np.abs(read(tmp_path / 'a')[0] * 255 - grey).mean() < 5
        else:
            assert 'truncated' in error_of(tmp_path / 'a')
