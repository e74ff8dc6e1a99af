# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The changes of every method fit every semi-supervised base."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
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
    places = [f'{folder}/{method}.py' for folder in FOLDERS]
    if method == 'plus_image_head':
        places = ['frac_ssl_plus.py']
    (name,) = (place for place in places if place in NAMES)
    cfg = Config.fromfile(CONFIGS / BASES[-1])
    merge_config_file(cfg._cfg_dict, CONFIGS / f'_base_/methods/{method}.py')
    if method in ('plus', 'plus_image_head', 'posterior_snapshot'):
        # peaks of maps of 256 x 256 are as far apart as those of 80 x 80
        cfg.model.pseudo_pipeline[0].window = 17
    assert Config.fromfile(CONFIGS / name).to_dict() == cfg.to_dict()


KLD, WEIGHTED = dict(type='KLDLoss'), dict(type='KLDLoss', alpha_r='auto')
MIL = dict(type='MILLoss', pool='top_k', k=10, loss_weight=0.1)


@pytest.mark.parametrize(
    'methods, losses',
    [
        (['mil'], [KLD, MIL]),
        (['weighted_kld'], WEIGHTED),
        (['mil', 'weighted_kld'], [WEIGHTED, MIL]),
        (['weighted_kld', 'mil'], [WEIGHTED, MIL]),
        (['pi_model', 'mil'], [dict(type='MapMSELoss'), MIL]),
    ],
)
def test_a_loss_stays_under_the_next_method(methods, losses):
    cfg = Config.fromfile(CONFIGS / BASES[0])
    for method in methods:
        merge_config_file(cfg, CONFIGS / f'_base_/methods/{method}.py')
    assert cfg.to_dict()['model']['semi_loss'] == losses


def test_weighted_kld_needs_a_kld():
    cfg = Config.fromfile(CONFIGS / BASES[0])
    merge_config_file(cfg, CONFIGS / '_base_/methods/pi_model.py')
    with pytest.raises(ValueError, match=r'no KLDLoss in the config; there are MapMSELoss'):
        merge_config_file(cfg, CONFIGS / '_base_/methods/weighted_kld.py')


@pytest.mark.parametrize('method', ['plus', 'posterior_snapshot'])
def test_fracture_cells_are_weighted_once(method):
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / BASES[0])
    for name in (method, 'weighted_kld'):
        merge_config_file(cfg, CONFIGS / f'_base_/methods/{name}.py')
    with pytest.raises(ValueError, match=r'twice, in NoisyOrPosterior of .* and in KLDLoss of'):
        MODELS.build(cfg.model)
    # either of the two alone
    cfg.model.pseudo_pipeline[0].alpha_r = 1.0
    MODELS.build(cfg.model)
    cfg.model.pseudo_pipeline[0].alpha_r = 'auto'
    cfg.model.semi_loss.alpha_r = 1.0
    MODELS.build(cfg.model)


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


def test_the_strong_view_of_box_detectors_moves_boxes_as_its_matrix_says():
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / 'compare/phantom/soft_teacher.py')
    pipeline = cfg.train_dataloader.dataset.datasets[-1].pipeline
    types = [step.type for step in pipeline[-1].unsup_student]
    assert {'StrongIntensity', 'RandAugment', 'RandomErasing'} <= set(types)
    assert 'StrongIntensity' not in str(pipeline[-1].unsup_teacher)
    # boxes are erased after it, in the place of which nothing could be found
    steps = [step for step in pipeline[-1].unsup_student if step.type != 'RandomErasing'][:-2]
    view = Compose([dict(step) for step in steps])
    np.random.seed(0)
    motions = set()
    for _ in range(40):
        image = np.full((256, 256, 3), 0.2, dtype=np.float32)
        image[118:123, 136:141] = 1
        results = view(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]))
        plane = cv2.GaussianBlur(results['img'][..., 0], (9, 9), 2)
        found = np.unravel_index(plane.argmax(), plane.shape)[::-1]
        matrix = results.get('homography_matrix', np.eye(3))
        x, y, w = matrix @ (138, 120, 1)
        if 8 < x / w < 248 and 8 < y / w < 248:
            assert np.hypot(found[0] - x / w, found[1] - y / w) < 3, matrix
            motions.add(tuple(np.round(matrix.ravel(), 2)))
    assert len(motions) > 20
