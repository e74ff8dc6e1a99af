# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.deployment.dicom_objects import make_objects
from mmfrac.deployment.dicom_objects.segmentation import mask_of_map
from tests.deployment.dicom_objects.variants import (
    IMAGE,
    MODEL,
    make_image,
    make_map,
    make_result,
    read,
)


def test_the_mask_comes_back(tmp_path):
    path = make_image(tmp_path)
    (made,) = make_objects(make_result(path), path, make_map(path), ['seg']).objects
    ds = read(made.content)
    wanted = np.zeros((61, 47), np.uint8)
    wanted[12:24, 8:36] = 1
    np.testing.assert_array_equal(ds.pixel_array.reshape(61, 47), wanted)
    (segment,) = ds.SegmentSequence
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == tuple(MODEL.values())
    assert 'threshold=0.25' in algorithm.AlgorithmParameters and 'research' in segment.SegmentLabel
    (frame,) = ds.PerFrameFunctionalGroupsSequence
    (source,) = frame.DerivationImageSequence[0].SourceImageSequence
    assert source.ReferencedSOPInstanceUID == IMAGE


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    cells=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    scale=st.tuples(st.sampled_from([0.5, 1.0, 2.75, 4.0]), st.sampled_from([0.75, 1.0, 3.5])),
    seed=st.integers(0, 9),
)
def test_a_pixel_has_the_value_of_the_cell_around_its_centre(shape, cells, scale, seed):
    prob_map = np.random.default_rng(seed).random(cells)
    mask = mask_of_map(prob_map, scale, shape, 0.5)
    for row in range(shape[0]):
        for column in range(shape[1]):
            inside = [
                prob_map[r, c] >= 0.5
                for r in range(cells[0])
                for c in range(cells[1])
                if r * scale[1] <= row + 0.5 < (r + 1) * scale[1]
                and c * scale[0] <= column + 0.5 < (c + 1) * scale[0]
            ]
            assert mask[row, column] == any(inside)
