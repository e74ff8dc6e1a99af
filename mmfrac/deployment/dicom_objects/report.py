# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings as a structured report (Comprehensive 3D SR, TID 1500)."""

from highdicom.sr import (
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mmfrac.deployment.dicom_objects.identity import (
    CHEST,
    CHEST_RADIOGRAPHY,
    CODING_SCHEME,
    FRACTURE,
    MANUFACTURER,
    SCHEME,
    Findings,
    finish,
)
from mmfrac.deployment.dicom_objects.presentation_state import outline

KIND, SERIES_NUMBER = 'structured report', 9903

SCORE = Code('SCORE', SCHEME, 'Score of the model')
THRESHOLD = Code('THRESHOLD', SCHEME, 'Threshold of the score')
PROBABILITY = Code('111012', 'DCM', 'Certainty of Finding')
FLAG = Code('FLAG', SCHEME, 'Score reaches the threshold')
USE = Code('USE', SCHEME, 'Permitted use')
RESEARCH_USE = Code('RESEARCH', SCHEME, 'Research use only, not for diagnosis')
_YES, _NO = Code('373066001', 'SCT', 'Yes'), Code('373067005', 'SCT', 'No')
_NO_UNITS = Code('1', 'UCUM', 'no units')
_PERCENT = Code('%', 'UCUM', 'percent')


def report(findings: Findings) -> Dataset:
    """Image score, calibrated probability, and a measured region for each box.

    Args:
        findings (Findings): What was found.

    Returns:
        Dataset: Comprehensive 3D SR.
    """
    source, result = findings.source, findings.result
    reference = source.reference
    device = DeviceObserverIdentifyingAttributes(
        findings.device_uid(),
        'mmfrac',
        MANUFACTURER,
        findings.model,
        findings.equipment()['device_serial_number'],
    )
    site = FindingSite(CHEST)
    uids = (reference.SOPClassUID, reference.SOPInstanceUID)
    values = [
        Measurement(SCORE, float(result.score), _NO_UNITS),  # type: ignore[arg-type]
        Measurement(THRESHOLD, findings.threshold, _NO_UNITS),
    ]
    if result.probability is not None:
        values.append(Measurement(PROBABILITY, 100 * result.probability, _PERCENT))
    # of the threshold of this report, which may be another than that of the result
    reached = _YES if result.score >= findings.threshold else _NO  # type: ignore[operator]
    groups: list = [
        MeasurementsAndQualitativeEvaluations(
            TrackingIdentifier(findings.tracking_uid(0), 'image'),
            finding_type=FRACTURE,
            algorithm_id=findings.algorithm(),
            finding_sites=[site],
            measurements=values,
            qualitative_evaluations=[
                QualitativeEvaluation(FLAG, reached),
                QualitativeEvaluation(USE, RESEARCH_USE),
            ],
            source_images=[SourceImageForMeasurementGroup(*uids)],
        )
    ]
    for index, (box, score) in enumerate(zip(findings.boxes, findings.scores), 1):
        groups.append(
            PlanarROIMeasurementsAndQualitativeEvaluations(
                TrackingIdentifier(findings.tracking_uid(index), f'finding {index}'),
                ImageRegion('POLYLINE', outline(box), SourceImageForRegion(*uids)),
                finding_type=FRACTURE,
                algorithm_id=findings.algorithm(),
                finding_sites=[site],
                measurements=[Measurement(SCORE, score, _NO_UNITS)],
            )
        )
    content = MeasurementReport(
        ObservationContext(ObserverContext(codes.DCM.Device, device)), CHEST_RADIOGRAPHY, groups
    )
    ds = Comprehensive3DSR(
        [reference],
        content,
        is_complete=True,
        coding_schemes=[CODING_SCHEME],
        **findings.equipment(),
        **findings.series(KIND, SERIES_NUMBER),
    )
    return finish(ds, source)
