# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What an object of findings takes from the image that they were found on."""

import os
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DS, validate_value

from mmfrac.datasets.radiographs.dicom import is_pixels, plain, read_elements, values_unsaid
from mmfrac.datasets.radiographs.grey_scale import bits_of_entries
from mmfrac.utils.errors import RadiographError

# Who the patient is and what the study: taken as it is, since the objects belong to the same.
_IDENTITY = ('PatientID', 'PatientName', 'StudyInstanceUID', 'AccessionNumber')

# Taken where it is valid, else left empty: type 2 of the standard.
_DESCRIBED = (
    *('PatientBirthDate', 'PatientSex', 'StudyID', 'StudyDate', 'StudyTime'),
    'ReferringPhysicianName',
)

# Taken where it is there and valid.
_OPTIONAL = ('StudyDescription', 'IssuerOfPatientID')

_SEXES = ('M', 'F', 'O')

_ORIENTATIONS = frozenset('APLRHF')

_NEEDED = ('SOPClassUID', 'SOPInstanceUID', 'SeriesInstanceUID', 'StudyInstanceUID')

_MOST_UID = 64

# What tells height and width of a pixel, in the order of trust.
_SIDES = ('PixelSpacing', 'ImagerPixelSpacing', 'NominalScannedPixelSpacing', 'PixelAspectRatio')


class SourceError(RadiographError):
    """Findings on an image cannot be put beside it; the message holds no text of its header."""


class SourceImage(NamedTuple):
    """The image that was looked at.

    Attributes:
        path (str): Its file.
        patient (Dataset): Patient and study, for the objects, which belong to the same; in UTF-8.
        reference (Dataset): What objects say of the image: its UIDs, its size, its grey scale. Patient
            and study are left out.
        number (int): Its InstanceNumber, 1 where it has none.
        spacing (tuple[float, float], optional): PixelSpacing, mm a row and a column; None without.
        aspect (tuple[int, int]): Height and width of a pixel, as a ratio; 1 and 1 where nothing tells.
        voi_lut (Dataset, optional): Its VOI LUT, of entries of 8 or 16 bits; None without.
        orientation (list[str]): PatientOrientation; empty where it has none.
        burned_in (str): Whether its pixels show who the patient is: 'YES', 'NO', or '' where it does not
            say.
        lossy (Dataset): Of its compression, empty if it lost nothing.
    """

    path: str
    patient: Dataset
    reference: Dataset
    number: int
    spacing: tuple[float, float] | None
    aspect: tuple[int, int]
    voi_lut: Dataset | None
    orientation: list[str]
    burned_in: str
    lossy: Dataset

    @property
    def is_grey(self) -> bool:
        """Whether it has one sample a pixel that is shown as grey."""
        return self.reference.SamplesPerPixel == 1 and str(
            self.reference.PhotometricInterpretation
        ).startswith('MONOCHROME')


def read_source(path: str | os.PathLike) -> SourceImage:
    """Read the header of an image.

    Args:
        path (str or PathLike): DICOM file.

    Returns:
        SourceImage: What objects take from it.

    Raises:
        SourceError: If it is none, or has no UIDs.
        FileNotFoundError: If there is no such file.
    """
    path = os.fspath(path)
    with values_unsaid():
        return _read(path)


def _read(path: str) -> SourceImage:
    try:
        with open(path, 'rb') as file:
            ds = read_elements(plain(file), stop_when=is_pixels)
    except FileNotFoundError:
        raise
    except Exception as error:  # any bytes at all come here
        raise SourceError(
            f"'{path}' is no DICOM file that can be read ({type(error).__name__}): objects of findings "
            'need the DICOM image that they were found on'
        ) from error
    missing = [keyword for keyword in _NEEDED if not _uid(ds, keyword)]
    if missing:
        raise SourceError(
            f"'{path}' has no valid {' and no valid '.join(missing)}: objects of findings need them to "
            'belong to its study'
        )
    size = [_number(ds, keyword) for keyword in ('Rows', 'Columns')]
    if not all(size):
        raise SourceError(f"'{path}' has no pixels: its header has no Rows and Columns")
    return SourceImage(
        path,
        _patient(ds),
        _reference(ds),
        min(max(_number(ds, 'InstanceNumber', 1), 1), 2**31 - 1),
        _spacing(ds),
        _aspect(ds),
        _voi_lut(ds),
        _orientation(ds),
        _burned_in(ds),
        _lossy(ds),
    )


