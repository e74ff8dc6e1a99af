# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The metric's rules written down as slowly and as plainly as possible."""

import math

from skimage.measure import label, regionprops


def contains(box, x, y) -> bool:
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def false_positives(prob_map, gt_boxes, scale, connectivity, threshold) -> int:
    labels = label(prob_map >= threshold, connectivity=2 if connectivity == 8 else 1)
    count = 0
    for region in regionprops(labels):
        # the ends are the last cell + 1
        top, left, bottom, right = region.bbox
        x, y = (left + right) / 2 * scale[0], (top + bottom) / 2 * scale[1]
        count += not any(contains(box, x, y) for box in gt_boxes)
    return count


def is_hit(prob_map, box, scale, threshold) -> bool:
    column = math.floor((box[0] + box[2]) / 2 / scale[0])
    row = math.floor((box[1] + box[3]) / 2 / scale[1])
    height, width = prob_map.shape
    return prob_map[min(max(row, 0), height - 1), min(max(column, 0), width - 1)] >= threshold


def box_false_positives(boxes, scores, gt_boxes, threshold) -> int:
    return sum(
        not any(contains(gt, (box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for gt in gt_boxes)
        for box, score in zip(boxes, scores)
        if score >= threshold
    )


def is_hit_by_boxes(boxes, scores, gt, threshold) -> bool:
    x, y = (gt[0] + gt[2]) / 2, (gt[1] + gt[3]) / 2
    return any(contains(box, x, y) for box, score in zip(boxes, scores) if score >= threshold)
