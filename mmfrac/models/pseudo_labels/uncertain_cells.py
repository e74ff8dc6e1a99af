# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.pseudo_labels.warp import WarpToStudent


def uncertain_cells(
    steps: Sequence[nn.Module],
    teacher_map: Tensor,
    teacher_samples: SampleList,
    student_samples: SampleList,
) -> Tensor | None:
    """Cells that steps of the pseudo-label pipeline leave out of L_semi.

    A step whose ``leaves_cells_out`` is true has ``is_uncertain(prob_map)``, which gives a bool map. It
    sees the teacher's map before any sharpening, in the student's view.

    Args:
        steps (Sequence[nn.Module]): The pipeline.
        teacher_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
        teacher_samples (list[DetDataSample]): Films in the teacher's view.
        student_samples (list[DetDataSample]): The same films in the student's view.

    Returns:
        Tensor | None: ``(N, 1, h, w)`` bool in the student's view; None when no step leaves any out.
    """
    rules: list[Any] = [
        step.is_uncertain for step in steps if getattr(step, 'leaves_cells_out', False)
    ]
    if not rules:
        return None
    prob_map = teacher_map
    for step in steps:
        if isinstance(step, WarpToStudent):
            prob_map = step(prob_map, teacher_samples, student_samples)
    return torch.stack([is_uncertain(prob_map) for is_uncertain in rules]).any(0)
