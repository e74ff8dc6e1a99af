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
        ({'trian_cfg.max_epochs': 1}, r'trian_cfg: nothing reads it; did you mean train_cfg\?'),
        ({'defualt_hooks.logger': {}}, r'defualt_hooks: .* did you mean default_hooks\?'),
        ({'load_form': 'a.pth'}, r'load_form: .* did you mean load_from\?'),
        ({'param_schedulers': []}, r'param_schedulers: .* did you mean param_scheduler\?'),
        ({'custom_hook': []}, r'custom_hook: .* did you mean custom_hooks\?'),
        ({'val_evaluators': []}, r'val_evaluators: .* did you mean val_evaluator\?'),
        ({'resume_from': 'a.pth'}, r'resume_from: MMDetection 2\.x .*; write resume and load_from'),
        ({'lr_config': {}}, r'lr_config: .*; write param_scheduler'),
        ({'optim_wraper.type': 'AmpOptimWrapper'}, r'optim_wraper: .* optim_wrapper\?'),
    ],
)
def test_misspelt_settings(change, message):
    cfg = Config.fromfile(CONFIGS / 'frac_ssl.py')
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=message):
        check_runner_settings(cfg)


def test_variables_of_a_config_are_its_own():
    names = (
        'eval_cfg',
        'tta_cfg',
        'pretrain_cfg',
        'eval_dataloader',
        'test_set',
        'models',
        'my_hooks',
        'total_epochs',
        'optimizer_config',
    )
    check_runner_settings(Config(dict.fromkeys(names)))


def test_other_loops():
    cfg = Config(dict(train_cfg=dict(by_epoch=False, max_iters=5, val_interval=2)))
    check_runner_settings(cfg)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_epochs=5)
    with pytest.raises(ValueError, match='IterBasedTrainLoop'):
        check_runner_settings(cfg)


@pytest.mark.parametrize('name', slow_but(NAMES, QUICK))
def test_no_config_of_ours_is_refused(name):
    check_runner_settings(Config.fromfile(CONFIGS / name))
