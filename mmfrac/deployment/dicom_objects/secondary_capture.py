# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings as a picture (Secondary Capture), which every viewer shows."""

import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DS

from mmfrac.deployment.dicom_objects.identity import RESEARCH, Findings, finish
from mmfrac.visualization import draw_overlay
from mmfrac.visualization.overlay import Canvas

KIND, SERIES_NUMBER = 'secondary capture', 9901

# Longest side of the picture, px: text is legible, and uncompressed it has some 7 MB at most.
_LEAST, _MOST = 768, 1536

_LEAST_WIDTH = 640


def overlay_picture(
    findings: Findings, image: np.ndarray, prob_map: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """The image with its findings, and what they are, in strips above and below it.

    Args:
        findings (Findings): What was found.
        image (np.ndarray): ``(h, w)`` float in [0, 1], as ``read_radiograph`` gives it.
        prob_map (np.ndarray, optional): ``(h', w')``. Defaults to None.

    Returns:
        tuple[np.ndarray, float]: ``(H, W, 3)`` uint8 RGB; px of the picture a px of the image.
    """
    longest = max(image.shape)
    size = min(max(longest, _LEAST), _MOST)
    found = dict(
        bboxes=np.array(findings.boxes, np.float32).reshape(-1, 4),
        scores=np.array(findings.scores, np.float32),
    )
    scale = findings.result.map_scale
    overlay = draw_overlay(
        image,
        prob_map if scale is not None else None,
        None if scale is None else (float(scale[0]), float(scale[1])),
        instances=found,
        size=size,
        score_thr=findings.threshold,
    )
    height, width = overlay.shape[:2]
    whole = max(width, _LEAST_WIDTH)
    above = [RESEARCH]
    notes = (f'note: {note}' for note in findings.result.notes)
    below = [findings.title(), f'sha256 {findings.result.model["sha256"][:16]}', *notes]
    strips = [_strip(text, whole) for text in (*above, *below)]
    picture = np.zeros((height + sum(map(len, strips)), whole, 3), np.uint8)
    row = 0
    for index, part in enumerate([strips[0], overlay, *strips[1:]]):
        left = (whole - part.shape[1]) // 2 if index == 1 else 0
        picture[row : row + len(part), left : left + part.shape[1]] = part
        row += len(part)
    return picture, size / longest


def secondary_capture(
    findings: Findings, image: np.ndarray, prob_map: np.ndarray | None = None
) -> Dataset:
    """Findings burnt into a picture.

    Args:
        findings (Findings): What was found.
        image (np.ndarray): ``(h, w)`` float in [0, 1], as ``read_radiograph`` gives it.
        prob_map (np.ndarray, optional): ``(h', w')`` in [0, 1], drawn as heat. Defaults to None.

    Returns:
        Dataset: Secondary Capture Image.
    """
    source = findings.source
    picture, zoom = overlay_picture(findings, image, prob_map)
    ds = SCImage(
        picture,
        'RGB',
        bits_allocated=8,
        coordinate_system='PATIENT',
        study_instance_uid=source.reference.StudyInstanceUID,
        patient_orientation=('L', 'F'),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **findings.equipment(),
        **findings.series(KIND, SERIES_NUMBER),
    )
    ds.PatientOrientation = source.orientation
    # so that whoever scores an archive leaves it out
    ds.ImageType = ['DERIVED', 'SECONDARY', 'REPORT']
    if source.spacing is not None:
        ds.PixelSpacing = [DS(side / zoom, auto_format=True) for side in source.spacing]
    if source.burned_in:
        ds.BurnedInAnnotation = source.burned_in
    elif 'BurnedInAnnotation' in ds:
        # of an image that does not say, nobody knows
        del ds.BurnedInAnnotation
    ds.DerivationDescription = f'{RESEARCH}. {findings.title()}'[:1024]
    reference, purpose = Dataset(), Dataset()
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator = code.value, code.scheme_designator
    purpose.CodeMeaning = code.meaning
    reference.ReferencedSOPClassUID = source.reference.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.reference.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [purpose]
    ds.SourceImageSequence = [reference]
    ds.update(source.lossy)
    return finish(ds, source)


def _strip(text: str, width: int) -> np.ndarray:
    """A line of text on black, as large as fits."""
    size = max(12, width // 28)
    while size > 8 and Canvas.font(size).getlength(text) > 0.98 * width:
        size -= 1
    font = Canvas.font(size)
    while text and font.getlength(text) > 0.98 * width:
        text = text[:-1]
    strip = Image.new('RGB', (width, round(1.5 * size)))
    ImageDraw.Draw(strip).text((width * 0.01, 0.75 * size), text, 'white', font, anchor='lm')
    return np.asarray(strip)
