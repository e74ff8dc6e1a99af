# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math

import pytest

from mmfrac.models.detectors.semi_prob_map_detector import consistency_weight
from tests.models.small_model import build, semi_cfg


def test_by_hand():
    assert consistency_weight(0, 4) == pytest.approx(math.exp(-5))
    assert consistency_weight(1, 4) == pytest.approx(math.exp(-5 * 0.75**2))
    assert consistency_weight(4, 4) == consistency_weight(9, 4) == consistency_weight(0, 0) == 1
    with pytest.raises(ValueError, match='must be >= 0'):
        consistency_weight(-1, 3)


def test_counts_from_the_first_semi_supervised_epoch():
    options = dict(burn_in_epochs=3, ramp_up_epochs=2, unsup_weight=10.0)
    model = build(semi_cfg(semi_train_cfg=options))
    weights = []
    for epoch in range(7):
        model.set_epoch(epoch)
        weights.append(model.semi_weight)
    first, second = 10 * math.exp(-5), 10 * math.exp(-5 / 4)
    assert weights[3:] == pytest.approx([first, second, 10, 10])
