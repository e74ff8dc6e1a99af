# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Data sets of a few films of many kinds, and configs that read them."""

import copy
import functools
import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from mmfrac.datasets.radiographs.read import image_size
from mmfrac.preparation.phantom import write_dicom
from mmfrac.utils.config import set_data_root, set_img_scale

ROOT = Path(__file__).resolve().parents[3]
SCALE = 96


def write_data(root: Path, names: list[str], sizes: list[tuple[int, int]]) -> None:
    """Annotations of films that lie in root/images: every third without boxes, in three splits."""
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for index, name in enumerate(names):
        width, height = sizes[index]
        label = int(index % 3 > 0)
        images.append(
            dict(
                id=index + 1,
                file_name=name,
                width=width,
                height=height,
                label=label,
                regions=index % 3 < 2,
                patient_id=f'p{index}',
            )
        )
        if index % 3 == 1:
            annotations.append(
                dict(
                    id=index + 1,
                    image_id=index + 1,
                    category_id=1,
                    bbox=[width * 0.3, height * 0.4, width * 0.2, height * 0.1],
                    area=width * height * 0.02,
                    iscrowd=0,
                )
            )
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='fracture')])
    for split in ('train', 'val', 'test'):
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))


def write_kinds(root: Path) -> dict[str, int]:
    """Films of all kinds; returns bytes a pixel of each in a cache of 96 x 96."""
    (root / 'images/sub').mkdir(parents=True)
    rng = np.random.default_rng(3)

    def plane(height, width, top):
        field = cv2.resize(rng.random((7, 7)), (width, height))
        return np.clip(field * top + rng.normal(0, top / 200, (height, width)), 0, top)

    kinds = {}
    # as large as the input in one direction: nothing is resampled
    for name, height, width, top, item in (
        ('square_8bit.png', 96, 96, 255, 1),
        ('wide_8bit.png', 60, 96, 255, 1),
        ('tall_16bit.png', 96, 72, 65535, 2),
        # each pixel is the mean of four: still few values
        ('double_8bit.png', 192, 192, 255, 2),
        ('large_8bit.png', 300, 211, 255, 4),
        ('small_16bit.png', 48, 40, 65535, 4),
        ('sub/large_16bit.png', 200, 333, 65535, 4),
    ):
        dtype = np.uint8 if top == 255 else np.uint16
        cv2.imwrite(str(root / 'images' / name), plane(height, width, top).astype(dtype))
        kinds[name] = item
    for name, height, width, item in (
        ('square.dcm', 96, 96, 2),
        ('sub/large.dcm', 250, 200, 4),
        ('wide.dcm', 64, 150, 4),
    ):
        path = root / 'images' / name
        write_dicom(path, plane(height, width, 4095).astype(np.uint16), 'p', 0.2, 'wide' in name)
        kinds[name] = item
    ds = dcmread(root / 'images/wide.dcm')
    ds.compress(JPEG2000Lossless)
    ds.save_as(root / 'images/wide_j2k.dcm')
    kinds['wide_j2k.dcm'] = 4
    write_data(root, list(kinds), [image_size(root / 'images' / name) for name in kinds])
    return kinds


@functools.cache
def _config() -> Config:
    return Config.fromfile(ROOT / 'configs/frac_ssl.py')


def config(root: Path, scale: int = SCALE) -> Config:
    """configs/frac_ssl.py on a data root."""
    cfg = copy.deepcopy(_config())
    set_data_root(cfg._cfg_dict, str(root))
    set_img_scale(cfg._cfg_dict, (scale, scale))
    return cfg


def datasets(cfg: Config) -> dict[str, dict]:
    """Configs of the supervised, semi-supervised and test data sets."""
    supervised, semi = cfg.train_dataloader.dataset.datasets
    return dict(supervised=supervised, semi=semi, test=cfg.test_dataloader.dataset)
