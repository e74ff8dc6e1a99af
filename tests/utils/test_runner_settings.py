# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import re

import pytest
from mmengine.config import Config

from mmfrac.utils.config import load_config, merge_options
from mmfrac.utils.runner_settings import check_runner_settings, schedule_faults
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
    cfg = Config.fromfile(CONFIGS / name)
    check_runner_settings(cfg)
    assert schedule_faults(cfg) == []


class TestVariablesThatABaseHasRead:
    base = f'_base_ = {str(CONFIGS / "phantom/frac_ssl_phantom.py")!r}\n'

    def check(self, folder, *texts, options=None):
        files = [folder / f'{index}.py' for index in range(len(texts))]
        for file, text in zip(files, texts):
            file.write_text(text)
        cfg = load_config(files[-1])
        merge_options(cfg, options or {})
        check_runner_settings(cfg)
        return cfg

    @pytest.mark.parametrize(
        ('text', 'message'),
        [
            ('max_epochs = 3', r'max_epochs=3: .* write train_cfg\.max_epochs, which is 14$'),
            ('max_epochs, total = 3, 3', r'max_epochs=3: '),
            ('burn_in_epochs = 1', r'=1: .* model\.semi_train_cfg\.burn_in_epochs, which is 8$'),
            ('img_scale = (64, 64)', r'img_scale=\(64, 64\): .* set_img_scale\(_base_'),
            ('train_pipeline = []', r'train_pipeline: .* the pipeline in train_dataloader$'),
        ],
    )
    def test_a_child_that_sets_one(self, text, message, tmp_path):
        with pytest.raises(ValueError, match=message):
            self.check(tmp_path, self.base + text)
        # inherited
        with pytest.raises(ValueError, match=message):
            self.check(tmp_path, self.base + text, "_base_ = '0.py'")

    def test_one_beside_the_setting_that_an_heir_changes(self, tmp_path):
        both = 'max_epochs = 24\ntrain_cfg = dict(max_epochs=24)\n'
        self.check(tmp_path, self.base + both, "_base_ = '0.py'\ntrain_cfg = dict(max_epochs=36)")

    @pytest.mark.parametrize('name', ['max_epochs', 'burn_in_epochs'])
    def test_an_option_that_sets_one(self, name, tmp_path):
        with pytest.raises(ValueError, match=f'{name}=3: .*nothing reads'):
            self.check(tmp_path, self.base, options={name: 3})

    @pytest.mark.parametrize(
        'text',
        [
            'train_cfg = dict(max_epochs=20)',
            'max_epochs = 3\ntrain_cfg = dict(max_epochs=max_epochs)',
            'max_epochs = 14',
            'model = dict(semi_train_cfg=dict(burn_in_epochs="all"))',
            'from mmfrac.utils.config import set_img_scale\nset_img_scale(_base_, (64, 64))',
        ],
    )
    def test_what_says_the_same_or_is_read(self, text, tmp_path):
        cfg = self.check(tmp_path, self.base + text)
        # its variables stand beside what they became
        cfg.dump(tmp_path / 'dumped.py')
        check_runner_settings(load_config(tmp_path / 'dumped.py'))
        with pytest.raises(ValueError, match=r'max_epochs=4: '):
            self.check(tmp_path, "_base_ = 'dumped.py'\nmax_epochs = 4")


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'train_dataloader.sampler.type': 'InfiniteSampler'},
            r'train_dataloader\.sampler: InfiniteSampler .* EpochBasedTrainLoop .*DefaultSampler.*Iter',
        ),
        (
            {'train_dataloader.batch_sampler': dict(type='GroupMultiSourceSampler', _delete_=True)},
            r'batch_sampler: GroupMultiSourceSampler .*MultiSourceBatchSampler',
        ),
        ({'val_dataloader.sampler.type': 'InfiniteSampler'}, r'ValLoop waits .*DefaultSampler.$'),
        ({'val_dataloader.drop_last': True}, r'val_dataloader\.drop_last=True: .*not be measured'),
        ({'test_dataloader.drop_last': True}, r'test_dataloader\.drop_last=True: '),
    ],
)
def test_loops_without_end_and_images_left_out(change, message):
    cfg = Config.fromfile(CONFIGS / 'frac_ssl.py')
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=message):
        check_runner_settings(cfg)


def test_a_training_by_iterations_may_have_no_end():
    cfg = Config.fromfile(CONFIGS / 'frac_sup.py')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=5)
    cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    check_runner_settings(cfg)


COSINE = dict(type='CosineAnnealingLR', end=14, by_epoch=True, convert_to_iter_based=True)
STEPS = dict(type='MultiStepLR', end=30, by_epoch=True, milestones=[20, 27])
WARM_UP = dict(type='LinearLR', start_factor=0.1, end=3)


@pytest.mark.parametrize(
    ('epochs', 'schedulers', 'faults'),
    [
        (14, [COSINE], []),
        (20, [COSINE], [r'param_scheduler.0.end: .* 14, .* 20 .* last value for 6 epochs']),
        (12, COSINE, [r'param_scheduler.0.end: .* never gets to its last value']),
        (20, [WARM_UP, dict(COSINE, begin=3, end=20)], []),
        (20, [WARM_UP], []),
        (
            20,
            [dict(type='CosineAnnealingLR', T_max=14)],
            [r'param_scheduler.0.T_max: .* in epoch 14 of 20 .* rises again'],
        ),
        (20, [COSINE, dict(type='ConstantLR', begin=14, end=20)], []),
        (30, [STEPS], []),
        (
            12,
            [dict(WARM_UP, by_epoch=False, end=500), STEPS],
            [r'param_scheduler.1.milestones: .* 12 .* \[20, 27\] of'],
        ),
        (22, [dict(STEPS, end=22)], [r'milestones: .* to \[27\] of \[20, 27\]']),
        (36, [STEPS], []),
        (28, [STEPS], []),
        (8, [dict(type='StepLR', step_size=3, end=24)], []),
        (None, [COSINE], []),
        (12, None, []),
    ],
)
def test_a_schedule_that_does_not_fit_the_epochs(epochs, schedulers, faults):
    found = schedule_faults(dict(train_cfg=dict(max_epochs=epochs), param_scheduler=schedulers))
    assert len(found) == len(faults)
    for one, pattern in zip(found, faults):
        assert re.search(pattern, one), one
