# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every config is built and trained for two iterations through the real Runner."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from mmfrac.utils.config import fill_stride, set_data_root, set_img_scale
from tests.slow import slow_but

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAMES = sorted(
    str(path.relative_to(CONFIGS))
    for path in CONFIGS.rglob('*.py')
    if not {'_base_', 'benchmarks'} & set(path.parts)
)

# one of each kind, trained by every run of the tests
QUICK = (
    'baselines/chexnet_cam.py',
    'baselines/temporal_ensembling.py',
    'ablations/certain_cells_two_views.py',
    'compare/phantom/rtmdet.py',
    'compare/phantom/soft_teacher.py',
    'semi_real/frac_ssl_semi_real_v2.py',
)

# these train in the width that they have, whose checkpoints of 300 MB take the time
FULL_WIDTH = ('frac_sup.py', 'frac_ssl.py', 'compare/faster_rcnn.py')


def tiny_config(name: str, data_root: Path, work_dir: Path) -> Config:
    cfg = make_tiny(Config.fromfile(CONFIGS / name), data_root, work_dir)
    detector = cfg.model.get('detector', cfg.model)
    if name not in FULL_WIDTH and detector.backbone.get('depth') == 50:
        detector.backbone.base_channels = 8
        part = detector.get('neck', detector)
        wide = part.in_channels
        part.in_channels = wide // 8 if isinstance(wide, int) else [side // 8 for side in wide]
    if 'num_queries' in cfg.model:
        # an image of 64 px has 85 places
        cfg.model.update(num_queries=20, test_cfg=dict(max_per_img=20))
        cfg.model.encoder.num_layers = cfg.model.decoder.num_layers = 2
    return cfg


def make_tiny(cfg: Config, data_root: Path, work_dir: Path) -> Config:
    set_data_root(cfg._cfg_dict, str(data_root))
    set_img_scale(cfg._cfg_dict, (64, 64))
    cfg.work_dir = str(work_dir)
    cfg.train_cfg.max_epochs = 2
    cfg.train_cfg.val_interval = 2
    ratio = cfg.train_dataloader.get('batch_sampler', {}).get('source_ratio', [1])
    # P_pub, the last source, has an image in each
    cfg.train_dataloader.update(batch_size=max(2, -(-sum(ratio) // ratio[-1])), num_workers=0)
    cfg.val_dataloader.num_workers = cfg.test_dataloader.num_workers = 0
    detector = cfg.model.get('detector', cfg.model)
    detector.backbone.init_cfg = None
    if 'burn_in_epochs' in cfg.model.get('semi_train_cfg', {}):
        cfg.model.semi_train_cfg.burn_in_epochs = 1
    if 'batch_sampler' in cfg.train_dataloader:
        cfg.train_dataloader.batch_sampler.epoch_length = 1
    else:
        cfg.train_dataloader.num_batch_per_epoch = 1
    cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    return cfg


def wanted_losses(model: dict) -> list[str]:
    if model.type == 'CAMClassifier':
        return ['loss_image']
    if model.type in ('ConsistentTeacher', 'SoftTeacher'):
        return ['loss', 'sup_loss_cls', 'unsup_loss_cls']
    if model.type.endswith('ProbMapDetector'):
        return ['loss_sup'] + ['loss_semi'] * ('semi_train_cfg' in model)
    return ['loss', 'loss_cls', 'loss_bbox']


@pytest.mark.parametrize('name', slow_but(NAMES, QUICK))
def test_trains_validates_and_tests(name, tiny_data, tmp_path):
    cfg = tiny_config(name, tiny_data, tmp_path)
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    runner.train()
    assert runner.iter == 2 and runner.epoch == 2
    scalars = runner.message_hub.log_scalars
    for key in wanted_losses(cfg.model):
        assert torch.isfinite(torch.tensor(scalars[f'train/{key}'].current()))
    changed = [
        key
        for key, value in runner.model.state_dict().items()
        if value.is_floating_point() and not torch.equal(before[key], value)
    ]
    assert any('backbone' in key for key in changed) and any('head' in key for key in changed)
    metrics = runner.test()
    assert {'frac/AUROC', 'frac/FROC', 'frac/Recall@0.1'} <= set(metrics)
    assert (tmp_path / 'epoch_2.pth').is_file()


@pytest.mark.parametrize('name', [name for name in NAMES if name.endswith('rtmdet.py')])
def test_ranks_without_gpu_have_no_sync_bn(name, tiny_data, tmp_path, monkeypatch):
    # what mmdet asks before it converts the layers, which only GPUs can run
    monkeypatch.setattr('mmdet.models.detectors.rtmdet.get_world_size', lambda: 2)
    cfg = tiny_config(name, tiny_data, tmp_path)
    layers = list(MODELS.build(cfg.model).modules())
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in layers)
    assert not any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in layers)
    sync = MODELS.build({**cfg.model, 'use_syncbn': True}).modules()
    assert any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in sync)


@pytest.mark.parametrize('name', NAMES)
def test_says_how_to_run_it(name):
    lines = (CONFIGS / name).read_text().splitlines()
    command = lines[1].lstrip('# ')
    assert command.startswith(('tools/', 'python tools/')) and f'configs/{name}' in command


def test_full_size_configs_keep_the_papers_settings():
    for name in ('frac_sup.py', 'frac_ssl.py'):
        cfg = Config.fromfile(CONFIGS / name)
        assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=4e-5, weight_decay=1e-4)
        assert cfg.train_cfg.max_epochs == 30 and cfg.train_dataloader.batch_size * 4 == 32
        assert cfg.test_pipeline[1].scale == (1024, 1024)
        assert cfg.default_hooks.checkpoint.save_best == 'frac/AUROC'
        detector = cfg.model.get('detector', cfg.model)
        assert detector.backbone.depth == 50 and detector.prob_map_head.loss.alpha_r == 10
        assert detector.backbone.init_cfg.checkpoint == 'torchvision://resnet50'


@pytest.mark.parametrize('name', [name for name in NAMES if 'phantom/' in name or 'semi_' in name])
def test_small_configs_download_nothing(name):
    text = Config.fromfile(CONFIGS / name).pretty_text
    assert '://' not in text.replace('package://', '')  # a file of an installed package
    assert 'pretrained=True' not in text


@pytest.mark.parametrize('stride', [2, 8])
def test_one_line_of_the_head_trains_at_another_stride(stride, tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    cfg.model.detector.prob_map_head.stride = stride
    fill_stride(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train()
    for key in ('loss_sup', 'loss_semi'):
        assert torch.isfinite(
            torch.tensor(runner.message_hub.log_scalars[f'train/{key}'].current())
        )
    sample = runner.train_dataloader.dataset.datasets[0][0]['data_samples']['sup']
    assert sample.gt_prob_map.shape == (64 // stride, 64 // stride)
