# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the header of a DICOM file says of its film."""

import os
import re
import stat
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.dataset import FileDataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from mmfrac.datasets.radiographs.dicom import plain, read_elements
from mmfrac.datasets.radiographs.header_check import (
    ITEM,
    HeaderError,
    codestream_fault,
    codestream_of,
    excess_fault,
    image_format,
    native_fault,
)
from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.dicom_folder.body_part import described_part
from mmfrac.preparation.dicom_folder.identity_check import tells_identity
from mmfrac.preparation.dicom_folder.view import MIRRORED, stored_otherwise, view_of

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

DENIED = 'permission denied: make it readable'

NAMED = 'path holds the name or birth date of the patient'

NO_DICOM, INDEX = 'not a DICOM file', 'DICOMDIR index'

# What an image is, where it is not the radiograph itself.
REPORT, BURNED_IN, DUAL_ENERGY = 'report', 'burned_in', 'dual_energy'

FOR_PROCESSING, SECONDARY = 'for_processing', 'secondary_capture'

NOT_UPRIGHT = 'not_upright'

_CAPTURES = '1.2.840.10008.5.1.4.1.1.7'

_UNPROCESSED = ('1.2.840.10008.5.1.4.1.1.1.1.1', '1.2.840.10008.5.1.4.1.1.1.2.1')

_DOCUMENTS = ('SR', 'DOC', 'KO', 'PR', 'PLAN')

# DOSE is said of chest films, too ('low dose', 'dose 2.1 dGycm2'): it counts with a word of documents,
# or where a description says nothing else.
_REPORT_WORDS = re.compile(
    r'\b(REPORT|RDSR|SCREEN ?SAVE|BEFUND|'
    r'DOS(E|IS) ?(EXPOSURE )?'
    r'(SUMMARY|SHEET|PAGE|TABLE|OVERVIEW|DATA|CHART|CARD|INFO(RMATION)?S?|RECORDS?|RAPPORT)|'
    r'DOSIS ?(ANZEIGE|BERICHT|BLATT|DATEN|DOKUMENT|NACHWEIS|WERTE|(Ü|UE)BERSICHT)\w*|DOSISPROTOKOLL\w*|'
    r'(RAPPORTO?|INFORME|RELAT[OÓ]RIO|COMPTE RENDU) (D[EI] )?DOS(E|IS))\b|'
    r'(^|\|)\W{0,3}((PATIENT|RADIATION|EXPOSURE|X RAY) )?'
    r'DOS(E|IS)( PROTO[CK]OLL?)?(\W{0,3}\bM?GY|\W{0,3}\b\d{1,3})?\W{0,3}(\||$)'
)

# In ImageType a word suffices; in a description BONE is also said of a series of the ribs.
_ENERGY_TYPES = re.compile(r'\b(BONE|SOFT|TISSUE|SOFTTISSUE|DUAL|ENERGY|SUBTRACT\w*|SUPPRESS\w*)\b')

_ENERGY_WORDS = re.compile(
    r'\b(SOFT ?TISSUES?|DUAL ?ENERG(Y|IE)|SUBTRACT\w*|SUBTRAKTION\w*|BONE IMAGE|'
    r'(BONE|BONY|RIB|CLAVICLE|SKELETON|SKELETAL|KNOCHEN|RIPPEN)S? ?(\w{1,12} ){0,2}'
    r'(SUPPRESS|UNTERDR(Ü|UE)CK)\w*|'
    r'SUPPRESS\w* ((OF|THE|DES|DE|DU|LA|LES) ){0,2}'
    r'(BONES?|BONY|RIBS?|CLAVICLES?|SKELETON|OS|OSSEUSE|C[ÔO]TES?)|'
    r'WEICHTEIL ?BILD|KNOCHEN ?BILD)\b'
)

# What devices do to ordinary films, in the same words.
_CORRECTIONS = re.compile(
    r'\b(GRID ?(LINES?)?|SCATTER|NOISE|BACKGROUND) ?(SUPPRESS|SUBTRACT|SUBTRAKTION)\w*'
)

_STANDARD = re.compile(r'\bSTANDARD\b')

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
        'StudyDescription',
        'AnatomicRegionSequence',
    ),
    *('AcquisitionDeviceProcessingDescription', 'ImageLaterality', 'Laterality'),
    *('Rows', 'Columns', 'NumberOfFrames', 'SamplesPerPixel', 'BitsAllocated', 'BitsStored'),
    *('HighBit', 'PixelRepresentation', 'PhotometricInterpretation'),
    *('ImageType', 'PresentationIntentType', 'BurnedInAnnotation', 'SourceImageSequence'),
    *('AcquisitionDateTime', 'AcquisitionDate', 'AcquisitionTime', 'AcquisitionNumber'),
    *('IrradiationEventUID',),
)

_TAG_OF = {keyword: Tag(keyword) for keyword in _KEYWORDS}

_TAGS: list[Any] = list(_TAG_OF.values())

# VRs of one text, and texts without escapes, tildes and backslashes, which some sets read otherwise.
_TEXTS = frozenset(('AE', 'CS', 'DA', 'DT', 'LO', 'PN', 'SH', 'TM', 'UI'))

