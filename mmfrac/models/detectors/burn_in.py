# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How many epochs a teacher-student training learns from boxes and negatives alone."""

import math
from typing import Any

ALL = 'all'


def burn_in_length(burn_in_epochs: Any) -> float:
    """Epochs of burn-in.

    Args:
        burn_in_epochs (int | str): As ``semi_train_cfg`` has it: a number, or ``'all'`` for a training
            that is burn-in to its end, however long it is.

    Returns:
        float: The number; infinity for ``'all'``.

    Raises:
        ValueError: When it is neither.
    """
    if burn_in_epochs == ALL:
        return math.inf
    is_number = isinstance(burn_in_epochs, int) and not isinstance(burn_in_epochs, bool)
    if not is_number or burn_in_epochs < 0:
        raise ValueError(
            f"burn_in_epochs must be a number of epochs >= 0 or 'all', got {burn_in_epochs!r}"
        )
    return burn_in_epochs
