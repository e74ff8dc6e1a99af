# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Fractures of a semi-real set beside the same place of the film as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.semi_real.negatives import NegativeImage
from mmfrac.preparation.semi_real.semi_real_set import JOURNAL_NAME
from mmfrac.utils.io import listed_output, write_image
from mmfrac.visualization.overlay import Canvas, contact_sheet

_CROP = 240
# Half the edge of a crop, in half widths of the rib.
_VIEW = 6.5
_GREEN = (40, 220, 40)


def draw_contact_sheet(
    set_dir: str | os.PathLike,
    images: Sequence[NegativeImage],
    out_file: str | os.PathLike,
    number: int = 24,
    columns: int = 4,
) -> int:
    """Draw places before and after they were broken, both with the grey scale of the first.

    Args:
        set_dir (str or os.PathLike): Folder that `write_semi_real` wrote.
        images (Sequence[NegativeImage]): Films that it was made from.
        out_file (str or os.PathLike): Picture to write, e.g. PNG.
        number (int): Most fractures shown, evenly spread over the set. Defaults to 24.
        columns (int): Pairs a row. Defaults to 4.

    Returns:
        int: How many are shown.

    Raises:
        ValueError: If the set has no fracture, or the picture's format is unknown.
    """
    root = Path(set_dir)
    lines = (root / JOURNAL_NAME).read_text(encoding='utf-8').splitlines()
    entries = sorted(map(json.loads, lines), key=lambda entry: entry['film'])
    every = [(entry, lesion) for entry in entries for lesion in entry['lesions']]
    if not every:
        raise ValueError(f'{root}: no film has a fracture, there is nothing to show')
    shown = np.unique(np.linspace(0, len(every) - 1, min(number, len(every))).round().astype(int))
    paths = {image.name: image.path for image in images}
    pairs, titles = [], []
    for entry, lesion in (every[index] for index in shown):
        before = read_radiograph(paths[entry['film']])
        after = read_radiograph(root / 'images' / entry['file_name'])
        pairs.append(_before_and_after(before, after, lesion))
        titles.append(f'{Path(entry["film"]).stem}: {lesion["kind"]}')
    sheet = contact_sheet(pairs, columns, titles)
    write_image(listed_output(out_file), sheet)
    return len(shown)


def _before_and_after(before: np.ndarray, after: np.ndarray, lesion: dict[str, Any]) -> np.ndarray:
    """Two crops side by side, the box drawn on the second.

    Args:
        before, after (np.ndarray): Film (h, w) in [0, 1].
        lesion (dict): `x`, `y`, `half_width` and `box` (xyxy) of the fracture, film px.

    Returns:
        np.ndarray: (CROP, 2 * CROP + 4, 3) uint8 RGB.
    """
    half = _VIEW * lesion['half_width']
    zoom = _CROP / (2 * half)
    corner = np.array([lesion['x'] - half, lesion['y'] - half])
    crops = []
    window: tuple[float, float] | None = None
    for image in (before, after):
        crop = _crop(image, corner, zoom)
        window = window or tuple(np.percentile(crop, [0.5, 99.5]))
        low, high = window
        grey = np.clip((crop - low) / max(high - low, 1e-6), 0, 1)
        crops.append(np.repeat((255 * grey).round().astype(np.uint8)[..., None], 3, axis=2))
    canvas = Canvas(crops[1], zoom)
    canvas.box(np.array(lesion['box']) - np.tile(corner, 2), _GREEN, width=1)
    gap = np.zeros((_CROP, 4, 3), np.uint8)
    return np.hstack([crops[0], gap, canvas.picture()])


def _crop(image: np.ndarray, corner: np.ndarray, zoom: float) -> np.ndarray:
    """Part of a film that begins at a corner (x, y), CROP px of the picture wide and high."""
    scale = 1 / zoom
    to_image = np.array(
        [[scale, 0, corner[0] + scale / 2 - 0.5], [0, scale, corner[1] + scale / 2 - 0.5]]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        image, to_image, (_CROP, _CROP), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
