# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Who made an object of findings, from which image, at which threshold: its UIDs, device and codes."""

import re
import uuid
from typing import Any, NamedTuple

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import AlgorithmIdentification
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from mmfrac.deployment.dicom_objects.source import SourceImage
from mmfrac.deployment.results import ResultLine, Scored
from mmfrac.version import __version__

MANUFACTURER = 'mmfrac'

RESEARCH = 'RESEARCH USE ONLY - NOT FOR DIAGNOSIS'

# What findings are shown at where a result has no operating point, as in tools/infer.py; results do not
# tell the component_thr of their model.
DEFAULT_THRESHOLD = 0.2

SCHEME = '99MMFRAC'

CODING_SCHEME = CodingSchemeIdentificationItem(
    SCHEME, name='Codes of mmfrac', version='1', responsible_organization='mmfrac contributors'
)

FRACTURE = Code('72704001', 'SCT', 'Fracture')
CHEST = Code('51185008', 'SCT', 'Chest')
CHEST_RADIOGRAPHY = Code('399208008', 'SCT', 'Plain chest X-ray')

# Of the family of all names that this project makes.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, 'mmfrac/dicom_objects')

_MOST_TEXT = 64

# Modalities of objects whose series says of which side of a pair it is.
_PAIRED = ('OT', 'PR')


class KindError(ValueError):
    """There is no object of a kind for these findings."""


class Findings(NamedTuple):
    """What was found on an image at a threshold.

    Attributes:
        result (ResultLine): All of it.
        source (SourceImage): The image.
        threshold (float): Of the boxes that count, and of the segmentation.
        point (str): Name of the operating point, '' without.
        boxes (list): ``[x1, y1, x2, y2]`` each, px of the image as stored, within it.
        scores (list[float]): One a box.
        has_map (bool): Whether they come from the prob map. Defaults to False.
        map_precision (str, optional): In which that was computed. Defaults to None, not known, or that
            of the result.
    """

    result: ResultLine
    source: SourceImage
    threshold: float
    point: str
    boxes: list[list[float]]
    scores: list[float]
    has_map: bool = False
    map_precision: str | None = None

    @property
    def model(self) -> str:
        """Name of the model, as DICOM takes it."""
        return plain_text(self.result.model['name']) or 'model'

    @property
    def serial_number(self) -> str:
        """Checksum of the model, by which objects say whose they are."""
        return plain_text(self.result.model['sha256']) or 'unknown'

    def uid(self, kind: str) -> str:
        """UID of an object: equal for equal images, models, thresholds and kinds.

        Without the prob map they may look otherwise, and are others.
        """
        return self._derived('object', kind, *self._what())

    def series_uid(self, kind: str) -> str:
        """UID of the series that all objects of a kind, study and model are in."""
        return self._derived('series', kind, self.source.reference.StudyInstanceUID)

    def tracking_uid(self, index: int) -> str:
        """UID of a finding: the same in all objects."""
        return self._derived('finding', str(index), *self._what())

    def device_uid(self) -> str:
        """UID of the model as a device."""
        return self._derived('device')

    def equipment(self) -> dict[str, Any]:
        """The device that makes the objects, in highdicom's arguments."""
        return dict(
            manufacturer=MANUFACTURER,
            manufacturer_model_name=self.model,
            software_versions=f'mmfrac {__version__}',
            device_serial_number=self.serial_number,
        )

    def series(self, kind: str, number: int) -> dict[str, Any]:
        """Its series and its place therein, in highdicom's arguments."""
        return dict(
            series_instance_uid=self.series_uid(kind),
            series_number=number,
            sop_instance_uid=self.uid(kind),
            instance_number=self.source.number,
            series_description=f'RESEARCH ONLY: mmfrac {kind}',
            content_qualification='RESEARCH',
            specific_character_set='ISO_IR 192',
        )

    def parameters(self) -> dict[str, str]:
        """What the model was used with."""
        point = {'operating point': plain_text(self.point)} if self.point else {}
        said = {'threshold': f'{self.threshold:.6g}', **point, 'precision': self.result.precision}
        if self.has_map and self.map_precision not in (None, self.result.precision):
            said['precision of the map'] = str(self.map_precision)
        return said

    def algorithm_sequence(self) -> AlgorithmIdentificationSequence:
        """The model, for a segment."""
        return AlgorithmIdentificationSequence(
            self.model,
            codes.cid7162.ArtificialIntelligence,
            plain_text(self.result.model['sha256']) or 'unknown',
            MANUFACTURER,
            self.parameters(),
        )

    def algorithm(self) -> AlgorithmIdentification:
        """The model, for a group of measurements."""
        parameters = [f'{name}: {value}' for name, value in self.parameters().items()]
        parameters += [f'note: {note}' for note in self.result.notes]
        return AlgorithmIdentification(
            self.model,
            plain_text(self.result.model['sha256']) or 'unknown',
            [*parameters, RESEARCH],
            codes.cid7162.ArtificialIntelligence,
            MANUFACTURER,
        )

    def title(self) -> str:
        """Model, score and threshold in one line."""
        point = f' ({plain_text(self.point)})' if self.point else ''
        probability = self.result.probability
        chance = '' if probability is None else f', probability {probability:.2f}'
        return (
            f'{self.model}: score {self.result.score:.3f}{chance}; {len(self.boxes)} found at threshold '
            f'{self.threshold:.3f}{point}'
        )

    def _what(self) -> list[str]:
        rest = [] if self.has_map else ['no map']
        return [self.source.reference.SOPInstanceUID, f'{self.threshold:.6g}', *rest]

    def _derived(self, *parts: str) -> str:
        name = '\n'.join([*parts, self.result.model['sha256'], self.model])
        return f'2.25.{uuid.uuid5(_NAMESPACE, name).int}'


