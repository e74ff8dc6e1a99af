# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""DICOM: every transfer syntax that can be written or is at hand, fields and bytes damaged."""

import io
import random
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from mmfrac.utils.errors import RadiographError
from mmfrac.utils.guard import GuardError, run_guarded
from tests.datasets.radiographs.test_dicom import make_dicom
from tests.fuzz.checked_plane import checked_plane
from tests.fuzz.engine import Kind, WrongError, damage_bytes, register

_VALUES = dict(
    Rows=(0, 1, 39, 41, 65535),
    Columns=(0, 1, 47, 49, 65535),
    BitsAllocated=(1, 8, 16, 32, 64, 12, 0),
    BitsStored=(1, 8, 10, 12, 15, 16, 32, 0),
    HighBit=(0, 7, 9, 11, 15, 31),
    PixelRepresentation=(0, 1, 2),
    SamplesPerPixel=(0, 1, 2, 3, 4),
    PlanarConfiguration=(0, 1, 2),
    PhotometricInterpretation=(
        *('MONOCHROME1', 'monochrome1', 'MONOCHROME2 ', 'MONOCHROME', 'RGB', 'YBR_FULL', ''),
        *('YBR_FULL_422', 'PALETTE COLOR', 'CMYK', 'YBR_RCT'),
    ),
    NumberOfFrames=('0', '1', '2', '-1', 'x'),
    WindowCenter=('0', '2048', '-5', '20,5', 'nan', '1e30', ''),
    WindowWidth=('0', '1', '4096', '-5', '20,5', 'inf', ''),
    RescaleSlope=('0', '1', '-1', '2', 'x', ''),
    RescaleIntercept=('0', '-1024', 'x', ''),
    VOILUTFunction=('LINEAR', 'SIGMOID', 'LINEAR_EXACT', 'x'),
    PresentationLUTShape=('IDENTITY', 'INVERSE', 'x'),
)


def _film(seed: int, dtype: type = np.uint16, top: int = 4095) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :48]
    field = 0.5 + 0.3 * np.sin(x / 9) + 0.2 * np.cos(y / 7) + rng.normal(0, 0.01, (40, 48))
    return (field.clip(0.05, 0.95) * top).astype(dtype)


def seeds(folder: Path) -> list[Path]:
    """One film of each syntax and form."""
    window = dict(WindowCenter=2048, WindowWidth=4096)
    syntaxes = (
        *(ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless),
        *(JPEG2000Lossless, DeflatedExplicitVRLittleEndian),
    )
    paths = []
    for index, syntax in enumerate(syntaxes):
        for bits, dtype, header in (
            (12, np.uint16, window),
            (8, np.uint8, dict(PhotometricInterpretation='MONOCHROME1')),
            (16, np.int16, dict(RescaleSlope=1, RescaleIntercept=0, PixelPaddingValue=-5)),
        ):
            path = folder / f'{index}_{bits}.dcm'
            top = min(2**bits - 1, 2**15 - 1)
            make_dicom(path, _film(index, dtype, top), bits, syntax, **header)
            paths.append(path)
    rgb = np.repeat(_film(9, np.uint8, 255)[..., None], 3, axis=2)
    for name, kind in (('RGB', 'RGB'), ('YBR', 'YBR_FULL')):
        header = dict(SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation=kind)
        make_dicom(folder / f'{name}.dcm', rgb, 8, **header)
        paths.append(folder / f'{name}.dcm')
    return paths + _jpeg_seeds(folder) + _gdcm_seeds(folder, paths[:3])


def _gdcm_seeds(folder: Path, paths: list[Path]) -> list[Path]:
    """JPEG-LS and lossless JPEG, which GDCM writes."""
    import gdcm

    made = []
    for name in ('JPEGLSLossless', 'JPEGLosslessProcess14_1'):
        for path in paths:
            reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), None
            reader.SetFileName(str(path))
            assert reader.Read()
            change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
            change.SetInput(reader.GetImage())
            if not change.Change():
                continue
            made.append(folder / f'{name}_{path.name}')
            writer = gdcm.ImageWriter()
            writer.SetFileName(str(made[-1]))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()
            # what it makes up anew each time
            ds = pydicom.dcmread(made[-1])
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = '1.2.3.4'
            for field in ('StudyDate', 'StudyTime', 'StudyInstanceUID', 'SeriesInstanceUID'):
                ds.pop(field, None)
            ds.save_as(made[-1])
    return made


