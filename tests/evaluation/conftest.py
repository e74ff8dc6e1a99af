# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.evaluation.offline.ground_truth import GroundTruth, read_ground_truth
from tests.evaluation.offline.prediction_files import write_truth


@pytest.fixture
def truth(tmp_path) -> GroundTruth:
    """Ground truth of the films of ``prediction_files``."""
    return read_ground_truth(write_truth(tmp_path / 'test.json'))
