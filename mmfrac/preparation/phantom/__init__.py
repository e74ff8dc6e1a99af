# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Synthetic chest films with exact fracture truth."""

from mmfrac.preparation.phantom.dicom import write_dicom
from mmfrac.preparation.phantom.render import PhantomFilm, film_truth, render_film
from mmfrac.preparation.phantom.writer import paper_counts, write_phantom

__all__ = [
    'PhantomFilm',
    'film_truth',
    'paper_counts',
    'render_film',
    'write_dicom',
    'write_phantom',
]