_PLAIN = re.compile(rb'[ -\[\]-}]*\0?')


@dataclass(frozen=True, slots=True)
class DicomHeader:
    """What is known of a file.

    Attributes:
        name (str): Path below the folder.
        fault (str): '' for a film, else the reason to leave the file out.
        detail (str): Of the fault; like the fault out of a closed list, no text of the header.
        size (tuple[int, int]): Width and height, px.
        patient (str): PatientID.
        id_tells_identity (bool): Whether PatientID holds a part of the name or the date of birth.
        instance, series, study, accession (str): Its UIDs and accession number.
        modality, body_part, laterality (str): In capitals, '' if not given.
        other_part (str): Where body_part is not given: a part that is none of the chest and that
            AnatomicRegionSequence or the descriptions name, out of a closed list; '' if they name none.
        view (str): Of :func:`view_of`.
        stored (str): Of :func:`stored_otherwise`.
        kind (str): '' for a radiograph, else 'report', 'burned_in', 'dual_energy', 'secondary_capture'
            or 'for_processing'.
        is_derived (bool): Whether it was made from another image.
        sources (tuple[str, ...]): UIDs of the images it was made from.
        event (str): UID of its irradiation event.
        time (float, optional): When it was acquired, s.
        acquisition (str): Number of its acquisition.
        photometric (str): How its pixels are to be shown.
        pixels (tuple[int, int]): Place and number of the bytes of its pixels in the file.
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
    other_part: str = ''
    laterality: str = ''
    view: str = ''
    stored: str = ''
    kind: str = ''
    is_derived: bool = False
    sources: tuple[str, ...] = ()
    event: str = ''
    time: float | None = None
    acquisition: str = ''
    photometric: str = ''
    pixels: tuple[int, int] = (0, 0)

    @property
    def is_upright(self) -> bool:
        """Whether it is stored upright, as far as it tells; it may be mirrored."""
        return self.stored in ('', MIRRORED)


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
    except HeaderError as error:
        return DicomHeader(name, DAMAGED, error.without_text)
    except PermissionError:
        return DicomHeader(name, DENIED)
    except Exception as error:  # any file at all comes here; pydicom raises whatever it meets
        return DicomHeader(name, DAMAGED, type(error).__name__)


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
        ds = read_elements(content, _TAGS, pixels.begin, _LARGEST_VALUE)
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
    length = pixels.length if pixels.length != _UNDEFINED else facts.st_size - pixels.start
    # places in deflated bytes say nothing
    where = (pixels.start, length) if content is file else (0, 0)
    header = _describe(name, ds, any_name, where)
    if header.fault or not verify:
        return header
    try:
        height, width = read_radiograph(path).shape
    except Exception as error:  # as above
        syntax = registered_name(ds.file_meta.get('TransferSyntaxUID'))
        return DicomHeader(name, UNDECODED, f'{type(error).__name__}, {syntax}')
    if (width, height) != header.size:
        return DicomHeader(name, UNDECODED, 'its pixels have another size')
    return header


def _fault(ds: FileDataset, pixels: _PixelRange, end: int) -> tuple[str, str] | None:
    if pixels.start < 0:
        kind = _text(ds, 'SOPClassUID')
        return NO_PIXELS, registered_name(kind) if kind else 'it ends before its pixels'
    frames = _number(ds, 'NumberOfFrames', 1)
    if not re.fullmatch(r'[+-]?\d*', _text(ds, 'NumberOfFrames')):
        return DAMAGED, 'its NumberOfFrames is no number'
    if frames > 1:
        return FRAMES, ''
    try:
        form = image_format(ds, [])
    except HeaderError as error:
        return DAMAGED, error.without_text
    if pixels.are_cut_off(end):
        return CUT_OFF, ''
    # one without: the explicit or the implicit one
    syntax = UID(str(ds.file_meta.get('TransferSyntaxUID') or ExplicitVRLittleEndian))
    if not syntax.is_transfer_syntax:
        return None
    head = pixels.first_bytes(end)
    if syntax.is_encapsulated:
        fault = codestream_fault(form, syntax, codestream_of(head))
        return (fault and (DAMAGED, fault)) or None
    length = max(pixels.length, 0) if pixels.length != _UNDEFINED else end
    fault = native_fault(form, length, head[:4] == ITEM)
    if fault:
        return (DAMAGED if head[:4] == ITEM else CUT_OFF), fault
    fault = excess_fault(form, length, pixels.rest(form.native_length))
    return (DAMAGED, fault) if fault else None


def registered_name(uid: Any) -> str:
    """Name of a UID that DICOM itself gives; of any other text nothing is said."""
    name = UID(uid).name if isinstance(uid, str) else uid
    return name if name and name != uid else 'an unregistered kind'


def _describe(name: str, ds: FileDataset, any_name: bool, pixels: tuple[int, int]) -> DicomHeader:
    person = (_text(ds, 'PatientName'), _text(ds, 'PatientID'), _text(ds, 'PatientBirthDate'))
    if not any_name and tells_identity(name, *person):
        return DicomHeader(name, NAMED)
    texts = [_text(ds, 'ViewPosition'), _code_meaning(ds)]
    texts += [_text(ds, key) for key in ('SeriesDescription', 'ProtocolName')]
    texts.append(_text(ds, 'AcquisitionDeviceProcessingDescription'))
    body_part = _decoded(_text(ds, 'BodyPartExamined')).upper()[:64]
    orientation = _text(ds, 'PatientOrientation').split('\\')
    view = view_of(texts, orientation)
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
        body_part=body_part,
        other_part='' if body_part else _other_part(ds, texts[1:]),
        laterality=laterality if laterality in ('L', 'R', 'B', 'U') else '',
        view=view,
        stored=stored_otherwise(orientation, view),
        kind=_kind(ds, texts[2:]),
        is_derived=_text(ds, 'ImageType').upper().startswith('DERIVED'),
        sources=_sources(ds),
        event=_text(ds, 'IrradiationEventUID'),
        time=_time(ds),
        acquisition=_text(ds, 'AcquisitionNumber'),
        photometric=_text(ds, 'PhotometricInterpretation').upper(),
        pixels=pixels,
    )


def _other_part(ds: FileDataset, descriptions: list[str]) -> str:
    """A part that is none of the chest, of a header without BodyPartExamined."""
    return described_part(_regions(ds), descriptions, _text(ds, 'StudyDescription'))


def _regions(ds: FileDataset) -> list[tuple[str, str]]:
    """Value and meaning of the codes of AnatomicRegionSequence."""
    try:
        return [
            (str(one.get('CodeValue') or '').strip(), str(one.get('CodeMeaning') or ''))
            for one in ds.get('AnatomicRegionSequence') or ()
        ]
    except Exception:  # absent in most headers, damaged in some
        return []


def _decoded(code: str) -> str:
    """A code string, which has no character set, of a device that writes it in UTF-8 nevertheless."""
    try:
        return code.encode('latin-1').decode()
    except UnicodeError:
        return code


def _kind(ds: FileDataset, descriptions: list[str]) -> str:
    """What an image is besides a radiograph, see :class:`DicomHeader`."""
    types = _text(ds, 'ImageType').upper().split('\\')
    later, words = _words(types[2:]), _words(descriptions)
    uid = _text(ds, 'SOPClassUID')
    is_document = _text(ds, 'Modality').upper() in _DOCUMENTS
    if is_document or _REPORT_WORDS.search(later) or _REPORT_WORDS.search(words):
        return REPORT
    if _text(ds, 'BurnedInAnnotation').upper().startswith('Y'):
        return BURNED_IN
    later, words = (_CORRECTIONS.sub('', text) for text in (later, words))
    is_split = _ENERGY_TYPES.search(later) or _ENERGY_WORDS.search(words)
    if is_split and not _STANDARD.search(f'{later} | {words}'):
        return DUAL_ENERGY
    if uid.startswith(_CAPTURES) or types[1:2] == ['SECONDARY']:
        return SECONDARY
    intent = _text(ds, 'PresentationIntentType').upper()
    if intent.startswith('FOR PROC') or (not intent and uid in _UNPROCESSED):
        return FOR_PROCESSING
    return ''


def _words(texts: Iterable[str]) -> str:
    """Texts in capitals, with a blank for what joins words: 'Soft-tissue', 'DUAL_ENERGY'."""
    return ' | '.join(re.sub(r'[\s_./+-]+', ' ', text.upper()) for text in texts)


def _sources(ds: FileDataset) -> tuple[str, ...]:
    try:
        return tuple(str(one.ReferencedSOPInstanceUID) for one in ds.SourceImageSequence)
    except Exception:  # absent in most headers, damaged in some
        return ()


def _time(ds: FileDataset) -> float | None:
    """Seconds of the acquisition on a line of its own; None if the header does not tell."""
    text = _text(ds, 'AcquisitionDateTime')
    if not text:
        text = _text(ds, 'AcquisitionDate').replace('-', '') + _text(ds, 'AcquisitionTime')
        if not _text(ds, 'AcquisitionTime'):
            return None
    found = re.match(r'(?:(\d{4})(\d\d)(\d\d))?(\d\d):?(\d\d):?(\d\d(?:\.\d+)?)', text)
    if found is None:
        return None
    year, month, day = (int(part or 0) for part in found.groups()[:3])
    hour, minute, second = (float(part) for part in found.groups()[3:])
    days = (year * 12 + month) * 31 + day
    return days * 86400.0 + hour * 3600 + minute * 60 + second


def _text(ds: FileDataset, keyword: str) -> str:
    """A value as text; '' if it is absent or damaged."""
    tag = _TAG_OF[keyword]
    try:
        element = ds.get_item(tag)
        if element is None:
            return ''
        raw = element.value
        if isinstance(raw, bytes) and element.VR in _TEXTS and _PLAIN.fullmatch(raw):
            # in every character set the same; pydicom's own way to it takes ten times as long
            return raw.decode('ascii').strip(' \0')
        value = ds[tag].value
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
