# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Phantom films as 12-bit DICOM files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from mmfrac.utils.io import atomic_open

FULL_SCALE = 4095


def write_dicom(
    path: Path,
    image: np.ndarray,
    patient_id: str,
    pixel_mm: float,
    monochrome1: bool = False,
    modality: str = 'DX',
) -> None:
    """Write one film, first under a temporary name.

    Args:
        path: Target file.
        image: 12-bit plane, bright bone, (h, w) uint16.
        patient_id: PatientID.
        pixel_mm: Pixel spacing at the detector in mm.
        monochrome1: Store inverted values under MONOCHROME1, default False.
        modality: 'DX' or 'CR', default 'DX'.

    Raises:
        ValueError: If the plane is not 12-bit or the modality unknown.
    """
    if image.dtype != np.uint16 or image.ndim != 2 or image.max(initial=0) > FULL_SCALE:
        raise ValueError(f'{path}: the plane must be (h, w) uint16 of at most {FULL_SCALE}')
    classes = {
        'DX': DigitalXRayImageStorageForPresentation,
        'CR': ComputedRadiographyImageStorage,
    }
    if modality not in classes:
        raise ValueError(f'{path}: modality {modality!r}; choose from {sorted(classes)}')
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = classes[modality]
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=['mmfrac phantom', path.stem])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian

    record = FileDataset(str(path), {}, file_meta=meta, preamble=b'\0' * 128)
    record.SOPClassUID = meta.MediaStorageSOPClassUID
    record.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    record.StudyInstanceUID = generate_uid(entropy_srcs=['mmfrac study', path.stem])
    record.SeriesInstanceUID = generate_uid(entropy_srcs=['mmfrac series', path.stem])
    record.StudyID, record.SeriesNumber, record.InstanceNumber = '1', 1, 1
    record.StudyDate, record.StudyTime, record.AccessionNumber = '20200101', '120000', ''
    record.Modality = modality
    record.Manufacturer = 'mmfrac phantom'
    record.ReferringPhysicianName = ''
    record.PatientID, record.PatientName = patient_id, f'Phantom^{patient_id}'
    record.PatientBirthDate, record.PatientSex = '', ''
    record.BodyPartExamined, record.ViewPosition = 'CHEST', 'PA'
    record.PatientOrientation = ['L', 'F']
    record.ImageType = ['DERIVED', 'PRIMARY']
    record.PresentationIntentType = 'FOR PRESENTATION'
    record.Rows, record.Columns = image.shape
    record.SamplesPerPixel = 1
    record.PhotometricInterpretation = 'MONOCHROME1' if monochrome1 else 'MONOCHROME2'
    record.PresentationLUTShape = 'INVERSE' if monochrome1 else 'IDENTITY'
    record.BitsAllocated, record.BitsStored, record.HighBit = 16, 12, 11
    record.PixelRepresentation = 0
    record.ImagerPixelSpacing = [f'{pixel_mm:.5f}', f'{pixel_mm:.5f}']
    record.RescaleIntercept, record.RescaleSlope, record.RescaleType = 0, 1, 'US'
    record.WindowCenter, record.WindowWidth = 2048, 4096
    stored = np.uint16(FULL_SCALE) - image if monochrome1 else image
    record.PixelData = stored.astype('<u2').tobytes()

    with atomic_open(path, 'wb') as file:
        record.save_as(file, enforce_file_format=True)
