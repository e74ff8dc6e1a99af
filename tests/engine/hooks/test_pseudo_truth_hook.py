# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import PixelData

from mmfrac.engine.hooks.pseudo_truth_hook import (
    PseudoTruthHook,
    hidden_films,
    pseudo_map_counts,
    rates,
)
from mmfrac.engine.runner.run_log import logged_keys, read_scalars
from mmfrac.evaluation.functional.calibration import reliability
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.utils.io import read_json, write_json
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


def test_the_calibration_error_is_that_of_the_reports():
    # 0.5 lies in (0.4, 0.5] and 0.5625 in (0.5, 0.6]: |0.5 - 1| + |0.5625 - 0| over two cells
    teacher = torch.tensor([[[[0.5, 0.5625]]]])
    counts = pseudo_map_counts(teacher, teacher, [film([[1, 0]], [[True, True]])])
    assert rates(counts)['calibration_error'] == 0.53125
    assert reliability([1, 0], [0.5, 0.5625]).ece == 0.53125
    # every edge, and both ends
    edges = np.arange(11, dtype=np.float32) / 10
    truth = np.arange(11) % 2
    counts = pseudo_map_counts(
        torch.tensor(edges)[None, None, None],
        torch.tensor(edges)[None, None, None],
        [film([truth.tolist()], [[True] * 11])],
    )
    assert rates(counts)['calibration_error'] == pytest.approx(reliability(truth, edges).ece)


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


def films_of(root, part, subset, **options):
    return dict(
        type='CXRDataset',
        data_root=str(root),
        ann_file=f'annotations/{part}.json',
        data_prefix=dict(img='images/'),
        subset=subset,
        pipeline=[],
        **options,
    )


def training_of(root, part='train', **options):
    init_default_scope('mmdet')
    return [
        DATASETS.build(films_of(root, part, subset, **options))
        for subset in ('P_hos', 'N', 'P_pub')
    ]


def names(films):
    return [films.dataset.file_names()[index] for index in films.indices]


@pytest.fixture
def root(tiny_data, tmp_path):
    """The tiny films with annotation files of their own; films 10 to 14 are P_pub."""
    (tmp_path / 'images').symlink_to(tiny_data / 'images')
    for part in ('train', 'train_truth'):
        path = f'annotations/{part}.json'
        write_json(tmp_path / path, read_json(tiny_data / path))
    return tmp_path


PUBLIC = [f'train_{number}.png' for number in range(10, 15)]


def test_films_that_are_p_pub_in_the_training(root):
    truth = films_of(root, 'train_truth', 'P_pub')
    assert names(hidden_films(truth, training_of(root))) == PUBLIC
    # half of the boxes are hidden besides: the films are the same
    assert names(hidden_films(truth, training_of(root, label_fraction=0.5))) == PUBLIC
    # half of the hidden boxes are trained with
    training = training_of(root, 'train_truth', label_fraction=0.5, complete_boxes=True)
    with_boxes, _, without = (set(one.file_names()) for one in training)
    assert with_boxes & set(PUBLIC) and without & set(PUBLIC)
    assert names(hidden_films(truth, training)) == [name for name in PUBLIC if name in without]


def test_the_training_says_what_is_p_pub_where_the_truth_does_not(root):
    path = root / 'annotations/train_truth.json'
    content = read_json(path)
    for image in content['images']:
        image['regions'] = True
    write_json(path, content)
    truth = films_of(root, 'train_truth', 'P_pub')
    assert names(hidden_films(truth, training_of(root))) == PUBLIC
    # one whose box is not known counts as no film of the truth
    content['images'] = [image for image in content['images'] if image['id'] != 13]
    content['annotations'] = [box for box in content['annotations'] if box['image_id'] != 13]
    write_json(path, content)
    known = [name for name in PUBLIC if name != 'train_12.png']
    assert names(hidden_films(truth, training_of(root))) == known


def test_p_pub_films_of_label_fraction_alone(root):
    for part in ('train', 'train_truth'):
        path = root / f'annotations/{part}.json'
        content = read_json(path)
        content['images'] = content['images'][:10]
        content['annotations'] = [b for b in content['annotations'] if b['image_id'] <= 10]
        write_json(path, content)
    training = training_of(root, label_fraction=0.5)
    hidden = training[2].file_names()
    assert len(hidden) == 2
    assert names(hidden_films(films_of(root, 'train_truth', 'P_pub'), training)) == hidden


def test_sets_that_do_not_tell_of_their_films_choose_nothing(root):
    training_of(root)
    films = hidden_films(films_of(root, 'train_truth', 'P_pub'), [object()])
    assert names(films) == PUBLIC


def semi_runner(burn_in, root, lines):
    model = SemiProbMapDetector.__new__(SemiProbMapDetector)
    torch.nn.Module.__init__(model)
    model.semi_train_cfg = dict(burn_in_epochs=burn_in)
    return SimpleNamespace(
        model=model,
        max_epochs=2,
        logger=SimpleNamespace(warning=lines.append),
        train_dataloader=SimpleNamespace(dataset=SimpleNamespace(datasets=training_of(root))),
    )


def test_training_needs_no_hidden_boxes(root):
    truth, lines = films_of(root, 'train_truth', 'P_pub'), []
    hook = PseudoTruthHook(truth, num_films=3)
    hook.before_train(semi_runner(1, root, lines))
    assert names(hook._images.dataset) == PUBLIC and hook._images.indices == [0, 2, 4]
    (root / 'annotations/train_truth.json').unlink()
    # no epoch is semi-supervised
    for burn_in in (2, 'all'):
        PseudoTruthHook(truth).before_train(semi_runner(burn_in, root, lines))
    assert not lines
    hook = PseudoTruthHook(truth)
    hook.before_train(semi_runner(1, root, lines))
    assert len(lines) == 1 and 'annotations/train_truth.json: pseudo maps are not' in lines[0]
    model = SimpleNamespace(is_semi_supervised=True)
    hook.after_train_epoch(SimpleNamespace(model=model))  # measures nothing
    # a truth that has no boxes of them
    content = read_json(root / 'annotations/train.json')
    content['images'] = content['images'][:10]
    write_json(root / 'annotations/train_truth.json', content)
    PseudoTruthHook(truth).before_train(semi_runner(1, root, lines))
    assert len(lines) == 2 and 'no boxes of the P_pub films' in lines[1]
