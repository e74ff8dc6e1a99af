# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.


def lesion_instance(annotation: dict, bbox_label: int) -> dict:
    """A COCO annotation as an instance of mmdet.

    Args:
        annotation (dict): With ``bbox`` ``[x, y, w, h]`` in px of the film.
        bbox_label (int): Index of its class.

    Returns:
        dict: ``bbox`` (xyxy), ``bbox_label``, ``ignore_flag``, ``site``; ``mask`` and ``polygon`` where
        there is one.
    """
    x, y, w, h = annotation['bbox']
    instance = dict(
        bbox=[x, y, x + w, y + h],
        bbox_label=bbox_label,
        ignore_flag=int(bool(annotation.get('iscrowd') or annotation.get('ignore'))),
        site=annotation.get('site'),
    )
    segmentation = annotation.get('segmentation')
    if segmentation:
        instance['mask'] = segmentation
        if isinstance(segmentation, list):
            instance['polygon'] = segmentation
    return instance
