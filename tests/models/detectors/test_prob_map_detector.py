# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch

from mmfrac.models.postprocess import add_prediction
from tests.models.small_model import build, collate, detector_cfg, film, semi_batch, semi_cfg


@pytest.fixture(scope='module')
def detector():
    return build(detector_cfg()).eval()


def run(detector, films, mode):
    data = detector.data_preprocessor(collate(films), training=mode == 'loss')
    return detector(**data, mode=mode)


def test_untrained_map_is_at_the_prior(detector):
    logits = run(detector, [film('a'), film('b')], 'tensor')
    assert logits.shape == (2, 1, 16, 16)
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.5)


def test_predict_crops_padding_and_fills_the_sample(detector):
    (sample,) = run(detector, [film('a')], 'predict')
    logits = run(detector, [film('a')], 'tensor')
    torch.testing.assert_close(sample.pred_prob_map.data, logits[0, :, :12].sigmoid())
    assert sample.pred_score == sample.pred_prob_map.data.max()
    assert sample.map_scale == (4, 4)
    assert len(sample.pred_instances) == 0


def test_scale_factor_gives_film_pixels(detector):
    resized = film('a')
    resized['data_samples'].set_metainfo(dict(ori_shape=(96, 128), scale_factor=(0.5, 0.5)))
    detector.test_cfg['component_thr'] = 0.0
    (sample,) = run(detector, [resized], 'predict')
    detector.test_cfg['component_thr'] = 0.2
    assert sample.map_scale == (8, 8)
    # at threshold 0 the only component is the whole film
    np.testing.assert_allclose(sample.pred_instances.bboxes, [[0, 0, 128, 96]])
    torch.testing.assert_close(sample.pred_instances.scores[0], sample.pred_score)


