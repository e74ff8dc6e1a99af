# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.distributions import Beta

from mmfrac.utils.device import to_device

Targets = dict[str, Tensor]


def mix(values: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    r""":math:`\lambda v + (1 - \lambda) v_{partner}`.

    Args:
        values (Tensor): ``(N, C, H, W)``.
        partners (Tensor): ``(N,)`` int64, index of the film that each is mixed with.
        share (Tensor): ``(N,)``, lambda of each film.

    Returns:
        Tensor: ``(N, C, H, W)``, floating point.
    """
    share = share.view(-1, 1, 1, 1)
    return share * values + (1 - share) * values[partners]


@MODELS.register_module()
class MixUp(nn.Module):
    r"""MixUp of films and of their targets, as in MixMatch [11] and FocalMix [8].

    .. math:: \lambda \sim Beta(\eta, \eta), \quad \lambda \leftarrow \max(\lambda, 1 - \lambda), \quad
              x' = \lambda x + (1 - \lambda) x_{partner}

    Partners are drawn from all films of the step, with boxes or with pseudo maps; a film keeps the loss
    and the label of its larger share. Cells count where both films have a target, with the product of
    their weights. Branches of different size are mixed by themselves.

    Args:
        eta (float): Parameter of the Beta distribution; FocalMix has 0.2. Defaults to 0.2.

    Raises:
        ValueError: When ``eta`` is not positive.
    """

    def __init__(self, eta: float = 0.2) -> None:
        super().__init__()
        if not eta > 0:
            raise ValueError(f'eta must be positive, got {eta}')
        self.eta = eta

    def forward(
        self, inputs: dict[str, Tensor], targets: dict[str, Targets]
    ) -> tuple[dict[str, Tensor], dict[str, Targets]]:
        """Mix the branches of a step.

        Args:
            inputs (dict[str, Tensor]): ``(N_b, C, H, W)`` of each branch.
            targets (dict[str, dict]): ``target`` ``(N_b, c, h, w)``, ``valid`` ``(N_b, 1, h, w)`` bool,
                perhaps ``weight`` ``(N_b, 1, h, w)``, and whatever else, which is left as it is.

        Returns:
            tuple: The same, mixed.
        """
        views = {
            name: (inputs[name], targets[name]['target'], targets[name]['valid']) for name in inputs
        }
        shapes = {tuple(value.shape[1:] for value in view) for view in views.values()}
        groups = [list(views)] if len(shapes) == 1 else [[name] for name in views]
        mixed_inputs, mixed_targets = dict(inputs), dict(targets)
        for names in groups:
            sizes = [len(inputs[name]) for name in names]
            images, maps, valid = (torch.cat(parts) for parts in zip(*(views[n] for n in names)))
            weights = torch.cat([_weight(targets[name]) for name in names])
            has_target = valid & (weights > 0)
            partners = to_device(torch.randperm(len(images)), images.device)
            share = Beta(self.eta, self.eta).sample((len(images),)).to(images.dtype)
            share = to_device(torch.maximum(share, 1 - share), images.device)
            parts = zip(
                names,
                mix(images, partners, share).split(sizes),
                mix(maps, partners, share).split(sizes),
                (valid & valid[partners]).split(sizes),
                (has_target & has_target[partners]).split(sizes),
                (weights * weights[partners]).split(sizes),
            )
            for name, image, target, on_both, counts, weight in parts:
                mixed_inputs[name] = image
                mixed_targets[name] = {**targets[name], 'target': target}
                if 'weight' in targets[name]:
                    mixed_targets[name] |= dict(valid=on_both, weight=weight)
                else:
                    mixed_targets[name]['valid'] = counts
        return mixed_inputs, mixed_targets

    def extra_repr(self) -> str:
        """``eta``."""
        return f'eta={self.eta}'


def _weight(targets: Targets) -> Tensor:
    return targets['weight'] if 'weight' in targets else targets['valid'].float()
