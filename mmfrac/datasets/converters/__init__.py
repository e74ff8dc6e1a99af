# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .chestx_det import convert_chestx_det
from .coco_writer import ConversionSummary, FilmRecord, FilmWriter, Lesion, write_films

__all__ = [
    'ConversionSummary',
    'FilmRecord',
    'FilmWriter',
    'Lesion',
    'convert_chestx_det',
    'write_films',
]
