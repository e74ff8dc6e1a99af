# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Kinds of DICOM objects of findings, for those who need not make them."""

from collections.abc import Iterable

# secondary capture, presentation state, structured report, segmentation
OBJECT_KINDS = ('sc', 'gsps', 'sr', 'seg')


def check_kinds(kinds: Iterable[str]) -> None:
    """Raise a ``ValueError`` if kinds of objects are named that there are not.

    Args:
        kinds (Iterable[str]): Of ``OBJECT_KINDS``.
    """
    unknown = sorted(set(kinds) - set(OBJECT_KINDS))
    if unknown:
        raise ValueError(f'kinds of objects are {list(OBJECT_KINDS)}, got {unknown}')
