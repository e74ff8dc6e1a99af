# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.runner import Runner
from mmengine.structures import PixelData

from mmfrac.engine.hooks.pseudo_truth_hook import PseudoTruthHook, pseudo_map_counts, rates
from mmfrac.engine.runner.run_log import logged_keys, read_scalars
from tests.configs.test_configs import tiny_config


def film(target, valid, boxes=(), scale=(2.0, 2.0)):
    sample = DetDataSample(
        metainfo=dict(
            scale_factor=scale,
            img_shape=(4 * len(target), 4 * len(target[0])),
            instances=[dict(bbox=list(box), ignore_flag=0) for box in boxes],
        )
    )
    sample.gt_prob_map = PixelData(
        prob_map=torch.tensor(target, dtype=torch.uint8)[None], valid=torch.tensor(valid)[None]
    )
    return sample


def test_rates_by_hand():
    # film px -> cells: scale 2, stride 4, so two film px a cell
    samples = [
        film([[1, 1], [0, 0]], [[True, True], [True, True]], [(0, 0, 1.9, 1.9), (2, 0, 3.9, 1.9)]),
        film([[0, 0], [0, 1]], [[True, True], [True, False]]),
    ]
    teacher = torch.tensor([[[[0.95, 0.05], [0.85, 0.0]]], [[[0.0, 0.0], [0.0, 1.0]]]])
    pseudo = torch.tensor([[[[0.9, 0.2], [0.8, 0.0]]], [[[0.5, 0.0], [0.0, 1.0]]]])
    counts = pseudo_map_counts(teacher, pseudo, samples)
    # 7 valid cells; positive: (0.9, 0.8); true: 2, the cell outside the film is none of them
    assert counts[:6].tolist() == [7, 2, 2, 1, 2, 1]
    values = rates(counts)
    assert values['precision'] == 0.5 and values['recall'] == 0.5 and values['lesion_recall'] == 0.5
    assert values['positive_cells'] == values['true_cells'] == pytest.approx(2 / 7)
    # bins: [0, .1): predicted .05 and observed 1; .85: 1 against 0; .95: 1 against 1
    assert values['calibration_error'] == pytest.approx((0.95 + 0.85 + 0.05) / 7)
    assert rates(np.zeros_like(counts))['precision'] == 0


def test_lesions_are_found_where_axes_have_their_own_scale():
    # 1 px of the film is 4 input px, one cell, in x and 8, two cells, in y
    cells = np.zeros((6, 8), int)
    everywhere = np.ones((6, 8), bool)
    sample = film(cells, everywhere, [(4, 0, 6, 2)], scale=(4.0, 8.0))
    pseudo = torch.zeros(1, 1, 6, 8)
    pseudo[0, 0, 2, 5] = 0.9  # the midpoint (5, 1) px
    counts = pseudo_map_counts(pseudo, pseudo, [sample])
    assert counts[4:6].tolist() == [1, 1]


def test_counts_add_up_over_batches():
    rng = np.random.default_rng(0)
    shape = (6, 1, 5, 4)
    teacher, pseudo = (torch.from_numpy(rng.random(shape)) for _ in range(2))
    samples = [
        film(rng.integers(0, 2, (5, 4)), rng.random((5, 4)) < 0.8, [(1, 1, 4, 5)]) for _ in range(6)
    ]
    whole = pseudo_map_counts(teacher, pseudo, samples)
    parts = sum(
        pseudo_map_counts(teacher[i : i + 2], pseudo[i : i + 2], samples[i : i + 2])
        for i in (0, 2, 4)
    )
    np.testing.assert_allclose(whole, parts)


@pytest.mark.slow
def test_is_logged_in_semi_supervised_epochs_and_changes_nothing(tiny_data, tmp_path):
    weights = {}
    for with_hook in (False, True):
        work_dir = tmp_path / str(with_hook)
        cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, work_dir)
        # the hook runs before the last epoch, too, whose training would show what it touched
        cfg.train_cfg.update(max_epochs=3, val_interval=10)
        # mmengine keeps visualizers by name, and with it the folder of the first run
        cfg.visualizer.name = f'{tmp_path.name}_{with_hook}'
        dataset = dict(
            type='CXRDataset',
            data_root=str(tiny_data),
            ann_file='annotations/train_truth.json',
            data_prefix=dict(img='images/'),
            subset='P_pub',
            pipeline=[
                *cfg.load,
                dict(
                    type='MultiBranch',
                    branch_field=cfg.branch_field,
                    unsup_teacher=[cfg.pad, *cfg.pack],
                ),
            ],
        )
        if with_hook:
            cfg.custom_hooks.append(dict(type='PseudoTruthHook', dataset=dataset, batch_size=2))
        runner = Runner.from_cfg(cfg)
        runner.train()
        weights[with_hook] = runner.model.state_dict()
    assert weights[False].keys() == weights[True].keys()
    for key, value in weights[False].items():
        torch.testing.assert_close(value, weights[True][key], rtol=0, atol=0, msg=key)
    assert weights[False]['pseudo_pipeline.0.m'] > 0
    keys = logged_keys(tmp_path / 'True', ('truth/',))
    assert 'truth/lesion_recall' in keys and len(keys) == 6
    logged = read_scalars(tmp_path / 'True', keys)
    # burn-in ends with the first epoch
    assert all(set(values) == {2, 3} for values in logged.values())
    assert logged['truth/true_cells'][2] == logged['truth/true_cells'][3] > 0


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match='must be positive'):
        PseudoTruthHook(dict(), num_films=0)


def test_a_model_without_pseudo_maps_is_left_alone():
    hook, runner = PseudoTruthHook(dict(type='none')), SimpleNamespace(model=torch.nn.Linear(1, 1))
    hook.before_train(runner)
    hook.after_train_epoch(runner)
