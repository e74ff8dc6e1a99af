# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether BodyPartExamined and Modality are those of a chest film, in the words of many devices."""

import re

# of radiographs
MODALITIES = ('CR', 'DX', 'DR', 'RG', 'OT')

# Parts of words in capitals.
_CHEST = (
    *('CHEST', 'THORA', 'TORAX', 'TORACE', 'TORAC', 'LUNG', 'PULMO', 'POUMON', 'POLMON', 'RIB'),
    *('COSTA', 'COSTIL', 'CLAVIC', 'CLAVIK', 'KLAVIK', 'SCHLÜSSELBEIN', 'STERN', 'BRUST', 'RIPPE'),
    *('HEART', 'CXR', 'KLATK', 'HRUDN', '胸', '肺', '肋', '鎖骨', '锁骨', '흉부', '가슴', 'ГРУД'),
    *('ЛЕГК', 'РЕБР', 'ΘΩΡΑ', 'ΘΏΡΑ', 'חזה', 'صدر'),
)

_RIBLIKE = re.compile(r'RIB(?!BON)')

# Other parts that may be named; anything else is 'another'.
_OTHERS = (
    *('ABDOMEN', 'ANKLE', 'ARM', 'BREAST', 'CSPINE', 'ELBOW', 'EXTREMITY', 'FEMUR', 'FINGER'),
    *('FOOT', 'FOREARM', 'HAND', 'HEAD', 'HIP', 'HUMERUS', 'JAW', 'KNEE', 'LEG', 'LSPINE', 'NECK'),
    *('PELVIS', 'SHOULDER', 'SKULL', 'SPINE', 'TIBIA', 'TOE', 'TSPINE', 'WHOLEBODY', 'WRIST'),
)

_MODALITIES = (
    *('CR', 'DX', 'DR', 'RG', 'OT', 'MG', 'XA', 'RF', 'CT', 'MR', 'US', 'PX', 'IO', 'SR', 'DOC'),
    *('KO', 'PR', 'SC', 'ES', 'NM', 'PT', 'XC', 'GM', 'OP', 'ECG', 'SEG', 'REG', 'BMD'),
)


def is_chest(part: str) -> bool:
    """Whether a part of the body is, or holds, a part of the chest.

    Args:
        part (str): In capitals, as in the header.
    """
    if _RIBLIKE.search(part):
        return True
    return any(word in part for word in _CHEST if word != 'RIB')


def part_name(part: str) -> str:
    """A part of the body as it may be told: out of a closed list, never the text of the header."""
    plain = re.sub(r'[^A-Z]', '', part)
    return plain if plain in _OTHERS else 'another'


def modality_name(modality: str) -> str:
    """A modality as it may be told: out of a closed list, never the text of the header."""
    return modality if modality in _MODALITIES else 'another'
