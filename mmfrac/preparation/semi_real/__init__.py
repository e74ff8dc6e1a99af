# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Synthetic fractures in real films without fractures.

Finds lungs and ribs, breaks ribs, writes a data set. May import ``converters``, ``visualization``,
``datasets`` and ``utils``.
"""

from mmfrac.preparation.semi_real.contact_sheet import draw_contact_sheet
from mmfrac.preparation.semi_real.drawing import SemiRealImage, add_fractures
from mmfrac.preparation.semi_real.lungs import Lungs, find_lungs
from mmfrac.preparation.semi_real.negatives import (
    NegativeImage,
    negatives_of_annotations,
    negatives_of_folder,
)
from mmfrac.preparation.semi_real.plan import Recipe, Shares
from mmfrac.preparation.semi_real.rib_sites import RibSite, find_rib_sites
from mmfrac.preparation.semi_real.semi_real_set import SetSummary, write_semi_real

__all__ = [
    'Lungs',
    'NegativeImage',
    'Recipe',
    'RibSite',
    'SemiRealImage',
    'SetSummary',
    'Shares',
    'add_fractures',
    'draw_contact_sheet',
    'find_lungs',
    'find_rib_sites',
    'negatives_of_annotations',
    'negatives_of_folder',
    'write_semi_real',
]
