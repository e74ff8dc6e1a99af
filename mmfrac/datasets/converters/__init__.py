# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from .chestx_det import convert_chestx_det
from .chexpert import convert_chexpert
from .coco_writer import ConversionSummary, FilmRecord, FilmWriter, Lesion, write_films
from .dicom_folder import convert_dicom_folder
from .folder_options import FolderOptions
from .mimic_cxr import convert_mimic_cxr
from .nih_cxr14 import convert_nih_cxr14
from .options import ConvertOptions
from .padchest import convert_padchest
from .plain_coco import convert_coco
from .plain_csv import convert_csv
from .rsna import convert_rsna
from .vindr_cxr import convert_vindr_cxr

__all__ = [
    'ConversionSummary',
    'ConvertOptions',
    'FilmRecord',
    'FilmWriter',
    'FolderOptions',
    'Lesion',
    'convert_chestx_det',
    'convert_chexpert',
    'convert_coco',
    'convert_csv',
    'convert_dicom_folder',
    'convert_mimic_cxr',
    'convert_nih_cxr14',
    'convert_padchest',
    'convert_rsna',
    'convert_vindr_cxr',
    'write_films',
]
