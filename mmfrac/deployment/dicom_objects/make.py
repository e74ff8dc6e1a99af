# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From a result and its image to DICOM objects of all kinds."""

import io
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from mmfrac.datasets.radiographs.dicom import values_unsaid
from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.dicom_objects.identity import KindError, findings_of
from mmfrac.deployment.dicom_objects.presentation_state import KIND as _GSPS
from mmfrac.deployment.dicom_objects.presentation_state import presentation_state
from mmfrac.deployment.dicom_objects.report import KIND as _SR
from mmfrac.deployment.dicom_objects.report import report
from mmfrac.deployment.dicom_objects.secondary_capture import KIND as _SC
from mmfrac.deployment.dicom_objects.secondary_capture import secondary_capture
from mmfrac.deployment.dicom_objects.segmentation import KIND as _SEG
from mmfrac.deployment.dicom_objects.segmentation import segmentation
from mmfrac.deployment.dicom_objects.source import read_source
from mmfrac.deployment.object_kinds import OBJECT_KINDS, check_kinds
from mmfrac.deployment.results import ResultLine

KINDS = OBJECT_KINDS
# in their UIDs
_NAMES = dict(sc=_SC, gsps=_GSPS, sr=_SR, seg=_SEG)


class MadeObject(NamedTuple):
    """A DICOM object.

    Attributes:
        kind (str): One of ``KINDS``.
        uid (str): Its SOPInstanceUID.
        content (bytes): A DICOM file.
    """

    kind: str
    uid: str
    content: bytes

    @property
    def file_name(self) -> str:
        """Of its kind and UID, which says nothing of the patient."""
        return _file_name(self.kind, self.uid)


class MadeObjects(NamedTuple):
    """The objects of an image.

    Attributes:
        objects (list[MadeObject]): In the order of the kinds asked for.
        left_out (dict[str, str]): Why there is none, by kind.
        image_uid (str): SOPInstanceUID of the image.
        file_names (frozenset[str]): Of the objects of these findings, whichever kinds were asked for.
        serial_number (str): DeviceSerialNumber of the objects: the checksum of the model.
    """

    objects: list[MadeObject]
    left_out: dict[str, str]
    image_uid: str
    file_names: frozenset[str]
    serial_number: str


def make_objects(
    result: ResultLine,
    path: str | os.PathLike,
    prob_map: np.ndarray | None = None,
    kinds: Sequence[str] = KINDS,
    threshold: float | None = None,
    map_precision: str | None = None,
    max_per_img: int = 100,
) -> MadeObjects:
    """Make the objects of an image.

    All belong to the study of the image and each kind to a series of its own. Their UIDs come from the
    image, the model, the threshold and the kind, and whether there is a prob map: made again, they are
    the same objects.

    Args:
        result (ResultLine): What was found.
        path (str or PathLike): DICOM file of the image.
        prob_map (np.ndarray, optional): ``(h', w')`` in [0, 1], needed for 'seg'; boxes are its
            components at the threshold. Defaults to None, those of the result that reach it.
        kinds (Sequence[str]): Of ``KINDS``: secondary capture, presentation state, structured report,
            segmentation. Defaults to all.
        threshold (float, optional): In (0, 1]. Defaults to None: that of the result's operating point,
            0.2 where it has none.
        map_precision (str, optional): In which the prob map was computed, which objects say where it is
            not that of the result. Defaults to None, that of the result.
        max_per_img (int): Components of the map that are findings, as of the model. Defaults to 100.

    Returns:
        MadeObjects: The objects, and which kinds there are none of.

    Raises:
        SourceError: If the image is none, or has no UIDs.
        ValueError: If a kind is unknown, the threshold is not in (0, 1], or the result is not scored or
            that of another image.
        RadiographError: If the pixels of the image cannot be read.
    """
    check_kinds(kinds)
    source = read_source(path)
    findings = findings_of(result, source, threshold, prob_map, map_precision, max_per_img)

    def picture() -> Dataset:
        return secondary_capture(findings, read_radiograph(path, []), prob_map)

    makers: dict[str, Callable[[], Dataset]] = dict(
        sc=picture,
        gsps=lambda: presentation_state(findings),
        sr=lambda: report(findings),
        seg=lambda: segmentation(findings, prob_map),
    )
    objects, left_out = [], {}
    for kind in dict.fromkeys(kinds):
        try:
            with values_unsaid():
                ds = makers[kind]()
                content = _file(ds)
        except KindError as error:
            left_out[kind] = str(error)
            continue
        objects.append(MadeObject(kind, str(ds.SOPInstanceUID), content))
    file_names = frozenset(_file_name(kind, findings.uid(name)) for kind, name in _NAMES.items())
    image_uid = str(findings.source.reference.SOPInstanceUID)
    return MadeObjects(objects, left_out, image_uid, file_names, findings.serial_number)


def _file_name(kind: str, uid: str) -> str:
    return f'{kind}_{uid}.dcm'


def _file(ds: Dataset) -> bytes:
    content = io.BytesIO()
    ds.save_as(content, enforce_file_format=True)
    return content.getvalue()