def _jpeg_seeds(folder: Path) -> list[Path]:
    """JPEG baseline, whose codestream Pillow writes."""
    from PIL import Image
    from pydicom.encaps import encapsulate

    ds = pydicom.dcmread(make_dicom(folder / 'jpeg.dcm', _film(5, np.uint8, 255), 8))
    stream = io.BytesIO()
    Image.fromarray(_film(5, np.uint8, 255)).save(stream, 'JPEG', quality=95)
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([stream.getvalue()])
    ds['PixelData'].VR = 'OB'
    ds['PixelData'].is_undefined_length = True
    ds.save_as(folder / 'jpeg.dcm')
    return [folder / 'jpeg.dcm']


def damage(content: bytes, dice: random.Random) -> bytes:
    """Bytes, or values of fields."""
    if dice.random() < 0.5:
        return damage_bytes(content, dice)
    try:
        ds = pydicom.dcmread(io.BytesIO(content))
        for _ in range(dice.choice((1, 1, 2, 3))):
            name = dice.choice(tuple(_VALUES))
            tag = pydicom.tag.Tag(name)
            value = dice.choice(_VALUES[name])
            if isinstance(value, str):
                element = pydicom.dataelem.DataElement(
                    tag, 'LO', value, validation_mode=pydicom.config.IGNORE
                )
                ds[tag] = element
                element.VR = pydicom.datadict.dictionary_VR(tag)
            else:
                ds[tag] = pydicom.dataelem.DataElement(tag, 'US', value)
            if dice.random() < 0.1:
                del ds[tag]
        if dice.random() < 0.1:
            ds.file_meta.TransferSyntaxUID = dice.choice(
                (ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless)
            )
        written = io.BytesIO()
        pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
        ds.save_as(written, enforce_file_format=False)
        return written.getvalue()
    except Exception:  # pydicom writes none of these: bytes then
        return damage_bytes(content, dice)


def read(path: Path, source: Path) -> tuple[str, int]:
    """Read, and hold what is read against pydicom's own values."""
    plane, notes = checked_plane(path)
    try:
        expected, _ = run_guarded(shown, path.read_bytes(), most_bytes=2**24, seconds=4.0)
    except GuardError:
        return 'doubtful' if notes else 'read', plane.nbytes
    if expected.shape != plane.shape:
        raise WrongError(f'{plane.shape}, of pydicom {expected.shape}')
    if not notes and np.ptp(plane) and np.ptp(expected):
        inner = (plane > 0) & (plane < 1)
        if inner.sum() > 50 and np.ptp(plane[inner]) > 0.05 and np.ptp(expected[inner]):
            likeness = np.corrcoef(plane[inner], expected[inner])[0, 1]
            if likeness < 0.99:
                raise WrongError(f'likeness {likeness:.3f} to pydicom')
    return 'doubtful' if notes else 'read', plane.nbytes


def shown(content: bytes) -> tuple[np.ndarray, None]:
    """What pydicom shows of a file, float64 (h, w)."""
    ds = pydicom.dcmread(io.BytesIO(content), force=True)
    if ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit:
        # decoders differ in what they make of damaged bits: the one that the project uses, too
        ds.pixel_array_options(decoding_plugin='pillow')
    pixels = ds.pixel_array
    if pixels.ndim == 3:
        return pixels[..., :3] @ np.array([0.299, 0.587, 0.114]), None
    values = apply_voi_lut(apply_modality_lut(pixels, ds), ds).astype(float)
    if ds.PhotometricInterpretation.strip() == 'MONOCHROME1':
        values = -values
    return values, None


KIND = register(Kind('dicom', seeds, damage, read, (RadiographError,), '.dcm'))
