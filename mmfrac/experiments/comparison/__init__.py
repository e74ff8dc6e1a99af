# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Methods x seeds on one data set: trained, tested, and set side by side.

May import ``launching`` and all that ``experiments`` may.
"""

from mmfrac.experiments.comparison.benchmark import Benchmark, Method, load_benchmark
from mmfrac.experiments.comparison.costs import measure_costs, read_costs
from mmfrac.experiments.comparison.figures import plot_comparison
from mmfrac.experiments.comparison.place import Place
from mmfrac.experiments.comparison.run_file import RunResult, read_runs
from mmfrac.experiments.comparison.runs import RunsFailed, run_benchmark
from mmfrac.experiments.comparison.selection import missing_values
from mmfrac.experiments.comparison.tables import compare, comparison_table, write_report

__all__ = [
    'Benchmark',
    'Method',
    'Place',
    'RunResult',
    'RunsFailed',
    'compare',
    'comparison_table',
    'load_benchmark',
    'measure_costs',
    'missing_values',
    'plot_comparison',
    'read_costs',
    'read_runs',
    'run_benchmark',
    'write_report',
]