def findings_of(
    result: ResultLine,
    source: SourceImage,
    threshold: float | None = None,
    prob_map: np.ndarray | None = None,
    map_precision: str | None = None,
    max_per_img: int = 100,
) -> Findings:
    """What a result says of an image at a threshold.

    With the prob map they are its components at the threshold, as the FROC curve counts them, highest
    score first; a result alone has components of another threshold, of which those are left out that do
    not reach this one.

    Args:
        result (ResultLine): Of this image, scored.
        source (SourceImage): The image.
        threshold (float, optional): Defaults to None: that of the result's operating point, 0.2 where it
            has none.
        prob_map (np.ndarray, optional): ``(h', w')`` in [0, 1]. Defaults to None.
        map_precision (str, optional): In which that was computed. Defaults to None, that of the result.
        max_per_img (int): Components of the map at most, as of the model. Defaults to 100.

    Returns:
        Findings: The boxes that reach the threshold, cut to the image.

    Raises:
        ValueError: If the result is not scored, or that of another image; if the threshold is not in
            (0, 1].
    """
    check_threshold(threshold)
    if not result.scored:
        raise ValueError(f'it was not scored ({result.reason}): there are no findings to write')
    reference = source.reference
    size = (reference.Columns, reference.Rows)
    if (result.width, result.height) != size:
        raise ValueError(
            f'the result is of an image of {result.width} x {result.height} px, {source.path} has '
            f'{size[0]} x {size[1]}'
        )
    if result.sop_instance_uid not in (None, reference.SOPInstanceUID):
        raise ValueError(
            f'the result is of another image than {source.path}: their SOPInstanceUIDs differ'
        )
    point = result.operating_point
    if threshold is None:
        threshold = DEFAULT_THRESHOLD if point is None else float(point['threshold'])
        name = '' if point is None else point['name']
    else:
        name = ''
    has_map = prob_map is not None and result.map_scale is not None
    found = Scored(result, prob_map, max_per_img).findings(threshold)
    boxes, scores = [], []
    for (x1, y1, x2, y2), score in zip(*found):
        box = [min(max(x1, 0.0), size[0]), min(max(y1, 0.0), size[1])]
        box += [min(max(x2, 0.0), size[0]), min(max(y2, 0.0), size[1])]
        if box[0] < box[2] and box[1] < box[3]:
            boxes.append([float(side) for side in box])
            scores.append(float(score))
    return Findings(result, source, threshold, name, boxes, scores, has_map, map_precision)


def check_threshold(threshold: float | None) -> None:
    """Raise a ``ValueError`` if a threshold of findings is given that is not in (0, 1].

    Args:
        threshold (float or None): Of a prob map and its boxes.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(f'the threshold of findings must lie in (0, 1], got {threshold:g}')


def finish(ds: Dataset, source: SourceImage) -> Dataset:
    """Give an object the patient and the study of its image.

    highdicom gets none of them: it writes names that it doubts to the log.

    Args:
        ds (Dataset): Object, changed.
        source (SourceImage): The image.

    Returns:
        Dataset: The object.
    """
    for element in source.patient:
        ds[element.tag] = element
    if ds.Modality in _PAIRED:
        # type 2C: nothing is said of the side
        ds.Laterality = None
    return ds


def plain_text(text: str) -> str:
    """A text for an element of at most 64 characters, with none that DICOM parts or controls with."""
    return re.sub(r'[\\\x00-\x1f\x7f,=]', ' ', str(text)).strip()[:_MOST_TEXT].strip()
