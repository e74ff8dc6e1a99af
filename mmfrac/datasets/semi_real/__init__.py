# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Synthetic fractures in real films without fractures."""

from .contact_sheet import draw_contact_sheet
from .film import SemiRealFilm, make_film
from .lungs import Lungs, find_lungs
from .negatives import NegativeFilm, negatives_of_annotations, negatives_of_folder
from .plan import Shares
from .recipe import Recipe
from .rib_sites import RibSite, find_rib_sites
from .writer import SetSummary, write_semi_real

__all__ = [
    'Lungs',
    'NegativeFilm',
    'Recipe',
    'RibSite',
    'SemiRealFilm',
    'SetSummary',
    'Shares',
    'draw_contact_sheet',
    'find_lungs',
    'find_rib_sites',
    'make_film',
    'negatives_of_annotations',
    'negatives_of_folder',
    'write_semi_real',
]
