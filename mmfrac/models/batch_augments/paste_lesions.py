# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmfrac.utils.device import to_device

Targets = dict[str, Tensor]

# over which the grey of an image is averaged to either side, a share of its longer one
_SURROUNDINGS = 1 / 16


@MODELS.register_module()
class PasteLesions(nn.Module):
    r"""Pastes lesions with boxes into other images of the step, at about the same place of the body.

    Copy-paste (Ghiasi et al., arXiv 2012.07177), between labelled and unlabelled images as in BCP
    (arXiv 2305.00673), whose own masks are random boxes. Lesions of few boxes are seen with the same
    surroundings again and again and learnt by heart; in another image they have others. Not in the
    paper.

    All lesions of another image of branch ``sup`` are pasted together, mirrored or not, moved a little,
    with what is around them; of the image they come into the grey stays, averaged over an eighth of its
    side, and the edge is soft. Where they are pasted the target is theirs, with weight 1. Goes into
    ``batch_augments`` of ``SemiProbMapDetector``, and works in burn-in, too.

    Args:
        prob (float): Share of the images that receive lesions. Defaults to 0.5.
        margin (float): What around a lesion comes with it, a share of the longer side of the image.
            Defaults to 0.025.
        shift (float): How far they are moved at most, down and to the right, a share of the longer side.
            Defaults to 0.05.
        branches (tuple[str, ...]): Views that receive. Defaults to ('sup', 'unsup_student').

    Raises:
        ValueError: When an option is out of range.

    Attributes:
        in_burn_in (bool): True: it needs no pseudo maps.
    """

    in_burn_in = True

    def __init__(
        self,
        prob: float = 0.5,
        margin: float = 0.025,
        shift: float = 0.05,
        branches: tuple[str, ...] = ('sup', 'unsup_student'),
    ) -> None:
        super().__init__()
        if not 0 < prob <= 1 or not 0 <= margin <= 0.5 or not 0 <= shift <= 0.5:
            raise ValueError(
                f'prob must lie in (0, 1], margin and shift in [0, 0.5], got {prob}, {margin}, {shift}'
            )
        self.prob = prob
        self.margin = margin
        self.shift = shift
        self.branches = tuple(branches)

    def forward(
        self, inputs: dict[str, Tensor], targets: dict[str, Targets]
    ) -> tuple[dict[str, Tensor], dict[str, Targets]]:
        """Paste into the branches that are meant.

        Args:
            inputs (dict[str, Tensor]): ``(N_b, C, H, W)`` of each branch.
            targets (dict[str, dict]): ``target`` in [0, 1] and ``valid`` bool, ``(N_b, 1, h, w)``,
                perhaps ``weight`` ``(N_b, 1, h, w)``, ``labels`` and ``mask_known`` ``(N_b,)``, and
                whatever else.

        Returns:
            tuple: Changed inputs and targets; the same where no image has boxes.
        """
        changed, new_targets = dict(inputs), dict(targets)
        if 'sup' in inputs:
            for name in self.branches:
                if name in inputs:
                    changed[name], new_targets[name] = self._paste(
                        inputs[name], targets[name], inputs['sup'], targets['sup'], name == 'sup'
                    )
        return changed, new_targets

    def _paste(
        self, images: Tensor, targets: Targets, givers: Tensor, theirs: Targets, same: bool
    ) -> tuple[Tensor, Targets]:
        count, stride = len(images), givers.size(-1) // theirs['target'].size(-1)
        chosen = self._givers(count, theirs, same)
        shape = targets['target'].shape[-2:]
        moves = self._moves(count, round(self.shift * max(shape)))
        lesions = theirs['target'].float() * theirs['valid']
        lesions = _moved(lesions[chosen], shape, moves)
        receives = to_device(torch.rand(count) < self.prob, images.device)
        receives = receives & targets['valid'].flatten(1).any(1)
        if 'mask_known' in targets:
            receives = receives & targets['mask_known']
        margin = round(self.margin * max(shape))
        pasted = F.max_pool2d(lesions, 2 * margin + 1, stride=1, padding=margin) > 0
        pasted = pasted & receives.view(-1, 1, 1, 1) & targets['valid']
        other = _moved(
            givers[chosen], images.shape[-2:], [(f, y * stride, x * stride) for f, y, x in moves]
        )
        opacity = _soft_edge(pasted, targets['valid'], images.shape[-2:])
        other = other + _grey(images, stride) - _grey(other, stride)
        changed = {**targets, 'target': torch.where(pasted, lesions, targets['target'].float())}
        if 'weight' in targets:
            changed['weight'] = targets['weight'].masked_fill(pasted, 1)
        if 'labels' in targets:
            labels = targets['labels']
            changed['labels'] = labels.masked_fill(pasted.flatten(1).any(1), 1)
        return torch.lerp(images, other.to(images), opacity.to(images)), changed

    def _givers(self, count: int, theirs: Targets, same: bool) -> Tensor:
        """Index of an image with boxes for each that may receive; of any where none has, or it alone."""
        has_lesions = (theirs['target'] > 0).logical_and(theirs['valid']).flatten(1).any(1)
        # drawn on the host, the same on every device
        order = to_device(torch.rand(count, len(has_lesions)), has_lesions.device)
        order = order.masked_fill(~has_lesions, -1)
        if same:
            order = order - 2 * torch.eye(count, device=order.device)
        return order.argmax(1)

    def _moves(self, count: int, farthest: int) -> list[tuple[bool, int, int]]:
        """Whether mirrored, rows down, columns to the right."""
        mirrored = (torch.rand(count) < 0.5).tolist()
        moves = torch.randint(-farthest, farthest + 1, (count, 2)).tolist()
        return [(is_mirrored, *move) for is_mirrored, move in zip(mirrored, moves)]

    def extra_repr(self) -> str:
        """The options."""
        return (
            f'prob={self.prob}, margin={self.margin}, shift={self.shift}, branches={self.branches}'
        )


