# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings as marks over the original image (Grayscale Softcopy Presentation State)."""

from typing import Any

import numpy as np
from highdicom import PresentationLUTTransformation
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from pydicom.dataset import Dataset

from mmfrac.deployment.dicom_objects.identity import RESEARCH, Findings, KindError, finish

KIND, SERIES_NUMBER = 'presentation state', 9902

_LABEL = 'MMFRAC'


def presentation_state(findings: Findings) -> Dataset:
    """Boxes and scores over the image, which keeps its own window.

    Args:
        findings (Findings): What was found.

    Returns:
        Dataset: Grayscale Softcopy Presentation State.

    Raises:
        KindError: If the image is in colours.
    """
    source = findings.source
    if not source.is_grey:
        raise KindError('the image is in colours, and presentation states are for grey images')
    reference = source.reference
    layer = GraphicLayer('FINDINGS', order=1, description='Findings of a model. ' + RESEARCH)
    graphics, texts = [], []
    for index, (box, score) in enumerate(zip(findings.boxes, findings.scores), 1):
        tracking: dict[str, Any] = dict(
            tracking_id=f'finding {index}', tracking_uid=findings.tracking_uid(index)
        )
        graphics.append(GraphicObject('POLYLINE', outline(box), 'PIXEL', **tracking))
        texts.append(
            TextObject(
                f'{score:.2f}',
                'PIXEL',
                anchor_point=(box[0], box[1]),
                anchor_point_visible=False,
                **tracking,
            )
        )
    notes = [
        TextObject(RESEARCH, 'DISPLAY', (0.01, 0.01, 0.99, 0.05), text_justification='LEFT'),
        TextObject(
            findings.title(), 'DISPLAY', (0.01, 0.95, 0.99, 0.99), text_justification='LEFT'
        ),
    ]
    ds = GrayscaleSoftcopyPresentationState(
        [reference],
        content_label=_LABEL,
        content_description=RESEARCH,
        content_creator_name=None,
        graphic_layers=[layer],
        graphic_annotations=[
            GraphicAnnotation([reference], layer, text_objects=notes),
            *(
                [
                    GraphicAnnotation(
                        [reference], layer, graphic_objects=graphics, text_objects=texts
                    )
                ]
                if graphics
                else []
            ),
        ],
        # a presentation state shows pixels by this alone, whatever their photometric interpretation
        presentation_lut_transformation=PresentationLUTTransformation(
            'INVERSE' if reference.PhotometricInterpretation == 'MONOCHROME1' else 'IDENTITY'
        ),
        **findings.equipment(),
        **findings.series(KIND, SERIES_NUMBER),
    )
    (area,) = ds.DisplayedAreaSelectionSequence
    area.PresentationPixelAspectRatio = list(source.aspect)
    if source.voi_lut is not None:
        # highdicom knows entries of 8 and 16 bits alone
        item = Dataset()
        item.VOILUTSequence = [source.voi_lut]
        ds.SoftcopyVOILUTSequence = [item]
    return finish(ds, source)


def outline(box: list[float]) -> np.ndarray:
    """Closed line ``(5, 2)`` around a box, xy px from the outer corner of the first pixel."""
    x1, y1, x2, y2 = box
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], float)
