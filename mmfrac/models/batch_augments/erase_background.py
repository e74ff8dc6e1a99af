# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmfrac.utils.device import to_device


@MODELS.register_module()
class EraseBackground(nn.Module):
    """Erases boxes of the student's view where its pseudo map has no lesion (strong view).

    Random erasing as in FixMatch and mmdet's SoftTeacher, but a lesion that the target shows is never
    erased: a cell of the target above ``keep_above``, and the cells around it, keep their pixels. Erased
    pixels take the mean grey of the image. Goes into ``batch_augments`` of ``SemiProbMapDetector``.

    Args:
        boxes (int): Boxes an image. Defaults to 4.
        size (tuple[float, float]): Sides as shares of the image's, drawn uniformly. Defaults to
            (0.05, 0.2).
        keep_above (float): Target from which on a cell is kept. Defaults to 0.1.
        margin (int): Cells around it that are kept, too. Defaults to 2.
        branches (tuple[str, ...]): Views that are changed. Defaults to ('unsup_student',).

    Raises:
        ValueError: When an option is out of range.
    """

    def __init__(
        self,
        boxes: int = 4,
        size: tuple[float, float] = (0.05, 0.2),
        keep_above: float = 0.1,
        margin: int = 2,
        branches: tuple[str, ...] = ('unsup_student',),
    ) -> None:
        super().__init__()
        if boxes < 1 or margin < 0:
            raise ValueError(f'boxes must be positive and margin >= 0, got {boxes} and {margin}')
        if not 0 < size[0] <= size[1] <= 1 or not 0 <= keep_above <= 1:
            raise ValueError(
                f'size must be two shares of (0, 1] in order and keep_above lie in [0, 1], got {size} '
                f'and {keep_above}'
            )
        self.boxes = boxes
        self.size = tuple(size)
        self.keep_above = keep_above
        self.margin = margin
        self.branches = tuple(branches)

    def forward(
        self, inputs: dict[str, Tensor], targets: dict[str, dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
        """Erase in the branches that are meant.

        Args:
            inputs (dict[str, Tensor]): ``(N_b, C, H, W)`` of each branch.
            targets (dict[str, dict]): ``target`` and ``valid`` ``(N_b, 1, h, w)``, and whatever else.

        Returns:
            tuple: Changed inputs and the same targets.
        """
        changed = dict(inputs)
        for name in self.branches:
            if name in inputs:
                target, valid = targets[name]['target'], targets[name]['valid']
                changed[name] = self._erase(inputs[name], target, valid)
        return changed, targets

    def _erase(self, images: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        is_lesion = (target > self.keep_above).float()
        window = 2 * self.margin + 1
        kept = F.max_pool2d(is_lesion, window, stride=1, padding=self.margin)
        may_go = (kept == 0) & valid
        may_go = F.interpolate(may_go.float(), size=(height, width), mode='nearest') > 0
        in_box = self._in_boxes(len(images), height, width, images.device)
        pixels = valid.float()
        pixels = F.interpolate(pixels, size=(height, width), mode='nearest')
        total = pixels.sum((2, 3), keepdim=True).clamp(min=1)
        mean = (images * pixels).sum((2, 3), keepdim=True) / total
        return torch.where(may_go & in_box, mean.to(images), images)

    def _in_boxes(self, count: int, height: int, width: int, device: torch.device) -> Tensor:
        low, high = self.size
        sides = low + (high - low) * torch.rand(count, self.boxes, 2)
        corners = torch.rand(count, self.boxes, 2) * (1 - sides)
        # drawn on the host, as MixUp's are: the same on every device
        begin = to_device(corners, device)
        end = to_device(corners + sides, device)
        rows = (torch.arange(height, device=device) + 0.5) / height
        columns = (torch.arange(width, device=device) + 0.5) / width
        in_rows = (rows >= begin[..., :1]) & (rows < end[..., :1])
        in_columns = (columns >= begin[..., 1:]) & (columns < end[..., 1:])
        boxes = in_rows[..., :, None] & in_columns[..., None, :]
        return boxes.any(dim=1, keepdim=True)

    def extra_repr(self) -> str:
        """The options."""
        return (
            f'boxes={self.boxes}, size={self.size}, keep_above={self.keep_above}, '
            f'margin={self.margin}'
        )
