# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether BodyPartExamined and Modality are those of a chest film, in the words of many devices."""

import re
from collections.abc import Iterable

# of radiographs
MODALITIES = ('CR', 'DX', 'DR', 'RG', 'OT')

# Whole words in capitals: 'RIB' is in 'CARIBBEAN', 'STERN' in 'WESTERN', 'CHEST' in 'MANCHESTER'.
_CHEST_WORDS = re.compile(
    r'CHEST\w*|\w*CHEST|CXR\w*|\w*CXR|\w*THORAX\w*|\w*TORA(X|KS)|TORACE|'
    r'LUNG(S|E|EN\w*|ER|OR)?|\w*(PULMO|POUMON|POLMON)\w*|HEART(LUNG\w*)?|'
    r'RIB(L|R|LT|RT|UNI|BIL\w*|CAGE\w*|BEN\w*)?|\w*RIBS\w*|RIPPE(N\w*)?|\w*RIPPEN|'
    r'COSTA[SE]?|COSTE|COSTAL\w*|COSTI\w*|COSTEL\w*|CLAVIC\w*|[CK]LAVIK\w*|SCHL(Ü|UE)SSELBEIN\w*|'
    r'STERN(UM|AL|O)\w*|ESTERN[OÓ]N\w*|BRUST(KORB|BEIN|RAUM)\w*|KLATK\w*|HRUDN[IÍ]K\w*'
)

# Of languages that part no words, or bend them.
_CHEST_PARTS = ('胸部', '胸片', '肺', '肋', '鎖骨', '锁骨', '흉부', '가슴', 'ЛЕГК', 'РЕБР', 'חזה')

# Said of the chest, and of the spine behind it: a chest only where no spine is named.
_THORACIC = re.compile(r'\b(THORA|TOR[AÁ][CKX]|BRUST|HRUDN)|胸|ГРУД|ΘΩΡΑ|ΘΏΡΑ|صدر')

_SPINE = re.compile(
    r'SPIN(E|AL)|SPOND|VERT[EÉ]BR|WIRBEL|WERVEL|LUMB|LOMB|COLUMN|COLONN|KRĘGOS|KREGOS|OMURGA|'
    r'\b(BWS|RACHIS|RAQUIS|T ?SP|P[AÁ]TE[RŘ]\w*)\b|椎|ПОЗВОН|ΣΠΟΝΔ|فقر'
)

# Other parts that may be named; anything else is 'another'.
_OTHERS = (
    *('ABDOMEN', 'ANKLE', 'ARM', 'BREAST', 'CSPINE', 'ELBOW', 'EXTREMITY', 'FEMUR', 'FINGER'),
    *('FOOT', 'FOREARM', 'HAND', 'HEAD', 'HIP', 'HUMERUS', 'JAW', 'KNEE', 'LEG', 'LSPINE', 'NECK'),
    *('PELVIS', 'SHOULDER', 'SKULL', 'SPINE', 'TIBIA', 'TOE', 'TSPINE', 'WHOLEBODY', 'WRIST'),
    *('THORACICSPINE', 'THORACOLUMBAR', 'LUMBARSPINE', 'CERVICALSPINE'),
)

