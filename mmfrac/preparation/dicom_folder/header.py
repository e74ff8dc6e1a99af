# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the header of a DICOM file says of its film."""

import os
import re
import stat
import struct
import warnings
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from mmfrac.datasets.radiographs.dicom import plain
from mmfrac.datasets.radiographs.header_check import (
    ITEM,
    HeaderError,
    codestream_fault,
    excess_fault,
    first_fragment,
    image_format,
    native_fault,
)
from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.dicom_folder.pseudonyms import tells_identity
from mmfrac.preparation.dicom_folder.view import view_of

_UNDEFINED = 0xFFFFFFFF

_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))

_DELIMITER = b'\xfe\xff\xdd\xe0'

_HEAD = 2**12


class _PixelRange:
    """Notes where the pixels of a DICOM file begin, and stops pydicom there.

    Args:
        file (BinaryIO): The file that pydicom reads.

    Attributes:
        start, length (int): Place of their first byte and their number; -1 if there are none.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.start = self.length = -1

    def begin(self, tag: Any, vr: str | None, length: int) -> bool:
        """Whether an element is the pixels; ``stop_when`` of pydicom."""
        if int(tag) not in _PIXELS:
            return False
        self.start, self.length = self._file.tell(), length
        return True

    def are_cut_off(self, end: int) -> bool:
        """Whether a fragment, or the pixels as a whole, reach beyond the end of the file.

        Args:
            end (int): Size of the file, bytes.
        """
        if self.length != _UNDEFINED:
            return self.start + self.length > end
        offset = self.start
        while offset < end:
            self._file.seek(offset)
            head = self._file.read(8)
            if head[:4] == _DELIMITER:
                return False
            if len(head) < 8 or head[:4] != ITEM:
                return True
            offset += 8 + struct.unpack('<L', head[4:])[0]
        # the delimiter itself may be missing: every fragment is there
        return offset > end or offset == self.start

    def rest(self, offset: int) -> bytes:
        """Those from an offset on, of a known length."""
        if self.length == _UNDEFINED or self.length <= offset:
            return b''
        self._file.seek(self.start + offset)
        return self._file.read(self.length - offset)

    def first_bytes(self, end: int) -> bytes:
        """Where they begin, as far as a codestream's header reaches.

        Args:
            end (int): Size of the file, bytes.
        """
        self._file.seek(self.start)
        length = _HEAD if self.length == _UNDEFINED else min(self.length, _HEAD)
        content = self._file.read(min(length, end - self.start))
        # behind a table of offsets
        table = int.from_bytes(content[4:8], 'little') if content[:4] == ITEM else 0
        if table + 16 > len(content):
            self._file.seek(self.start)
            content = self._file.read(min(table, end) + _HEAD)
        return content


# Reasons to leave a file out.
EMPTY, DAMAGED, CUT_OFF = 'empty file', 'damaged header', 'pixels cut off'

NO_PIXELS, FRAMES, UNDECODED = 'no pixels', 'several frames', 'pixels do not decode'

NAMED = 'path holds the name or birth date of the patient'

NO_DICOM, INDEX = 'not a DICOM file', 'DICOMDIR index'

_PREAMBLE = 128

# First group of a file without preamble, in either byte order: 0002 or 0008.
_FIRST_GROUPS = (b'\x02\x00', b'\x08\x00', b'\x00\x02', b'\x00\x08')

_LARGEST_VALUE = 2**16

# PatientName and PatientBirthDate are only compared with what would be copied.
_KEYWORDS = (
    *('SOPClassUID', 'SOPInstanceUID', 'StudyInstanceUID', 'SeriesInstanceUID', 'AccessionNumber'),
    *('PatientID', 'PatientName', 'PatientBirthDate', 'Modality', 'BodyPartExamined'),
    *(
        'ViewPosition',
        'ViewCodeSequence',
        'PatientOrientation',
        'SeriesDescription',
        'ProtocolName',
    ),
    *('AcquisitionDeviceProcessingDescription', 'ImageLaterality', 'Laterality'),
    *('Rows', 'Columns', 'NumberOfFrames', 'SamplesPerPixel', 'BitsAllocated', 'BitsStored'),
    *('HighBit', 'PixelRepresentation', 'PhotometricInterpretation'),
)

_TAGS: list[Any] = [Tag(keyword) for keyword in _KEYWORDS]


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What is known of a file.

    Attributes:
        name (str): Path below the folder.
        fault (str): '' for a film, else the reason to leave the file out.
        detail (str): Of the fault.
        size (tuple[int, int]): Width and height, px.
        patient (str): PatientID.
        id_tells_identity (bool): Whether PatientID holds a part of the name or the date of birth.
        instance, series, study, accession (str): Its UIDs and accession number.
        modality, body_part, laterality (str): In capitals, '' if not given.
        view (str): Of :func:`view_of`.
    """

    name: str
    fault: str = ''
    detail: str = ''
    size: tuple[int, int] = (0, 0)
    patient: str = ''
    id_tells_identity: bool = False
    instance: str = ''
    series: str = ''
    study: str = ''
    accession: str = ''
    modality: str = ''
    body_part: str = ''
    laterality: str = ''
    view: str = ''


