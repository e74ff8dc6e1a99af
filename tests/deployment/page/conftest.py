# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmfrac.deployment.package import (
    PackagePoint,
    curve_thresholds,
    package_inferencer,
    read_package,
    update_package,
    write_package,
)
from mmfrac.preparation.phantom import render_image, write_dicom
from tests.deployment.page.serving import serving
from tests.models.small_model import build, detector_cfg

pytest.importorskip('fastapi', reason='pip install mmfrac[deploy]')
pytest.importorskip('uvicorn', reason='pip install mmfrac[deploy]')

POINTS = [PackagePoint('low', 0.237, 'fppi=0.5'), PackagePoint('high', 0.6, 'fppi=0.1')]
PIPELINE = [
    dict(type='LoadRadiograph'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='PadRadiograph', size=(128, 128)),
    dict(type='PackProbMapInputs'),
]


@pytest.fixture(scope='package')
def package(tmp_path_factory):
    """A package whose maps vary, with a made-up curve."""
    folder = tmp_path_factory.mktemp('package')
    model = build(detector_cfg())
    torch.manual_seed(0)
    torch.nn.init.normal_(model.prob_map_head.logit_conv.weight, std=0.5)
    torch.nn.init.constant_(model.prob_map_head.logit_conv.bias, -1.5)
    torch.save(dict(state_dict=model.state_dict()), folder / 'best.pth')
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=detector_cfg(),
            test_dataloader=dict(dataset=dict(type='CXRDataset', pipeline=PIPELINE)),
        )
    )
    path = folder / 'tiny.mmfrac'
    write_package(
        path,
        cfg,
        [folder / 'best.pth'],
        name='tiny <b>',
        operating_points=POINTS,
        temperature=2.0,
        limits='For tests only & <i>never</i> for patients.',
    )
    thresholds = curve_thresholds(POINTS)
    update_package(
        path,
        curve=dict(
            thresholds=thresholds,
            fppi=[round(2 * (1 - one), 4) for one in thresholds],
            sensitivity=[round(1 - one**2, 4) for one in thresholds],
            images=160,
            lesions=123,
        ),
    )
    return read_package(path)


@pytest.fixture(scope='package')
def inferencer(package):
    return package_inferencer(package, 'cpu', 'fp32')


@pytest.fixture(scope='package')
def dicom(tmp_path_factory):
    """A phantom as DICOM, not square."""
    path = tmp_path_factory.mktemp('dicom') / 'phantom.dcm'
    phantom = render_image(3, 0, 160, 2, 0.05)
    write_dicom(path, np.ascontiguousarray(phantom.image[:, 10:150]), 'p3', phantom.pixel_mm)
    return path


@pytest.fixture
def serve():
    """Starts applications on ports of their own; they end with the test."""
    with ExitStack() as running:
        yield lambda app: running.enter_context(serving(app))
