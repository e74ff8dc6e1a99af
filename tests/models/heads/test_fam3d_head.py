# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FAM-3D and the losses of Consistent-Teacher's head, by hand."""

import math

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmfrac.models.heads.fam3d_head import sample_at_offsets, shift_levels
from tests.configs.test_configs import CONFIGS


def head_of(**options):
    """A head on strides of 8 and 16 px with anchors of 64 and 128 px; its boxes are the anchors."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / 'compare/phantom/consistent_teacher.py').model.detector
    anchors = dict(cfg.bbox_head.anchor_generator, strides=[8, 16], octave_base_scale=8)
    head = dict(cfg.bbox_head, anchor_generator=anchors, train_cfg=cfg.train_cfg) | options
    head = MODELS.build(head)
    head.init_weights()
    for part in (head.box_conv, head.level_offset, head.cell_offset):
        torch.nn.init.zeros_(part.weight)
    return head


def levels(width=4):
    return [torch.randn(2, 32, 4, width), torch.randn(2, 32, 2, width // 2)]


class TestSampleAtOffsets:
    VALUES = torch.arange(12.0).reshape(1, 1, 3, 4)

    def moved(self, down, right):
        offsets = torch.tensor([down, right]).reshape(1, 2, 1, 1).expand(1, 2, 3, 4)
        return sample_at_offsets(self.VALUES, offsets)[0, 0].round(decimals=4).tolist()

    def test_whole_cells(self):
        assert self.moved(0.0, 0.0) == self.VALUES[0, 0].tolist()
        assert self.moved(1.0, 0.0) == [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]
        assert self.moved(0.0, -1.0) == [[0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]]

    def test_between_cells(self):
        # a quarter of the way right and half of the way down
        assert self.moved(0.5, 0.25)[0][0] == pytest.approx(0.25 + 2)

    def test_each_channel_and_cell_has_its_own(self):
        values = self.VALUES.expand(2, 2, 3, 4)
        offsets = torch.zeros(2, 4, 3, 4)
        offsets[1, 2, 0, 0] = 2.0  # the second channel of the second image, down
        offsets[0, 1, 1, 1] = 1.0  # the first of the first, right
        expected = values.clone()
        expected[1, 1, 0, 0] = 8
        expected[0, 0, 1, 1] = 6
        assert torch.allclose(sample_at_offsets(values, offsets), expected, atol=1e-4)


def test_shift_between_levels():
    values = [
        torch.full((1, 1, 2**n, 2**n), value) for n, value in ((2, 10.0), (1, 20.0), (0, 40.0))
    ]

    def shifted(offset):
        offsets = [torch.full_like(value, offset) for value in values]
        found = shift_levels(values, offsets)
        assert all(one.shape == value.shape for one, value in zip(found, values))
        assert all((one == one[0, 0, 0, 0]).all() for one in found)
        return [one[0, 0, 0, 0].item() for one in found]

    assert shifted(0.0) == [10, 20, 40]
    # the coarsest has none above it, the finest none below
    assert shifted(0.25) == [12.5, 25, 40]
    assert shifted(-0.5) == [10, 15, 30]
    # never further than the neighbour
    assert shifted(3.0) == [20, 40, 40]
    assert shifted(-3.0) == [10, 10, 20]


class TestHead:
    def test_without_offsets_boxes_are_the_towers(self):
        head = head_of()
        probs, boxes = head(levels())
        assert [tuple(one.shape) for one in probs] == [(2, 1, 4, 4), (2, 1, 2, 2)]
        # the anchor of row 1 and column 2, in strides
        for one in boxes:
            assert one[1, :, 1, 1].tolist() == pytest.approx([-3, -3, 5, 5])
        assert boxes[0][0, :, 1, 2].tolist() == pytest.approx([-2, -3, 6, 5])
        assert all(one.mean().item() == pytest.approx(0.01, abs=0.005) for one in probs)

    def test_offsets_move_the_sides(self):
        head = head_of()
        # right of x1 by one cell, down of y2 by half a cell
        head.cell_offset.bias.data[[1, 6]] = torch.tensor([1.0, 0.5])
        _, boxes = head(levels())
        assert boxes[0][0, :, 1, 1].tolist() == pytest.approx([-2, -3, 5, 5.5])
        # beyond the border the last cell is read
        assert boxes[0][0, :, 3, 3].tolist() == pytest.approx([-1, -1, 7, 7])

    def test_boxes_of_the_next_level(self):
        head = head_of()
        head.level_offset.bias.data.fill_(1.0)
        _, boxes = head(levels())
        # 128 px in strides of 8; the coarsest level has none above it
        fine, coarse = [one[:, 2:] - one[:, :2] for one in boxes]
        assert torch.allclose(fine, torch.tensor(16.0)) and torch.allclose(
            coarse, torch.tensor(8.0)
        )
        head.level_offset.bias.data.fill_(-0.5)
        _, boxes = head(levels())
        fine, coarse = [one[:, 2:] - one[:, :2] for one in boxes]
        # half of 128 and half of 64 px in strides of 16
        assert torch.allclose(fine, torch.tensor(8.0)) and torch.allclose(coarse, torch.tensor(6.0))

    def test_sides_that_cross_are_undone(self):
        head = head_of()
        head.cell_offset.bias.data[1] = 10.0
        _, boxes = head(levels(width=12))
        # x1 moved by 10 and by 7 strides; a box has 8
        assert boxes[0][0, :, 0, 0].tolist() == pytest.approx([-4, -4, 4, 4])
        assert boxes[0][0, :, 0, 4].tolist() == pytest.approx([7, -4, 8, 4])

    def test_losses_of_a_level_by_hand(self):
        head = head_of()
        probs = torch.tensor([0.8, 0.1]).reshape(1, 1, 1, 2)
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 1, 1]]).T.reshape(1, 4, 1, 2)
        targets = torch.tensor([[[0.0, 0, 16, 32], [0, 0, 0, 0]]])
        found = head.loss_by_feat_single(
            torch.zeros(1, 2, 4),
            probs,
            boxes,
            torch.tensor([[0, 1]]),
            torch.ones(1, 2),
            targets,
            torch.tensor([[0.5, 0.0]]),
            (8, 8),
        )
        cls = 0.25 * 0.2**2 * -math.log(0.8) + 0.75 * 0.1**2 * -math.log(0.9)
        # GIoU 0.5, weight 0.5, weight of the loss 2
        assert [one.item() for one in found] == pytest.approx([cls, 0.5, 0.5, 0.5], rel=1e-4)

    @pytest.mark.parametrize('with_box', [True, False])
    def test_losses_reach_all_weights(self, with_box):
        head = head_of()
        for part in (head.level_offset, head.cell_offset, head.box_conv):
            torch.nn.init.normal_(part.weight, std=0.01)
        instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0, 30, 30]])[:with_box],
            labels=torch.zeros(int(with_box)).long(),
        )
        metas = [dict(img_shape=(32, 32), pad_shape=(32, 32))] * 2
        losses = head.loss_by_feat(*head(levels()), [instances] * 2, metas)
        cls, box = sum(losses['loss_cls']), sum(losses['loss_bbox'])
        assert cls > 0 and (box > 0.01) == with_box
        (cls + box).backward()
        grads = {name: one.grad for name, one in head.named_parameters()}
        assert all(grad is not None and torch.isfinite(grad).all() for grad in grads.values())
        assert (grads['cell_offset.bias'].abs().sum() > 0) == with_box
        assert (grads['level_offset.bias'].abs().sum() > 0) == with_box

    def test_low_precision_is_left_to_the_convolutions(self):
        head = head_of()
        instances = InstanceData(
            bboxes=torch.tensor([[0.0, 0, 30, 30]]), labels=torch.zeros(1).long()
        )
        metas = [dict(img_shape=(32, 32), pad_shape=(32, 32))] * 2
        with torch.autocast('cpu', dtype=torch.bfloat16):
            probs, boxes = head(levels())
            losses = head.loss_by_feat(probs, boxes, [instances] * 2, metas)
        found = [*probs, *boxes, *losses['loss_cls'], *losses['loss_bbox']]
        assert all(one.dtype == torch.float32 for one in found)

    def test_assigner_knows_the_anchors(self):
        assert head_of().alignment_assigner.anchor_scale == 8
        cfg = Config.fromfile(CONFIGS / 'compare/phantom/consistent_teacher.py').model.detector
        generator = dict(cfg.bbox_head.anchor_generator)
        assert head_of(anchor_generator=generator).alignment_assigner.anchor_scale == 4

    def test_wrong_options(self):
        with pytest.raises(ValueError, match='offset_shrink must lie'):
            head_of(offset_shrink=64)
        generator = dict(type='AnchorGenerator', ratios=[1.0, 2.0], scales=[8], strides=[8, 16])
        with pytest.raises(ValueError, match='one square anchor'):
            head_of(anchor_generator=generator)
