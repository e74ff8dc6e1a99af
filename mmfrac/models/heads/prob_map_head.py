# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule, bias_init_with_prob
from torch import Tensor, nn

from mmfrac.models.target_maps import stack_targets, stack_valid
from mmfrac.utils.device import to_device
from mmfrac.utils.prob_map import whole_cells


@MODELS.register_module()
class ProbMapHead(BaseModule):
    """Probability-map head on a feature pyramid.

    Each level passes a 3 x 3 convolution, is brought to the size of the map by bilinear interpolation
    and added up; a 3 x 3 and a 1 x 1 convolution make one logit per cell. The bias of the last one
    starts at the prior, so that training does not begin with a map full of fractures.

    Args:
        in_channels (int): Channels of every pyramid level. Defaults to 256.
        feat_channels (int): Channels within the head. Defaults to 128.
        num_levels (int): Pyramid levels, finest first. Defaults to 4.
        stride (int): Input px per map cell, which nothing else has to be told: targets, warps and
            predictions follow. Defaults to 4.
        featmap_stride (int): Input px per cell of the finest level. Defaults to 4.
        prior_prob (float): Probability of a fracture cell before training. Defaults to 0.01.
        loss (dict): L_sup. Defaults to ``dict(type='WeightedBCELoss')``.
        norm_cfg (dict, optional): Norm of the 3 x 3 convolutions. Defaults to GN with 32 groups.
        init_cfg (dict, optional): Initialisation. Defaults to normal weights of ``std=0.01``.

    Raises:
        ValueError: When ``prior_prob`` does not lie in (0, 1), or a stride is not positive.
    """

    def __init__(
        self,
        in_channels: int = 256,
        feat_channels: int = 128,
        num_levels: int = 4,
        stride: int = 4,
        featmap_stride: int = 4,
        prior_prob: float = 0.01,
        loss: ConfigType = dict(type='WeightedBCELoss'),
        norm_cfg: ConfigType | None = dict(type='GN', num_groups=32),
        init_cfg: OptMultiConfig = dict(type='Normal', layer='Conv2d', std=0.01),
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 0 < prior_prob < 1:
            raise ValueError(f'prior_prob must lie in (0, 1), got {prior_prob}')
        if stride < 1 or featmap_stride < 1:
            raise ValueError(f'strides must be positive, got {stride} and {featmap_stride}')
        self.stride = stride
        self.featmap_stride = featmap_stride
        self.num_levels = num_levels
        self.prior_prob = prior_prob
        self.level_convs = nn.ModuleList(
            ConvModule(in_channels, feat_channels, 3, padding=1, norm_cfg=norm_cfg)
            for _ in range(num_levels)
        )
        self.fuse_conv = ConvModule(feat_channels, feat_channels, 3, padding=1, norm_cfg=norm_cfg)
        self.logit_conv = nn.Conv2d(feat_channels, 1, 1)
        self.loss_sup = MODELS.build(loss)

    def init_weights(self) -> None:
        """Initialise, the bias of the logits last."""
        super().init_weights()
        assert self.logit_conv.bias is not None
        nn.init.constant_(self.logit_conv.bias, bias_init_with_prob(self.prior_prob))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Logits of the prob map.

        Args:
            feats (Sequence[Tensor]): Pyramid levels ``(N, in_channels, H_i, W_i)``, finest first.

        Returns:
            Tensor: ``(N, 1, h, w)``, the size of the input over ``stride``; in fp32 under autocast, too.

        Raises:
            ValueError: When there are fewer levels than ``num_levels``, or the input is no whole number
                of cells.
        """
        if len(feats) < self.num_levels:
            raise ValueError(
                f'ProbMapHead expects {self.num_levels} pyramid levels, the neck gives {len(feats)}'
            )
        # in whole numbers, so that they stay symbols where the sizes of an input are
        size = [side * self.featmap_stride for side in feats[0].shape[-2:]]
        if any(side % self.stride for side in size):
            raise ValueError(
                f'a map of stride {self.stride} over levels of stride {self.featmap_stride} would have '
                f'{size[0] / self.stride:g} x {size[1] / self.stride:g} cells: pad the input '
                '(pad_size_divisor) to whole cells'
            )
        shape = torch.Size(side // self.stride for side in size)
        levels = [conv(feat) for conv, feat in zip(self.level_convs, feats)]
        fused = _resized(levels[0], shape)
        for level in levels[1:]:
            fused = fused + _resized(level, shape)
        fused = self.fuse_conv(fused)
        # not in bf16, whose eight bits make ties of cells and images that fp32 ranks
        with torch.autocast(fused.device.type, enabled=False):
            return self.logit_conv(fused.to(self.logit_conv.weight.dtype))

    def loss(self, feats: Sequence[Tensor], samples: SampleList) -> dict[str, Tensor]:
        """L_sup of a batch.

        Args:
            feats (Sequence[Tensor]): Pyramid levels, finest first.
            samples (list[DetDataSample]): With ``gt_prob_map`` and ``label``.

        Returns:
            dict[str, Tensor]: ``loss_sup``.
        """
        return self.loss_by_targets(self(feats), self.targets(samples))

    def loss_by_targets(self, logits: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_sup of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)``.
            targets (dict[str, Tensor]): What ``targets`` gave.

        Returns:
            dict[str, Tensor]: ``loss_sup``.

        Raises:
            ValueError: When the targets are of another stride.
        """
        check_same_cells(targets['target'], logits, self.stride)
        return dict(loss_sup=self.loss_sup(logits, **targets))

    def targets(self, samples: SampleList) -> dict[str, Tensor]:
        """What the loss compares the logits with.

        Films whose mask is not known (label 1 without regions, label -1) count in no cell, unless the
        loss has ``needs_mask = False``: then it is told of which films the mask is known.

        Args:
            samples (list[DetDataSample]): With ``gt_prob_map``, ``label`` and ``regions``.

        Returns:
            dict[str, Tensor]: ``target``, ``valid``, ``labels`` and perhaps ``mask_known``: arguments of
            the loss.

        Raises:
            ValueError: When a sample does not say ``label`` and ``regions``.
        """
        target = stack_targets(samples)
        valid = stack_valid(samples)
        for sample in samples:
            if not {'label', 'regions'} <= sample.metainfo.keys():
                raise ValueError(
                    f'data sample of {sample.metainfo.get("img_path")} does not say label and regions: '
                    'train on CXRDataset, and keep both in meta_keys of PackProbMapInputs'
                )
        labels = [sample.label for sample in samples]
        mask_known = [
            label == 0 or (label == 1 and sample.regions) for label, sample in zip(labels, samples)
        ]
        known = to_device(torch.tensor(mask_known), valid.device)
        label_ids = to_device(torch.tensor(labels), valid.device)
        if not getattr(self.loss_sup, 'needs_mask', True):
            return dict(target=target, valid=valid, labels=label_ids, mask_known=known)
        if not all(mask_known):
            valid = valid & known.view(-1, 1, 1, 1)
        return dict(target=target, valid=valid, labels=label_ids.clamp(min=0))

    def predict(self, feats: Sequence[Tensor], samples: SampleList) -> list[Tensor]:
        """Prob maps of the films' own area.

        Args:
            feats (Sequence[Tensor]): Pyramid levels, finest first.
            samples (list[DetDataSample]): Films in the un-augmented view.

        Returns:
            list[Tensor]: One ``(1, h_i, w_i)`` map in [0, 1] a film, padding cropped off, fp32, on the
            host: all maps of the batch are brought there at once.
        """
        prob_maps = self(feats).float().sigmoid().cpu()
        return [
            prob_map[:, :rows, :columns]
            for prob_map, (rows, columns) in zip(
                prob_maps, (image_cells(sample, self.stride) for sample in samples)
            )
        ]


def check_same_cells(target: Tensor, logits: Tensor, stride: int) -> None:
    """Raise unless a target has as many cells as the map of the head.

    Args:
        target (Tensor): ``(N, c, h, w)``.
        logits (Tensor): ``(N, 1, h, w)`` of the head.
        stride (int): Input px per cell of the head.

    Raises:
        ValueError: When it has another stride; both are named.
    """
    (height, width), (rows, columns) = target.shape[-2:], logits.shape[-2:]
    if (height, width) != (rows, columns):
        raise ValueError(
            f'the head gives maps of {rows} x {columns} cells (stride {stride}), the targets have '
            f'{height} x {width} (stride {stride * rows / height:g}): give ProbMapTarget (or '
            f'WindowTarget) stride={stride}, as tools/train.py does where the option is left out'
        )


def _resized(level: Tensor, shape: torch.Size) -> Tensor:
    if level.shape[-2:] == shape:
        return level
    return F.interpolate(level, size=shape, mode='bilinear', align_corners=False)


def image_cells(sample, stride: int) -> tuple[int, int]:
    """Rows and columns of a film in map cells, in a view that pads to the right and below only."""
    (height, width), (scale_x, scale_y) = sample.ori_shape[:2], sample.scale_factor
    return whole_cells(height, scale_y, stride), whole_cells(width, scale_x, stride)
