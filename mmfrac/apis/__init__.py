# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A trained model for others' programs: ``FracInferencer``.

May import everything else; nothing but the tools imports it.
"""

from mmfrac.apis.inferencer import FracInferencer

__all__ = ['FracInferencer']
