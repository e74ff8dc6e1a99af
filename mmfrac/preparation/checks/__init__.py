# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What is wrong with a data set before it is trained on: findings and a page of them.

May import ``converters``, ``visualization``, ``datasets`` and ``utils``.
"""

from mmfrac.preparation.checks.data_check import check_data
from mmfrac.preparation.checks.finding import CHECKS, Check, Finding, severities
from mmfrac.preparation.checks.report import Report, write_check_report, write_page

__all__ = [
    'CHECKS',
    'Check',
    'Finding',
    'Report',
    'check_data',
    'severities',
    'write_check_report',
    'write_page',
]
