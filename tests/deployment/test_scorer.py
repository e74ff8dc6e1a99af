# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from mmfrac.deployment.archive import ArchiveOptions, Shard, infer_archive
from mmfrac.deployment.archive_inputs import list_entries
from mmfrac.deployment.package import package_inferencer
from mmfrac.deployment.page.scoring import PageScorer
from mmfrac.deployment.page.uploads import Upload
from mmfrac.deployment.results import ResultLine, Scored, read_results
from mmfrac.deployment.scorer import PackageScorer
from mmfrac.deployment.selection import Selection
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
            shown = page.score(Upload('a.dcm', file.read())).scored.result
        np.testing.assert_allclose(shown.boxes, boxes)
        # of another batch size
        np.testing.assert_allclose(shown.scores, scores, rtol=1e-5)
        assert shown.flag == result.flag
    assert any(one.result.flag for one in found)


def test_boxes_of_a_result_and_those_that_are_shown():
    # two peaks with a bridge between them that reaches 0.2, and not the operating point
    prob_map = np.zeros((4, 8), np.float32)
    prob_map[1, 1:7] = 0.3
    prob_map[1, 1], prob_map[1, 6] = 0.9, 0.6
    result = ResultLine(
        'a.png',
        dict(name='model', sha256='0'),
        width=32,
        height=16,
        scored=True,
        score=0.9,
        flag=True,
        operating_point=dict(name='point', threshold=0.5),
        boxes=[[4.0, 4.0, 28.0, 8.0]],
        scores=[0.9],
        map_scale=[4.0, 4.0],
    )
    shown = Scored(result, prob_map)
    assert shown.at(0.2).boxes == result.boxes
    at_point = shown.at(0.5)
    assert at_point.boxes == [[4, 4, 8, 8], [24, 4, 28, 8]]
    assert at_point.scores == pytest.approx([0.9, 0.6])
    assert at_point.operating_point == result.operating_point and at_point.flag
    assert shown.at(0.8).boxes == [[4, 4, 8, 8]] and not shown.at(0.95).flag


def test_findings_are_the_best_ones_and_none_lies_below_the_threshold():
    prob_map = np.zeros((1, 7), np.float32)
    # 0.7 in float32 is less than 0.7
    prob_map[0, ::2] = 0.7, 0.8, 0.75, 0.9
    result = ResultLine(
        'a.png',
        dict(name='model', sha256='0'),
        width=14,
        height=2,
        scored=True,
        score=float(prob_map.max()),
        map_scale=[2.0, 2.0],
    )
    at_threshold = Scored(result, prob_map).at(0.7)
    assert at_threshold.boxes == [[12, 0, 14, 2], [4, 0, 6, 2], [8, 0, 10, 2]]
    assert Scored(result, prob_map, 2).findings(0.7) == (
        [[12, 0, 14, 2], [4, 0, 6, 2]],
        pytest.approx([0.9, 0.8]),
    )


def test_doubts_and_an_image_of_one_value(tmp_path):
    package = tiny_package(tmp_path)
    doubtful = write_dicom(tmp_path / 'doubtful.dcm', 0, WindowWidth=0)
    blank = write_dicom(tmp_path / 'blank.dcm', 1, PixelData=bytes(2 * 48 * 64))
    paths = [str(doubtful), str(blank), str(write_dicom(tmp_path / 'sound.dcm', 2))]
    page = PageScorer(package, package_inferencer(package, 'cpu'))
    shown = []
    for path in paths:
        with open(path, 'rb') as file:
            shown.append(page.score(Upload('a.dcm', file.read())))
    assert [one.plane is not None for one in shown] == [True] * 3
    scored = PackageScorer(package, device='cpu', batch_size=2)(paths)
    for found in ([one.result for one in scored], [one.scored.result for one in shown]):
        (note,) = found[0].notes
        assert note == 'its window (center 2048.0, width 0.0) is none and is not used'
        assert [one.scored for one in found] == [True, False, True]
        assert found[1].reason == 'all its pixels have one value' and found[1].error is None
        assert (found[1].width, found[1].height) == (64, 48) and found[1].reason in found[1].notes
        assert found[2].notes == []
    everything = PackageScorer(package, Selection(everything=True), device='cpu')
    assert everything(paths[1:2])[0].result.scored
