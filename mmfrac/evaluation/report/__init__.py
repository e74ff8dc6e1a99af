# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What tools/analysis_tools/froc.py writes: tables, JSON, CSV, curves, an HTML page.

May import all of ``evaluation`` and what that may.
"""

from mmfrac.evaluation.report.curves import plot_froc, plot_run
from mmfrac.evaluation.report.writing import ReportInputs, write_report

__all__ = ['ReportInputs', 'plot_froc', 'plot_run', 'write_report']
