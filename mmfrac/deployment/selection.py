# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which images of an archive are asked about: frontal radiographs of the chest, by their headers."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from mmfrac.datasets.radiographs.grey_scale import FLAT
from mmfrac.preparation.dicom_folder.body_part import (
    MODALITIES,
    is_chest,
    modality_name,
    part_name,
)
from mmfrac.preparation.dicom_folder.exposures import REASONS
from mmfrac.preparation.dicom_folder.header import (
    BURNED_IN,
    CUT_OFF,
    DAMAGED,
    DENIED,
    DUAL_ENERGY,
    EMPTY,
    FOR_PROCESSING,
    NO_DICOM,
    NOT_UPRIGHT,
    REPORT,
    read_header,
)
from mmfrac.preparation.dicom_folder.view import FRONTAL

UNKNOWN = 'unknown'
VIEWS = (*FRONTAL, 'lateral', 'oblique', UNKNOWN)
# what is never the radiograph itself (of findings that were sent back to the archive, too), or not what
# is looked at: beside a raw image lies the one for presentation, of the same exposure; or is turned
KINDS = (REPORT, BURNED_IN, DUAL_ENERGY, FOR_PROCESSING, NOT_UPRIGHT)
_REASONS = {**REASONS, FOR_PROCESSING: 'for processing, not for presentation'}
NO_FILE, UNREADABLE = 'no such file', 'cannot be read'
# of a file that is damaged, where others are another thing than is wanted
_DAMAGES = (EMPTY, DAMAGED, CUT_OFF, DENIED)


