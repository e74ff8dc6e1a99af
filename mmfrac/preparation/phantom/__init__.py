# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Synthetic chest films with exact fracture truth.

A body of tubes, drawn as an X-ray film and written as DICOM. May import ``utils`` only.
"""

from mmfrac.preparation.phantom.dicom_file import write_dicom
from mmfrac.preparation.phantom.phantom_set import paper_counts, write_phantom
from mmfrac.preparation.phantom.render import PhantomImage, image_truth, render_image

__all__ = [
    'PhantomImage',
    'image_truth',
    'paper_counts',
    'render_image',
    'write_dicom',
    'write_phantom',
]
