# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmfrac.engine.hooks.teacher_hook import training_images
from tests.configs.test_configs import tiny_config

STEPS = [
    dict(type='SoftMatchWeight'),
    dict(type='AdaptiveThreshold'),
    dict(type='NoisyOrPosterior', teacher_alpha_r='match'),
    dict(type='DynamicSharpening'),
    dict(type='WarpToStudent'),
]
ALPHA_L = 'student.prob_map_head.loss_sup.alpha_l'
# what another training learnt
LEARNT = dict(mean=0.9, variance=0.9, steps=900, tau=0.9, log_divisor=0.9, log_cells=0.9, noted=0.0)
LEARNT |= dict(m=0.9, t=0.5, a=4.0)


def config(tiny_data, folder, max_epochs, alpha_l):
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, folder)
    cfg.model.semi_train_cfg.burn_in_epochs = 0
    cfg.model.pseudo_pipeline = STEPS
    cfg.model.detector.prob_map_head.loss.alpha_l = alpha_l
    cfg.train_cfg.update(max_epochs=max_epochs, val_interval=10)
    return cfg


def trained(cfg, name):
    cfg.experiment_name = cfg.visualizer.name = name
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = Path(runner.log_dir).glob('*.log')
    state = {
        key.rsplit('.', 1)[1]: value
        for key, value in runner.model.state_dict().items()
        if key.startswith('pseudo_pipeline.')
    }
    first_m = runner.message_hub.get_scalar('train/m').data[0][-1]
    return state, first_m, 'for the first median' in log.read_text(), runner


def test_sources_behind_wrappers(tiny_data, tmp_path):
    cfg = config(tiny_data, tmp_path, 1, 'auto')
    cfg.model.pseudo_pipeline = STEPS[3:]
    first, *_, last = sources = cfg.train_dataloader.dataset.datasets
    sources[0] = dict(type='RepeatDataset', times=3, dataset=first)
    sources[-1] = dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=last)
    *_, has_pass, runner = trained(cfg, tmp_path.name)
    assert has_pass and runner.iter == 1
    # every film once
    names = [name for _, name in training_images(runner)]
    assert len(set(names)) == len(names) == 15


@pytest.fixture(scope='module')
def checkpoint(tiny_data, tmp_path_factory):
    """Of one epoch, with steps that learnt a lot."""
    folder = tmp_path_factory.mktemp('old')
    trained(config(tiny_data, folder, 1, [1.0, 3.0]), folder.name)
    content = torch.load(folder / 'epoch_1.pth', weights_only=True)
    for key, value in content['state_dict'].items():
        if key.startswith('pseudo_pipeline.'):
            value.fill_(LEARNT[key.rsplit('.', 1)[1]])
    torch.save(content, folder / 'learnt.pth')
    return str(folder / 'learnt.pth')


def test_a_new_training_learns_anew(checkpoint, tiny_data, tmp_path):
    cfg = config(tiny_data, tmp_path, 1, [2.0, 5.0])
    cfg.load_from = checkpoint
    state, first_m, has_pass, runner = trained(cfg, tmp_path.name)
    assert has_pass and first_m < 0.5
    # one step
    assert state['steps'] == 1 and abs(state['tau'] - 0.5) < 0.01
    assert abs(state['log_divisor']) < 0.2 and state['mean'] != 0.9
    assert runner.model.state_dict()[ALPHA_L].tolist() == [2, 5]


def test_a_resumed_training_goes_on(checkpoint, tiny_data, tmp_path):
    cfg = config(tiny_data, tmp_path, 2, [2.0, 5.0])
    cfg.update(load_from=checkpoint, resume=True)
    state, first_m, has_pass, runner = trained(cfg, tmp_path.name)
    assert not has_pass and first_m == 0.9
    assert state['steps'] == 901 and state['tau'] > 0.8
    assert state['log_divisor'] > 0.7 and state['mean'] > 0.85
    assert runner.model.state_dict()[ALPHA_L].tolist() == [2, 5]
