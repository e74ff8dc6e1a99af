# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import math
import runpy
import sys

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData

from mmfrac.experiments import label_value as label_value_module
from mmfrac.experiments.label_value import (
    LOG_FACTORS,
    LesionsFound,
    label_value,
    measure_label_value,
)
from mmfrac.utils.config import film_sets, set_label_fraction
from tests.tools.tiny_run import ROOT, write_config

TOOL = str(ROOT / 'tools/analysis_tools/label_value.py')


def batch(maps, truth, valid=None):
    valid = torch.ones_like(maps, dtype=torch.bool) if valid is None else valid
    samples = []
    for cells in valid:
        sample = DetDataSample(metainfo=dict(img_path='film', label=1))
        sample.gt_prob_map = PixelData(valid=cells)
        samples.append(sample)
    return maps, truth, valid, samples


def test_by_hand():
    maps, truth = torch.zeros(2, 1, 6, 6), torch.zeros(2, 1, 6, 6)
    # two peaks of .2 and .5, the second is true: P = .6; a film of one wrong peak
    maps[0, 0, 0, 0], maps[0, 0, 5, 5], truth[0, 0, 5, 5] = 0.2, 0.5, 1
    maps[1, 0, 3, 3], truth[1, 0, 0, 3] = 0.25, 1
    found = label_value([batch(maps, truth)])
    assert found.films == 2
    assert found.mass == pytest.approx(0.95 / 2, rel=1e-3)
    assert found.peak == 0.5
    missed = -math.log(1e-6)  # cells are at least that probable, and at most 1 less that
    as_is = -math.log(0.8) - math.log(0.5) - math.log(0.75) + missed
    assert found.as_is == pytest.approx(as_is / 72 * 1000, rel=1e-3)
    # the one wrong peak explains the label alone
    posterior = -math.log(1 - 0.2 / 0.6) - math.log(0.5 / 0.6) + missed + missed
    assert found.posterior == pytest.approx(posterior / 72 * 1000, rel=1e-3)
    assert found.scaled <= found.as_is
    assert found.scaled_posterior <= found.posterior


def test_best_factor_undoes_another_one():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(40, 1, 12, 12, generator=generator) * 0.2
    truth = (torch.rand(40, 1, 12, 12, generator=generator) < maps).float()
    calibrated = label_value([batch(maps, truth)])
    unsure = maps / (math.e + (1 - math.e) * maps)
    found = label_value([batch(unsure[:13], truth[:13]), batch(unsure[13:], truth[13:])])
    assert found.scaled == pytest.approx(calibrated.scaled, rel=1e-5)
    assert found.as_is > 1.03 * found.scaled
    assert calibrated.mass == pytest.approx(1, rel=0.1)
    assert found.mass < 0.5 < calibrated.mass
    assert 1.0 in LOG_FACTORS


def test_cells_without_an_image_do_not_count():
    maps, truth = torch.rand(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    truth[..., 2, 2] = 1
    valid = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    valid[..., 6:] = False
    other, other_truth = maps.clone(), truth.clone()
    other[..., 6:], other_truth[..., 6:] = 0.999, 1
    assert label_value([batch(maps, truth, valid)]) == label_value(
        [batch(other, other_truth, valid)]
    )


def test_without_boxes_nothing_can_be_said():
    with pytest.raises(ValueError, match='2 films without a true cell'):
        label_value([batch(torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))])


def test_lesions_that_the_maps_show_by_hand():
    # films of 32 px at half their size, maps of stride 4: a cell is of 8 px of the film
    maps, truth = torch.full((2, 1, 4, 4), 0.4), torch.zeros(2, 1, 4, 4)
    maps[0, 0, 1, 2] = 0.6  # row 1, column 2: midpoints of x 16 to 24, y 8 to 16
    maps[1, 0, 3, 3] = 0.9
    maps, truth, valid, samples = batch(maps, truth)
    boxes = [[(14, 6, 26, 18), (0, 0, 8, 8)], [(20, 20, 36, 36)]]
    for sample, found in zip(samples, boxes):
        instances = [dict(bbox=box, ignore_flag=0) for box in found]
        instances.append(dict(bbox=(0, 0, 4, 4), ignore_flag=1))
        sample.set_metainfo(
            dict(instances=instances, scale_factor=(0.5, 0.5), batch_input_shape=(16, 16))
        )
        sample.gt_prob_map.prob_map = truth[0]
    counter = LesionsFound()
    assert counter.share is None
    one = (maps, truth, valid, samples)
    assert list(counter.counted([one, one])) == [one, one]
    assert (counter.lesions, counter.hits) == (6, 4)
    assert counter.share == pytest.approx(2 / 3)


