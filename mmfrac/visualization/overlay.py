# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A film with what was annotated and what was found on it, like the paper's Fig. 1."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from mmfrac.utils.io import listed_output, write_image

Colour = tuple[int, int, int]


class Canvas:
    """A picture on which boxes with text are drawn, legible at any size.

    Args:
        picture (np.ndarray): ``(H, W, 3)`` uint8 RGB.
        zoom (float): Picture px per film px.
    """

    def __init__(self, picture: np.ndarray, zoom: float) -> None:
        self._image = Image.fromarray(picture)
        self._draw = ImageDraw.Draw(self._image)
        self._zoom = zoom
        longest = max(picture.shape[:2])
        self._unit = max(1, round(longest / 600))
        self._font = self.font(max(10, round(longest / 55)))
        self._texts: list[tuple[float, float, str, Colour]] = []

    @staticmethod
    @lru_cache(maxsize=16)
    def font(size: int) -> ImageFont.FreeTypeFont:
        """Pillow's own font in px."""
        return ImageFont.load_default(size)  # type: ignore[return-value]

    def box(
        self,
        box: np.ndarray,
        colour: Colour,
        width: int,
        text: str = '',
        below: bool = False,
        dashed: bool = False,
    ) -> None:
        """Draw one box.

        Args:
            box (np.ndarray): ``(4,)`` xyxy film px; the line lies just within its edges.
            colour (tuple): RGB.
            width (int): Of the line, in units that grow with the picture.
            text (str): Written above the box, or below it. Defaults to ''.
            below (bool): Whether the text is written below. Defaults to False.
            dashed (bool): Whether the line is dashed. Defaults to False.
        """
        x1, y1 = (round(v * self._zoom) for v in box[:2].tolist())
        x2, y2 = (round(v * self._zoom) for v in box[2:].tolist())
        # a box of less than a pixel still shows
        x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)
        width *= self._unit
        if dashed:
            self._dashed(x1, y1, x2, y2, colour, width)
        else:
            self._draw.rectangle((x1, y1, x2, y2), outline=colour, width=width)
        if text:
            self._write(x1, y1, y2, text, colour, below)

    def polygon(self, points: np.ndarray, colour: Colour, width: int) -> None:
        """Draw a closed outline.

        Args:
            points (np.ndarray): ``(n, 2)`` xy film px.
            colour (tuple): RGB.
            width (int): Of the line, in units that grow with the picture.
        """
        corners = [(x * self._zoom, y * self._zoom) for x, y in np.asarray(points).tolist()]
        self._draw.line([*corners, *corners[:2]], colour, width * self._unit, joint='curve')

    def picture(self) -> np.ndarray:
        """The picture with its boxes and, above them all, their texts; ``(H, W, 3)`` uint8 RGB."""
        for x, y, text, colour in self._texts:
            self._draw.text(
                (x, y),
                text,
                colour,
                self._font,
                anchor='lt',
                stroke_width=self._unit,
                stroke_fill=(0, 0, 0),
            )
        return np.asarray(self._image).copy()

    def _dashed(self, x1: int, y1: int, x2: int, y2: int, colour: Colour, width: int) -> None:
        dash = 4 * self._unit
        for x in range(x1, x2 + 1, 2 * dash):
            end = min(x + dash - 1, x2)
            self._draw.rectangle((x, y1, end, min(y1 + width - 1, y2)), colour)
            self._draw.rectangle((x, max(y2 - width + 1, y1), end, y2), colour)
        for y in range(y1, y2 + 1, 2 * dash):
            end = min(y + dash - 1, y2)
            self._draw.rectangle((x1, y, min(x1 + width - 1, x2), end), colour)
            self._draw.rectangle((max(x2 - width + 1, x1), y, x2, end), colour)

    def _write(self, x1: int, y1: int, y2: int, text: str, colour: Colour, below: bool) -> None:
        gap = 2 * self._unit
        left, top, right, bottom = self._draw.textbbox((0, 0), text, self._font, anchor='lt')
        height = bottom - top
        above_y, below_y = y1 - gap - height, y2 + 1 + gap
        fits_above, fits_below = above_y >= 0, below_y + height <= self._image.height
        y = below_y if (below and fits_below) or not fits_above else above_y
        x = min(max(x1, gap), max(gap, self._image.width - (right - left) - gap))
        self._texts.append((x, y, text, colour))


