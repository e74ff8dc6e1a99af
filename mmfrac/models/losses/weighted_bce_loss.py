# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmfrac.models.losses.cell_loss import check_reduction, reduce_cells


@MODELS.register_module()
class WeightedBCELoss(nn.Module):
    r"""Weighted binary cross-entropy on the prob map (paper, section 2.1).

    .. math:: L_{sup} = -\alpha_l \sum_i \alpha_r y_i \log p_i + (1 - y_i) \log(1 - p_i)

    Computed from logits in fp32, also under AMP. ``alpha_l`` is saved with the checkpoint, and what was
    counted is loaded; one that the config gives stays, whatever a checkpoint says.

    Args:
        alpha_r (float): Weight of fracture cells. Defaults to 10.
        alpha_l (str | float | Sequence[float]): Weight of a film by its label: ``'auto'`` is the
            inverse class frequency of the supervised films, mean 1 over an epoch (counted by
            ``ClassWeightHook`` before training); a pair is
            ``(label 0, label 1)``. Defaults to ``'auto'``.
        reduction (str): ``'mean'`` over the valid cells of the batch, or ``'sum'`` as the paper
            writes it. Defaults to ``'mean'``.
        loss_weight (float): Defaults to 1.

    Raises:
        ValueError: When an option is not one of the above.
    """

    def __init__(
        self,
        alpha_r: float = 10.0,
        alpha_l: str | float | tuple[float, float] = 'auto',
        reduction: str = 'mean',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if alpha_r <= 0:
            raise ValueError(f'alpha_r must be positive, got {alpha_r}')
        self.auto_alpha_l = alpha_l == 'auto'
        self._is_counted = False
        if self.auto_alpha_l:
            weights = [1.0, 1.0]
        elif isinstance(alpha_l, (int, float)):
            weights = [float(alpha_l)] * 2
        elif not isinstance(alpha_l, str) and len(alpha_l) == 2:
            weights = [float(value) for value in alpha_l]
        else:
            raise ValueError(
                f"alpha_l must be 'auto', a number or a (label 0, label 1) pair, got {alpha_l!r}"
            )
        self.alpha_r = alpha_r
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.alpha_l: Tensor
        self.register_buffer('alpha_l', torch.tensor(weights))

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if not self.auto_alpha_l:
            state_dict = {**state_dict, f'{prefix}alpha_l': self.alpha_l}
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def set_class_counts(self, negatives: float, positives: float) -> None:
        """Set ``alpha_l`` to the inverse class frequency, mean 1 over the counted films.

        Args:
            negatives (float): Films with label 0.
            positives (float): Films with label 1.
        """
        self._is_counted = True
        total = negatives + positives
        present = (negatives > 0) + (positives > 0)
        for label, count in enumerate((negatives, positives)):
            self.alpha_l[label] = total / (present * count) if count else 1.0

    def forward(self, logits: Tensor, target: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            logits (Tensor): ``(N, 1, h, w)``.
            target (Tensor): ``(N, 1, h, w)`` mask in [0, 1].
            valid (Tensor): ``(N, 1, h, w)`` bool; cells that count.
            labels (Tensor): ``(N,)`` int64, 0 or 1.

        Returns:
            Tensor: Scalar.

        Raises:
            ValueError: In training, when ``alpha_l`` is 'auto' and nobody counted the images.
        """
        if self.training and self.auto_alpha_l and not self._is_counted:
            raise ValueError(
                "nobody counted the training images for WeightedBCELoss(alpha_l='auto'): add "
                "default_hooks = dict(class_weight=dict(type='ClassWeightHook')) to the config, as "
                'configs/_base_/default_runtime.py has it, or give alpha_l a number'
            )
        with torch.autocast(logits.device.type, enabled=False):
            logits, target = logits.float(), target.float()
            cells = F.binary_cross_entropy_with_logits(
                logits, target, pos_weight=logits.new_full((), self.alpha_r), reduction='none'
            )
            cells = cells * self.alpha_l[labels].view(-1, 1, 1, 1)
            return self.loss_weight * reduce_cells(cells, valid, self.reduction)
