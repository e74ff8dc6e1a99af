# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch

from mmfrac.datasets.transforms.targets import ProbMapTarget
from mmfrac.evaluation import FracMetric
from tests.models.small_model import PREPROCESSOR, build, collate, film, semi_cfg

BACKBONE = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_eval=False)


def classifier(**options):
    cfg = dict(
        type='CAMClassifier', backbone=BACKBONE, in_channels=64, data_preprocessor=PREPROCESSOR
    )
    return build(dict(cfg, **options))


class Stage(torch.nn.Module):
    """A backbone whose last stage is given."""

    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def forward(self, inputs):
        return (None, self.stage.expand(len(inputs), -1, -1, -1))


def given(cells):
    """A classifier whose cell logits are 2 * cells + 1."""
    model = classifier(in_channels=1)
    model.backbone = Stage(torch.tensor(cells, dtype=torch.float32)[None, None])
    torch.nn.init.constant_(model.cam_head.weight, 2.0)
    torch.nn.init.constant_(model.cam_head.bias, 1.0)
    return model


def test_images_of_eight_bits_are_refused():
    data = collate([film('a', label=0)])
    data['inputs'] = [(image * 255).byte() for image in data['inputs']]
    with pytest.raises(ValueError, match='an image of uint8, films are float'):
        given([[0]]).data_preprocessor(data, False)


def run(model, films, mode):
    data = model.data_preprocessor(collate(films), training=mode == 'loss')
    return model(**data, mode=mode)


def test_map_score_and_loss_by_hand():
    # a 64 px input, 48 px of it film: both rows of cells of 32 px lie on the film
    model = given([[0.0, 1.0], [-1.0, 0.5]])
    logits = torch.tensor([[1.0, 3.0], [-1.0, 2.0]])
    mean = logits.mean()
    assert torch.equal(run(model, [film('a')], 'tensor')[0, 0], logits)
    (sample,) = run(model.eval(), [film('a')], 'predict')
    torch.testing.assert_close(sample.pred_prob_map.data[0], logits.sigmoid())
    torch.testing.assert_close(sample.pred_score, mean.sigmoid())
    assert sample.map_scale == (32.0, 32.0)
    unknown = film('b', label=-1)
    losses = run(model, [film('a', label=1, regions=False), film('c', label=0), unknown], 'loss')
    expected = (-mean.sigmoid().log() - (1 - mean.sigmoid()).log()) / 2
    assert set(losses) == {'loss_image'}
    torch.testing.assert_close(losses['loss_image'], expected)
    assert run(model, [unknown], 'loss')['loss_image'] == 0


def test_padding_is_left_out_of_map_score_and_loss():
    # 128 px, 96 of them film: the fourth row of cells is padding
    model = given([[0.0] * 4] * 3 + [[50.0] * 4])
    (sample,) = run(model.eval(), [film('a', size=128)], 'predict')
    assert sample.pred_prob_map.data.shape == (1, 3, 4)
    expected = torch.tensor(1.0).sigmoid()
    torch.testing.assert_close(sample.pred_score, expected)
    loss = run(model, [film('a', size=128)], 'loss')['loss_image']
    torch.testing.assert_close(loss, -expected.log())


def test_a_film_is_averaged_alike_in_training_and_prediction():
    # the film reaches by one px into the third column of cells
    packed = film('a', size=96)
    sample = packed['data_samples']
    sample.set_metainfo(dict(ori_shape=(64, 65)))
    target = ProbMapTarget().transform(dict(img_shape=(96, 96), ori_shape=(64, 65)))
    sample.gt_prob_map.valid = torch.from_numpy(target['valid_map'])[None]
    model = given([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [9.0, 9.0, 9.0]])
    # logits 1, 3 and 5 in each of its rows
    expected = torch.tensor(3.0).sigmoid()
    torch.testing.assert_close(run(model, [packed], 'loss')['loss_image'], -expected.log())
    (found,) = run(model.eval(), [packed], 'predict')
    torch.testing.assert_close(found.pred_score, expected)


def test_metric_takes_image_score_and_the_coarse_map_in_film_px():
    model = given([[0.0, 0.0], [0.0, 1.0]]).eval()
    packed = film('a', boxes=[(40, 34, 60, 46)])  # its midpoint (50, 40) lies in the last cell
    packed['data_samples'].set_metainfo(dict(scale_factor=(0.5, 0.5), ori_shape=(96, 128)))
    packed['data_samples'].instances[0]['bbox'] = [80, 68, 120, 92]
    (sample,) = run(model, [packed], 'predict')
    assert sample.map_scale == (64.0, 64.0)
    metric = FracMetric()
    metric.process(None, [sample.detach().to_dict()])
    (result,) = metric.results
    assert result['score'] == pytest.approx(torch.tensor(1.5).sigmoid().item())
    assert result['record'].image_score == pytest.approx(torch.tensor(3.0).sigmoid().item())
    assert np.allclose(result['record'].lesion_scores, torch.tensor(3.0).sigmoid().item())


def test_learns_a_label_from_films_without_boxes():
    model = classifier().train()
    films = [film('a', regions=False), film('b', label=0)]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = run(model, films, 'loss')['loss_image']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_backbone_of_a_supervised_model_loads():
    semi, model = build(semi_cfg()), classifier()
    missing, unexpected = model.load_state_dict(semi.state_dict(), strict=False)
    assert sorted(missing) == ['cam_head.bias', 'cam_head.weight']
    assert not any(key.startswith('backbone') for key in unexpected)
    for one, other in zip(model.backbone.parameters(), semi.student.backbone.parameters()):
        assert torch.equal(one, other)


def test_a_backbone_of_one_channel_takes_the_grey_plane():
    three = classifier().eval()
    grey = classifier(backbone=dict(BACKBONE, in_channels=1)).eval()
    state = three.state_dict()
    first = 'backbone.conv1.weight'
    grey.load_state_dict({**state, first: state[first].sum(dim=1, keepdim=True)})
    images = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(grey.logits(images), three.logits(images), rtol=1e-4, atol=1e-5)
