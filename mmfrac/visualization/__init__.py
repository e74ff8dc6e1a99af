# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Pictures: overlays of maps and boxes, data sets as they are trained on, curves.

Draws what it is given and computes no metric. May import ``engine``, ``datasets``, ``models`` and
``utils``.
"""

from mmfrac.visualization.mlflow_backend import FracMLflowVisBackend
from mmfrac.visualization.overlay import contact_sheet, draw_overlay
from mmfrac.visualization.plots import plot_sharpening, plot_sharpening_epochs, plot_val_metrics
from mmfrac.visualization.prob_map_visualization_hook import ProbMapVisualizationHook

__all__ = [
    'FracMLflowVisBackend',
    'ProbMapVisualizationHook',
    'contact_sheet',
    'draw_overlay',
    'plot_sharpening',
    'plot_sharpening_epochs',
    'plot_val_metrics',
]
