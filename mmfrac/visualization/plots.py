# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Curves of the sharpening and of a training, and what all plots share."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmfrac.models.pseudo_labels.sharpening import dynamic_sharpen
from mmfrac.utils.io import atomic_open, check_output

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


def check_plots(folder: PathLike, *names: str) -> None:
    """Raise a ``ValueError`` if a PNG of a folder that a plot would replace is no plot.

    Args:
        folder (str or PathLike): The folder.
        *names (str): Of the plots.
    """
    for name in names:
        # Matplotlib says so behind the size
        head = rb'\x89PNG\r\n\x1a\n(?s:.{,200})Software\0Matplotlib'
        check_output(Path(folder) / name, 'plot', head)


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
    metadata = {'Date': None} if suffix == 'svg' else None
    with atomic_open(path, 'wb') as file:
        figure.savefig(file, format=suffix, metadata=metadata)
    return path


def plot_sharpening(out: PathLike, t: float = 0.4, a: float | Sequence[float] = (1, 4, 6)) -> Path:
    """Dynamic sharpening function DS(y) (paper, Fig. 3 (a)).

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        t (float): Sharpening centre. Defaults to 0.4.
        a (float or Sequence[float]): Sharpening strengths, one curve each. Defaults to (1, 4, 6).

    Returns:
        Path: Where it was written.
    """
    # dense next to t, where the slope is infinite from the right
    y = np.unique(np.concatenate([np.linspace(0, 1, 501), [t], t + np.geomspace(1e-9, 1 - t, 200)]))
    with rc_context(RC):
        figure, axes = new_figure((5, 4.4))
        for strength, style in zip(np.atleast_1d(a).tolist(), line_styles()):
            values = dynamic_sharpen(torch.from_numpy(y), t, strength).numpy()
            axes.plot(y, values, label=f'$a = {strength:g}$', **style)
        axes.plot(t, t, 'o', color='black', markersize=5)
        axes.annotate(f'$t = {t:g}$', (t, t), xytext=(8, -12), textcoords='offset points')
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel='teacher probability $y$', ylabel='$DS(y)$')
        axes.set_aspect('equal')
        axes.legend(loc='upper left')
        return save_figure(figure, out)


def plot_sharpening_epochs(
    out: PathLike,
    epochs: Sequence[int],
    m: Sequence[float],
    t: Sequence[float],
    a: Sequence[float] | None = None,
) -> Path:
    """Median score and sharpening parameters in each epoch (paper, Fig. 3 (b)).

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        epochs (Sequence[int]): Epochs in which the values were in force.
        m (Sequence[float]): Median image score of the positive films.
        t (Sequence[float]): Sharpening centre.
        a (Sequence[float], optional): Sharpening strength, drawn below. Defaults to None.

    Returns:
        Path: Where it was written.
    """
    with rc_context(RC):
        figure, axes = new_figure((6, 4.4), rows=(1,) if a is None else (4, 1))
        styles = line_styles()
        for values, label in ((m, '$m$, median score'), (t, '$t$, sharpening centre')):
            axes.plot(epochs, values, marker='o', markersize=4, label=label, **next(styles))
        axes.set(ylim=(0, 1), ylabel='probability')
        axes.legend(loc='best')
        if a is not None:
            lowest = figure.axes[-1]
            lowest.step(epochs, a, where='mid', **next(styles))
            lowest.set(ylim=(3, 7), yticks=(4, 6), ylabel='$a$')
            axes.tick_params(labelbottom=False)
        return _save_epochs(figure, out)


def plot_val_metrics(out: PathLike, metrics: Mapping[str, Mapping[int, float]]) -> Path:
    """Validation metrics in each epoch.

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        metrics (Mapping[str, Mapping[int, float]]): Name, then epoch to value in [0, 1].

    Returns:
        Path: Where it was written.
    """
    with rc_context(RC):
        figure, axes = new_figure((6, 4.2))
        for (name, values), style in zip(metrics.items(), line_styles()):
            epochs = sorted(values)
            axes.plot(
                epochs,
                [values[epoch] for epoch in epochs],
                marker='o',
                markersize=4,
                label=name,
                **style,
            )
        axes.set(ylim=(0, 1.01), ylabel='validation metric')
        axes.legend(loc='best')
        return _save_epochs(figure, out)


def plot_spread(
    out: PathLike,
    values: Mapping[str, Sequence[float]],
    epochs: Mapping[str, Mapping[str, Mapping[int, float]]],
    name: str = 'FROC',
) -> Path:
    """A value of methods with its spread over runs, and beside it what their pseudo maps are worth.

    Args:
        out (str or PathLike): Picture, PNG or SVG by suffix.
        values (Mapping[str, Sequence[float]]): Method, then the value of each run; a dot each, a bar at
            their mean.
        epochs (Mapping[str, Mapping[str, Mapping[int, float]]]): What is measured in [0, 1], a panel
            each, then method and epoch. Methods have the colour and line that they have in ``values``.
        name (str): Of the value. Defaults to 'FROC'.

    Returns:
        Path: Where it was written.
    """
    styles = dict(zip(values, line_styles()))
    height = max(3.2, 1.2 + 0.3 * len(values))
    with rc_context(RC):
        figure = Figure(figsize=(7 + 3.6 * len(epochs), height), dpi=150, layout='constrained')
        FigureCanvasAgg(figure)
        first, *panels = np.atleast_1d(
            figure.subplots(1, 1 + len(epochs), width_ratios=[1.6] + [1] * len(epochs))
        )
        for row, (label, found) in enumerate(values.items()):
            style = styles[label]
            first.plot([min(found), max(found)], [row, row], **style)
            first.plot(found, [row] * len(found), 'o', color=style['color'], alpha=0.7)
            first.plot(np.mean(found), row, '|', color=style['color'], ms=14, mew=2)
        first.set(xlabel=name, yticks=range(len(values)), yticklabels=list(values))
        first.set_ylim(len(values) - 0.5, -0.5)
        for axes, (what, series) in zip(panels, epochs.items()):
            for label, of_epoch in series.items():
                numbers = sorted(of_epoch)
                axes.plot(numbers, [of_epoch[one] for one in numbers], **styles[label])
            axes.set(ylim=(0, 1), xlabel='epoch', title=what)
            axes.title.set_size(11)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return save_figure(figure, out)


def _save_epochs(figure: Figure, out: PathLike) -> Path:
    lowest = figure.axes[-1]
    lowest.set_xlabel('epoch')
    lowest.xaxis.set_major_locator(MaxNLocator(integer=True))
    return save_figure(figure, out)