class ImageFacts(NamedTuple):
    """What a header says of an image, and why it is not scored.

    Attributes:
        reason (str): '' where it is scored. Out of a closed list, no text of the header.
        view (str | None): 'PA', 'AP', 'frontal', 'lateral', 'oblique'; None where nothing tells.
        sop_instance_uid (str | None): Of a DICOM image.
        series_instance_uid (str | None): Likewise.
        study_instance_uid (str | None): Likewise.
        width (int): px; 0 where it is not known.
        height (int): Likewise.
        notes (tuple[str, ...]): What is doubtful of the image, of its pixels where they were read.
    """

    reason: str = ''
    view: str | None = None
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    width: int = 0
    height: int = 0
    notes: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Those of ``ResultLine`` but the reason."""
        fields = self._asdict()
        del fields['reason']
        return fields | dict(notes=list(self.notes))

    def error(self, name: str) -> str | None:
        """What is wrong with a file that cannot be read; None of one that is left out for what it is.

        Args:
            name (str): What the image is called.
        """
        if self.reason == NO_FILE:
            return f"no film '{name}'"
        if self.reason.startswith(_DAMAGES):
            return f"cannot read film '{name}': {self.reason}"
        return None


@dataclass(frozen=True)
class Selection:
    """Which images are scored; by default frontal radiographs of the chest.

    Images that are no DICOM say nothing of themselves: they are of an unknown view, and all else is
    taken for right.

    Args:
        views (Sequence[str]): Of ``VIEWS``. Defaults to frontal ones and unknown.
        modalities (Sequence[str]): Defaults to CR, DX, DR, RG, OT; images without one are scored.
        body_parts (Sequence[str], optional): BodyPartExamined, in capitals; images without one are
            scored unless AnatomicRegionSequence or their descriptions name another part ('HAND PA')
            and none of the chest. Defaults to None, parts of the chest in the words of many devices.
        kinds (Sequence[str]): Of ``KINDS``, what is scored although it is no radiograph itself, a raw
            one, or not stored upright. Defaults to none.
        everything (bool): Whether all that can be read is scored. Defaults to False.

    Raises:
        ValueError: If a view or a kind does not exist.
    """

    views: Sequence[str] = (*FRONTAL, UNKNOWN)
    modalities: Sequence[str] = MODALITIES
    body_parts: Sequence[str] | None = None
    kinds: Sequence[str] = ()
    everything: bool = False

    def __post_init__(self) -> None:
        for name, valid in (('views', VIEWS), ('kinds', KINDS)):
            unknown = [one for one in getattr(self, name) if one not in valid]
            if unknown:
                raise ValueError(f'{name} {unknown} is none of {list(valid)}')

    def as_dict(self) -> dict[str, Any]:
        """Plain data, with lists."""
        return {
            key: list(value) if isinstance(value, (list, tuple)) else value
            for key, value in asdict(self).items()
        }

    def facts(self, path: str | os.PathLike) -> ImageFacts:
        """What the header of a file says, and whether it is scored.

        Args:
            path (str or PathLike): The file, of any kind.

        Returns:
            ImageFacts: Never raises: what goes wrong is a reason.
        """
        path = os.fspath(path)
        # the name of the patient in a path is the business of whoever named the file
        header = read_header(path, '', any_name=True)
        if header.fault == NO_DICOM:
            known = UNKNOWN in self.views or self.everything
            return ImageFacts('' if known else 'view not given')
        if header.fault == DAMAGED and not os.path.exists(path):
            return ImageFacts(NO_FILE)
        facts = ImageFacts(
            view=header.view or None,
            sop_instance_uid=header.instance or None,
            series_instance_uid=header.series or None,
            study_instance_uid=header.study or None,
            width=header.size[0],
            height=header.size[1],
        )
        if header.fault:
            detail = f' ({header.detail})' if header.detail else ''
            return facts._replace(reason=header.fault + detail, width=0, height=0)
        reason = '' if self.everything else self._reason(header)
        is_doubtful = header.stored and not reason
        notes = (f'it is {header.stored}, by its PatientOrientation',) if is_doubtful else ()
        return facts._replace(reason=reason, notes=notes)

    def facts_of_pixels(
        self, facts: ImageFacts, shape: tuple[int, ...], notes: Sequence[str]
    ) -> ImageFacts:
        """The facts of an image that was read; of one tone alone it is not scored.

        Args:
            facts (ImageFacts): What its header says, see ``facts``.
            shape (tuple[int, int]): Height and width as stored, px.
            notes (Sequence[str]): What is doubtful, as ``read_radiograph`` says it.
        """
        is_blank = FLAT in notes and not self.everything
        return facts._replace(
            reason=facts.reason or (FLAT if is_blank else ''),
            width=shape[1],
            height=shape[0],
            notes=(*facts.notes, *notes),
        )

    def facts_of_server(self, uids: Sequence[str], modality: str) -> ImageFacts:
        """What the answer to a query says of an image that need not be fetched for it.

        Args:
            uids (Sequence[str]): Of study, series and image.
            modality (str): '' where the server names none.

        Returns:
            ImageFacts: Without a reason where the header has to tell.
        """
        study, series, instance = uids
        reason = '' if self.everything else self._other_modality(modality)
        return ImageFacts(reason, None, instance, series, study)

    def _other_modality(self, modality: str) -> str:
        is_other = bool(modality) and modality not in self.modalities
        return f'modality {modality_name(modality)}' if is_other else ''

    def _reason(self, header: Any) -> str:
        other = self._other_modality(header.modality)
        if other:
            return other
        if header.body_part and not self._is_part(header.body_part):
            return f'body part {part_name(header.body_part)}'
        if header.other_part and not self._is_part(header.other_part):
            return f'body part {part_name(header.other_part)}, by its description'
        if (header.view or UNKNOWN) not in self.views:
            return f'view {header.view}' if header.view else 'view not given'
        if header.kind in KINDS and header.kind not in self.kinds:
            return _REASONS[header.kind]
        if not header.is_upright and NOT_UPRIGHT not in self.kinds:
            return f'{header.stored}, by its PatientOrientation'
        return ''

    def _is_part(self, part: str) -> bool:
        return is_chest(part) if self.body_parts is None else part in self.body_parts
