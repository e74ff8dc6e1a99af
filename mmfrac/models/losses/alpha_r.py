# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Weight of fracture cells outside L_sup: a number of its own, or that of L_sup."""

from typing import Any

from mmfrac.models.losses.weighted_bce_loss import WeightedBCELoss


class AlphaR:
    """``alpha_r`` of a part of L_semi.

    Args:
        value (float | str): The weight, or ``'auto'``: that of L_sup, which the part is told when the
            model is built (``attach``).
        owner (str): Name of the part, for errors.

    Raises:
        ValueError: When the value is neither positive nor ``'auto'``.
    """

    def __init__(self, value: float | str, owner: str) -> None:
        if value != 'auto' and (isinstance(value, (str, bool)) or not value > 0):
            raise ValueError(f"{owner}: alpha_r must be positive or 'auto', got {value!r}")
        self._value = value
        self._owner = owner

    def attach(self, student: Any) -> None:
        """Take that of L_sup of a ``ProbMapDetector``, unless there is an own one."""
        loss = student.prob_map_head.loss_sup
        if self._value == 'auto':
            if not isinstance(loss, WeightedBCELoss):
                raise ValueError(
                    f"{self._owner}: alpha_r='auto' is that of WeightedBCELoss, but L_sup is "
                    f'{type(loss).__name__}: give it a number'
                )
            self._value = float(loss.alpha_r)

    def __call__(self) -> float:
        """The weight; a ``ValueError`` where it is that of an L_sup which nobody told."""
        if isinstance(self._value, str):
            raise ValueError(
                f"{self._owner}: alpha_r='auto' outside a SemiProbMapDetector, which would tell that "
                'of L_sup: call attach(student), or give it a number'
            )
        return self._value

    def __str__(self) -> str:
        return repr(self._value)
