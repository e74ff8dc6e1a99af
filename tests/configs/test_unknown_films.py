# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Films of unknown label (U) as a further unsupervised source, as configs/README.md has it."""

import json
import math
import re
import shutil

import pytest
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfrac.utils.config import merge_config_file
from tests.configs.test_configs import CONFIGS, tiny_config


class Note(Hook):
    """Notes of every batch its epoch, images of each branch, and ``m`` of that step."""

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        counts = {
            branch: sum(image is not None for image in images)
            for branch, images in data_batch['inputs'].items()
        }
        steps = runner.model.pseudo_pipeline
        self.batches.append((runner.epoch, counts, steps[0].m.item()))


@pytest.fixture
def data_root(tiny_data, tmp_path):
    """``tiny_data`` with two films of its six negatives that nobody has read."""
    root = tmp_path / 'data'
    shutil.copytree(tiny_data, root)
    file = root / 'annotations/train.json'
    content = json.loads(file.read_text())
    for image in [one for one in content['images'] if one['label'] == 0][:2]:
        image.update(label=-1, regions=False)
    file.write_text(json.dumps(content))
    return root


def config(data_root, tmp_path, order):
    (snippet,) = re.findall(
        r'```python\n# configs/my_unknown.py\n(.*?)```',
        (CONFIGS / 'README.md').read_text(),
        re.DOTALL,
    )
    file = tmp_path / 'my_unknown.py'
    file.write_text(snippet.replace("'frac_ssl.py'", repr(str(CONFIGS / 'frac_ssl.py'))))
    cfg = tiny_config(file, data_root, tmp_path / 'work')
    train = cfg.train_dataloader
    train.batch_size = 4
    train.batch_sampler.epoch_length = 2
    train.dataset.datasets = [train.dataset.datasets[index] for index in order]
    ratio = train.batch_sampler.source_ratio
    train.batch_sampler.source_ratio = [ratio[index] for index in order]
    cfg.model.semi_train_cfg.burn_in_epochs = 2
    cfg.train_cfg.update(max_epochs=3, val_interval=10)
    return cfg


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)], ids=['unknown last', 'unknown first'])
def test_burn_in_reads_none_of_them_and_m_is_that_of_p_pub(order, data_root, tmp_path):
    runner = Runner.from_cfg(config(data_root, tmp_path, order))
    note = Note()
    runner.register_hook(note)
    runner.train()
    assert [len(source) for source in runner.train_dataloader.dataset.datasets] == [
        (8, 5, 2)[index] for index in order
    ]
    burn_in = [counts for epoch, counts, _ in note.batches if epoch < 2]
    assert burn_in == [dict(sup=4, unsup_teacher=0, unsup_student=0)] * 4
    rest = [(counts, m) for epoch, counts, m in note.batches if epoch == 2]
    assert [counts for counts, _ in rest] == [dict(sup=2, unsup_teacher=2, unsup_student=2)] * 2
    assert all(math.isfinite(m) for _, m in rest)


def test_a_positive_image_is_needed_for_the_first_m(data_root, tmp_path):
    runner = Runner.from_cfg(config(data_root, tmp_path, (0, 2)))
    with pytest.raises(ValueError, match=r'no film with label 1 .* unsup_source of'):
        runner.train()


def test_sources_can_be_named(data_root, tmp_path):
    cfg = config(data_root, tmp_path, (0, 1, 2))
    cfg.train_dataloader.batch_sampler.unsup_sources = [1, -1]
    cfg.default_hooks.dynamic_sharpening.unsup_source = 1
    runner = Runner.from_cfg(cfg)
    assert runner.build_dataloader(cfg.train_dataloader).batch_sampler.unsup_sources == [1, 2]
    runner.train()
    assert math.isfinite(runner.model.pseudo_pipeline[0].m.item())


def test_the_strong_view_is_that_of_all_of_them(data_root, tmp_path):
    cfg = config(data_root, tmp_path, (0, 1, 2))
    merge_config_file(cfg, CONFIGS / '_base_/methods/strong_view.py')
    strong = ['StrongIntensity' in str(one) for one in cfg.train_dataloader.dataset.datasets]
    assert strong == [False, True, True]
