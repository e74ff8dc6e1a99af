# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training and evaluation of all folds (paper, section 2.4).

May import ``launching`` and all that ``experiments`` may.
"""

from mmfrac.experiments.cross_validation.cross_validate import CrossValidation, cross_validate
from mmfrac.experiments.cross_validation.fold_run import FoldError
from mmfrac.experiments.cross_validation.summary import Summary, summarise
from mmfrac.experiments.cross_validation.summary_files import summary_table, write_summary

__all__ = [
    'CrossValidation',
    'FoldError',
    'Summary',
    'cross_validate',
    'summarise',
    'summary_table',
    'write_summary',
]
