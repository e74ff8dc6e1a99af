# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Methods x seeds on one data set: trained, tested, and set side by side."""

from .benchmark import Benchmark, Method, load_benchmark
from .costs import measure_costs, read_costs
from .figures import plot_comparison
from .place import Place
from .run_file import RunResult, read_runs
from .runs import RunsFailed, run_benchmark
from .selection import missing_values
from .tables import compare, comparison_table, write_report

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
