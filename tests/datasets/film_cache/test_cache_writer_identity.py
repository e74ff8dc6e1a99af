# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What comes out of a pipeline is the same, bit for bit, with and without the cache."""

import random

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement

from mmfrac.datasets.film_cache.cache_writer import check_cache, fill_cache, images_of_config
from mmfrac.datasets.radiographs.read import image_size
from mmfrac.utils.config import set_film_cache
from mmfrac.utils.errors import AnnotationError
from tests.datasets.film_cache.films import config, datasets, write_data, write_kinds


def seed(number):
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def same(one, other, where=''):
    """Both trees are equal to the last bit, types included."""
    assert type(one) is type(other), where
    if isinstance(one, BaseDataElement):
        same(one.metainfo, other.metainfo, f'{where}.metainfo')
        same(dict(one.items()), dict(other.items()), where)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other)):
            same(a, b, f'{where}[{index}]')
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape, where
        assert one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes(), where
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape, where
        assert one.tobytes() == other.tobytes(), where
    elif hasattr(one, 'tensor'):
        same(one.tensor, other.tensor, where)
    else:
        assert one == other, where


@pytest.fixture(scope='module')
def kinds(tmp_path_factory):
    """Data root with films of all kinds, and the bytes a pixel that each takes."""
    root = tmp_path_factory.mktemp('kinds')
    kinds = write_kinds(root)
    (films,) = images_of_config(config(root), root / 'cache')
    report = fill_cache(films, progress=False)
    assert report.counts == {'written': len(kinds)} and not report.problems
    return root, kinds, films


def compare(root, cfg_of, rounds=2):
    """Number of films whose packed results were compared."""
    plain, cached = cfg_of(), cfg_of()
    set_film_cache(cached._cfg_dict, root / 'cache')
    count = 0
    for name, node in datasets(plain).items():
        decoding = DATASETS.build(node)
        reading = DATASETS.build(datasets(cached)[name])
        assert len(decoding) == len(reading) > 0
        for index in range(len(decoding)):
            for number in range(rounds):
                results = []
                for dataset in (decoding, reading):
                    seed(100 * index + number)
                    results.append(dataset[index])
                same(*results, f'{name}[{index}]')
                count += 1
        assert reading.pipeline.transforms[0].missed == {}
    return count


def test_every_pipeline_and_kind_of_film(kinds):
    root, names, _ = kinds
    # P_hos and N, P_pub, and all of them in the test pipeline
    assert compare(root, lambda: config(root)) == 2 * 2 * len(names)


def test_boxes_of_a_film_of_another_size(kinds):
    root, _, _ = kinds
    cfg = config(root)
    set_film_cache(cfg._cfg_dict, root / 'cache')
    dataset = DATASETS.build(next(iter(datasets(cfg).values())))
    film = next(
        film for film in map(dataset.get_data_info, range(len(dataset))) if film['instances']
    )
    assert dataset.pipeline(dict(film)) is not None
    with pytest.raises(AnnotationError, match='they would lie elsewhere'):
        dataset.pipeline(dict(film, width=film['width'] + 1))


def test_forms_on_disk(kinds):
    root, names, films = kinds
    for name, item in names.items():
        path = str(root / 'images' / name)
        size = np.prod(films.cache.read(path).image.shape)
        on_disk = (root / films.cache.path_of(path)).stat().st_size - 80
        levels = on_disk - item * size
        assert levels >= 0 and levels % 4 == 0
        assert (levels == 0) == (item == 4), name
        assert levels < 4 * size
    assert films.most_bytes() >= sum(
        p.stat().st_size - 80 for p in root.glob('cache/*/??/*.film')
    ) - sum(4 * 2**12 for item in names.values() if item == 2)


def test_three_channels_and_free_ratio(kinds, tmp_path):
    root, _, _ = kinds
    init_default_scope('mmdet')
    cfg = config(root)
    load = dict(type='LoadRadiograph', channels=3)
    resize = dict(type='Resize', scale=(80, 56), keep_ratio=False)
    steps = [load, dict(type='LoadAnnotations', with_bbox=True), resize]
    node = cfg.test_dataloader.dataset
    node.pipeline = [*steps, dict(type='PackProbMapInputs')]
    cfg.train_dataloader.dataset = cfg.val_dataloader.dataset = node
    (films,) = images_of_config(cfg, tmp_path)
    assert not fill_cache(films, progress=False).problems
    cached = DATASETS.build({**node, 'film_cache': str(tmp_path)})
    plain = DATASETS.build(node)
    for index in range(len(plain)):
        same(plain[index], cached[index], str(index))
    assert cached.pipeline.transforms[0].missed == {}


def test_what_comes_from_the_cache_may_be_written_to(kinds):
    root, names, films = kinds
    for name in names:
        path = str(root / 'images' / name)
        first = films.cache.read(path).image
        kept = first.copy()
        assert first.dtype == np.float32 and first.flags.c_contiguous and first.flags.writeable
        first[:] = -1
        np.testing.assert_array_equal(films.cache.read(path).image, kept)


def test_the_cache_moves_with_the_data(kinds, tmp_path):
    root, names, _ = kinds
    moved = tmp_path / 'elsewhere'
    root.rename(moved)
    try:
        assert compare(moved, lambda: config(moved), rounds=1) == 2 * len(names)
    finally:
        moved.rename(root)


@pytest.mark.slow
def test_real_films(shared_data, tmp_path):
    folder = shared_data / 'real_cxr'
    (tmp_path / 'images').mkdir()
    films = sorted((folder / 'images').iterdir())
    colour = [path for path in films if cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 3]
    names, sizes = [], []
    for source in (*films[:2], *colour[:1], *sorted((folder / 'dicom').glob('*[lR][sG1]*'))):
        (tmp_path / 'images' / source.name).symlink_to(source)
        names.append(source.name)
        sizes.append(image_size(source))
    assert len(names) >= 5
    write_data(tmp_path, names, sizes)
    (films,) = images_of_config(config(tmp_path, 1024), tmp_path / 'cache')
    assert not fill_cache(films, progress=False).problems
    report = check_cache(films, decode=2, progress=False)
    assert report.counts == {'sound': len(names) - 2, 'identical': 2}
    assert compare(tmp_path, lambda: config(tmp_path, 1024), 1) == 2 * len(names)
    # an NIH film of 8 bits at its own size needs one byte a pixel
    film = films.cache.path_of(str(tmp_path / 'images' / names[0]))
    assert (tmp_path / film).stat().st_size // 1024**2 == 1
