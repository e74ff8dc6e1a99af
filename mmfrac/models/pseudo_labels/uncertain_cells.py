# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Iterable

from mmdet.structures import SampleList
from torch import Tensor, nn

from mmfrac.models.pseudo_labels.warp import WarpToStudent


def uncertain_cells(
    steps: Iterable[nn.Module],
    teacher_map: Tensor,
    teacher_samples: SampleList,
    student_samples: SampleList,
) -> Tensor | None:
    """Cells that steps of the pseudo-label pipeline leave out of L_semi.

    A step leaves cells out when it has ``is_uncertain(prob_map)``, which gives a bool map, or None for
    no cell. It sees the teacher's map before any sharpening, in the student's view.

    Args:
        steps (Iterable[nn.Module]): The pipeline.
        teacher_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
        teacher_samples (list[DetDataSample]): Films in the teacher's view.
        student_samples (list[DetDataSample]): The same films in the student's view.

    Returns:
        Tensor | None: ``(N, 1, h, w)`` bool in the student's view; None when no step leaves any out.
    """
    prob_map, rules = teacher_map, []
    for step in steps:
        if isinstance(step, WarpToStudent):
            prob_map = step(prob_map, teacher_samples, student_samples)
        rules.append(getattr(step, 'is_uncertain', None))
    uncertain = None
    for cells in (rule(prob_map) for rule in rules if rule is not None):
        if cells is not None:
            uncertain = cells if uncertain is None else uncertain | cells
    return uncertain
