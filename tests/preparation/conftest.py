# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmfrac.preparation.converters import ConvertOptions


@pytest.fixture(scope='session')
def label_tables() -> Path:
    """Folder of real label tables; torchxrayvision is not imported, it would need torchvision."""
    try:
        files = metadata.files('torchxrayvision') or []
    except metadata.PackageNotFoundError:
        pytest.skip('no tables: pip install --no-deps -r requirements/test_data.txt')
    (table,) = (file for file in files if file.name == 'chexpert_train.csv.gz')
    return Path(table.locate()).parent


@pytest.fixture
def films(tmp_path):
    """Makes films of 40 x 30 px below a folder."""

    def make(*names, folder='films', size=(40, 30)):
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8)
            Image.fromarray(pixels).save(root / name, format='PNG')
        return root

    return make


@pytest.fixture
def given() -> ConvertOptions:
    """Options for tables without films: every film is 1024 x 1024."""
    return ConvertOptions(size=(1024, 1024))