GT_GREEN = (40, 220, 40)

FOUND_WHITE = (255, 255, 255)

FALSE_MAGENTA = (255, 90, 255)

IGNORED_GREY = (150, 150, 170)

_HEAT_FROM = 0.05

"""Probability below which the film is left as it is."""

_HEAT_ALPHA = 0.6

"""Opacity of the heat from a probability of 0.5 upwards."""


def draw_overlay(
    image: np.ndarray,
    prob_map: np.ndarray | None = None,
    map_scale: tuple[float, float] | None = None,
    gt_boxes: Any = None,
    instances: Any = None,
    size: int | None = None,
    score_thr: float = 0.2,
    ignore_boxes: Any = None,
) -> np.ndarray:
    """Draw a film with its prob map, annotated lesions and found components.

    Lesions are green: solid when hit, dashed and marked 'missed' when not. Components carry their
    score: thin white when their centre lies in a lesion, dashed magenta when they are false
    positives. Boxes to ignore are dashed grey and marked 'ignored'; a component whose centre lies in
    one is neither hit nor false. Without ``gt_boxes`` nothing is known to be false and every component
    is white. Hit and false are as in the metric. With a map a lesion is hit where the cell of its
    midpoint is at least ``score_thr``, and the centre of a component is that of its cells, also of
    those that reach beyond the film; without a map, the midpoint lies in a component's box, and the
    centre is that of the box.

    Args:
        image (np.ndarray): Film ``(h, w)``, float in [0, 1].
        prob_map (array, optional): ``(h', w')`` or ``(1, h', w')`` in [0, 1]; cell ``(r, c)`` covers
            ``[c*sx, (c+1)*sx] x [r*sy, (r+1)*sy]`` film px; what lies beyond the film is cropped.
            Defaults to None.
        map_scale (tuple, optional): ``(sx, sy)`` film px per cell. Needed with ``prob_map``. Defaults
            to None.
        gt_boxes (array, optional): ``(n, 4)`` xyxy film px. None: not known; empty: known to have
            none. Defaults to None.
        instances (InstanceData or dict, optional): ``bboxes`` ``(m, 4)`` xyxy film px and ``scores``
            ``(m,)``. Defaults to None.
        size (int, optional): Longest side of the picture in px. Defaults to that of the film.
        score_thr (float): Operating threshold: components with a lower score are left out. Defaults
            to 0.2.
        ignore_boxes (array, optional): ``(k, 4)`` xyxy film px. Defaults to None, none.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: When an array has another shape, or the map no scale.
    """
    if image.ndim != 2:
        raise ValueError(f'a film is one plane (h, w), got shape {image.shape}')
    if prob_map is not None and map_scale is None:
        raise ValueError('a prob map needs map_scale = (film px per cell in x, in y)')
    cells = None if prob_map is None else _cells(prob_map)
    scale = np.ones(2) if map_scale is None else np.asarray(map_scale, np.float64)
    zoom = 1.0 if size is None else size / max(image.shape)
    grey = grey_picture(image, zoom)
    picture = np.repeat(grey[..., None], 3, axis=2)
    if cells is not None:
        picture = _heated(picture, cells, scale * zoom)
    boxes, scores = _found(instances, score_thr)
    lesions = None if gt_boxes is None else _array(gt_boxes).reshape(-1, 4)
    ignored = _array([] if ignore_boxes is None else ignore_boxes).reshape(-1, 4)
    canvas = Canvas(picture, zoom)
    for box in ignored:
        canvas.box(box, IGNORED_GREY, width=1, text='ignored', below=True, dashed=True)
    if lesions is not None:
        for lesion, is_hit in zip(lesions, _hits(lesions, boxes, cells, scale, score_thr)):
            text = '' if is_hit else 'missed'
            canvas.box(lesion, GT_GREEN, width=2, text=text, below=True, dashed=not is_hit)
    centres = _centres(boxes, scale, cells is not None)
    for box, score, is_false in zip(boxes, scores, _false_positives(centres, lesions, ignored)):
        colour = FALSE_MAGENTA if is_false else FOUND_WHITE
        canvas.box(box, colour, width=1, text=f'{score:.2f}', dashed=is_false)
    return canvas.picture()


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, titles: Sequence[str] | None = None
) -> np.ndarray:
    """Pictures side by side on black, each in a cell of the largest one's size.

    Args:
        images (Sequence[np.ndarray]): ``(H_i, W_i, 3)`` uint8 RGB.
        columns (int): Pictures a row.
        titles (Sequence[str], optional): One line above each picture. Defaults to None.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: When there is no picture, no column, or another number of titles.
    """
    if not images or columns < 1:
        raise ValueError(
            f'a contact sheet needs pictures and columns, got {len(images)} in {columns} columns'
        )
    if titles is not None and len(titles) != len(images):
        raise ValueError(f'{len(images)} pictures but {len(titles)} titles')
    columns = min(columns, len(images))
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    gap = max(2, width // 100)
    font = Canvas.font(max(10, width // 28))
    head = 0 if titles is None else round(1.5 * font.size)
    rows = -(-len(images) // columns)
    sheet = Image.new(
        'RGB', (columns * (width + gap) - gap, rows * (height + head + gap) - gap), 'black'
    )
    draw = ImageDraw.Draw(sheet)
    for index, image in enumerate(images):
        x = index % columns * (width + gap)
        y = index // columns * (height + head + gap)
        if titles is not None:
            draw.text((x + gap, y + head / 2), titles[index], 'white', font, anchor='lm')
        sheet.paste(
            Image.fromarray(image),
            (x + (width - image.shape[1]) // 2, y + head + (height - image.shape[0]) // 2),
        )
    return np.asarray(sheet).copy()


def compare_overlays(
    folders: Mapping[str, str | os.PathLike], out: str | os.PathLike, number: int = 3
) -> Path:
    """Put the overlays of several models side by side, of the images where they differ most.

    Args:
        folders (Mapping[str, str or PathLike]): Folder of overlays by the name of its model, as
            ``tools/test.py --show-dir`` writes them; searched with those below.
        out (str or PathLike): Picture to write, PNG.
        number (int): Images, a row each. Defaults to 3.

    Returns:
        Path: ``out``.

    Raises:
        FileNotFoundError: When the folders have no picture of the same name.
        ValueError: When fewer than two folders or one image are asked for.
    """
    if len(folders) < 2 or number < 1:
        raise ValueError(
            f'two folders and one image are the least, got {len(folders)} and {number}'
        )
    found = [
        {path.relative_to(folder): path for path in Path(folder).rglob('*.png')}
        for folder in folders.values()
    ]
    common = sorted(set.intersection(*map(set, found)))
    if not common:
        raise FileNotFoundError(
            f'no overlay of the same name in {", ".join(map(str, folders.values()))}; '
            'tools/test.py --show-dir writes them'
        )
    difference = {}
    for name in common:
        first, *others = (Image.open(of[name]).convert('RGB') for of in found)
        others = [one.resize(first.size) for one in others]
        difference[name] = max(
            float(np.asarray(ImageChops.difference(first, one)).mean()) for one in others
        )
    chosen = sorted(common, key=lambda name: -difference[name])[:number]
    pictures = [np.asarray(Image.open(of[name]).convert('RGB')) for name in chosen for of in found]
    titles = [f'{model}: {name.stem}' for name in chosen for model in folders]
    write_image(listed_output(out), contact_sheet(pictures, len(folders), titles))
    return Path(out)


def grey_picture(image: np.ndarray, zoom: float) -> np.ndarray:
    """A film at another size.

    Args:
        image (np.ndarray): Film ``(h, w)``, float in [0, 1].
        zoom (float): Picture px per film px.

    Returns:
        np.ndarray: ``(H, W)`` uint8.
    """
    grey = (image.clip(0, 1) * 255).round().astype(np.uint8)
    if zoom == 1:
        return grey
    height, width = (max(1, round(side * zoom)) for side in image.shape)
    interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return cv2.resize(grey, (width, height), interpolation=interpolation)


def heat_colours(probabilities: np.ndarray) -> np.ndarray:
    """Colours of probabilities, of an overlay and wherever else one is shown.

    Args:
        probabilities (np.ndarray): ``(h, w)``, float in [0, 1].

    Returns:
        np.ndarray: ``(h, w, 3)`` uint8 RGB.
    """
    # the darkest third of the palette would only blacken the film
    shades = (255 * (0.33 + 0.67 * probabilities)).round().astype(np.uint8)
    return cv2.applyColorMap(shades, cv2.COLORMAP_INFERNO)[..., ::-1]


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu() if hasattr(values, 'detach') else values, np.float64)


def _cells(prob_map: Any) -> np.ndarray:
    cells = _array(prob_map)
    if cells.ndim == 3 and len(cells) == 1:
        cells = cells[0]
    if cells.ndim != 2:
        raise ValueError(f'a prob map is (h, w) or (1, h, w), got shape {cells.shape}')
    return cells.astype(np.float32)


def _heated(picture: np.ndarray, cells: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Blend the cells, ``scale`` picture px each, into the picture."""
    (sx, sy), (height, width) = scale, picture.shape[:2]
    # picture px centre -> cell centre, so that cell c covers [c*sx, (c+1)*sx]
    to_cells = np.array([[1 / sx, 0, 0.5 / sx - 0.5], [0, 1 / sy, 0.5 / sy - 0.5]])
    heat = cv2.warpAffine(
        cells,
        to_cells,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # the map may end before the film does
    heat[round(cells.shape[0] * sy) :] = 0
    heat[:, round(cells.shape[1] * sx) :] = 0
    colours = heat_colours(heat.clip(0, 1))
    alpha = _HEAT_ALPHA * ((heat - _HEAT_FROM) / (0.5 - _HEAT_FROM)).clip(0, 1)[..., None]
    return (picture * (1 - alpha) + colours * alpha).round().astype(np.uint8)


def _found(instances: Any, score_thr: float) -> tuple[np.ndarray, np.ndarray]:
    if instances is None:
        return np.zeros((0, 4)), np.zeros(0)
    boxes, scores = _array(instances['bboxes']).reshape(-1, 4), _array(instances['scores'])
    # the threshold in the scores' own precision: 0.2 in float32 is more than 0.2
    kept = scores.astype(np.float32) >= np.float32(score_thr)
    return boxes[kept], scores[kept]


def _inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether each of ``(n, 2)`` points lies in any of ``(m, 4)`` boxes, edges included."""
    low = points[:, None] >= boxes[None, :, :2]
    high = points[:, None] <= boxes[None, :, 2:]
    return np.any(np.all(low & high, axis=2), axis=1)


def _hits(
    lesions: np.ndarray,
    boxes: np.ndarray,
    cells: np.ndarray | None,
    scale: np.ndarray,
    score_thr: float,
) -> np.ndarray:
    middles = (lesions[:, :2] + lesions[:, 2:]) / 2
    if cells is None:
        return _inside(middles, boxes)
    last = np.array(cells.shape[::-1]) - 1
    columns, rows = np.floor(middles / scale).astype(int).clip(0, last).T
    return cells[rows, columns] >= np.float32(score_thr)


def _centres(boxes: np.ndarray, scale: np.ndarray, are_components: bool) -> np.ndarray:
    """Centres ``(m, 2)`` of boxes; of components those of all their cells, as in the metric."""
    if not are_components:
        return (boxes[:, :2] + boxes[:, 2:]) / 2
    # the last cell may reach beyond the film, at which boxes end; they are rounded to float32
    first, end = np.round(boxes[:, :2] / scale), np.ceil(boxes[:, 2:] / scale - 1e-3)
    return (first + end) / 2 * scale


def _false_positives(
    centres: np.ndarray, lesions: np.ndarray | None, ignored: np.ndarray
) -> np.ndarray:
    if lesions is None:
        return np.zeros(len(centres), bool)
    return ~_inside(centres, np.concatenate([lesions, ignored]))
