# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What all plots share: style, figures without a display, atomic writing."""

import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmfrac.utils.io import AtomicLocalBackend

# Okabe and Ito: told apart by colour-blind readers; the line styles do it in grey
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
_STYLES = ('-', '--', '-.', (0, (5, 1, 1, 1, 1, 1)), ':')
RC: Any = {
    'font.size': 11,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.alpha': 0.3,
    'legend.frameon': False,
    'svg.hashsalt': 'mmfrac',
}

PathLike = str | os.PathLike


def new_figure(
    size: tuple[float, float], rows: Sequence[int] = (1,), sharex: bool = True
) -> tuple[Figure, Axes]:
    """A figure of panels above each other, and its first panel.

    Args:
        size (tuple[float, float]): Width and height in inches.
        rows (Sequence[int]): Relative heights of the panels. Defaults to one panel.
        sharex (bool): Whether the panels have one x axis. Defaults to True.

    Returns:
        tuple[Figure, Axes]: Figure, and axes of the highest panel.
    """
    # a figure of its own: pyplot would keep it, and choose a back end that may want a display
    figure = Figure(figsize=size, dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 1, sharex=sharex, squeeze=False, height_ratios=rows)
    return figure, axes[0, 0]


def line_styles() -> Iterator[dict[str, Any]]:
    """Colours and line styles of one curve after the other."""
    index = 0
    while True:
        yield dict(
            color=_COLOURS[index % len(_COLOURS)],
            linestyle=_STYLES[index % len(_STYLES)],
            linewidth=2,
        )
        index += 1


def save_figure(figure: Figure, out: PathLike) -> Path:
    """Write a figure as PNG or SVG, by suffix.

    Args:
        figure (Figure): Figure.
        out (str or PathLike): File.

    Returns:
        Path: Where it was written.

    Raises:
        ValueError: If the suffix is another one.
    """
    path = Path(out)
    suffix = path.suffix.lower().lstrip('.')
    if suffix not in ('png', 'svg'):
        raise ValueError(f'a plot is written as .png or .svg, got {path}')
    content = io.BytesIO()
    metadata = {'Date': None} if suffix == 'svg' else None
    figure.savefig(content, format=suffix, metadata=metadata)
    AtomicLocalBackend().put(content.getvalue(), path)
    return path
