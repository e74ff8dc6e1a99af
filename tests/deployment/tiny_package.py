# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A package of a detector small enough for tests, and images for it."""

from pathlib import Path

import cv2
import numpy as np
import pydicom
import torch
from mmengine.config import Config
from pydicom.uid import ExplicitVRLittleEndian

from mmfrac.deployment.package import ModelPackage, PackagePoint, write_package
from tests.models.small_model import build, detector_cfg

PIPELINE = [
    dict(type='LoadRadiograph'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='PadRadiograph', size=(64, 64)),
    dict(type='PackProbMapInputs'),
]


def tiny_package(
    folder: Path, seed: int = 0, threshold: float = 0.55, **test_cfg: float
) -> ModelPackage:
    """Write ``tiny.mmfrac`` with an untrained detector whose maps vary."""
    model = build(detector_cfg())
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.prob_map_head.logit_conv.weight, std=0.5)
    torch.nn.init.constant_(model.prob_map_head.logit_conv.bias, -1.5)
    torch.save(dict(state_dict=model.state_dict()), folder / 'tiny.pth')
    dataset = dict(type='CXRDataset', pipeline=PIPELINE)
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=detector_cfg() | dict(test_cfg=test_cfg),
            test_dataloader=dict(dataset=dataset),
        )
    )
    return write_package(
        folder / 'tiny.mmfrac',
        cfg,
        [folder / 'tiny.pth'],
        name='tiny',
        operating_points=[PackagePoint('low', threshold, 'fppi=0.5')],
        temperature=2.0,
        precision='fp32',
    )


def pixels(seed: int, shape: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Stored values of 12 bits."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.random((6, 8)), shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (image.clip(0, 1) * 4095).round().astype(np.uint16)


def write_dicom(path: Path, seed: int = 0, **elements) -> Path:
    """Write a frontal chest radiograph with header elements of choice."""
    values = pixels(seed)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = '1.2.840.10008.5.1.4.1.1.1.1'
    meta.MediaStorageSOPInstanceUID = f'1.2.3.{seed}'
    image = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID = '1.2.840.10008.5.1.4.1.1.1.1'
    image.SOPInstanceUID = f'1.2.3.{seed}'
    image.SeriesInstanceUID, image.StudyInstanceUID = f'1.2.4.{seed}', f'1.2.5.{seed // 2}'
    image.PatientName, image.PatientID = 'DOE^JANE', 'P1'
    image.Modality, image.BodyPartExamined, image.ViewPosition = 'DX', 'CHEST', 'PA'
    image.Rows, image.Columns = values.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, 'MONOCHROME2'
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.PixelData = values.tobytes()
    for name, value in elements.items():
        setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)
    return path


def write_png(path: Path, seed: int = 0) -> Path:
    """Write the same as PNG."""
    cv2.imwrite(str(path), pixels(seed))
    return path
