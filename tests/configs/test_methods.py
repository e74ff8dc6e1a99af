# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The changes of every method fit every semi-supervised base."""

import pytest
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.utils.config import merge_config_file, set_data_root, set_label_fraction
from tests.configs.test_configs import CONFIGS, NAMES
from tests.slow import slow_but

METHODS = sorted(path.stem for path in (CONFIGS / '_base_/methods').glob('*.py'))
FOLDERS = ('baselines', 'ablations')
BASES = ('phantom/frac_ssl_phantom_v2.py', 'semi_real/frac_ssl_semi_real_v1.py', 'frac_ssl.py')


@pytest.mark.parametrize('base', slow_but(BASES, BASES[-1:]))
def test_builds_over_the_base(base):
    init_default_scope('mmdet')
    for method in METHODS:
        cfg = Config.fromfile(CONFIGS / base)
        merge_config_file(cfg._cfg_dict, CONFIGS / f'_base_/methods/{method}.py')
        assert '_delete_' not in str(cfg.to_dict()), method
        if base != 'frac_ssl.py':  # ResNet-50 takes seconds a method
            MODELS.build(cfg.model)


@pytest.mark.parametrize('method', [name for name in METHODS if name != 'supervised'])
def test_has_a_config_at_full_size(method):
    places = [f'frac_ssl_{method}.py', *(f'{folder}/{method}.py' for folder in FOLDERS)]
    (name,) = (place for place in places if place in NAMES)
    cfg = Config.fromfile(CONFIGS / BASES[-1])
    merge_config_file(cfg._cfg_dict, CONFIGS / f'_base_/methods/{method}.py')
    assert Config.fromfile(CONFIGS / name).to_dict() == cfg.to_dict()


def test_the_upper_bound_reads_all_boxes_over_a_share_of_them(tiny_data):
    init_default_scope('mmdet')
    counts = []
    for fraction in (None, 0.25):
        cfg = Config.fromfile(CONFIGS / BASES[0])
        set_data_root(cfg, str(tiny_data))
        if fraction is not None:
            set_label_fraction(cfg, fraction)
        merge_config_file(cfg, CONFIGS / '_base_/methods/upper_bound.py')
        source = DATASETS.build(cfg.train_dataloader.dataset.datasets[0])
        counts.append((len(source), sum(len(one['instances']) for one in source.load_data_list())))
    assert counts == [(9, 9)] * 2  # 4 P_hos and 5 P_pub films with a box each