def _moved(values: Tensor, size: torch.Size, moves: list[tuple[bool, int, int]]) -> Tensor:
    """Each of ``(N, C, H, W)`` mirrored and moved, cut to another size; 0 beyond its edges."""
    height, width = values.shape[-2:]
    rows, columns = torch.arange(size[0]), torch.arange(size[1])
    row_of, column_of = [], []
    for is_mirrored, down, right in moves:
        row_of.append(rows - down)
        column = columns - right
        column_of.append(width - 1 - column if is_mirrored else column)
    row, column = torch.stack(row_of), torch.stack(column_of)
    is_inside = ((row >= 0) & (row < height))[:, :, None]
    is_inside = is_inside & ((column >= 0) & (column < width))[:, None, :]
    image, row, column, is_inside = (
        to_device(index, values.device)
        for index in (
            torch.arange(len(values))[:, None, None],
            row.clamp(0, height - 1)[:, :, None],
            column.clamp(0, width - 1)[:, None, :],
            is_inside,
        )
    )
    found = values[image, :, row, column].permute(0, 3, 1, 2)
    return found * is_inside[:, None]


def _soft_edge(pasted: Tensor, valid: Tensor, size: torch.Size) -> Tensor:
    """Opacity of each pixel: 1 in the cells that are pasted, falling to 0 over two beside them."""
    around = F.max_pool2d(pasted.float(), 3, stride=1, padding=1)
    opacity = F.avg_pool2d(around, 3, stride=1, padding=1)
    opacity = F.interpolate(opacity, size=size, mode='bilinear')
    return opacity * F.interpolate(valid.float(), size=size, mode='nearest')


def _grey(images: Tensor, stride: int) -> Tensor:
    """The grey around each pixel: means of cells, averaged over those around."""
    cells = F.avg_pool2d(images, stride, ceil_mode=True, count_include_pad=False)
    reach = max(1, round(_SURROUNDINGS * max(cells.shape[-2:])))
    cells = F.avg_pool2d(cells, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)
    return F.interpolate(cells, size=images.shape[-2:], mode='bilinear')
