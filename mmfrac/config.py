# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Changes that run through a whole config."""

from typing import Any


def set_img_scale(node: Any, img_scale: tuple[int, int]) -> None:
    """Set the input size of every pipeline in a config, in place.

    Args:
        node (Any): Config, or any dict or list in it: each ``Resize`` and ``Pad`` below it is changed.
        img_scale (tuple): ``(width, height)`` px of the square network input.
    """
    if isinstance(node, dict):
        if node.get('type') == 'Resize':
            node['scale'] = img_scale
        elif node.get('type') == 'Pad':
            node['size'] = img_scale
        if 'img_scale' in node:
            node['img_scale'] = img_scale
    for child in _children(node):
        set_img_scale(child, img_scale)


def set_data_root(node: Any, data_root: str) -> None:
    """Set the data root of every data set in a config, in place.

    Args:
        node (Any): Config, or any dict or list in it.
        data_root (str): Folder of ``images/`` and ``annotations/``.
    """
    if isinstance(node, dict) and 'data_root' in node:
        node['data_root'] = data_root
    for child in _children(node):
        set_data_root(child, data_root)


def _children(node: Any) -> list:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, (list, tuple)) else []
