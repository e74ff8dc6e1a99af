# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.preparation.converters.vindr_cxr import merge_boxes, readers_needed

A, A2, FAR = [0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]  # A and A2 overlap by 80 / 120


def test_readers_needed():
    assert [readers_needed('any', n) for n in (1, 3)] == [1, 1]
    assert [readers_needed('majority', n) for n in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]
    assert [readers_needed('all', n) for n in (1, 3)] == [1, 3]
    with pytest.raises(ValueError, match='none of'):
        readers_needed('most', 3)


def test_by_hand():
    boxes, readers = [A, A2, FAR], ['r1', 'r2', 'r3']
    assert merge_boxes(boxes, readers, 1) == [[1, 0, 11, 10], FAR]
    assert merge_boxes(boxes, readers, 2) == [[1, 0, 11, 10]]
    assert merge_boxes(boxes, readers, 3) == []
    assert merge_boxes(boxes, readers, 2, fuse='union') == [[0, 0, 12, 10]]
    assert merge_boxes(boxes, readers, 1, iou=0.66) == [[1, 0, 11, 10], FAR]
    assert merge_boxes(boxes, readers, 1, iou=0.67) == [A, A2, FAR]
    # one reader who marks a lesion twice is one reader
    assert merge_boxes([A, A2], ['r1', 'r1'], 2) == []
    assert merge_boxes([], [], 1) == []
    for wrong in (dict(fuse='max'), dict(iou=0), dict(iou=1.5)):
        with pytest.raises(ValueError, match='fuse is one of'):
            merge_boxes([], [], 1, **wrong)


def slow_merge(boxes, readers, needed, iou, fuse):
    """Groups grown box by box."""
    groups = []
    for box, reader in zip(boxes, readers):
        joined = [g for g in groups if any(overlap(box, other) >= iou for other, _ in g)]
        groups = [g for g in groups if g not in joined] + [sum(joined, [(box, reader)])]
    merged = []
    for group in groups:
        if len({reader for _, reader in group}) >= needed:
            corners = list(zip(*(box for box, _ in group)))
            if fuse == 'mean':
                merged.append([round(sum(values) / len(values), 2) for values in corners])
            else:
                merged.append([f(values) for f, values in zip((min, min, max, max), corners)])
    return sorted(merged)


def overlap(a, b):
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    return shared / (area - shared)


box = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(3, 9), st.integers(3, 9)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
marks = st.lists(st.tuples(box, st.sampled_from(['r1', 'r2', 'r3'])), max_size=9)


@settings(max_examples=300, deadline=None)
@given(marks, st.integers(1, 3), st.sampled_from([0.3, 0.41, 0.7]), st.randoms())
def test_slow_twin_and_order(marks, needed, iou, random):
    shuffled = random.sample(marks, len(marks))
    for fuse in ('mean', 'union'):
        merged = merge_boxes(
            [box for box, _ in marks], [reader for _, reader in marks], needed, iou, fuse
        )
        again = merge_boxes(
            [box for box, _ in shuffled], [reader for _, reader in shuffled], needed, iou, fuse
        )
        twin = slow_merge([b for b, _ in marks], [r for _, r in marks], needed, iou, fuse)
        assert merged == again
        assert len(merged) == len(twin)
        for one, other in zip(merged, twin):
            assert one == pytest.approx(other, abs=0.011)
