# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

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
            self._place(x1, y1, y2, text, colour, below)

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

    def _place(self, x1: int, y1: int, y2: int, text: str, colour: Colour, below: bool) -> None:
        gap = 2 * self._unit
        left, top, right, bottom = self._draw.textbbox((0, 0), text, self._font, anchor='lt')
        height = bottom - top
        above_y, below_y = y1 - gap - height, y2 + 1 + gap
        fits_above, fits_below = above_y >= 0, below_y + height <= self._image.height
        y = below_y if (below and fits_below) or not fits_above else above_y
        x = min(max(x1, gap), max(gap, self._image.width - (right - left) - gap))
        self._texts.append((x, y, text, colour))
