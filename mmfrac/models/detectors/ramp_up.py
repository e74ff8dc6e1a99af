# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math


def consistency_weight(epoch: int, ramp_up_epochs: int) -> float:
    r"""Weight of L_semi while it ramps up (Temporal Ensembling [9], Mean Teacher [10]).

    .. math:: w(t) = \exp(-5 (1 - \min(t, T) / T)^2)

    Args:
        epoch (int): ``t``, semi-supervised epochs so far; 0 in the first.
        ramp_up_epochs (int): ``T``; 0 for no ramp.

    Returns:
        float: In (0, 1]; 1 from epoch ``T`` on.

    Raises:
        ValueError: When an epoch is negative.
    """
    if epoch < 0 or ramp_up_epochs < 0:
        raise ValueError(f'epochs must be >= 0, got {epoch} and {ramp_up_epochs}')
    if epoch >= ramp_up_epochs:
        return 1.0
    return math.exp(-5 * (1 - epoch / ramp_up_epochs) ** 2)
