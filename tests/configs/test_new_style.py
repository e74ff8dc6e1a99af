# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Every training config loads, changes and builds as a pure-Python one, too."""

import copy
import inspect

import pytest
import torch
from mmdet.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmfrac.apis.inferencer import ImageLoader
from mmfrac.datasets.transforms.cached_radiograph import cached_head
from mmfrac.engine.runner.ensemble import ensemble_config
from mmfrac.experiments.hold_out import frac_options
from mmfrac.utils.config import (
    change_transform,
    fill_stride,
    film_sets,
    load_config,
    merge_config_file,
    set_data_root,
    set_img_scale,
    set_label_fraction,
    type_name,
    use_tta,
)
from tests.configs.new_style import same_type, write_new_style
from tests.configs.test_configs import CONFIGS, NAMES, QUICK, make_tiny
from tests.slow import slow_but

# what is read; values that these were made from may be one object in one style, and copies in the other
SETTINGS = {*inspect.signature(Runner.__init__).parameters, 'tta_model', 'tta_pipeline'}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


def both_styles(name, folder):
    old = load_config(CONFIGS / name)
    write_new_style(old, folder / 'new.py')
    new = load_config(folder / 'new.py')
    old.pop('custom_imports')
    assert not isinstance(new.model.type, str)
    return old, new


def change_all(cfg, data_root):
    set_data_root(cfg, str(data_root))
    set_img_scale(cfg, (64, 64))
    change_transform(cfg, 'IntensityJitter', brightness=0.2)
    set_label_fraction(cfg, 0.9)
    if 'ProbMap' in str(type_name(cfg.model)):
        (cfg.model.get('detector') or cfg.model).prob_map_head.stride = 8
    fill_stride(cfg)


@pytest.mark.parametrize('name', slow_but(NAMES, QUICK))
def test_loads_changes_and_builds(name, tiny_data, tmp_path):
    old, new = both_styles(name, tmp_path)
    assert same_type(old.to_dict(), new._to_lazy_dict())
    change_all(old, tiny_data)
    change_all(new, tiny_data)
    for key in SETTINGS & set(old):
        assert same_type(old.to_dict()[key], new._to_lazy_dict()[key]), key
    with torch.device('meta'):
        MODELS.build(copy.deepcopy(new.model))
    for hook in [*new.default_hooks.values(), *new.get('custom_hooks', ())]:
        HOOKS.build(copy.deepcopy(hook))
    METRICS.build(copy.deepcopy(new.val_evaluator))
    found = film_sets(new.train_dataloader)
    assert found and all(one.data_root == str(tiny_data) for one in found)
    for one in found:
        if one.get('sources'):  # the films of this test have other ones
            one.sources = None
        fraction = None
        if one.get('complete_boxes'):  # with all boxes shown, P_pub is what a fraction leaves
            fraction = dict(fraction=0.5, rest='P_pub')
        dataset = DATASETS.build(dict(one, label_fraction=fraction))
        dataset[0]
    DATASETS.build(new.test_dataloader.dataset)[0]
    assert 'max_fppi' in frac_options(new.test_evaluator)
    assert cached_head(new.test_dataloader.dataset.pipeline) == 2
    assert type(ImageLoader(new)._load_image).__name__ == 'LoadRadiograph'
    assert same_type(
        ensemble_config(old, 2).to_dict()['model'], ensemble_config(new, 2)._to_lazy_dict()['model']
    )
    use_tta(new)
    assert type_name(new.test_dataloader.dataset.pipeline[-1]) == 'TestTimeAug'


TRAINED = ['phantom/frac_ssl_phantom.py', 'compare/phantom/soft_teacher.py']


@pytest.mark.parametrize('name', slow_but(TRAINED, TRAINED[:1]))
def test_trains_to_the_same_loss(name, tiny_data, tmp_path):
    old, new = both_styles(name, tmp_path)
    losses = []
    for style, cfg in (('old', old), ('new', new)):
        runner = Runner.from_cfg(make_tiny(cfg, tiny_data, tmp_path / style))
        runner.train()
        scalars = runner.message_hub.log_scalars
        losses.append({key: scalars[key].current() for key in scalars if 'loss' in key})
    assert losses[0] == losses[1] and len(losses[0]) > 1


def test_what_a_run_dumps_loads_and_changes(tiny_data, tmp_path):
    _, new = both_styles('phantom/frac_ssl_phantom.py', tmp_path)
    change_all(new, tiny_data)
    new.dump(tmp_path / 'dumped.py')
    again = load_config(tmp_path / 'dumped.py')
    assert again.model.type == 'mmfrac.models.detectors.semi_prob_map_detector.SemiProbMapDetector'
    change_transform(again, 'Rotate', prob=0.1)
    change_transform(new, 'Rotate', prob=0.1)
    set_img_scale(again, (32, 32))
    set_img_scale(new, (32, 32))
    assert again.train_dataloader == Config(new.to_dict()).train_dataloader
    assert type(MODELS.build(again.model)) is type(MODELS.build(new.model))
    DATASETS.build(again.train_dataloader.dataset)[0]


def test_a_file_of_changes_is_merged(tmp_path):
    old, new = both_styles('frac_ssl.py', tmp_path)
    for cfg in (old, new):
        merge_config_file(cfg, CONFIGS / '_base_/methods/window_loss.py')
    assert same_type(old.to_dict(), new._to_lazy_dict())
    steps = [step for one in film_sets(new.train_dataloader) for step in one.pipeline]
    assert 'WindowTarget' in str(steps) and 'ProbMapTarget' not in str(steps)


def test_helpers_within_a_pure_python_config(tmp_path):
    both_styles('frac_ssl.py', tmp_path)
    path = tmp_path / 'child.py'
    path.write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n    from .new import *\n'
        # an import statement would give a stand-in
        "config = __import__('mmfrac.utils.config', fromlist=['config'])\n"
        "config.set_data_root(globals(), 'here/')\n"
        'config.set_img_scale(globals(), (512, 512))\n'
        "config.change_transform(globals(), 'Rotate', prob=0.1)\n"
        "config.merge_config_file(globals(), 'changes.py')\n"
        'del config\n'
    )
    (tmp_path / 'changes.py').write_text("model = dict(teacher=dict(type='MeanTeacher'))\n")
    cfg = Config.fromfile(path)
    assert cfg.model.teacher.type == 'MeanTeacher'
    assert cfg.train_dataset.data_root == 'here/' and cfg.resize.scale == (512, 512)
    assert [step.get('prob') for step in cfg.augment if type_name(step) == 'Rotate'] == [0.1]
