# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Films from the film cache beside decoding JPEG 2000 DICOM."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pydicom
from mmdet.registry import DATASETS
from mmengine.config import Config
from pydicom.uid import JPEG2000Lossless
from torch import Tensor

from mmfrac.datasets.film_cache.cache_writer import fill_cache, images_of_config
from mmfrac.utils.config import set_data_root, set_film_cache, set_img_scale

from .loader import CONFIG, write_set
from .pairing import Comparison, compare

GOAL = 10.0


def measure(
    repeats: int = 12,
    sizes: Sequence[int] = (1024, 2048),
    img_scale: int = 1024,
    films: int = 6,
) -> Iterator[Comparison]:
    """Speed of a cached film through the whole test pipeline, against the decoding alone.

    Both ways find their files in the page cache. Ours ends with a copy of the tensor, as a batch makes
    it, so that every pixel is read.

    Args:
        repeats (int): Pairs a case. Defaults to 12.
        sizes (Sequence[int]): Edges of the 12-bit JPEG 2000 films in px. Defaults to (1024, 2048).
        img_scale (int): Edge of the network input in px. Defaults to 1024.
        films (int): Files a size. Defaults to 6.

    Yields:
        Comparison: A case for each size; times of one film.
    """
    threads = cv2.getNumThreads()
    # as in the workers of the config's data loader
    cv2.setNumThreads(0)
    try:
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                write_set(Path(folder), size, films)
                for path in Path(folder, 'images').iterdir():
                    _compress(path)
                yield _case(folder, size, img_scale, films, repeats)
    finally:
        cv2.setNumThreads(threads)


def _case(folder: str, size: int, scale: int, films: int, repeats: int) -> Comparison:
    cfg = Config.fromfile(CONFIG)
    set_img_scale(cfg._cfg_dict, (scale, scale))
    set_data_root(cfg._cfg_dict, folder)
    cache = f'{folder}/cache'
    for kind in images_of_config(cfg, cache, ['test']):
        fill_cache(kind, progress=False)
    set_film_cache(cfg._cfg_dict, cache)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    paths = [dataset.get_data_info(index)['img_path'] for index in range(films)]
    turns, bare_turns = itertools.cycle(range(films)), itertools.cycle(paths)

    def read() -> Tensor:
        return dataset[next(turns)]['inputs'].clone()

    comparison = compare(
        'cache',
        f'{size} x {size} JPEG 2000 film, {scale} x {scale} input',
        read,
        lambda: decode(next(bare_turns)),
        repeats,
        GOAL,
        at_least=True,
        ours_calls=5,
    )
    missed = dataset.pipeline.transforms[0].missed
    if missed:
        raise RuntimeError(f'{len(missed)} films were not read from the cache: {missed}')
    return comparison


def decode(path: str) -> np.ndarray:
    """Stored values (h, w) of a DICOM film, without window, resizing or packing."""
    return pydicom.dcmread(path).pixel_array


def _compress(path: Path) -> None:
    ds = pydicom.dcmread(path)
    ds.compress(JPEG2000Lossless)
    ds.save_as(path)
