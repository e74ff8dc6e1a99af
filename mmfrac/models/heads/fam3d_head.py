# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import TOODHead
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import OptConfigType
from mmengine import MessageHub
from mmengine.model import bias_init_with_prob, normal_init
from torch import Tensor, nn


@MODELS.register_module()
class FAM3DHead(TOODHead):
    r"""Dense head of Consistent-Teacher: two towers, and FAM-3D, which aligns boxes with classes.

    Wang et al., CVPR 2023, arXiv 2209.01589, section 3. From the features of both towers, at this
    level of the pyramid and its two neighbours, the head predicts three offsets for each of the four
    sides of a box at each cell: :math:`d_2`, to which level, and :math:`(d_0, d_1)`, to which cell the
    box is taken from, so that the place that classifies best need not be the place that regresses best:

    .. math:: P(i, j, l) \leftarrow P(i + d_0, j + d_1, l + d_2)

    As in the authors' code :math:`d_2` in [-1, 1] mixes the boxes of two levels and comes first, and
    boxes (not features) are moved. Two things are ours: beyond the border the nearest cell is read, not
    0; a box whose sides cross after that stays as its own cell predicts it, as in TOOD.

    Losses, targets and post-processing are those of mmdet's ``TOODHead`` with one square anchor a cell
    and ``AdaptiveSampleAssigner``: focal loss on probabilities over all anchors, the loss of boxes
    weighted by their IoU, both divided by the sum of these IoUs. They are computed in fp32.

    Args:
        num_classes (int): Classes without background.
        in_channels (int): Channels of each level.
        offset_shrink (int): The features that offsets are predicted from have ``feat_channels //
            offset_shrink`` channels a level. Defaults to 4.
        train_cfg (dict, optional): ``assigner``, and mmdet's ``allowed_border`` and ``pos_weight``.
            Defaults to None.
        kwargs: Of mmdet's ``TOODHead``: ``stacked_convs``, ``anchor_generator``, ``bbox_coder``, losses.

    Raises:
        ValueError: When a cell has several anchors or an anchor is not square, or ``offset_shrink``
            leaves no channel.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        offset_shrink: int = 4,
        train_cfg: OptConfigType = None,
        **kwargs: Any,
    ) -> None:
        feat_channels = kwargs.get('feat_channels', 256)
        if not 1 <= offset_shrink <= feat_channels:
            raise ValueError(
                f'offset_shrink must lie in [1, feat_channels={feat_channels}], got {offset_shrink}'
            )
        self.offset_channels = feat_channels // offset_shrink
        assigner = train_cfg['assigner'] if train_cfg else None
        if train_cfg:
            # what TOODHead asks for: its own assignment from the first epoch on
            tood = dict(initial_epoch=0, initial_assigner=assigner, alpha=1, beta=6)
            train_cfg = {**tood, **train_cfg}
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            anchor_type='anchor_based',
            train_cfg=train_cfg,
            **kwargs,
        )
        generator = self.prior_generator
        if self.num_base_priors != 1 or generator.ratios.tolist() != [1.0]:
            raise ValueError(
                'FAM3DHead has one square anchor a cell: ratios=[1.0] and scales_per_octave=1, got '
                f'{self.num_base_priors} anchors of ratios {generator.ratios.tolist()}'
            )
        if assigner:
            scale = dict(anchor_scale=float(generator.scales[0]))
            self.alignment_assigner = TASK_UTILS.build(assigner, default_args=scale)

    def _init_layers(self) -> None:
        # the towers and scales of ATSS
        super(TOODHead, self)._init_layers()
        del self.atss_cls, self.atss_reg, self.atss_centerness
        channels = self.feat_channels
        self.class_conv = nn.Conv2d(channels, self.cls_out_channels, 3, padding=1)
        self.box_conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.reduce = nn.Sequential(
            nn.Conv2d(2 * self.stacked_convs * channels, self.offset_channels, 1),
            nn.ReLU(inplace=True),
        )
        self.level_offset = nn.Conv2d(3 * self.offset_channels, 4, 3, padding=1)
        self.cell_offset = nn.Conv2d(3 * self.offset_channels, 8, 3, padding=1)

    def init_weights(self) -> None:
        """Normal weights; at first every class has a probability of 0.01, and offsets are near 0."""
        for conv in [*self.cls_convs, *self.reg_convs]:
            normal_init(conv.conv, std=0.01)
        normal_init(self.class_conv, std=0.01, bias=bias_init_with_prob(0.01))
        normal_init(self.box_conv, std=0.01)
        for conv in (self.reduce[0], self.level_offset, self.cell_offset):
            normal_init(conv, std=0.001)

    def forward(self, feats: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Probabilities and boxes of each level.

        Args:
            feats (Sequence[Tensor]): ``(N, in_channels, h, w)``, from the finest level.

        Returns:
            tuple: Probabilities ``(N, num_classes, h, w)`` and boxes ``(N, 4, h, w)``, xyxy in units of
            the level's stride, of each level, both fp32.
        """
        probs, boxes, reduced = [], [], []
        for level, (feat, scale) in enumerate(zip(feats, self.scales)):
            class_feat = box_feat = feat
            towers = []
            for conv in self.cls_convs:
                class_feat = conv(class_feat)
                towers.append(class_feat)
            for conv in self.reg_convs:
                box_feat = conv(box_feat)
                towers.append(box_feat)
            probs.append(self.class_conv(class_feat).float().sigmoid())
            boxes.append(self._decode(scale(self.box_conv(box_feat)).float(), level))
            reduced.append(self.reduce(torch.cat(towers, dim=1)))
        near = [torch.cat(around, dim=1) for around in with_neighbours(reduced)]
        shifted = shift_levels(boxes, [self.level_offset(one).float() for one in near])
        aligned = []
        for own, moved, feat, stride in zip(boxes, shifted, near, self.prior_generator.strides):
            moved = sample_at_offsets(moved, self.cell_offset(feat).float())
            is_box = (moved[:, :2] <= moved[:, 2:]).all(dim=1, keepdim=True)
            aligned.append(torch.where(is_box, moved, own) / stride[0])
        return tuple(probs), tuple(aligned)

    def _decode(self, deltas: Tensor, level: int) -> Tensor:
        """Boxes ``(N, 4, h, w)`` in px of the input."""
        batch, _, height, width = deltas.shape
        anchors = self.prior_generator.single_level_grid_priors(
            (height, width), level, device=deltas.device
        )
        deltas = deltas.permute(0, 2, 3, 1).reshape(-1, 4)
        boxes = self.bbox_coder.decode(anchors.repeat(batch, 1), deltas)
        return boxes.reshape(batch, height, width, 4).permute(0, 3, 1, 2)

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        *targets: Any,
        **kwargs: Any,
    ) -> dict[str, list[Tensor]]:
        """Losses of all levels.

        Args:
            cls_scores, bbox_preds (Sequence[Tensor]): As of ``forward``.
            targets, kwargs: As of mmdet's ``TOODHead``: instances, meta information, ignored instances.

        Returns:
            dict[str, list[Tensor]]: ``loss_cls`` and ``loss_bbox``, one a level.
        """
        hub = MessageHub.get_current_instance()
        if hub.get_info('epoch') is None:
            # TOODHead asks for it, and outside of a training nobody has told it
            hub.update_info('epoch', 0)
        # the cross entropy of probabilities is not to be had in low precision
        with torch.autocast(cls_scores[0].device.type, enabled=False):
            return super().loss_by_feat(list(cls_scores), list(bbox_preds), *targets, **kwargs)

    def loss_by_feat_single(
        self,
        anchors: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        alignment_metrics: Tensor,
        stride: tuple[int, int],
    ) -> tuple[Tensor, ...]:
        """Sums of the losses of a level and the sums of IoUs to divide them by.

        Args:
            anchors (Tensor): Not used.
            cls_score (Tensor): Probabilities ``(N, num_classes, h, w)``.
            bbox_pred (Tensor): ``(N, 4, h, w)`` in units of the stride.
            labels, label_weights (Tensor): ``(N, h * w)``.
            bbox_targets (Tensor): ``(N, h * w, 4)`` in px of the input.
            alignment_metrics (Tensor): IoU of assigned anchors, else 0, ``(N, h * w)``.
            stride (tuple[int, int]): Of the level, in px of the input.

        Returns:
            tuple[Tensor, ...]: ``loss_cls``, ``loss_bbox`` and twice the sum of IoUs.
        """
        probs = cls_score.permute(0, 2, 3, 1).reshape(-1, self.cls_out_channels)
        boxes = bbox_pred.permute(0, 2, 3, 1).reshape(-1, 4)
        ious = alignment_metrics.reshape(-1)
        loss_cls = self.loss_cls(
            probs, labels.reshape(-1), label_weights.reshape(-1), avg_factor=1.0
        )
        loss_bbox = self.loss_bbox(
            boxes, bbox_targets.reshape(-1, 4) / stride[0], weight=ious, avg_factor=1.0
        )
        return loss_cls, loss_bbox, ious.sum(), ious.sum()


