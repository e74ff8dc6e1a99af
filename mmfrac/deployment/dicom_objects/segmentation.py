# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The prob map at the threshold as a DICOM segmentation."""

from collections.abc import Sequence

import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mmfrac.deployment.dicom_objects.identity import (
    FRACTURE,
    RESEARCH,
    Findings,
    KindError,
    finish,
)

KIND, SERIES_NUMBER = 'segmentation', 9904

_LABEL = 'MMFRAC'


def segmentation(findings: Findings, prob_map: np.ndarray | None) -> Dataset:
    """Pixels whose cell of the map reaches the threshold.

    Args:
        findings (Findings): What was found.
        prob_map (np.ndarray or None): ``(h', w')`` in [0, 1]; cell ``(r, c)`` covers
            ``[c*sx, (c+1)*sx] x [r*sy, (r+1)*sy]`` px of the image.

    Returns:
        Dataset: Segmentation, of the size of the image.

    Raises:
        KindError: If there is no map, or no cell reaches the threshold.
    """
    source = findings.source
    if prob_map is None or findings.result.map_scale is None:
        raise KindError('there is no prob map')
    mask = mask_of_map(
        prob_map,
        findings.result.map_scale,
        (source.reference.Rows, source.reference.Columns),
        findings.threshold,
    )
    if not mask.any():
        raise KindError('no cell of the prob map reaches the threshold')
    segment = SegmentDescription(
        1,
        f'Fracture, map >= {findings.threshold:.3f}, research only',
        codes.SCT.MorphologicallyAbnormalStructure,
        FRACTURE,
        'AUTOMATIC',
        findings.algorithm_sequence(),
    )
    ds = Segmentation(
        [source.reference],
        mask[None].astype(np.uint8),
        'BINARY',
        [segment],
        content_label=_LABEL,
        content_description=RESEARCH,
        content_creator_name=None,
        **findings.equipment(),
        **findings.series(KIND, SERIES_NUMBER),
    )
    ds.PatientOrientation = source.orientation
    ds.update(source.lossy)
    return finish(ds, source)


def mask_of_map(
    prob_map: np.ndarray, map_scale: Sequence[float], shape: tuple[int, int], threshold: float
) -> np.ndarray:
    """Which pixels' centres lie in a cell of at least the threshold.

    Args:
        prob_map (np.ndarray): ``(h', w')``; what lies beyond the image is cropped.
        map_scale (Sequence[float]): px of the image a cell, in x and y.
        shape (tuple): Height and width of the image, px.
        threshold (float): Of the map.

    Returns:
        np.ndarray: ``shape``, bool; pixels beyond the map are False.
    """
    cells = np.asarray(prob_map)
    cells = cells[0] if cells.ndim == 3 else cells
    rows = np.floor((np.arange(shape[0]) + 0.5) / map_scale[1]).astype(int)
    columns = np.floor((np.arange(shape[1]) + 0.5) / map_scale[0]).astype(int)
    mask = np.zeros(shape, bool)
    inner_rows, inner_columns = rows < cells.shape[0], columns < cells.shape[1]
    mask[np.ix_(inner_rows, inner_columns)] = (
        cells[np.ix_(rows[inner_rows], columns[inner_columns])] >= threshold
    )
    return mask
