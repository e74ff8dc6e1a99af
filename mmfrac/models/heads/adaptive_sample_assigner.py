# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import AssignResult, DynamicSoftLabelAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class AdaptiveSampleAssigner(DynamicSoftLabelAssigner):
    r"""Adaptive sample assignment (ASA) of Consistent-Teacher.

    Wang et al., CVPR 2023, arXiv 2209.01589, section 3, with the terms and constants of their code:

    .. math:: C_{ij} = L_{cls} + \lambda_{reg} L_{reg} + \lambda_{dist} C_{dist}

    of the predicted box *i* and the true or pseudo box *j*, with the focal loss, :math:`-\log` of the
    IoU, and :math:`0.001 \cdot 10^d`, *d* being the distance of the two centres in cells. Anchors whose
    centre lies in any box are candidates. Each box gets the *k* of least cost, *k* being the sum of its
    ``topk`` greatest IoUs, rounded down, at least 1; an anchor that several boxes take goes to the one
    of least cost. A box in which no anchor has its centre may get none, as in their code.

    Candidates and the choice of *k* are mmdet's (SimOTA); its own cost has soft labels in place of the
    focal loss, and reads points in place of anchors.

    Args:
        anchor_scale (float): Side of a square anchor in cells of its level. ``FAM3DHead`` fills it in.
            Defaults to 8.
        iou_weight (float): :math:`\lambda_{reg}`. Defaults to 2.
        alpha, gamma (float): Of the focal loss. Default to 0.25 and 2.
        topk (int): IoUs whose sum is *k*. Defaults to 13.
        kwargs: Of mmdet's ``DynamicSoftLabelAssigner``.

    Raises:
        ValueError: When ``anchor_scale`` or ``topk`` is not positive, or a weight is negative.
    """

    def __init__(
        self,
        anchor_scale: float = 8.0,
        iou_weight: float = 2.0,
        alpha: float = 0.25,
        gamma: float = 2.0,
        topk: int = 13,
        **kwargs: Any,
    ) -> None:
        super().__init__(topk=topk, iou_weight=iou_weight, **kwargs)
        if not anchor_scale > 0 or topk < 1:
            raise ValueError(
                f'anchor_scale and topk must be positive, got {anchor_scale} and {topk}'
            )
        if iou_weight < 0 or not 0 <= alpha <= 1 or gamma < 0:
            raise ValueError(
                f'iou_weight and gamma must be >= 0 and alpha in [0, 1], got {iou_weight}, {gamma} and '
                f'{alpha}'
            )
        self.anchor_scale = anchor_scale
        self.alpha = alpha
        self.gamma = gamma

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        *_: float,
    ) -> AssignResult:
        """Assign boxes to anchors.

        Args:
            pred_instances (InstanceData): ``priors`` (square anchors) and ``bboxes`` (predicted), both
                ``(n, 4)``, xyxy in px of the input; ``scores``, probabilities ``(n, num_classes)``.
            gt_instances (InstanceData): ``bboxes`` ``(k, 4)`` in px of the input, and ``labels``.
            gt_instances_ignore (InstanceData, optional): Other anchors with their centre in its
                ``bboxes`` count in no loss. Defaults to None.

        Returns:
            AssignResult: ``gt_inds`` (box + 1, 0 background, -1 ignored), ``labels``, and
            ``max_overlaps`` and ``assign_metrics``, IoU with the box that was assigned, else 0.
        """
        boxes, anchors = pred_instances.bboxes, pred_instances.priors
        gt_boxes: Tensor = get_box_tensor(gt_instances.bboxes)
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        gt_inds = boxes.new_zeros(len(boxes), dtype=torch.long)
        labels = torch.full_like(gt_inds, -1)
        overlaps = boxes.new_zeros(len(boxes))
        candidates = _is_inside(centres, gt_boxes)
        if candidates.any():
            ious = self.iou_calculator(boxes[candidates], gt_boxes)
            cells = (anchors[candidates, 2] - anchors[candidates, 0]) / self.anchor_scale
            distance = torch.cdist(centres[candidates], (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2)
            cost = (
                self.class_cost(pred_instances.scores[candidates], gt_instances.labels)
                - self.iou_weight * torch.log(ious + 1e-7)
                + torch.pow(10, distance / cells[:, None] - self.soft_center_radius)
            )
            # leaves of the candidates those that were assigned
            found_ious, found = self.dynamic_k_matching(cost, ious, len(gt_boxes), candidates)
            gt_inds[candidates] = found + 1
            labels[candidates] = gt_instances.labels[found].long()
            overlaps[candidates] = found_ious
        if gt_instances_ignore is not None:
            ignored = _is_inside(centres, get_box_tensor(gt_instances_ignore.bboxes))
            gt_inds[ignored & (gt_inds == 0)] = -1
        result = AssignResult(len(gt_boxes), gt_inds, overlaps, labels=labels)
        result.assign_metrics = overlaps
        return result

    def class_cost(self, probs: Tensor, labels: Tensor) -> Tensor:
        """Focal loss of every prediction, were it of the class of each box.

        Args:
            probs (Tensor): ``(n, num_classes)``.
            labels (Tensor): Classes ``(k,)``.

        Returns:
            Tensor: ``(n, k)``, summed over the classes.
        """
        present = -self.alpha * (1 - probs) ** self.gamma * probs.clamp(min=1e-12).log()
        absent = -(1 - self.alpha) * probs**self.gamma * (1 - probs).clamp(min=1e-12).log()
        is_class = F.one_hot(labels.long(), probs.shape[1]).to(probs)
        return absent.sum(dim=1, keepdim=True) + (present - absent) @ is_class.T


def _is_inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether each of ``(n, 2)`` points lies inside any of ``(k, 4)`` boxes."""
    margins = torch.cat([points[:, None] - boxes[:, :2], boxes[:, 2:4] - points[:, None]], dim=-1)
    return (margins > 0).all(dim=-1).any(dim=-1)