# Words of descriptions by the part of _OTHERS that they name; none that says how a patient is placed
# ('head up', 'arms raised', Spanish 'de pie': standing) or is another word elsewhere (French 'main').
_DESCRIBED = {
    'ABDOMEN': ('ABDOMEN', 'ABDOMINAL', 'KUB', 'ABDOME', 'ADDOME'),
    'ANKLE': ('ANKLE', 'ANKLES', 'SPRUNGGELENK', 'CHEVILLE', 'TOBILLO', 'CAVIGLIA', 'TORNOZELO'),
    'ARM': ('OBERARM', 'UNTERARM'),
    'BREAST': ('BREAST', 'BREASTS', 'MAMMO', 'MAMMOGRAPHY', 'MAMMOGRAM'),
    'ELBOW': ('ELBOW', 'ELBOWS', 'ELLBOGEN', 'ELLENBOGEN', 'ELLEBOOG', 'COUDE', 'CODO', 'GOMITO'),
    'FEMUR': ('FEMUR', 'FEMURS', 'OBERSCHENKEL'),
    'FINGER': ('FINGER', 'FINGERS', 'THUMB', 'DAUMEN'),
    'FOOT': ('FOOT', 'FEET', 'HEEL', 'CALCANEUS', 'FUSS', 'FUẞ', 'VOET', 'PIED', 'PIEDE'),
    'FOREARM': ('FOREARM', 'FOREARMS'),
    'HAND': ('HAND', 'HANDS', 'MANO', 'MÃO'),
    'HIP': ('HIP', 'HIPS', 'HÜFTE', 'HUEFTE', 'HEUP', 'HANCHE', 'CADERA', 'QUADRIL'),
    'HUMERUS': ('HUMERUS',),
    'JAW': ('MANDIBLE', 'MANDIBULA', 'ORTHOPANTOMOGRAM', 'PANOREX'),
    'KNEE': ('KNEE', 'KNEES', 'PATELLA', 'KNIE', 'GENOU', 'RODILLA', 'GINOCCHIO', 'JOELHO'),
    'PELVIS': ('PELVIS', 'PELVIC', 'BECKEN', 'BEKKEN', 'BASSIN', 'BACINO'),
    'SHOULDER': (
        'SHOULDER',
        'SHOULDERS',
        'SCHULTER',
        'SCHOUDER',
        'EPAULE',
        'HOMBRO',
        'SPALLA',
        'OMBRO',
    ),
    'SKULL': (
        'SKULL',
        'SINUS',
        'SINUSES',
        'SCHÄDEL',
        'SCHAEDEL',
        'SCHEDEL',
        'CRANE',
        'CRANEO',
        'CRANIO',
    ),
    'SPINE': ('SPINE', 'BWS', 'HWS', 'LWS'),
    'TIBIA': ('TIBIA', 'FIBULA', 'UNTERSCHENKEL'),
    'TOE': ('TOE', 'TOES'),
    'WRIST': ('WRIST', 'WRISTS', 'HANDGELENK', 'POIGNET', 'MUÑECA', 'POLSO', 'PUNHO'),
}
_PART_OF = {word: part for part, words in _DESCRIBED.items() for word in words}

_MODALITIES = (
    *('CR', 'DX', 'DR', 'RG', 'OT', 'MG', 'XA', 'RF', 'CT', 'MR', 'US', 'PX', 'IO', 'SR', 'DOC'),
    *('KO', 'PR', 'SC', 'ES', 'NM', 'PT', 'XC', 'GM', 'OP', 'ECG', 'SEG', 'REG', 'BMD'),
)


def is_chest(part: str) -> bool:
    """Whether a part of the body is, or holds, a part of the chest.

    The thoracic spine is none: its films show another thing than chest films.

    Args:
        part (str): In capitals, as in the header.
    """
    plain = part.replace('_', ' ').replace('-', ' ')
    words = re.findall(r'[^\W\d_]+', plain)
    if any(_CHEST_WORDS.fullmatch(word) and not _SPINE.search(word) for word in words):
        return True
    if any(piece in plain for piece in _CHEST_PARTS):
        return True
    return bool(_THORACIC.search(plain)) and not _SPINE.search(plain)


def described_part(texts: Iterable[str]) -> str:
    """Part that the descriptions of an image name, where they name no part of the chest.

    Args:
        texts (Iterable[str]): Descriptions of an image whose BodyPartExamined is absent, in any case.

    Returns:
        str: Out of a closed list; '' if they name a part of the chest, or none.
    """
    capitals = [text.upper() for text in texts]
    if any(map(is_chest, capitals)):
        return ''
    for text in capitals:
        for word in re.findall(r'[^\W\d_]+', text):
            if word in _PART_OF:
                return _PART_OF[word]
        if _SPINE.search(text.replace('_', ' ').replace('-', ' ')):
            return 'SPINE'
    return ''


def part_name(part: str) -> str:
    """A part of the body as it may be told: out of a closed list, never the text of the header."""
    plain = re.sub(r'[^A-Z]', '', part)
    return plain if plain in _OTHERS else 'another'


def modality_name(modality: str) -> str:
    """A modality as it may be told: out of a closed list, never the text of the header."""
    return modality if modality in _MODALITIES else 'another'
