# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which files are films, and that numbers of workers and ranks change nothing in what is read."""

import builtins
import os
from collections import Counter

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmfrac  # noqa: F401
from mmfrac.datasets.radiographs.read import is_image, read_radiograph
from mmfrac.utils.config import film_sets, set_data_root, set_img_scale, set_label_fraction
from mmfrac.utils.errors import RadiographError
from tests.datasets.radiographs.test_dicom import make_dicom, ramp

# without chance: reading, resizing, padding, packing
PLAIN = ['LoadRadiograph', 'LoadAnnotations', 'Resize', 'Pad', 'ProbMapTarget', 'PackProbMapInputs']
TOTAL_BATCH = 4


def loader_cfg(repository, name, tiny_data):
    cfg = Config.fromfile(repository / 'configs' / name)
    set_data_root(cfg._cfg_dict, str(tiny_data))
    set_img_scale(cfg._cfg_dict, (64, 64))
    set_label_fraction(cfg._cfg_dict, 0.5, seed=1)
    for dataset in film_sets(cfg.train_dataloader):
        dataset.pipeline = [step for step in cfg.train_pipeline if step['type'] in PLAIN]
    return cfg.train_dataloader


def read(loader_cfg, workers, ranks, monkeypatch, epochs=2):
    """What all ranks read in each epoch: film, digest of its pixels, its label, its boxes."""
    seen = [Counter() for _ in range(epochs)]
    for rank in range(ranks):
        for module in ('mmengine.runner.runner', 'mmengine.dataset.sampler'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, ranks))
        config = dict(loader_cfg, num_workers=workers, batch_size=TOTAL_BATCH // ranks)
        loader = Runner.build_dataloader(config, seed=5)
        sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
        assert (sampler.rank, sampler.world_size) == (rank, ranks)
        for epoch, counts in enumerate(seen):
            sampler.set_epoch(epoch)
            for batch in loader:
                for film, sample in zip(batch['inputs'], batch['data_samples']):
                    meta = sample.metainfo
                    counts[
                        meta['img_path'],
                        hash(film.numpy().tobytes()),
                        hash(sample.gt_prob_map.prob_map.numpy().tobytes()),
                        (meta['label'], meta['regions'], len(meta['instances'])),
                    ] += 1
    return seen


@pytest.mark.slow
@pytest.mark.parametrize('name', ['data/oversampling.py', 'frac_sup.py'])
def test_the_same_films_and_pixels(name, repository, tiny_data, monkeypatch):
    init_default_scope('mmdet')
    config = loader_cfg(repository, name, tiny_data)
    if 'batch_sampler' in config:
        # batches of a rank: 8 films of each source, of which there are 2 and 6
        config.batch_sampler.epoch_length = 4
    alone = read(config, 0, 1, monkeypatch)
    assert [counts.total() for counts in alone] == [16, 16] if 'batch_sampler' in config else [8, 8]
    for workers, ranks in ((1, 1), (2, 1), (0, 2), (0, 4), (1, 2)):
        assert read(config, workers, ranks, monkeypatch) == alone, (workers, ranks)


DENIED = PermissionError(13, 'Permission denied')


def deny(monkeypatch, path, error=DENIED):
    """Have a file be one that cannot be opened, also by root."""
    real_open = open

    def denied(file, *args, **kwargs):
        if str(file) == str(path):
            raise error
        return real_open(file, *args, **kwargs)

    monkeypatch.setattr(builtins, 'open', denied)


@pytest.mark.parametrize('error', [DENIED, OSError(5, 'Input/output error')])
def test_files_that_cannot_be_opened_are_not_passed_over(tmp_path, monkeypatch, error):
    for name in ('IM0001', '1.2.840.5', 'a'):
        path = make_dicom(tmp_path / name, ramp())
        with monkeypatch.context() as patch:
            deny(patch, path, error)
            assert is_image(path)
            with pytest.raises(RadiographError) as caught:
                read_radiograph(path)
        is_denied = 'permission denied: make it readable' in str(caught.value)
        assert is_denied is isinstance(error, PermissionError)
    for name in ('notes.txt', '.hidden', 'DICOMDIR'):
        (tmp_path / name).write_text('none')
        with monkeypatch.context() as patch:
            deny(patch, tmp_path / name, error)
            assert not is_image(tmp_path / name)
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    os.mkfifo(tmp_path / 'pipe')
    assert not is_image(tmp_path / 'link') and not is_image(tmp_path / 'pipe')


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        *(('1.2.840.113619.2', True), ('CR.1.2.840.113619.2', True), ('IM000001', True)),
        *(('im_0001', True), ('I10', True), ('00000001', True), ('a.dcm', True)),
        *(('DONE', False), ('lock', False), ('_SUCCESS', False), ('part-00000', False)),
        *(('.gitkeep', False), ('20240131', False), ('v1.2.3', False), ('IM0001.txt', False)),
    ],
)
def test_empty_files_are_films_by_their_names(tmp_path, name, expected):
    (tmp_path / name).touch()
    assert is_image(tmp_path / name) is expected
