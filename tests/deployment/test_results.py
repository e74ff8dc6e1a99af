# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json

import pytest

from mmfrac.deployment.results import FIELDS, ResultError, ResultLine, read_results

MODEL = dict(name='model', sha256='ab')
SCORED = dict(
    image='a.dcm',
    model=MODEL,
    precision='fp32',
    sop_instance_uid='1.2.3',
    width=64,
    height=48,
    view='PA',
    scored=True,
    score=0.7,
    probability=0.6,
    flag=True,
    operating_point=dict(name='fppi=0.1', threshold=0.5),
    boxes=[[1.0, 2.0, 3.5, 4.0]],
    scores=[0.7],
    map_scale=[4.0, 4.0],
)


def test_a_result_is_read_as_it_was_written():
    result = ResultLine(**SCORED)
    line = result.to_json()
    assert '\n' not in line and list(json.loads(line)) == list(FIELDS)
    assert ResultLine.from_json(line) == result
    assert ResultLine.from_json(line.encode()).to_json() == line
    left_out = ResultLine(image='b.dcm', model=MODEL, view='lateral', reason='view lateral')
    assert ResultLine.from_json(left_out.as_dict()) == left_out


def test_a_result_of_before_has_no_notes():
    noted = ResultLine(**SCORED, notes=['its window is none and is not used'])
    assert ResultLine.from_json(noted.to_json()) == noted
    record = ResultLine(**SCORED).as_dict()
    assert record.pop('notes') == []
    assert ResultLine.from_json(json.dumps(record)) == ResultLine(**SCORED)
    del record['score']
    with pytest.raises(ResultError, match=r"it lacks \['score'\]"):
        ResultLine.from_json(record)


@pytest.mark.parametrize(
    'changes, text',
    [
        (dict(image=3), 'image is 3'),
        (dict(view=1), 'view is 1'),
        (dict(score=float('nan')), 'score is nan'),
        (dict(score=True), 'score is True'),
        (dict(probability=1.5), 'not in'),
        (dict(width=64.0), 'width is 64.0'),
        (dict(height=-1), 'height is -1'),
        (dict(flag=1), 'flag 1'),
        (dict(model=dict(name='a')), 'model is'),
        (dict(operating_point=dict(name='a')), 'operating_point is'),
        (dict(scores=[]), '1 boxes and 0 scores'),
        (dict(boxes=[[3, 2, 1, 4]]), 'x1 <= x2'),
        (dict(boxes=[[1, 2, 3]]), 'a box is'),
        (dict(boxes=[[1, 2, 3, float('inf')]]), 'a box is'),
        (dict(boxes='abcd', scores=[1.0] * 4), 'no lists'),
        (dict(scores=['x']), 'scores are'),
        (dict(score=10**400), 'a number or null'),
        (dict(map_scale=[4.0]), 'map_scale is'),
        (dict(map_scale=[4.0, 0]), 'map_scale is'),
        (dict(notes='flat'), 'notes are'),
        (dict(notes=[1]), 'notes are'),
        (dict(score=None), 'has no score'),
        (dict(reason='view lateral'), 'a reason not to be'),
        (dict(error='broken'), 'an error'),
        (dict(width=0), 'has no size'),
        (dict(scored=False), 'no reason is given'),
        (dict(scored=False, reason='view lateral'), 'was not scored, and has'),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(changes, text):
    with pytest.raises(ResultError, match=text):
        ResultLine(**SCORED | changes)


@pytest.mark.parametrize(
    'line, text',
    [
        ('', 'no JSON'),
        ('[' * 100000, 'no JSON'),
        ('[]', 'a list'),
        ('{"image": "a"}', 'it lacks'),
        (json.dumps(ResultLine(**SCORED).as_dict() | dict(more=1)), "it has \\['more'\\]"),
        (json.dumps(ResultLine(**SCORED).as_dict() | dict(score=float('nan'))), 'NaN is no JSON'),
    ],
)
def test_a_line_that_is_no_result_is_refused(line, text, tmp_path):
    with pytest.raises(ResultError, match=text):
        ResultLine.from_json(line)
    path = tmp_path / 'results.jsonl'
    path.write_text(ResultLine(**SCORED).to_json() + '\n' + line + '\n')
    with pytest.raises(ResultError, match='line 2'):
        list(read_results(path))
