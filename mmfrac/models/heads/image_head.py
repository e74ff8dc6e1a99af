# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn


@MODELS.register_module()
class ImageHead(BaseModule):
    r"""The label of an image as a second task beside the prob map: a loss of training alone.

    .. math:: \text{logit} = w \cdot \mathrm{LN}([\overline{f}_i, \max f_i]_i) + b

    of the averages and maxima of all pyramid levels. Images whose boxes nobody knows teach features that
    the map is made of, while the map itself is told nothing, unlike by ``MILLoss``. Predictions do not
    use it. Not in the paper.

    Args:
        in_channels (int): Channels of every pyramid level. Defaults to 256.
        num_levels (int): Pyramid levels that are used, finest first. Defaults to 4.
        dropout (float): Share of the pooled features that a step leaves out. Defaults to 0.2.
        loss_weight (float): Weight of the cross-entropy. Defaults to 0.05, which was not searched.
        init_cfg (dict, optional): Initialisation. Defaults to normal weights of ``std=0.01``.

    Raises:
        ValueError: When ``dropout`` does not lie in [0, 1), or a number is not positive.
    """

    def __init__(
        self,
        in_channels: int = 256,
        num_levels: int = 4,
        dropout: float = 0.2,
        loss_weight: float = 0.05,
        init_cfg: OptMultiConfig = dict(type='Normal', layer='Linear', std=0.01),
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 0 <= dropout < 1:
            raise ValueError(f'dropout must lie in [0, 1), got {dropout}')
        if in_channels < 1 or num_levels < 1 or loss_weight <= 0:
            raise ValueError(
                'in_channels, num_levels and loss_weight must be positive, got '
                f'{in_channels}, {num_levels} and {loss_weight}; image_head=None is none'
            )
        self.in_channels = in_channels
        self.num_levels = num_levels
        self.dropout = dropout
        self.loss_weight = loss_weight
        self.norm = nn.LayerNorm(2 * in_channels * num_levels)
        self.fc = nn.Linear(2 * in_channels * num_levels, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits of the images.

        Args:
            feats (Sequence[Tensor]): Pyramid levels ``(N, in_channels, H_i, W_i)``, finest first.

        Returns:
            Tensor: ``(N,)``, in fp32 under autocast, too.

        Raises:
            ValueError: When there are fewer levels than ``num_levels``, or with other channels.
        """
        levels, channels = len(feats), feats[0].shape[1]
        if levels < self.num_levels or channels != self.in_channels:
            raise ValueError(
                f'ImageHead expects {self.num_levels} pyramid levels of {self.in_channels} channels, '
                f'the neck gives {levels} of {channels}: set num_levels and in_channels of image_head'
            )
        with torch.autocast(feats[0].device.type, enabled=False):
            used = [feat.to(self.fc.weight.dtype) for feat in feats[: self.num_levels]]
            pooled = [pool for x in used for pool in (x.mean(dim=(2, 3)), x.amax(dim=(2, 3)))]
            features = F.dropout(self.norm(torch.cat(pooled, dim=1)), self.dropout, self.training)
            return self.fc(features).flatten()

    def loss(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Binary cross-entropy of the labels.

        Args:
            logits (Tensor): ``(N,)``.
            labels (Tensor): ``(N,)`` int64: 1, 0, or -1 of an image that does not count.

        Returns:
            dict[str, Tensor]: ``loss_image``, the mean over the images that count; 0 when there is none.
        """
        is_known = labels >= 0
        targets = labels.clamp(min=0).to(logits)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
        mean = losses.masked_fill(~is_known, 0).sum() / is_known.sum().clamp(min=1)
        return dict(loss_image=self.loss_weight * mean)
