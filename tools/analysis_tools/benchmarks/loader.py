# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""DICOM films through the test pipeline beside bare decoding and resizing."""

import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pydicom
from mmcv.transforms import Compose
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmfrac  # noqa: F401
from mmfrac.preparation.phantom import write_dicom
from mmfrac.utils.config import set_img_scale

from .pairing import Comparison, compare

CONFIG = Path(__file__).resolve().parents[3] / 'configs/frac_ssl.py'
GOAL = 0.9


def measure(
    repeats: int = 36,
    sizes: Sequence[int] = (1024, 2048),
    img_scales: Sequence[int] = (512, 1024),
    films: int = 12,
    folder: str | None = None,
) -> Iterator[Comparison]:
    """Films per second of one worker, against ``pydicom`` and ``cv2.resize`` alone.

    Args:
        repeats (int): Pairs a case; each reads the next film both ways. Defaults to 36.
        sizes (Sequence[int]): Edges of the uncompressed 12-bit films in px. Defaults to (1024, 2048).
        img_scales (Sequence[int]): Edges of the network input in px. Defaults to (512, 1024).
        films (int): Files a size. Defaults to 12.
        folder (str | None): Folder of DICOM films to read in place of those of ``sizes``. Defaults to
            None.

    Yields:
        Comparison: A case for each size, or film of ``folder``, and network input; times of one film.
    """
    init_default_scope('mmdet')
    threads = cv2.getNumThreads()
    # as in the workers of the config's data loader
    cv2.setNumThreads(0)
    try:
        for path in sorted(Path(folder).rglob('*.dcm')) if folder else []:
            for scale in img_scales:
                yield _film_case(path, scale, repeats)
        for size in () if folder else sizes:
            with tempfile.TemporaryDirectory() as folder:
                write_set(Path(folder), size, films)
                for scale in img_scales:
                    yield _case(folder, size, scale, films, repeats)
    finally:
        cv2.setNumThreads(threads)


def _case(folder: str, size: int, scale: int, films: int, repeats: int) -> Comparison:
    cfg = Config.fromfile(CONFIG)
    set_img_scale(cfg._cfg_dict, (scale, scale))
    dataset = DATASETS.build({**cfg.test_dataloader.dataset, 'data_root': f'{folder}/'})
    paths = [dataset.get_data_info(index)['img_path'] for index in range(films)]
    turns, bare_turns = itertools.cycle(range(films)), itertools.cycle(paths)
    return compare(
        'loader',
        f'{size} x {size} film to {scale} x {scale} input',
        lambda: dataset[next(turns)],
        lambda: bare_film(next(bare_turns), scale),
        repeats,
        GOAL,
        at_least=True,
    )


def _film_case(path: Path, scale: int, repeats: int) -> Comparison:
    cfg = Config.fromfile(CONFIG)
    set_img_scale(cfg._cfg_dict, (scale, scale))
    pipeline = Compose([TRANSFORMS.build(step) for step in cfg.test_pipeline])
    film = dict(img_path=str(path), img_id=0, label=0, regions=True, instances=[])
    return compare(
        'loader',
        f'{path.name[-28:]} to {scale} x {scale} input',
        lambda: pipeline(dict(film)),
        lambda: bare_film(str(path), scale),
        repeats,
        GOAL,
        at_least=True,
    )


def bare_film(path: str, scale: int) -> np.ndarray:
    """Decode and resize, without window, target or packing: (scale, scale) float32."""
    plane = pydicom.dcmread(path).pixel_array.astype(np.float32)
    return cv2.resize(plane, (scale, scale))


def write_set(root: Path, size: int, films: int) -> None:
    """A data root of smooth random films without fracture."""
    (root / 'images').mkdir()
    (root / 'annotations').mkdir()
    rng = np.random.default_rng(0)
    images = []
    for index in range(films):
        field = cv2.resize(rng.random((16, 16), dtype=np.float32), (size, size))
        grain = rng.normal(0, 20, (size, size))
        plane = np.clip(3500 * field + 300 + grain, 0, 4095).astype(np.uint16)
        path = root / 'images' / f'film_{index}.dcm'
        write_dicom(path, plane, patient_id=f'P{index}', pixel_mm=0.15)
        images.append(
            dict(
                id=index + 1,
                file_name=path.name,
                width=size,
                height=size,
                label=0,
                regions=True,
                source='hospital',
                patient_id=f'P{index}',
            )
        )
    content = dict(images=images, annotations=[], categories=[dict(id=1, name='fracture')])
    (root / 'annotations/test.json').write_text(json.dumps(content))
