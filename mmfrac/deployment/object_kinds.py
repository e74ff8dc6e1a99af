# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Kinds of DICOM objects of findings, for those who need not make them."""

# secondary capture, presentation state, structured report, segmentation
OBJECT_KINDS = ('sc', 'gsps', 'sr', 'seg')