def test_rounding_brings_in_no_padding(detector):
    width, resized = 70, 116
    assert width * (resized / width) / 4 > resized // 4  # the trap
    rounded = film('a', size=128)
    rounded['data_samples'].set_metainfo(
        dict(ori_shape=(width, width), scale_factor=(resized / width, resized / width))
    )
    (sample,) = run(detector, [rounded], 'predict')
    assert sample.pred_prob_map.data.shape == (1, resized // 4, resized // 4)


def test_grey_plane_equals_three_equal_channels(detector):
    one = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(detector.logits(one), detector.logits(one.expand(-1, 3, -1, -1)))


def test_a_backbone_of_one_channel_takes_the_grey_plane():
    cfg = detector_cfg()
    cfg['backbone']['in_channels'] = 1
    grey = build(cfg).eval()
    images = torch.rand(2, 1, 64, 64)
    three = build(detector_cfg()).eval()
    state = three.state_dict()
    state['backbone.conv1.weight'] = state['backbone.conv1.weight'].sum(1, keepdim=True)
    grey.load_state_dict(state)
    torch.testing.assert_close(grey.logits(images), three.logits(images), rtol=1e-4, atol=1e-5)


def test_an_unknown_option_of_test_cfg_is_refused():
    with pytest.raises(
        ValueError, match=r"has no option \['score_thr'\]; it takes \['component_thr'"
    ):
        build(dict(detector_cfg(), test_cfg=dict(component_thr=0.3, score_thr=0.05)))


def test_images_of_eight_bits_are_refused(detector):
    semi = build(semi_cfg())
    for model in (detector, semi):
        data = collate([film('a', label=0)])
        model.data_preprocessor(data, False)
        images = [(image * 255).byte() for image in data['inputs']]
        for data['inputs'] in (images, torch.stack(images)):
            with pytest.raises(ValueError, match='an image of uint8, films are float'):
                model.data_preprocessor(data, False)


def test_a_batch_with_branches_is_refused(detector):
    data = semi_batch([film('a', label=0)], [film('c', regions=False)])
    message = r'plain model .* branches .*\(sup, unsup_teacher, unsup_student\)'
    with pytest.raises(ValueError, match=message):
        detector.data_preprocessor(data, True)


def test_padding_and_unknown_masks_do_not_move_the_loss(detector):
    films = [film('a', boxes=[(8, 8, 24, 24)]), film('b', label=0)]
    loss = run(detector, films, 'loss')['loss_sup']
    changed = [film('a', boxes=[(8, 8, 24, 24)]), film('b', label=0)]
    changed[0]['data_samples'].gt_prob_map.prob_map[:, 12:] = 1
    torch.testing.assert_close(run(detector, changed, 'loss')['loss_sup'], loss)
    # a positive film without regions has no mask to learn from
    more = [*films, film('c', regions=False), film('d', label=-1)]
    with torch.no_grad():
        logits = detector.logits(detector.data_preprocessor(collate(more))['inputs'])
    head = detector.prob_map_head
    known = head.loss_by_targets(logits[:2], head.targets([f['data_samples'] for f in films]))
    every = head.loss_by_targets(logits, head.targets([f['data_samples'] for f in more]))
    torch.testing.assert_close(known['loss_sup'], every['loss_sup'])


def test_learns_one_film():
    detector = build(detector_cfg(loss=dict(type='WeightedBCELoss', alpha_r=10, alpha_l=1.0)))
    lesion = film('a', boxes=[(16, 16, 32, 32)])
    lesion['inputs'][:, 16:32, 16:32] += 1
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    for _ in range(40):
        loss = run(detector.train(), [lesion, film('b', label=0)], 'loss')['loss_sup']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    (sample,) = run(detector.eval(), [lesion], 'predict')
    row, column = divmod(sample.pred_prob_map.data.argmax().item(), 16)
    assert 4 <= row < 8 and 4 <= column < 8
    assert sample.pred_score > 0.5


def test_too_few_pyramid_levels():
    detector = build(detector_cfg())
    with pytest.raises(ValueError, match='4 pyramid levels'):
        detector.prob_map_head(detector.extract_feat(torch.rand(1, 1, 64, 64))[:2])


def test_channels_last_changes_the_memory_and_not_the_values(detector):
    fast = detector
    detector = build(dict(detector_cfg(), channels_last=False)).eval()
    detector.load_state_dict(fast.state_dict())
    films = [film('a'), film('b', boxes=[[8, 8, 24, 24]])]
    fast.eval()
    for level in fast.extract_feat(torch.zeros(2, 1, 64, 64)):
        assert level.is_contiguous(memory_format=torch.channels_last)
    for level in detector.extract_feat(torch.zeros(2, 1, 64, 64)):
        assert level.is_contiguous()
    torch.testing.assert_close(run(fast, films, 'tensor'), run(detector, films, 'tensor'))
    for model in (fast, detector):
        model.zero_grad()
        run(model, films, 'loss')['loss_sup'].backward()
    for (name, one), other in zip(fast.named_parameters(), detector.parameters()):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_student_of_a_teacher_student_checkpoint_loads():
    semi, detector = build(semi_cfg(teacher=dict(type='MeanTeacher'))), build(detector_cfg())
    with torch.no_grad():
        for parameter in semi.student.parameters():
            parameter.add_(1)
    missing, _ = detector.load_state_dict(semi.state_dict(), strict=False)
    assert not missing
    for one, other in zip(detector.parameters(), semi.student.parameters()):
        assert torch.equal(one, other)


def test_crop_and_scale_where_axes_have_their_own():
    # 50 x 25 px of film are 55 x 47.5 px of input, so 13.75 columns and 11.875 rows of stride 4
    detector = build(detector_cfg()).eval()
    one = film('a', size=64)
    one['data_samples'].set_metainfo(dict(ori_shape=(25, 50), scale_factor=(1.1, 1.9)))
    data = detector.data_preprocessor(collate([one]))
    (sample,) = detector(**data, mode='predict')
    whole = detector.logits(data['inputs']).sigmoid()
    torch.testing.assert_close(sample.pred_prob_map.data, whole[0, :, :12, :14])
    assert sample.map_scale == pytest.approx((4 / 1.1, 4 / 1.9))
    # a component of one cell: column 3, row 5 of the film
    prob_map = torch.zeros(1, 12, 14)
    prob_map[0, 5, 3] = 0.9
    add_prediction(sample, prob_map, prob_map.amax(), 4, detector.test_cfg)
    (box,) = sample.pred_instances.bboxes.tolist()
    assert box == pytest.approx([12 / 1.1, 20 / 1.9, 16 / 1.1, 24 / 1.9])


@pytest.mark.parametrize(('stride', 'cells'), [(2, 32), (4, 16), (8, 8), (16, 4)])
def test_the_head_decides_the_stride(stride, cells):
    detector = build(detector_cfg(stride=stride)).eval()
    one = film('a', size=64)
    data = detector.data_preprocessor(collate([one]))
    assert detector.logits(data['inputs']).shape == (1, 1, cells, cells)
    (sample,) = detector(**data, mode='predict')
    assert sample.pred_prob_map.data.shape == (1, cells * 3 // 4, cells)
    assert sample.map_scale == (stride, stride)


def test_a_target_of_another_stride_is_an_error_that_names_both():
    detector = build(detector_cfg(stride=8))
    message = r'8 x 8 cells \(stride 8\), the targets have 16 x 16 \(stride 4\).*stride=8'
    with pytest.raises(ValueError, match=message):
        run(detector, [film('a', boxes=[(8, 8, 24, 24)])], 'loss')


def test_a_neck_of_another_stride_is_an_error():
    cfg = detector_cfg(num_levels=3)
    cfg['neck'].update(start_level=1, num_outs=3)
    with pytest.raises(ValueError, match=r'8 x 8 cells for an input of 64 x 64.*featmap_stride'):
        build(cfg).logits(torch.rand(1, 1, 64, 64))
    cfg['prob_map_head']['featmap_stride'] = 8
    assert build(cfg).logits(torch.rand(1, 1, 64, 64)).shape == (1, 1, 16, 16)


@pytest.mark.parametrize('options', [dict(stride=0), dict(featmap_stride=0)])
def test_bad_strides(options):
    with pytest.raises(ValueError, match='strides must be positive'):
        build(detector_cfg(**options))


@pytest.mark.parametrize('field', ['label', 'regions'])
def test_a_sample_without_label_is_no_guess(field):
    one = film('a', boxes=[(8, 8, 24, 24)])
    delattr(one['data_samples'], field)
    with pytest.raises(ValueError, match='data sample of a does not say label and regions'):
        run(build(detector_cfg()), [one], 'loss')