def test_tool(tiny_data, tmp_path, monkeypatch, capsys):
    init_default_scope('mmdet')
    config = write_config(tmp_path, tiny_data, base='phantom/frac_ssl_phantom_v2.py')
    for seed in range(2):
        torch.manual_seed(seed)
        model = MODELS.build(Config.fromfile(config).model.detector)
        torch.save(dict(state_dict=model.state_dict()), tmp_path / f'{seed}.pth')
    words = [TOOL, str(config), *(str(tmp_path / f'{seed}.pth') for seed in range(2))]
    monkeypatch.setattr(sys, 'argv', [*words, '--out', str(tmp_path / 'value.json')])
    runpy.run_path(TOOL, run_name='__main__')
    content = json.loads((tmp_path / 'value.json').read_text())
    first, second, both = content.values()
    assert list(content)[2] == 'mean of 2'
    # of the tiny set's five films of P_pub
    assert [one['films'] for one in content.values()] == [5, 5, 5]
    assert both['mass'] == pytest.approx((first['mass'] + second['mass']) / 2)
    assert f'| mean of 2 | 5 | {both["mass"]:.2f} |' in capsys.readouterr().out


@pytest.fixture
def counters(monkeypatch):
    """Those that a measurement makes: of hidden lesions, and of those trained on."""
    made = []

    class Noted(LesionsFound):
        def __init__(self):
            super().__init__()
            made.append(self)

    monkeypatch.setattr(label_value_module, 'LesionsFound', Noted)
    return made


@pytest.mark.parametrize('fraction', [None, 0.5])
def test_hidden_lesions_and_those_trained_on_are_told_apart(
    tiny_data, tmp_path, counters, fraction
):
    init_default_scope('mmdet')
    cfg = Config.fromfile(write_config(tmp_path, tiny_data, base='phantom/frac_ssl_phantom_v2.py'))
    if fraction is not None:
        set_label_fraction(cfg, fraction)
    model = MODELS.build(cfg.model.detector)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    found = measure_label_value(cfg, [str(tmp_path / 'a.pth')])
    hidden, boxed = counters
    assert (found.found, found.found_boxed) == (hidden.share, boxed.share)

    def boxes(part, source):
        content = json.loads((tiny_data / f'annotations/{part}.json').read_text())
        images = {image['id'] for image in content['images'] if image['source'] == source}
        return sum(box['image_id'] in images for box in content['annotations'])

    assert hidden.lesions == boxes('train_truth', 'public') > 0
    assert boxed.lesions > 0
    if fraction is None:
        assert boxed.lesions == boxes('train', 'hospital') != hidden.lesions
    else:
        assert boxed.lesions < boxes('train', 'hospital')


def test_films_whose_hidden_boxes_are_trained_with_are_not_measured(tiny_data, tmp_path, counters):
    init_default_scope('mmdet')
    cfg = Config.fromfile(write_config(tmp_path, tiny_data, base='phantom/frac_ssl_phantom_v2.py'))
    for one in film_sets(cfg.train_dataloader):
        one.update(ann_file='annotations/train_truth.json', complete_boxes=True)
    set_label_fraction(cfg, 0.5)
    trained, hidden = (
        DATASETS.build(one) for one in film_sets(cfg.train_dataloader) if one.subset != 'N'
    )
    public = [name for name in hidden.file_names() if int(name[6:-4]) >= 10]
    assert 0 < len(public) < 5
    model = MODELS.build(cfg.model.detector)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    assert measure_label_value(cfg, [str(tmp_path / 'a.pth')]).films == len(public)
    # a film has one lesion
    assert [one.lesions for one in counters] == [len(public), len(trained)]


def test_training_without_boxed_films_has_no_share_of_them(tiny_data, tmp_path):
    init_default_scope('mmdet')
    cfg = Config.fromfile(write_config(tmp_path, tiny_data, base='phantom/frac_ssl_phantom_v2.py'))
    for one in film_sets(cfg.train_dataloader):
        one['subset'] = 'P_pub'
    model = MODELS.build(cfg.model.detector)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    found = measure_label_value(cfg, [str(tmp_path / 'a.pth')])
    assert found.found is not None and found.found_boxed is None


def test_config_without_hidden_boxes_is_named(tmp_path, tiny_data, monkeypatch, capsys):
    config = write_config(tmp_path, tiny_data)
    monkeypatch.setattr(sys, 'argv', [TOOL, str(config), 'any.pth'])
    with pytest.raises(SystemExit):
        runpy.run_path(TOOL, run_name='__main__')
    assert 'has no truth_dataset' in capsys.readouterr().err
