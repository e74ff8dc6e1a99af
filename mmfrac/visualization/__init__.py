# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmfrac.visualization.curves import (
    plot_froc,
    plot_sharpening,
    plot_sharpening_epochs,
    plot_val_metrics,
)
from mmfrac.visualization.mlflow_backend import FracMLflowVisBackend
from mmfrac.visualization.overlay import contact_sheet, draw_overlay
from mmfrac.visualization.prob_map_visualization_hook import ProbMapVisualizationHook
from mmfrac.visualization.run_plots import plot_run

__all__ = [
    'FracMLflowVisBackend',
    'ProbMapVisualizationHook',
    'contact_sheet',
    'draw_overlay',
    'plot_froc',
    'plot_run',
    'plot_sharpening',
    'plot_sharpening_epochs',
    'plot_val_metrics',
]