def with_neighbours(levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Each level of a pyramid between the next finer and the next coarser one, resized to it.

    Args:
        levels (Sequence[Tensor]): ``(N, C, h, w)``, from the finest one.

    Returns:
        list[tuple[Tensor, Tensor, Tensor]]: Finer, own and coarser level; at the ends of the pyramid the
        own one stands for the missing one.
    """
    last = len(levels) - 1
    return [
        (
            _resized(levels[max(0, index - 1)], own),
            own,
            _resized(levels[min(last, index + 1)], own),
        )
        for index, own in enumerate(levels)
    ]


def shift_levels(values: Sequence[Tensor], offsets: Sequence[Tensor]) -> list[Tensor]:
    """Mix each level of a pyramid with a neighbour: ``P(i, j, l) <- P(i, j, l + d)``.

    Args:
        values (Sequence[Tensor]): ``(N, C, h, w)``, from the finest level, in units that all share.
        offsets (Sequence[Tensor]): *d*, as large, cut to [-1, 1]: -1 is the next finer level, 1 the next
            coarser one. At the ends of the pyramid what leads to no level changes nothing.

    Returns:
        list[Tensor]: As large, linear between two levels.
    """
    shifted = []
    for (finer, own, coarser), offset in zip(with_neighbours(values), offsets):
        up, down = offset.clamp(0, 1), (-offset).clamp(0, 1)
        shifted.append(own * (1 - up - down) + coarser * up + finer * down)
    return shifted


def sample_at_offsets(values: Tensor, offsets: Tensor) -> Tensor:
    """Read each channel elsewhere, bilinearly: ``P(i, j) <- P(i + d_0, j + d_1)``.

    Args:
        values (Tensor): ``(N, C, h, w)``. Beyond the border stands the nearest cell.
        offsets (Tensor): ``(N, 2 * C, h, w)`` in cells, down and right of the first channel, then of the
            second, and so on, as of a deformable convolution.

    Returns:
        Tensor: ``(N, C, h, w)``.
    """
    batch, channels, height, width = values.shape
    down, right = offsets.reshape(batch * channels, 2, height, width).unbind(dim=1)
    rows = torch.arange(height, device=values.device, dtype=values.dtype)[:, None] + down
    columns = torch.arange(width, device=values.device, dtype=values.dtype) + right
    # the middle of cell c lies at (2 c + 1) / size - 1
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    sampled = F.grid_sample(
        values.reshape(-1, 1, height, width), grid, padding_mode='border', align_corners=False
    )
    return sampled.reshape(values.shape)


def _resized(values: Tensor, like: Tensor) -> Tensor:
    if values.shape[-2:] == like.shape[-2:]:
        return values
    return F.interpolate(values, size=like.shape[-2:], mode='bilinear', align_corners=False)
