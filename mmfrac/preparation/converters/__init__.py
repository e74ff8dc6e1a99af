# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Public data sets and plain tables as COCO JSON, one file for each.

All go through ``conversion``, which decides on films, and ``coco_writer``. May import ``tables``,
``datasets`` and ``utils``.
"""

from mmfrac.preparation.converters.chestx_det import convert_chestx_det
from mmfrac.preparation.converters.chexpert import convert_chexpert
from mmfrac.preparation.converters.coco_writer import (
    CocoImage,
    CocoWriter,
    ConversionSummary,
    Lesion,
    write_coco,
)
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.converters.mimic_cxr import convert_mimic_cxr
from mmfrac.preparation.converters.nih_cxr14 import convert_nih_cxr14
from mmfrac.preparation.converters.padchest import convert_padchest
from mmfrac.preparation.converters.plain_coco import convert_coco
from mmfrac.preparation.converters.plain_csv import convert_csv
from mmfrac.preparation.converters.rsna import convert_rsna
from mmfrac.preparation.converters.vindr_cxr import convert_vindr_cxr

__all__ = [
    'CocoImage',
    'CocoWriter',
    'ConversionSummary',
    'ConvertOptions',
    'Lesion',
    'convert_chestx_det',
    'convert_chexpert',
    'convert_coco',
    'convert_csv',
    'convert_mimic_cxr',
    'convert_nih_cxr14',
    'convert_padchest',
    'convert_rsna',
    'convert_vindr_cxr',
    'write_coco',
]
