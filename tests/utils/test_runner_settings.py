# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
from mmengine.config import Config

from mmfrac.utils.runner_settings import check_runner_settings
from tests.configs.test_configs import CONFIGS, NAMES, QUICK
from tests.slow import slow_but


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'train_cfg.max_epoch': 1}, r'train_cfg\.max_epoch: .*; did you mean max_epochs\?'),
        ({'train_dataloader.bach_size': 4}, r'bach_size: DataLoader .*; did you mean batch_size\?'),
        (
            {'val_dataloader.xyz': 4},
            r'val_dataloader\.xyz: DataLoader has no such setting, only \[',
        ),
        ({'test_cfg.precison': 'bf16'}, r'test_cfg\.precison: '),
    ],
)
def test_misspelt_settings(change, message):
    cfg = Config.fromfile(CONFIGS / 'frac_ssl.py')
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=message):
        check_runner_settings(cfg)


def test_other_loops():
    cfg = Config(dict(train_cfg=dict(by_epoch=False, max_iters=5, val_interval=2)))
    check_runner_settings(cfg)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_epochs=5)
    with pytest.raises(ValueError, match='IterBasedTrainLoop'):
        check_runner_settings(cfg)


@pytest.mark.parametrize('name', slow_but(NAMES, QUICK))
def test_no_config_of_ours_is_refused(name):
    check_runner_settings(Config.fromfile(CONFIGS / name))
