# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the converter of a DICOM folder can be told, besides what all can."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MODALITIES = ('CR', 'DX', 'DR', 'RG', 'OT')
PATIENT_IDS = ('pseudonym', 'original')
UNKNOWN_VIEWS = ('keep', 'drop')


@dataclass(frozen=True)
class FolderOptions:
    """Choices for a folder of DICOM files.

    Attributes:
        patient_ids (str): 'pseudonym': a keyed hash stands for PatientID; 'original': PatientID itself,
            for films that were de-identified before. Default: 'pseudonym'.
        key_file (str or PathLike, optional): Of the hash. Default: see :func:`read_key`.
        unknown_views (str): 'keep' or 'drop' films whose header does not tell the view. Default: 'keep'.
        modalities (Sequence[str]): Modalities to keep; films without one are kept. Default: CR, DX, DR,
            RG, OT.
        body_parts (Sequence[str], optional): BodyPartExamined to keep; films without one are kept.
            Default: all.
        links (str or PathLike, optional): Folder for links to the films under names that tell nothing;
            the COCO file then names those. Default: none.
        columns (Mapping[str, str], optional): Other names of columns of the table.
        left_out_file (str or PathLike, optional): CSV for every file that is left out.

    Raises:
        ValueError: If a choice does not exist.
    """

    patient_ids: str = 'pseudonym'
    key_file: str | os.PathLike | None = None
    unknown_views: str = 'keep'
    modalities: Sequence[str] = MODALITIES
    body_parts: Sequence[str] | None = None
    links: str | os.PathLike | None = None
    columns: Mapping[str, str] | None = None
    left_out_file: str | os.PathLike | None = None

    def __post_init__(self) -> None:
        for name, valid in (('patient_ids', PATIENT_IDS), ('unknown_views', UNKNOWN_VIEWS)):
            if getattr(self, name) not in valid:
                raise ValueError(f'{name} {getattr(self, name)!r} is none of {list(valid)}')
