# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The steps of a test pipeline between image and network, in numpy and OpenCV.

They compute what mmcv's ``Resize`` and ``Pad`` and mmdet's ``DetDataPreprocessor`` do: of one
channel bit for bit.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

_INTERPOLATIONS = {
    'nearest': cv2.INTER_NEAREST,
    'bilinear': cv2.INTER_LINEAR,
    'bicubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
    'lanczos': cv2.INTER_LANCZOS4,
}


class Prepared(NamedTuple):
    """An image as the network takes it.

    Attributes:
        inputs (np.ndarray): ``(c, h, w)`` float32.
        factors (tuple[float, float]): px of the resized image for each px of the image, in x and y.
    """

    inputs: np.ndarray
    factors: tuple[float, float]


def prepare(plane: np.ndarray, settings: Mapping[str, Any]) -> Prepared:
    """Resize, pad and normalise an image.

    Args:
        plane (np.ndarray): ``(h, w)`` float32 in [0, 1], bright bone on dark lung.
        settings (Mapping): ``resize`` (``scale`` ``[w, h]``, ``keep_ratio``, ``interpolation``) and
            ``pad`` (``size`` ``[w, h]``, ``divisor``, ``square``), both or null; ``channels`` of the
            plane; ``mean`` and ``std``, a number a channel, or null; ``divisor`` and ``value`` of what
            pads the normalised image to the right and below.

    Returns:
        Prepared: The image and its scale.

    Raises:
        ValueError: If the resized image is larger than what it is to be padded to.
    """
    height, width = plane.shape
    image: np.ndarray = np.ascontiguousarray(plane, np.float32)
    resize = settings['resize']
    if resize:
        size = resized_size((width, height), resize['scale'], resize['keep_ratio'])
        image = cv2.resize(image, size, interpolation=_INTERPOLATIONS[resize['interpolation']])
    factors = (image.shape[1] / width, image.shape[0] / height)
    if settings['pad']:
        image = _padded(image, *_padded_size(image, settings['pad']), 0.0)
    stacked = np.repeat(image[None], settings['channels'], axis=0)
    if settings['mean'] is not None:
        mean, std = (np.array(settings[key], np.float32)[:, None, None] for key in ('mean', 'std'))
        stacked = (stacked - mean) / std
    divisor = settings['divisor']
    rows, columns = (math.ceil(side / divisor) * divisor for side in stacked.shape[1:])
    padded = [_padded(one, rows, columns, settings['value']) for one in stacked]
    return Prepared(np.stack(padded), factors)


def resized_size(size: tuple[int, int], scale: Sequence[int], keep_ratio: bool) -> tuple[int, int]:
    """Width and height of an image after ``Resize``.

    Args:
        size (tuple[int, int]): Width and height before, px.
        scale (Sequence[int]): Two sides, px: width and height, or with ``keep_ratio`` what its longer
            and its shorter side become at most.
        keep_ratio (bool): Whether the ratio of its sides stays.
    """
    if not keep_ratio:
        return int(scale[0]), int(scale[1])
    factor = min(max(scale) / max(size), min(scale) / min(size))
    width, height = (int(side * factor + 0.5) for side in size)
    return width, height


def _padded_size(image: np.ndarray, pad: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = image.shape
    if pad['size']:
        return pad['size'][1], pad['size'][0]
    if pad['square']:
        rows = columns = max(rows, columns)
    if pad['divisor']:
        rows, columns = (
            math.ceil(side / pad['divisor']) * pad['divisor'] for side in (rows, columns)
        )
    return rows, columns


def _padded(image: np.ndarray, rows: int, columns: int, value: float) -> np.ndarray:
    height, width = image.shape
    if (height, width) == (rows, columns):
        return image
    if height > rows or width > columns:
        raise ValueError(
            f'the image is resized to {width} x {height} px, and padded to {columns} x {rows} px, '
            'which is less'
        )
    padded = np.full((rows, columns), value, np.float32)
    padded[:height, :width] = image
    return padded
