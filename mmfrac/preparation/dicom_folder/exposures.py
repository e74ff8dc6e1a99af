# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which of several images of one exposure is taken."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from mmfrac.preparation.dicom_folder.header import (
    BURNED_IN,
    DUAL_ENERGY,
    FOR_PROCESSING,
    NOT_UPRIGHT,
    REPORT,
    SECONDARY,
    DicomHeader,
)
from mmfrac.preparation.dicom_folder.view import FRONTAL

SAME_PIXELS, SAME_EXPOSURE, DERIVED = 'same_pixels', 'same_exposure', 'derived'

# Never the radiograph itself, or none to be shared: left out also where they are alone.
_NEVER = (REPORT, BURNED_IN, DUAL_ENERGY)

# Taken where there is nothing before them.
_ORDER = ('', SECONDARY, FOR_PROCESSING, *_NEVER)

# What can be kept, and what is said of those that are left out.
REASONS = {
    REPORT: 'report or dose report',
    BURNED_IN: 'annotation burned into the pixels',
    DUAL_ENERGY: 'dual-energy, subtracted or suppressed image',
    FOR_PROCESSING: 'for processing, another image of its exposure is taken',
    SECONDARY: 'secondary capture, another image of its exposure is taken',
    SAME_PIXELS: 'pixels of another film under another UID',
    SAME_EXPOSURE: 'another image of its exposure is taken',
    DERIVED: 'derived image, an original of its study is taken',
    NOT_UPRIGHT: 'stored upside down or on its side, by its PatientOrientation',
}

# Images of one exposure are stored with times that differ by less, s; two exposures of one view are not.
_SECONDS = 2.0

_SAMPLE = 2**12


def left_out_of_exposures(
    headers: Sequence[DicomHeader],
    folder: str,
    keep: Collection[str] = (),
    is_named: Callable[[DicomHeader], bool] = lambda _: False,
) -> dict[str, str]:
    """Images that are left out because another one of their exposure is taken, or of what they are.

    Images are of one exposure if they are of one study and no two views, and have the same pixels, one
    is the source of the other, or they have the same irradiation event or acquisition time (within
    2 s). Where neither of them tells, an image for processing or a secondary capture is of the exposure
    that is there, while two of one kind are two exposures. A derived image (of software that marks
    nodules, inverts, enhances) is left out beside an original of its study and view even with a time of
    its own, unless the table names it by its file or its irradiation event is another one. Of one
    exposure that image is taken that the table of labels names by its file, else in this order: for
    presentation, or not said; secondary capture; for processing; of these not derived before derived.
    Reports, images with burned-in annotation and dual-energy images are never taken.

    Args:
        headers (Sequence[DicomHeader]): Images that are wanted otherwise.
        folder (str): Of their files.
        keep (Collection[str]): Keys of ``REASONS`` for which nothing is left out. Defaults to none.
        is_named (Callable): Whether the table of labels names an image by its file. Defaults to never.

    Returns:
        dict[str, str]: Name of each image that is left out, and the key of its reason.
    """
    left = {one.name: one.kind for one in headers if one.kind in _NEVER and one.kind not in keep}
    # what is kept for its kind is a film of its own
    rest = [one for one in headers if one.name not in left and one.kind not in keep]
    twin_of = {} if SAME_PIXELS in keep else _twins(rest, folder, is_named)
    left |= dict.fromkeys(twin_of, SAME_PIXELS)
    studies: dict[tuple[str, str], list[DicomHeader]] = defaultdict(list)
    for one in rest:
        if one.name not in left and one.study:
            studies[one.patient, one.study].append(one)
    for images in studies.values():
        if len(images) > 1:
            left |= _left_of_study(images, keep, is_named)
    return left


def _left_of_study(
    images: list[DicomHeader], keep: Collection[str], is_named: Callable[[DicomHeader], bool]
) -> dict[str, str]:
    """The same for images of one study, no two of which have the same pixels."""
    order = sorted(images, key=lambda one: _rank(one, is_named))
    taken: list[DicomHeader] = []
    left = {}
    for one in order:
        # each exposure is known by its first image: what tells nothing joins no two of them
        if any(_is_one_exposure(one, other) for other in taken):
            reason = one.kind or SAME_EXPOSURE
            if reason not in keep:
                left[one.name] = reason
        elif (
            DERIVED not in keep
            and not is_named(one)
            and any(_is_made_of_original(one, other) for other in taken)
        ):
            left[one.name] = DERIVED
        else:
            taken.append(one)
    return left


def _rank(one: DicomHeader, is_named: Callable[[DicomHeader], bool]) -> tuple:
    return (not is_named(one), _ORDER.index(one.kind), one.is_derived, one.name)


def _is_made_of_original(one: DicomHeader, original: DicomHeader) -> bool:
    """Whether one, of an exposure of its own by its time, is no film beside an original for reading."""
    return (
        one.is_derived
        and one.kind in ('', SECONDARY)
        and not (original.is_derived or original.kind)
        and _may_have_one_view(one, original)
        and not (one.event and original.event and one.event != original.event)
    )


def _may_have_one_view(one: DicomHeader, other: DicomHeader) -> bool:
    views = {one.view, other.view} - {''}
    precise = views - {'frontal'}
    return len(views) < 2 or (len(precise) < 2 and precise <= set(FRONTAL))


def _is_one_exposure(one: DicomHeader, other: DicomHeader) -> bool:
    if not _may_have_one_view(one, other):
        return False
    if one.instance in other.sources or other.instance in one.sources:
        return True
    if one.event and other.event:
        return one.event == other.event
    if one.time is not None and other.time is not None:
        return abs(one.time - other.time) <= _SECONDS
    if one.acquisition and other.acquisition and one.acquisition != other.acquisition:
        return False
    return one.kind != other.kind


def _twins(
    headers: Iterable[DicomHeader], folder: str, is_named: Callable[[DicomHeader], bool]
) -> set[str]:
    """Images that have the pixels of another one of their patient, but for the one that is taken."""
    groups: dict[tuple, list[DicomHeader]] = defaultdict(list)
    for one in headers:
        who = one.patient or one.study
        if who and one.pixels[1]:
            groups[who, one.size, one.photometric, one.pixels[1]].append(one)
    twins = set()
    for group in groups.values():
        if len(group) < 2:
            continue
        firsts: dict[bytes, list[DicomHeader]] = defaultdict(list)
        for one in sorted(group, key=lambda one: _rank(one, is_named)):
            alike = firsts[_sample(one, folder)]
            if any(_same_pixels(one, first, folder) for first in alike):
                twins.add(one.name)
            else:
                alike.append(one)
    return twins


def _sample(one: DicomHeader, folder: str) -> bytes:
    """Some of its stored pixels; those of two that cannot be read are not compared."""
    start, length = one.pixels
    try:
        with open(os.path.join(folder, one.name), 'rb', buffering=0) as file:
            file.seek(start + max(0, (length - _SAMPLE) // 2))
            return file.read(min(length, _SAMPLE))
    except OSError:
        return one.name.encode(errors='surrogateescape')


def _same_pixels(one: DicomHeader, other: DicomHeader, folder: str) -> bool:
    left = one.pixels[1]
    try:
        with (
            open(os.path.join(folder, one.name), 'rb') as first,
            open(os.path.join(folder, other.name), 'rb') as second,
        ):
            first.seek(one.pixels[0])
            second.seek(other.pixels[0])
            while left > 0:
                block = first.read(min(left, 2**20))
                if not block or block != second.read(len(block)):
                    return False
                left -= len(block)
            return True
    except OSError:
        return False
