# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Numbers of a DICOM header, at little cost.

pydicom's own way to a value takes as long as several rows of the film do; for a film of 1024 x 1024 px
the elements below would make up a sixth of the time to read it.
"""

import re

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

_LIKE_A_NUMBER = re.compile(r'[-+\d.,eE \\]*')

SAMPLES_PER_PIXEL = BaseTag(0x00280002)
PHOTOMETRIC_INTERPRETATION = BaseTag(0x00280004)
ROWS = BaseTag(0x00280010)
COLUMNS = BaseTag(0x00280011)
BITS_ALLOCATED = BaseTag(0x00280100)
BITS_STORED = BaseTag(0x00280101)
HIGH_BIT = BaseTag(0x00280102)
PIXEL_REPRESENTATION = BaseTag(0x00280103)
PIXEL_PADDING_VALUE = BaseTag(0x00280120)
PIXEL_PADDING_RANGE_LIMIT = BaseTag(0x00280121)
WINDOW_CENTER = BaseTag(0x00281050)
WINDOW_WIDTH = BaseTag(0x00281051)
RESCALE_INTERCEPT = BaseTag(0x00281052)
RESCALE_SLOPE = BaseTag(0x00281053)
MODALITY_LUT_SEQUENCE = BaseTag(0x00283000)
VOI_LUT_SEQUENCE = BaseTag(0x00283010)
PRESENTATION_LUT_SHAPE = BaseTag(0x20500020)


def short(ds: Dataset, tag: BaseTag, default: int | None = None) -> int | None:
    """Value of an unsigned 16-bit element (VR US).

    Args:
        ds (Dataset): Header.
        tag (BaseTag): One of the elements above.
        default (int, optional): Where there is none. Defaults to None.

    Returns:
        int or None: The value.
    """
    element = ds.get_item(tag)
    if element is None:
        return default
    if isinstance(element, RawDataElement) and element.VR in ('US', None):
        raw = element.value
        if raw is not None and len(raw) == 2:
            return int.from_bytes(raw, 'little' if element.is_little_endian else 'big')
    return ds[tag].value


def first_decimal(ds: Dataset, tag: BaseTag) -> float | None:
    """First value of a decimal string (VR DS).

    Args:
        ds (Dataset): Header.
        tag (BaseTag): One of the elements above.

    Returns:
        float or None: None if there is no value.
    """
    element = ds.get_item(tag)
    if element is None:
        return None
    if isinstance(element, RawDataElement) and element.VR in ('DS', None) and element.value:
        try:
            return float(element.value.split(b'\\')[0])
        except ValueError:
            pass  # pydicom says what is wrong with it
    try:
        value = ds[tag].value
        if value is None or value == '':
            return None
        if not isinstance(value, (int, float, str)):
            value = next(iter(value), None)
        return None if value is None else float(value)
    except (TypeError, ValueError) as error:
        raw = getattr(element, 'value', b'')
        text = (raw.decode('latin-1') if isinstance(raw, bytes) else str(raw)).strip()[:40]
        # words are not quoted, which may be of a patient
        quoted = f"'{text}', no number" if _LIKE_A_NUMBER.fullmatch(text) else 'no number'
        raise ValueError(f'{keyword_for_tag(tag)} is {quoted}') from error


def code(ds: Dataset, tag: BaseTag) -> str:
    """Value of a code string (VR CS), in capitals and without spaces around it.

    Args:
        ds (Dataset): Header.
        tag (BaseTag): One of the elements above.

    Returns:
        str: '' if there is no value.
    """
    element = ds.get_item(tag)
    if element is None:
        return ''
    value = element.value
    if isinstance(value, bytes):
        value = value.decode('latin-1')
    return str(value or '').strip(' \0').upper()
