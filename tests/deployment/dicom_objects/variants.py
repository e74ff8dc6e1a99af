# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Images of many devices with a result each, and the programs that look at what is made of them."""

import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from mmfrac.deployment.results import ResultLine
from tests.datasets.radiographs.test_dicom import make_dicom

MODEL = dict(name='frac_test', sha256='0123456789abcdef' * 4)
STUDY, SERIES, IMAGE = '1.2.3.6', '1.2.3.5', '1.2.3.4'
DX, DX_PROCESSING = '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.5.1.4.1.1.1.1.1'
CAPTURE = '1.2.840.10008.5.1.4.1.1.7'
_BASE: dict[str, Any] = dict(
    StudyInstanceUID=STUDY,
    SeriesInstanceUID=SERIES,
    Modality='CR',
    PatientName='Doe^Jane',
    PatientID='id 7',
)
_WINDOW = dict(WindowCenter=1000, WindowWidth=2200)
_FULL = dict(
    PatientBirthDate='19500102',
    PatientSex='F',
    StudyID='5',
    StudyDate='20200102',
    StudyTime='101112',
    AccessionNumber='A1',
    ReferringPhysicianName='Roe^R',
    StudyDescription='Chest',
    InstanceNumber=3,
    PatientOrientation=['L', 'F'],
)
# (bits, type of the stored values, header); sizes are odd and differ in x and y
VARIANTS: dict[str, tuple[int, type, dict[str, Any]]] = {
    'bare': (12, np.uint16, {}),
    'no patient': (12, np.uint16, dict(PatientName='', PatientID='')),
    'CR': (12, np.uint16, _FULL | _WINDOW | dict(PixelSpacing=[0.2, 0.3])),
    'DX': (
        14,
        np.uint16,
        _FULL | dict(SOPClassUID=DX, Modality='DX', ImagerPixelSpacing=[0.1, 0.1]),
    ),
    'for processing': (16, np.uint16, dict(SOPClassUID=DX_PROCESSING, Modality='DX')),
    'rescale': (12, np.int16, dict(RescaleSlope=2, RescaleIntercept=-1024, RescaleType='HU')),
    'half a rescale': (12, np.uint16, dict(RescaleIntercept=-5)),
    'MONOCHROME1': (12, np.uint16, _FULL | _WINDOW | dict(PhotometricInterpretation='MONOCHROME1')),
    'two windows': (
        12,
        np.uint16,
        dict(WindowCenter=[1000, 9], WindowWidth=[2200, 9], VOILUTFunction='SIGMOID'),
    ),
    'half a window': (12, np.uint16, dict(WindowCenter=1000)),
    'no window': (12, np.uint16, dict(WindowCenter='', WindowWidth='')),
    'UTF-8': (12, np.uint16, dict(SpecificCharacterSet='ISO_IR 192', PatientName='Müller^Jörg')),
    'Latin 1': (12, np.uint16, dict(SpecificCharacterSet='ISO_IR 100', PatientName='Müller^Jörg')),
    'Cyrillic': (12, np.uint16, dict(SpecificCharacterSet='ISO_IR 144', PatientName='Иванов^Иван')),
    'Japanese': (
        12,
        np.uint16,
        dict(SpecificCharacterSet=['', 'ISO 2022 IR 87'], PatientName='Yamada^Tarou=山田^太郎'),
    ),
    'wrong values': (
        12,
        np.uint16,
        dict(
            PatientBirthDate='1950-01-02',
            PatientSex='female',
            StudyDate='yesterday',
            StudyTime='noon',
            PatientOrientation=['left', 'foot'],
            StudyID='a name of more than sixteen letters',
            PixelSpacing=[0, 0],
            InstanceNumber=-4,
        ),
    ),
    'lossy': (
        8,
        np.uint8,
        dict(
            LossyImageCompression='01',
            LossyImageCompressionRatio=[10, 3],
            LossyImageCompressionMethod=['ISO_10918_1', 'ISO_15444_1'],
            BurnedInAnnotation='YES',
        ),
    ),
    'colours': (
        8,
        np.uint8,
        dict(
            SOPClassUID=CAPTURE,
            Modality='OT',
            SamplesPerPixel=3,
            PlanarConfiguration=0,
            PhotometricInterpretation='RGB',
        ),
    ),
}


def make_image(
    folder: Path, variant: str = 'CR', shape: tuple[int, int] = (61, 47), **header: Any
) -> Path:
    """Write an image of one of ``VARIANTS``."""
    bits, dtype, more = VARIANTS[variant]
    rng = np.random.default_rng(0)
    colours = (3,) if more.get('SamplesPerPixel') == 3 else ()
    low = -500 if np.issubdtype(dtype, np.signedinteger) else 0
    stored = rng.integers(low, 2 ** (bits - 1), (*shape, *colours)).astype(dtype)
    path = folder / 'image.dcm'
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        patch.setattr(pydicom.config.settings, '_writing_validation_mode', pydicom.config.IGNORE)
        make_dicom(path, stored, bits, **_BASE | more | header)
    return path


def make_result(path: Path, **fields: Any) -> ResultLine:
    """A result with one box that reaches the threshold, one on the edge, and one below it."""
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    values: dict[str, Any] = dict(
        image=str(path),
        model=MODEL,
        sop_instance_uid=str(ds.SOPInstanceUID),
        width=ds.Columns,
        height=ds.Rows,
        scored=True,
        score=0.875,
        probability=0.625,
        flag=True,
        operating_point=dict(name='fppi=0.1', threshold=0.25),
        boxes=[[8.0, 12.5, 36.0, 24.25], [-2.0, 50.0, 9.0, 66.0], [1.0, 1.0, 3.0, 3.0]],
        scores=[0.875, 0.5, 0.125],
        map_scale=[4.0, 4.0],
    )
    return ResultLine(**values | fields)


def make_map(path: Path) -> np.ndarray:
    """A map that reaches 0.875 in rows 3 to 5, columns 2 to 8, and goes beyond the image."""
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    prob_map = np.zeros((ds.Rows // 4 + 3, ds.Columns // 4 + 2), np.float32)
    prob_map[3:6, 2:9] = 0.875
    return prob_map


def read(content: bytes) -> Dataset:
    """A DICOM file, by strict reading."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, '_reading_validation_mode', pydicom.config.RAISE)
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        ds.walk(lambda dataset, element: element.value)
    return ds


def run(program: str, *arguments: object, cwd: Path | None = None) -> tuple[int, str]:
    """Exit code and output of a program; skips where there is none."""
    if shutil.which(program) is None:
        package = 'dicom3tools' if program == 'dciodvfy' else 'dcmtk'
        pytest.skip(f'no {program}: apt-get install {package}')
    done = subprocess.run(
        [program, *map(str, arguments)], cwd=cwd, capture_output=True, errors='replace'
    )
    return done.returncode, done.stdout + done.stderr


def faults(path: Path) -> list[str]:
    """What dciodvfy says is wrong with a file, warnings left out."""
    code, said = run('dciodvfy', path)
    lines = [line for line in said.splitlines() if 'Error' in line]
    assert code == 0 or lines, said
    return lines
