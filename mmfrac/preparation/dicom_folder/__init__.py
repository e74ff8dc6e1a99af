# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A folder of DICOM files, with or without a table of labels, as COCO JSON.

Headers, views, and pseudonyms for patients. May import ``converters``, ``tables``, ``datasets`` and
``utils``.
"""

from mmfrac.preparation.dicom_folder.convert import FolderOptions, convert_dicom_folder

__all__ = ['FolderOptions', 'convert_dicom_folder']
