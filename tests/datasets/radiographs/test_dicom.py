# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pathlib
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from mmfrac.datasets.radiographs import grey_scale as dicom_grey_scale
from mmfrac.datasets.radiographs.read import RadiographError, image_size, read_radiograph

CR = '1.2.840.10008.5.1.4.1.1.1'


def make_dicom(path, stored, bits=12, syntax=ExplicitVRLittleEndian, **header):
    """Write stored values (h, w) as a DICOM film; header fields by keyword."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = (
        syntax if not syntax.is_encapsulated else ImplicitVRLittleEndian
    )
    ds.SOPClassUID, ds.SOPInstanceUID = CR, '1.2.3.4'
    ds.Rows, ds.Columns = stored.shape[:2]
    ds.BitsAllocated = 8 * stored.dtype.itemsize
    ds.BitsStored, ds.HighBit = bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == 'i')
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = 'MONOCHROME2'
    for key, value in header.items():
        setattr(ds, key, value)
    order = '>' if syntax == ExplicitVRBigEndian else '<'
    ds.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    ds['PixelData'].VR = 'OW'
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return str(path)


def ramp(shape=(24, 32), low=0, high=4095, dtype=np.uint16):
    return np.linspace(low, high, shape[0] * shape[1]).round().astype(dtype).reshape(shape)


def test_window_by_hand(tmp_path):
    # PS3.3 C.11.2.1.2.1: c 50, w 101 shows 0 to 100 linearly: (x - 49.5) / 100 + 0.5
    stored = np.array([[0, 25, 100], [150, 7, 4000]], np.uint16)
    plane = read_radiograph(
        make_dicom(tmp_path / 'a.dcm', stored, WindowCenter=[50, 9], WindowWidth=[101, 9])
    )
    expected = np.array([[0.005, 0.255, 1], [1, 0.075, 1]], np.float32)
    assert plane.dtype == np.float32 and plane.flags.c_contiguous and plane.flags.writeable
    np.testing.assert_allclose(plane, expected, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(
    bits=st.integers(8, 16),
    signed=st.booleans(),
    slope=st.sampled_from([None, 1.0, 0.5, 2.0]),
    intercept=st.integers(-2000, 2000),
    function=st.sampled_from(['LINEAR', 'LINEAR_EXACT', 'SIGMOID']),
    center=st.floats(0.3, 0.7),
    width=st.floats(0.05, 1.5),
    seed=st.integers(0, 99),
)
def test_equals_pydicom(
    tmp_path_factory, bits, signed, slope, intercept, function, center, width, seed
):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    stored = np.random.default_rng(seed).integers(low, high + 1, (9, 13))
    stored = stored.astype(np.int16 if signed else np.uint16)
    stored[0, :2] = low, high
    header = dict(VOILUTFunction=function)
    scale, shift = 1.0, 0.0
    if slope is not None:
        header |= dict(RescaleSlope=slope, RescaleIntercept=intercept)
        scale, shift = slope, float(intercept)
    header['WindowCenter'] = round((low + center * (high - low)) * scale + shift, 3)
    header['WindowWidth'] = round(2 + width * (high - low) * scale, 3)
    path = make_dicom(tmp_path_factory.mktemp('d') / 'a', stored, bits, **header)
    ds = pydicom.dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds)
    bottom, top = low * scale + shift, high * scale + shift
    np.testing.assert_allclose(read_radiograph(path), (shown - bottom) / (top - bottom), atol=2e-6)


def test_monochrome1_is_the_same_film(tmp_path):
    stored = ramp()
    for index, (one, two) in enumerate(
        [
            ({}, {}),
            (dict(WindowCenter=1500, WindowWidth=900), dict(WindowCenter=2596, WindowWidth=900)),
        ]
    ):
        a = make_dicom(tmp_path / f'{index}a', stored, **two)
        b = make_dicom(
            tmp_path / f'{index}b', 4095 - stored, PhotometricInterpretation='MONOCHROME1', **one
        )
        np.testing.assert_allclose(read_radiograph(a), read_radiograph(b), atol=1e-6)
        assert read_radiograph(a)[-1, -1] == 1 and read_radiograph(b)[0, 0] == 0


def test_without_voi_the_tails_are_left_out(tmp_path):
    stored = ramp((100, 100), 1000, 3000)
    stored.flat[:5], stored.flat[-5:] = 0, 4095  # 0.05 % at each end: dust and a hot pixel
    plane = read_radiograph(make_dicom(tmp_path / 'a', stored))
    inner = stored.ravel()[10:-10].astype(float)
    expected = (inner - inner[0]) / (inner[-1] - inner[0])
    np.testing.assert_allclose(plane.ravel()[10:-10], expected, atol=1e-6)
    assert plane.min() == 0 and plane.max() == 1 and len(np.unique(plane)) > 1900


@pytest.mark.parametrize('dtype, bits', [(np.uint16, 12), (np.int16, 16), (np.uint32, 32)])
def test_a_stretch_comes_from_all_pixels(tmp_path, dtype, bits):
    stored = np.random.default_rng(0).integers(500, 3501, (700, 600)).astype(dtype)
    # 0.12 % of the pixels, in a corner and between the lines of any coarse grid
    stored[101:123, 501:524] = 4000
    notes = []
    plane = read_radiograph(make_dicom(tmp_path / 'a', stored, bits), notes)
    ordered = np.sort(stored, axis=None)
    low, high = int(ordered[420]), int(ordered[-421])
    assert high == 4000 and notes == []
    expected = np.clip((stored.astype(float) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(plane, expected, atol=1e-6)


def test_padding_is_black_and_not_in_the_range(tmp_path):
    stored = ramp(low=1000, high=2000)
    stored[:4], stored[4, :4] = 0, [3, 2, 1, 0]
    body = stored[5:]
    for photometric in ('MONOCHROME2', 'MONOCHROME1'):
        path = make_dicom(
            tmp_path / photometric,
            stored,
            PixelPaddingValue=0,
            PixelPaddingRangeLimit=3,
            PhotometricInterpretation=photometric,
        )
        plane = read_radiograph(path)
        assert (plane[:4] == 0).all() and (plane[4, :4] == 0).all()
        assert plane[4, 4:].max() == (1 if photometric == 'MONOCHROME1' else plane[4, -1])
        assert np.ptp(plane[4:, 4:]) == 1
        order = np.corrcoef(plane[5:].ravel(), body.ravel())[0, 1]
        assert order == pytest.approx(1 if photometric == 'MONOCHROME2' else -1)


def test_useless_windows_count_as_absent(tmp_path):
    stored = ramp(low=3000, high=4000)
    plain = read_radiograph(make_dicom(tmp_path / 'a', stored))
    assert np.ptp(plain) == 1
    for index, (center, width) in enumerate([(50, 100), (2000, 0), (2000, -5)]):
        path = make_dicom(tmp_path / f'{index}', stored, WindowCenter=center, WindowWidth=width)
        np.testing.assert_array_equal(read_radiograph(path), plain)


@pytest.mark.parametrize('declared', [12, 16])
def test_voi_lut_wins_over_the_window(tmp_path, declared):
    item = Dataset()
    lut = (4095 * np.linspace(0, 1, 4096) ** 2).round().astype(np.uint16)
    item.LUTDescriptor = [4096, 0, declared]
    item.LUTData = lut.tolist()
    item['LUTDescriptor'].VR = item['LUTData'].VR = 'US'
    stored = ramp()
    path = make_dicom(tmp_path / 'a', stored, VOILUTSequence=[item], WindowCenter=10, WindowWidth=5)
    # Declared as 16 bits with entries of 12, it still spans [0, 1].
    np.testing.assert_allclose(read_radiograph(path), lut[stored] / 4095, atol=1e-6)


@pytest.mark.parametrize('key', ['VOILUTSequence', 'ModalityLUTSequence'])
@pytest.mark.parametrize('kind', ['words', 'numbers', 'packed'])
def test_luts_of_8_bits(tmp_path, kind, key):
    item, lut = Dataset(), np.arange(4096) >> 4
    item.LUTDescriptor, item.ModalityLUTType = [4096, 0, 8], 'US'
    as_bytes = lut.astype('<u2' if kind == 'words' else 'u1').tobytes()
    item.LUTData = lut.tolist() if kind == 'numbers' else as_bytes
    item['LUTDescriptor'].VR = 'US'
    item['LUTData'].VR = 'US' if kind == 'numbers' else 'OW'
    stored = ramp()
    path = make_dicom(tmp_path / 'a', stored, **{key: [item]})
    np.testing.assert_allclose(read_radiograph(path), lut[stored] / 255, atol=1e-6)


@pytest.mark.parametrize('key', ['VOILUTSequence', 'ModalityLUTSequence'])
def test_the_first_value_of_a_lut_has_the_sign_of_the_values(tmp_path, key):
    item, stored = Dataset(), ramp(low=-2000, high=2000, dtype=np.int16)
    item.LUTDescriptor, item.ModalityLUTType = [4001, 2**16 - 2000, 12], 'US'
    item.LUTData = list(range(4001))
    item['LUTDescriptor'].VR = item['LUTData'].VR = 'US'
    path = make_dicom(tmp_path / 'a', stored, bits=16, **{key: [item]})
    scale = 4095 if key == 'VOILUTSequence' else 4000
    np.testing.assert_allclose(read_radiograph(path), (stored + 2000.0) / scale, atol=1e-6)


@pytest.mark.parametrize(
    'descriptor, says',
    [([5000, 0, 12], '4096 entries'), ([4096, 0, 20], '20 bits'), ([4096, 0], 'three numbers')],
)
def test_luts_that_contradict_themselves(tmp_path, descriptor, says):
    item = Dataset()
    item.LUTDescriptor, item.LUTData = descriptor, list(range(4096))
    item['LUTDescriptor'].VR = item['LUTData'].VR = 'US'
    assert says in error_of(make_dicom(tmp_path / 'a', ramp(), VOILUTSequence=[item]))


def test_modality_lut(tmp_path):
    item = Dataset()
    lut = (4095 - np.arange(4096)).astype(np.uint16)
    item.LUTDescriptor, item.LUTData, item.ModalityLUTType = [4096, 0, 16], lut.tolist(), 'US'
    item['LUTDescriptor'].VR = item['LUTData'].VR = 'US'
    path = make_dicom(tmp_path / 'a', ramp(), ModalityLUTSequence=[item])
    plane = read_radiograph(path)
    assert plane[0, 0] == 1 and plane[-1, -1] == 0


@pytest.mark.parametrize(
    'syntax',
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless],
    ids=lambda uid: uid.name,
)
@pytest.mark.parametrize('dtype', [np.uint16, np.int16])
def test_transfer_syntaxes_agree(tmp_path, syntax, dtype):
    stored = ramp((40, 50), -2000 if dtype == np.int16 else 0, 2000, dtype)
    header = dict(RescaleSlope=2, RescaleIntercept=7, WindowCenter=300, WindowWidth=5000)
    plain = read_radiograph(make_dicom(tmp_path / 'a', stored, **header))
    other = read_radiograph(make_dicom(tmp_path / 'b', stored, syntax=syntax, **header))
    assert len(np.unique(plain)) > 256
    np.testing.assert_array_equal(plain, other)


def test_overlays_in_the_bits_above_bits_stored_are_ignored(tmp_path):
    stored = ramp()
    overlay = stored | (np.arange(stored.size).reshape(stored.shape) % 3 << 12).astype(np.uint16)
    plain = read_radiograph(make_dicom(tmp_path / 'a', stored))
    ds = pydicom.dcmread(make_dicom(tmp_path / 'b', overlay))
    ds.add_new(0x60000100, 'US', 16)
    ds.add_new(0x60000102, 'US', 12)
    ds.save_as(tmp_path / 'b')
    notes = []
    np.testing.assert_array_equal(read_radiograph(tmp_path / 'b', notes), plain)
    assert notes == []


def test_eight_and_thirty_two_bits(tmp_path):
    stored = ramp((16, 16), 0, 255, np.uint8)
    plane = read_radiograph(make_dicom(tmp_path / 'a', stored, 8))
    np.testing.assert_allclose(plane, stored / 255, atol=1e-6)
    deep = stored.astype(np.uint32) * 100_000
    np.testing.assert_allclose(
        read_radiograph(make_dicom(tmp_path / 'b', deep, 32)), stored / 255, atol=1e-6
    )


def test_rgb_film(tmp_path):
    grey = ramp((16, 16), 0, 255, np.uint8)
    path = make_dicom(
        tmp_path / 'a',
        np.repeat(grey[..., None], 3, axis=2),
        8,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation='RGB',
    )
    np.testing.assert_allclose(read_radiograph(path), grey / 255, atol=1e-6)


def test_blank_film_is_black(tmp_path):
    path = make_dicom(tmp_path / 'a', np.full((8, 8), 77, np.uint16))
    assert (read_radiograph(path) == 0).all()


def test_without_suffix_and_without_preamble(tmp_path):
    stored = ramp()
    whole = make_dicom(tmp_path / 'a.dcm', stored)
    plain = read_radiograph(whole)
    content = pathlib.Path(whole).read_bytes()
    for name, part in (('film', content), ('wrong.png', content), ('bare', content[132:])):
        (tmp_path / name).write_bytes(part)
        np.testing.assert_array_equal(read_radiograph(tmp_path / name), plain)
        assert image_size(tmp_path / name) == (32, 24)
    ds = pydicom.dcmread(whole)
    pydicom.dcmwrite(tmp_path / 'no_meta', Dataset(ds), implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(read_radiograph(tmp_path / 'no_meta'), plain)


def error_of(path):
    with pytest.raises(RadiographError) as caught:
        read_radiograph(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_no_pixels(tmp_path):
    path = make_dicom(tmp_path / 'a.dcm', ramp())
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.save_as(path)
    message = error_of(path)
    assert 'no pixel data' in message and 'Computed Radiography' in message
    assert 'Explicit VR Little Endian' in message


def test_several_frames(tmp_path):
    frames = np.zeros((24, 16), np.uint16)
    one = make_dicom(tmp_path / 'one', ramp(), NumberOfFrames=1)
    assert read_radiograph(one).shape == (24, 32)
    path = make_dicom(tmp_path / 'a', frames, NumberOfFrames=3, Rows=8)
    assert '3 frames' in error_of(path)
    path = make_dicom(tmp_path / 'b', ramp(), NumberOfFrames=[1, 2])
    assert 'its NumberOfFrames is no number' in error_of(path)


@pytest.mark.parametrize('text', ['DOE JOHN', ['ISO 2022 IR 6', 'DOE JOHN'], 'ISO IR 100'])
def test_a_character_set_is_not_quoted(tmp_path, caplog, text):
    path = make_dicom(tmp_path / 'a', ramp())
    ds = pydicom.dcmread(path)
    ds.PatientName = 'A^B'
    ds.add_new('SpecificCharacterSet', 'CS', text)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        ds.save_as(path)
    caplog.clear()
    # beside code that shows warnings
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter('always')
        plane = read_radiograph(path)
    assert plane.shape == (24, 32) and not shown and not caplog.records


@pytest.mark.parametrize(
    'syntax', [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless], ids=lambda uid: uid.name
)
@pytest.mark.filterwarnings('ignore:End of file reached')
@pytest.mark.parametrize('share', [0.3, 0.6, 0.95])
def test_truncated(tmp_path, syntax, share):
    stored = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    path = make_dicom(tmp_path / 'a', stored, syntax=syntax)
    content = pathlib.Path(path).read_bytes()
    (tmp_path / 'a').write_bytes(content[: int(share * len(content))])
    assert 'truncated' in error_of(path)


def test_missing_codec(tmp_path, monkeypatch):
    path = make_dicom(tmp_path / 'a', ramp((64, 64)), syntax=JPEG2000Lossless)
    decoder = get_decoder(JPEG2000Lossless)
    monkeypatch.setattr(decoder, '_available', {})
    monkeypatch.setattr(decoder, '_unavailable', {'pylibjpeg': ('pylibjpeg-openjpeg>=2.0',)})
    message = error_of(path)
    assert 'JPEG 2000' in message and JPEG2000Lossless in message
    assert 'missing codec' in message and 'pip install' in message
    assert 'pylibjpeg-openjpeg>=2.0' in message


def test_unknown_transfer_syntax(tmp_path):
    path = make_dicom(tmp_path / 'a', ramp())
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = '1.2.3.4.5'
    ds.save_as(path, implicit_vr=False, little_endian=True)
    message = error_of(path)
    assert '1.2.3.4.5' in message and 'no decoder' in message


def test_real_films(shared_data):
    folder = shared_data / 'real_cxr' / 'dicom'
    depths = {}
    for path in sorted(folder.iterdir()):
        plane = read_radiograph(path)
        ds = pydicom.dcmread(path)
        assert plane.shape == (ds.Rows, ds.Columns) == image_size(path)[::-1]
        assert plane.dtype == np.float32 and 0 <= plane.min() < plane.max() <= 1
        depths[path.name] = len(np.unique(plane))
    assert depths['RG1_J2KI.dcm'] > 10_000
    # The window of this film lies below all of its values; it is stretched and not shown white.
    assert depths['JPEG2KLossless_1s_1f_u_16_16.dcm'] > 10_000
    lossy, near = (read_radiograph(folder / n) for n in ('RG1_J2KI.dcm', 'RG1_JLSN.dcm'))
    assert np.abs(lossy - near).mean() < 0.005
    # MONOCHROME1, spine against the lower left lung: bone and mediastinum are bright.
    h, w = lossy.shape
    assert lossy[h // 3 : h // 2, w // 2 - 60 : w // 2].mean() > 0.8


@pytest.mark.parametrize('header', [{}, dict(PhotometricInterpretation='MONOCHROME1')])
def test_a_window_that_saturates_nearly_all_of_a_film_is_told(tmp_path, header):
    def notes(stored, **more):
        found = []
        read_radiograph(make_dicom(tmp_path / 'a', stored, **header, **more), found)
        return found

    narrow = dict(WindowCenter=128, WindowWidth=256)
    assert notes(ramp((40, 50)), **narrow) == [
        'its window or VOI LUT shows 93.8% of its pixels black or white'
    ]
    sigmoid = dict(WindowCenter=128, WindowWidth=100, VOILUTFunction='SIGMOID')
    assert 'black or white' in notes(ramp((40, 50)), **sigmoid)[0]
    # less is common
    assert notes(ramp((40, 50)), WindowCenter=2048, WindowWidth=900) == []
    # padding takes no part
    stored = ramp((40, 50), 1000, 3000)
    stored[4:] = 0
    window = dict(WindowCenter=2000, WindowWidth=2400)
    assert notes(stored, **window, PixelPaddingValue=0) == []
    assert '90.0%' in notes(stored, **window)[0]


def test_films_of_one_header_are_shown_each_by_its_own_values(tmp_path):
    window = dict(WindowCenter=2048, WindowWidth=4096)
    ramps = make_dicom(tmp_path / 'a', ramp(), **window)
    plain = read_radiograph(ramps)
    plain[:] = -1  # what is kept of a header is no reader's own
    for _ in range(3):
        np.testing.assert_allclose(read_radiograph(ramps), ramp() / 4095, atol=1e-6)
    # the window shows this one as one flat tone: it is stretched, whatever came before
    dark = ramp(low=0, high=200)
    narrow = dict(WindowCenter=3000, WindowWidth=100)
    bright = ramp(low=2950, high=3050)
    shown = read_radiograph(make_dicom(tmp_path / 'b', bright, **narrow))
    assert np.ptp(shown) == 1
    stretched = read_radiograph(make_dicom(tmp_path / 'c', dark, **narrow))
    np.testing.assert_array_equal(stretched, read_radiograph(make_dicom(tmp_path / 'd', dark)))
    np.testing.assert_array_equal(read_radiograph(tmp_path / 'b'), shown)


def test_one_line_of_a_film_may_be_flat(tmp_path):
    # only the first row differs: the middle one, which is looked at first, does not show it
    stored = np.full((24, 32), 100, np.uint16)
    stored[0] = np.linspace(0, 4095, 32)
    plane = read_radiograph(make_dicom(tmp_path / 'a', stored, WindowCenter=2048, WindowWidth=4096))
    np.testing.assert_allclose(plane, stored / 4095, atol=1e-6)


@pytest.mark.parametrize(
    'field, value',
    list(
        dict(
            WindowCenter=1000,
            WindowWidth=500,
            RescaleSlope=2,
            RescaleIntercept=9,
            VOILUTFunction='SIGMOID',
            PhotometricInterpretation='MONOCHROME1',
            PixelPaddingValue=int(ramp(high=30000).flat[30]),
            PixelRepresentation=1,
        ).items()
    ),
)
def test_every_field_of_the_header_counts(tmp_path, field, value):
    header = dict(WindowCenter=2000, WindowWidth=3000, RescaleSlope=1, RescaleIntercept=0)
    first = read_radiograph(make_dicom(tmp_path / 'a', ramp(high=30000), 15, **header))
    other = make_dicom(tmp_path / 'b', ramp(high=30000), 15, **header | {field: value})
    found = read_radiograph(other)
    dicom_grey_scale._KEPT.clear()
    np.testing.assert_array_equal(read_radiograph(other), found)
    assert not np.array_equal(found, first)


def test_few_headers_are_kept(tmp_path):
    dicom_grey_scale._KEPT.clear()
    for index in range(40):
        read_radiograph(make_dicom(tmp_path / 'a', ramp(), WindowCenter=index, WindowWidth=4000))
        assert 0 < len(dicom_grey_scale._KEPT) <= 8