def read_header(
    name: str, folder: str, verify: bool = False, any_name: bool = False
) -> DicomHeader:
    """Read what is to be known of a file.

    Args:
        name (str): Path below ``folder``.
        folder (str): Folder of the films.
        verify (bool): Decode the pixels. Defaults to False, only look whether they are all there.
        any_name (bool): Whether the path may hold the patient's name. Defaults to False.

    Returns:
        DicomHeader: Never raises: what goes wrong is its fault.
    """
    path = os.path.join(folder, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return _read(name, path, verify, any_name)
    except Exception as error:  # any file at all comes here; pydicom raises whatever it meets
        return DicomHeader(name, DAMAGED, str(error) or type(error).__name__)


def crashed_header(name: str) -> DicomHeader:
    """Of a file that took its process with it."""
    return DicomHeader(name, UNDECODED, 'its decoder crashes')


def _read(name: str, path: str, verify: bool, any_name: bool) -> DicomHeader:
    facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        return DicomHeader(name, NO_DICOM, 'no regular file')
    if not facts.st_size:
        return DicomHeader(name, EMPTY)
    if os.path.basename(name).upper() == 'DICOMDIR':
        return DicomHeader(name, INDEX)
    with open(path, 'rb') as file:
        head = file.read(_PREAMBLE + 4)
        has_mark = head[_PREAMBLE:] == b'DICM'
        if not has_mark and head[:2] not in _FIRST_GROUPS:
            return DicomHeader(name, NO_DICOM)
        file.seek(0)
        # where places in deflated bytes say nothing, those of the inflated ones do
        content = plain(file)
        end = facts.st_size if content is file else len(content.getbuffer())  # type: ignore
        pixels = _PixelRange(content)
        ds = read_partial(content, pixels.begin, _LARGEST_VALUE, True, _TAGS)
        uid = ds.file_meta.get('MediaStorageSOPClassUID')
        if uid == MediaStorageDirectoryStorage:
            return DicomHeader(name, INDEX)
        known = 'SOPClassUID' in ds or ('Rows' in ds and 'Columns' in ds)
        if not known:
            cut = 'cut off, or no DICOM data set behind its mark'
            return DicomHeader(name, DAMAGED, cut) if has_mark else DicomHeader(name, NO_DICOM)
        fault = _fault(ds, pixels, end)
    if fault:
        return DicomHeader(name, *fault)
    header = _describe(name, ds, any_name)
    if header.fault or not verify:
        return header
    try:
        height, width = read_radiograph(path).shape
    except Exception as error:  # as above
        return DicomHeader(name, UNDECODED, str(error) or type(error).__name__)
    if (width, height) != header.size:
        return DicomHeader(name, UNDECODED, f'its pixels are {width} x {height}')
    return header


def _fault(ds: FileDataset, pixels: _PixelRange, end: int) -> tuple[str, str] | None:
    if pixels.start < 0:
        kind = _text(ds, 'SOPClassUID')
        return NO_PIXELS, f'a {UID(kind).name}' if kind else 'it ends before its pixels'
    frames = _number(ds, 'NumberOfFrames', 1)
    if not re.fullmatch(r'[+-]?\d*', _text(ds, 'NumberOfFrames')):
        return DAMAGED, 'its NumberOfFrames is no number'
    if frames > 1:
        return FRAMES, f'{frames} frames'
    try:
        form = image_format(ds, [])
    except HeaderError as error:
        return DAMAGED, str(error)
    if pixels.are_cut_off(end):
        return CUT_OFF, ''
    # one without: the explicit or the implicit one
    syntax = UID(str(ds.file_meta.get('TransferSyntaxUID') or ExplicitVRLittleEndian))
    if not syntax.is_transfer_syntax:
        return None
    head = pixels.first_bytes(end)
    if syntax.is_encapsulated:
        fault = codestream_fault(form, syntax, first_fragment(head))
        return (fault and (DAMAGED, fault)) or None
    length = max(pixels.length, 0) if pixels.length != _UNDEFINED else end
    fault = native_fault(form, length, head[:4] == ITEM)
    if fault:
        return (DAMAGED if head[:4] == ITEM else CUT_OFF), fault
    fault = excess_fault(form, length, pixels.rest(form.native_length))
    return (DAMAGED, fault) if fault else None


def _describe(name: str, ds: FileDataset, any_name: bool) -> DicomHeader:
    person = (_text(ds, 'PatientName'), _text(ds, 'PatientID'), _text(ds, 'PatientBirthDate'))
    if not any_name and tells_identity(name, *person):
        return DicomHeader(name, NAMED)
    texts = [_text(ds, 'ViewPosition'), _code_meaning(ds)]
    texts += [_text(ds, key) for key in ('SeriesDescription', 'ProtocolName')]
    texts.append(_text(ds, 'AcquisitionDeviceProcessingDescription'))
    laterality = _text(ds, 'ImageLaterality') or _text(ds, 'Laterality')
    return DicomHeader(
        name,
        size=(_number(ds, 'Columns'), _number(ds, 'Rows')),
        patient=person[1],
        id_tells_identity=tells_identity(person[1], *person),
        instance=_text(ds, 'SOPInstanceUID'),
        series=_text(ds, 'SeriesInstanceUID'),
        study=_text(ds, 'StudyInstanceUID'),
        accession=_text(ds, 'AccessionNumber'),
        modality=_short(_text(ds, 'Modality')),
        body_part=_short(_text(ds, 'BodyPartExamined')),
        laterality=laterality if laterality in ('L', 'R', 'B', 'U') else '',
        view=view_of(texts, _text(ds, 'PatientOrientation').split('\\')),
    )


def _text(ds: FileDataset, keyword: str) -> str:
    """A value as text; '' if it is absent or damaged."""
    try:
        value = ds.get(keyword)
        if value is None:
            return ''
        if isinstance(value, MultiValue):
            value = '\\'.join(map(str, value))
        return str(value).replace('\0', '').strip()
    except Exception:  # a value that its VR does not allow
        return ''


def _short(code: str) -> str:
    return re.sub(r'[^A-Z0-9 _-]', '', code.upper())[:16]


def _number(ds: FileDataset, keyword: str, default: int = 0) -> int:
    try:
        return int(_text(ds, keyword) or default)
    except ValueError:
        return default


def _code_meaning(ds: FileDataset) -> str:
    try:
        return str(ds.ViewCodeSequence[0].CodeMeaning)
    except Exception:  # absent in most headers, damaged in some
        return ''
