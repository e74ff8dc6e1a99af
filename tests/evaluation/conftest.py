# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.evaluation.ground_truth import GroundTruth, read_ground_truth

from .prediction_files import write_truth


@pytest.fixture
def truth(tmp_path) -> GroundTruth:
    """Ground truth of the films of ``prediction_files``."""
    return read_ground_truth(write_truth(tmp_path / 'test.json'))
