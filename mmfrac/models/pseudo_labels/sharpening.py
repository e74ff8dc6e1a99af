# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from torch import Tensor, nn

from mmfrac.models.postprocess import image_scores


def dynamic_sharpen(y: Tensor, t: float | Tensor, a: float | Tensor) -> Tensor:
    r"""Dynamic sharpening operation ``DS(y)`` (paper, section 2.3).

    .. math::
        DS(y) = \begin{cases} y^a / t^{a-1} & 0 \le y \le t \\
        (y - t)^{1/a} / (1 - t)^{1/a - 1} + t & t < y \le 1 \end{cases}

    Continuous, with ``DS(0) = 0``, ``DS(t) = t``, ``DS(1) = 1``. Not made for gradients: the slope is
    infinite just above ``t``.

    Args:
        y (Tensor): Prob map of any shape, in [0, 1].
        t (float | Tensor): Sharpening centre, in (0, 1).
        a (float | Tensor): Sharpening strength, >= 1 (1 is the identity).

    Returns:
        Tensor: Shape and dtype of ``y``.

    Raises:
        ValueError: When ``t`` or ``a`` is a number out of range.
    """
    if not isinstance(t, Tensor) and not 0 < t < 1:
        raise ValueError(f't must lie in (0, 1), got {t}')
    if not isinstance(a, Tensor) and not a >= 1:
        raise ValueError(f'a must be at least 1, got {a}')
    suppressed = t * (y / t).clamp(max=1) ** a
    amplified = t + (1 - t) * ((y - t) / (1 - t)).clamp(min=0) ** (1 / a)
    return torch.where(y <= t, suppressed, amplified).to(y.dtype)


def sharpening_parameters(m: float) -> tuple[float, float]:
    r"""Sharpening centre and strength from the median score (paper, section 2.3).

    .. math:: t = \min(0.5, \max(m - 0.1, 0.2)), \quad a = 4 \text{ if } t > 0.35 \text{ else } 6

    Args:
        m (float): Median, or another quantile, of the image scores of the positive films, in [0, 1].

    Returns:
        tuple[float, float]: ``(t, a)``.

    Raises:
        ValueError: When ``m`` does not lie in [0, 1].
    """
    if not 0 <= m <= 1:
        raise ValueError(f'm is a quantile of scores and must lie in [0, 1], got {m}')
    t = min(0.5, max(m - 0.1, 0.2))
    return t, sharpening_strength(t)


def sharpening_strength(t: float) -> float:
    """Sharpening strength ``a`` of a sharpening centre, see ``sharpening_parameters``."""
    return 4.0 if t > 0.35 else 6.0


def is_positive(sample: DetDataSample) -> bool:
    """Whether an image without boxes is known to hold a fracture; one that says no label is taken so."""
    return sample.metainfo.get('label', 1) == 1