def _value(ds: Dataset, keyword: str) -> Any:
    """A value; None where it is absent or damaged."""
    try:
        value = ds.get(keyword)
    except Exception:  # a value that its VR does not allow
        return None
    return None if value is None or str(value) == '' else value


def _text(ds: Dataset, keyword: str) -> str:
    value = _value(ds, keyword)
    return '' if value is None else str(value).replace('\0', '').strip()


def _uid(ds: Dataset, keyword: str) -> str:
    """A UID; '' where it is none, so that no text of a header passes for one."""
    text = _text(ds, keyword)
    return text if is_uid(text) else ''


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID.

    Args:
        text (str): Of a header.
    """
    return 0 < len(text) <= _MOST_UID and not set(text) - set('0123456789.')


def _number(ds: Dataset, keyword: str, default: int = 0) -> int:
    try:
        return int(_text(ds, keyword) or default)
    except ValueError:
        return default


def _valid(ds: Dataset, keyword: str) -> str:
    """A value as text; '' where its VR does not allow it."""
    text = _text(ds, keyword)
    try:
        validate_value(dictionary_VR(keyword), text, RAISE)
    except ValueError:
        return ''
    return text


def _patient(ds: Dataset) -> Dataset:
    patient = Dataset()
    patient.SpecificCharacterSet = 'ISO_IR 192'
    for keyword in _IDENTITY:
        setattr(patient, keyword, _text(ds, keyword))
    for keyword in _DESCRIBED:
        setattr(patient, keyword, _valid(ds, keyword))
    if patient.PatientSex not in _SEXES:
        patient.PatientSex = ''
    for keyword in _OPTIONAL:
        if text := _valid(ds, keyword):
            setattr(patient, keyword, text)
    return patient


def _reference(ds: Dataset) -> Dataset:
    reference = Dataset()
    for keyword in _NEEDED:
        setattr(reference, keyword, _uid(ds, keyword))
    for keyword in ('Rows', 'Columns'):
        setattr(reference, keyword, _number(ds, keyword))
    reference.Modality = _valid(ds, 'Modality') or 'OT'
    reference.SamplesPerPixel = _number(ds, 'SamplesPerPixel', 1)
    photometric = _text(ds, 'PhotometricInterpretation').upper()
    reference.PhotometricInterpretation = photometric or 'MONOCHROME2'
    # patient and study, of which the objects get theirs
    for keyword in (*_IDENTITY, *_DESCRIBED):
        if keyword not in reference:
            setattr(reference, keyword, '')
    _add_modality_lut(reference, ds)
    _add_window(reference, ds)
    return reference


def _add_modality_lut(reference: Dataset, ds: Dataset) -> None:
    """The modality LUT, or the rescale, by the rules of ``radiographs.grey_scale``."""
    sequence = _value(ds, 'ModalityLUTSequence')
    if sequence:
        reference.ModalityLUTSequence = sequence
        return
    slope, intercept = _decimals(ds, 'RescaleSlope'), _decimals(ds, 'RescaleIntercept')
    if slope or intercept:
        reference.RescaleSlope = DS(slope[0] if slope else 1.0, auto_format=True)
        reference.RescaleIntercept = DS(intercept[0] if intercept else 0.0, auto_format=True)
        reference.RescaleType = 'US'


def _voi_lut(ds: Dataset) -> Dataset | None:
    """The first VOI LUT, as ``radiographs.grey_scale`` reads it, for a presentation state.

    Many declare more bits than their entries have, and viewers would show the image too dark; there,
    entries have 8 or 16 bits.
    """
    sequence = _value(ds, 'VOILUTSequence')
    item = sequence[0] if sequence else Dataset()
    descriptor, data = _value(item, 'LUTDescriptor'), _value(item, 'LUTData')
    if descriptor is None or data is None:
        return None
    try:
        count, first, bits = map(int, descriptor)
        count = count or 2**16
        if isinstance(data, bytes):
            is_packed = bits == 8 and len(data) in (count, count + 1)
            order = '<' if ds.original_encoding[1] else '>'
            entries = np.frombuffer(data[: len(data) // 2 * 2], f'{order}u2').astype('<u2')
            entries = entries.view('u1') if is_packed else entries
        else:
            entries = np.atleast_1d(np.array(data, np.uint16))
    except (OverflowError, TypeError, ValueError):
        return None
    if len(entries) < count or not 8 <= bits <= 16:
        return None
    entries = entries[:count]
    bits = bits_of_entries(int(entries.max()), bits)
    if bits == 8 and count % 2:
        # two entries are a word
        entries, count = np.append(entries, entries[-1]), count + 1
    if bits > 8:
        entries = (entries.clip(max=2**bits - 1) * ((2**16 - 1) / (2**bits - 1))).round()
    content = entries.astype('u1' if bits == 8 else '<u2').tobytes()
    count -= 2**16 if count == 2**16 or (first < 0 and count >= 2**15) else 0
    lut = Dataset()
    # the first value has the sign of those that the LUT is for
    descriptor = [count, first, 8 if bits == 8 else 16]
    lut.add(DataElement('LUTDescriptor', 'SS' if first < 0 else 'US', descriptor))
    lut.add(DataElement('LUTData', 'OW', content))
    return lut


def _add_window(reference: Dataset, ds: Dataset) -> None:
    """The first window, where there is no VOI LUT."""
    if _voi_lut(ds) is not None:
        return
    center, width = _decimals(ds, 'WindowCenter'), _decimals(ds, 'WindowWidth')
    if center and width and width[0] > 0:
        reference.WindowCenter = DS(center[0], auto_format=True)
        reference.WindowWidth = DS(width[0], auto_format=True)
        function = _text(ds, 'VOILUTFunction').upper()
        if function in ('LINEAR_EXACT', 'SIGMOID'):
            reference.VOILUTFunction = function


def _decimals(ds: Dataset, keyword: str) -> list[float]:
    value = _value(ds, keyword)
    if value is None:
        return []
    values = [value] if isinstance(value, (str, int, float)) else list(value)
    try:
        numbers = [float(one) for one in values]
    except (TypeError, ValueError):
        return []
    return numbers if all(abs(number) < 1e15 for number in numbers) else []


def _spacing(ds: Dataset) -> tuple[float, float] | None:
    return _two_sides(ds, 'PixelSpacing')


def _two_sides(ds: Dataset, keyword: str) -> tuple[float, float] | None:
    values = _decimals(ds, keyword)
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None


def _aspect(ds: Dataset) -> tuple[int, int]:
    for keyword in _SIDES:
        sides = _two_sides(ds, keyword)
        if sides is not None:
            ratio = Fraction(sides[0] / sides[1]).limit_denominator(1000)
            # no pixel is a line
            return (ratio.numerator, ratio.denominator) if ratio else (1, 1)
    return 1, 1


def _orientation(ds: Dataset) -> list[str]:
    value = _value(ds, 'PatientOrientation')
    if value is None or isinstance(value, str) or len(value) != 2:
        return []
    row, column = map(str, value)
    return [row, column] if row and column and not set(row + column) - _ORIENTATIONS else []


def _burned_in(ds: Dataset) -> str:
    text = _text(ds, 'BurnedInAnnotation').upper()
    return next((one for one in ('YES', 'NO') if text and one.startswith(text)), '')


def _lossy(ds: Dataset) -> Dataset:
    lossy = Dataset()
    if _text(ds, 'LossyImageCompression') == '01':
        lossy.LossyImageCompression = '01'
        if ratios := _decimals(ds, 'LossyImageCompressionRatio'):
            lossy.LossyImageCompressionRatio = [DS(one, auto_format=True) for one in ratios]
        if method := _valid(ds, 'LossyImageCompressionMethod'):
            lossy.LossyImageCompressionMethod = method.split('\\')
    return lossy
