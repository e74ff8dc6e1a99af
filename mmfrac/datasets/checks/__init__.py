# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .data_check import check_data
from .finding import CHECKS, Check, Finding, severities
from .page import write_page
from .report import Report, write_report

__all__ = [
    'CHECKS',
    'Check',
    'Finding',
    'Report',
    'check_data',
    'severities',
    'write_page',
    'write_report',
]