@MODELS.register_module()
class DynamicSharpening(nn.Module):
    """Pseudo-label step that sharpens with the ``t`` and ``a`` in force (paper, section 2.3).

    ``m``, ``t`` and ``a`` are buffers: saved and resumed with the checkpoint. In training every call
    notes the teacher's image score of each film; ``DynamicSharpeningHook`` turns the scores of an
    epoch into the parameters of the next one. Until the first ``m`` is known it is NaN, and ``t``, ``a``
    are those of ``m = 0``; so begins every training that is not resumed (``forget``).

    Args:
        quantile (float): Which quantile of the scores ``m`` is. The paper's is the median; with 0.1 nine
            of ten positive films have a cell above ``m``. Defaults to 0.5.
        low (float, optional): Teacher probability up to which a cell is taught as normal. Cells above
            it, up to ``t``, are neither fracture nor normal and get the weight 0. Not in the paper.
            Defaults to None: every cell counts.

    Raises:
        ValueError: When ``quantile`` does not lie in (0, 1), or ``low`` not in (0, 0.2): it has to be
            below every ``t``.
    """

    m: Tensor
    t: Tensor
    a: Tensor

    def __init__(self, quantile: float = 0.5, low: float | None = None) -> None:
        super().__init__()
        if not 0 < quantile < 1:
            raise ValueError(f'quantile must lie in (0, 1), got {quantile}')
        t, a = sharpening_parameters(0.0)
        if low is not None and not 0 < low < t:
            raise ValueError(f'low must lie in (0, {t}), below every t, got {low}')
        self.quantile = quantile
        self.low = low
        # double precision: a threshold such as t = 0.35 must not move when it is saved
        for name, value in (('m', math.nan), ('t', t), ('a', a)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self._is_updated = False
        self._scores: list[tuple[list[str | None], Tensor]] = []

    def forward(
        self,
        pseudo_map: Tensor,
        weight: Tensor,
        teacher_samples: SampleList,
        student_samples: SampleList,
    ) -> tuple[Tensor, Tensor]:
        """Sharpen the teacher's maps.

        Args:
            pseudo_map (Tensor): ``(N, 1, h, w)`` teacher prob maps in [0, 1].
            weight (Tensor): ``(N, 1, h, w)`` of each cell in L_semi.
            teacher_samples (list[DetDataSample]): Films in the teacher's view; ``img_path`` names
                them.
            student_samples (list[DetDataSample]): Not used.

        Returns:
            tuple[Tensor, Tensor]: Sharpened maps and ``weight``, 0 in cells that ``low`` leaves out.

        Raises:
            ValueError: In training, when nobody said that ``m`` will be updated.
        """
        if self.training:
            if not self._is_updated:
                raise ValueError(
                    'nobody updates m of DynamicSharpening, so t and a would stay what they are: add '
                    "default_hooks = dict(dynamic_sharpening=dict(type='DynamicSharpeningHook')) to the "
                    'config, as configs/_base_/default_runtime.py has it (or call set_m)'
                )
            self.note_scores(pseudo_map, teacher_samples)
        t = self.t.float()
        if self.low is not None:
            uncertain = (pseudo_map > self.low) & (pseudo_map <= t)
            weight = weight.masked_fill(uncertain, 0)
        return dynamic_sharpen(pseudo_map, t, self.a.float()), weight

    def expect_updates(self) -> None:
        """Said by who will call ``set_m`` after every epoch, before training."""
        self._is_updated = True

    def forget(self) -> None:
        """Begin without an ``m``: that of another training is not that of this teacher."""
        self.m.fill_(math.nan)
        t, a = sharpening_parameters(0.0)
        self.t.fill_(t)
        self.a.fill_(a)
        self._scores.clear()

    def note_scores(self, prob_map: Tensor, samples: SampleList) -> None:
        """Remember the image scores of the positive images of a batch, see ``image_scores``."""
        scores = image_scores(prob_map.detach(), samples)
        # of the label -1 it is not known whether there is a peak to be found
        paths = [sample.img_path if is_positive(sample) else None for sample in samples]
        self._scores.append((paths, scores))

    def pop_scores(self) -> dict[str, list[float]]:
        """Scores noted on this rank since the last call, by film."""
        scores: dict[str, list[float]] = {}
        for paths, values in self._scores:
            for path, value in zip(paths, values.tolist()):
                if path is not None:
                    scores.setdefault(path, []).append(value)
        self._scores.clear()
        return scores

    def update(self, scores: Sequence[float]) -> None:
        """Put the parameters that follow from the image scores of an epoch in force.

        Args:
            scores (Sequence[float]): One for each positive image; at least one.
        """
        self.set_m(float(np.quantile(scores, self.quantile)))

    def set_m(self, m: float) -> None:
        """Put a new ``m`` and the ``t``, ``a`` that follow from it in force."""
        t, a = sharpening_parameters(m)
        self.m.fill_(m)
        self._is_updated = True
        self.t.fill_(t)
        self.a.fill_(a)
