# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.deployment.archive import ArchiveOptions, Shard, infer_archive
from mmfrac.deployment.archive_inputs import list_entries
from mmfrac.deployment.package import package_inferencer
from mmfrac.deployment.page.scoring import PageScorer
from mmfrac.deployment.page.uploads import Upload
from mmfrac.deployment.results import read_results
from mmfrac.deployment.scorer import PackageScorer
from mmfrac.utils.prob_map import component_boxes
from tests.deployment.tiny_package import tiny_package, write_dicom


@pytest.mark.parametrize('threshold', [0.12, 0.3])
def test_what_is_flagged_has_a_box_wherever_it_is_scored(tmp_path, threshold):
    package = tiny_package(tmp_path, threshold=threshold)
    (tmp_path / 'images').mkdir()
    paths = [str(write_dicom(tmp_path / f'images/{number}.dcm', number)) for number in range(3)]
    scorer = PackageScorer(package, device='cpu', batch_size=2)
    found = scorer(paths)
    entries = list_entries([tmp_path / 'images'])
    infer_archive(package, tmp_path / 'out', entries, ArchiveOptions(), 0, 'cpu', Shard())
    page = PageScorer(package, package_inferencer(package, 'cpu'))
    for path, one, line in zip(paths, found, read_results(tmp_path / 'out/results.jsonl')):
        result = one.result
        # components at the point, where the detector's own 0.2 lies above it
        boxes, scores = component_boxes(
            one.prob_map, tuple(result.map_scale), (48, 64), min(threshold, 0.2)
        )
        np.testing.assert_allclose(result.boxes, boxes)
        np.testing.assert_allclose(result.scores, scores)
        np.testing.assert_allclose(line.boxes, boxes)
        assert result.flag is line.flag is (result.score >= threshold)
        assert result.flag == any(score >= threshold for score in result.scores)
        with open(path, 'rb') as file:
            shown = page.score(Upload('a.dcm', file.read())).result
        if threshold < 0.2:
            np.testing.assert_allclose(shown.boxes, boxes)
        assert shown.flag == result.flag
    assert any(one.result.flag for one in found)
