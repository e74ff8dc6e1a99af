# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings as DICOM objects, to go back to the study of the image that they were found on."""

try:
    import highdicom  # noqa: F401
except ImportError as error:
    raise ImportError(
        "DICOM objects need highdicom: pip install '.[deploy]' in a checkout"
    ) from error

from mmfrac.deployment.dicom_objects.identity import Findings, findings_of
from mmfrac.deployment.dicom_objects.make import KINDS, MadeObject, MadeObjects, make_objects
from mmfrac.deployment.dicom_objects.source import SourceError, SourceImage, read_source

__all__ = [
    'KINDS',
    'Findings',
    'MadeObject',
    'MadeObjects',
    'SourceError',
    'SourceImage',
    'findings_of',
    'make_objects',
    'read_source',
]
