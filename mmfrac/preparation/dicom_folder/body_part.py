# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether body part and Modality of a header are those of a chest film, in the words of many devices."""

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

_CHEST = 'CHEST'

# Codes of AnatomicRegionSequence (CID 4009 and 4031) in SNOMED CT, and in SNOMED RT as devices wrote
# them before; what other codes mean is read like a description.
_REGIONS = {
    _CHEST: (
        *('51185008', '816094009', '416550000', '416775004', '417437006', '416152001', '416319003'),
        *('43799004', '39607008', '80891009', '72410000', '113197003', '56873002', '51299004'),
        *('T-D3000', 'R-FAB55', 'R-FAB56', 'R-FAB52', 'R-FAB53', 'R-FAB54', 'T-28000', 'T-32000'),
        *('T-D3200', 'T-D3300', 'T-11300', 'T-11210', 'T-12310'),
    ),
    'ABDOMEN': ('818981001', '818983003', '818982008', '113345001', 'T-D4000'),
    'ANKLE': ('70258002', '344001', 'T-15750', 'T-D9500'),
    'ARM': ('40983000', 'T-D8200'),
    'BREAST': ('76752008', 'T-04000'),
    'ELBOW': ('16953009', '127949000', 'T-15430', 'T-D8300'),
    'EXTREMITY': ('66019005', '61685007', '53120007', 'T-D0300', 'T-D9000', 'T-D8000'),
    'FEMUR': ('71341001', '68367000', 'T-12710', 'T-D9100'),
    'FINGER': ('7569003', '76505004', 'T-D8800', 'T-D8810'),
    'FOOT': ('56459004', '80144004', 'T-D9700', 'T-12770'),
    'FOREARM': ('14975008', 'T-D8500'),
    'HAND': ('85562004', 'T-D8700'),
    'HEAD': ('69536005', '774007', 'T-D1100', 'T-D1000'),
    'HIP': ('29836001', '24136001', 'T-D2500', 'T-15710'),
    'HUMERUS': ('85050009', 'T-12410'),
    'JAW': ('661005', '91609006', '70925003', 'T-D1213', 'T-11180', 'T-11170'),
    'KNEE': ('72696002', '64234005', 'T-D9200', 'T-12730'),
    'LEG': ('30021000', 'T-D9400'),
    'NECK': ('45048000', 'T-D1600'),
    'PELVIS': ('816092008', '12921003', 'T-D6000'),
    'SHOULDER': ('16982005', 'T-D2220'),
    'SKULL': ('89546000', '2095001', 'T-11100', 'T-22000'),
    'SPINE': (
        *('421060004', '122494005', '122495006', '122496007', '1217257000', '1217256009'),
        *('1217253001', '1217254007', 'T-D04FF', 'T-11501', 'T-11502', 'T-11503'),
    ),
    'TIBIA': ('12611008', '87342007', 'T-12740', 'T-12750'),
    'TOE': ('29707007', 'T-D9800'),
    'WRIST': ('74670003', '8205005', 'T-15460', 'T-D8600'),
}
_REGION_OF = {code: part for part, codes in _REGIONS.items() for code in codes}

# Studies of several parts of the trunk, with a chest film among them that they need not name.
_SERIES = re.compile(
    r'\b(SERIES?|SURVEY|ACUTE|AKUT\w*|AIGUE?|AGUDO|OBSTRUCTION|SHUNT|\w*TRAUMA|SKELET\w*)\b'
)
# of the abdomen alone: its acute series has a chest film
_VIEWS = re.compile(r'\b0*([2-9]|[1-9]\d) ?VIEWS?\b')
# A study is described by what is done, or by why: only the first tells what its images show.
_PROCEDURE = re.compile(r'\b(XR|X[- ]?RAYS?|RX|DX|CR|RADIOGRAPH\w*|R(Ö|OE)NTGEN|0*\d+ ?VIEWS?)\b')
_OF_SERIES = ('ABDOMEN', 'PELVIS', 'SKULL', 'SPINE')

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


def described_part(
    regions: Iterable[tuple[str, str]], texts: Iterable[str], study: str = ''
) -> str:
    """Part that a header names besides BodyPartExamined, where it names no part of the chest.

    Args:
        regions (Iterable[tuple[str, str]]): Value and meaning of the codes of AnatomicRegionSequence.
        texts (Iterable[str]): Descriptions of the image, in any case.
        study (str): Description of its study, of which other images may be of other parts: it counts
            where neither codes nor texts tell, and names a procedure ('XR KNEE', 'KNEE 2 VIEWS') and no
            indication ('PREOP KNEE'), unless it is of a series ('XR acute abdomen', 'abdomen 3 views')
            that may hold a chest film, too. Defaults to ''.

    Returns:
        str: Out of a closed list; '' if a part of the chest is named, or none.
    """
    named = [_REGION_OF.get(code) or _named_part([meaning]) for code, meaning in regions]
    named.append(_named_part(texts))
    text = study.upper()
    if not any(named) and _PROCEDURE.search(text):
        named = [_named_part([study])]
        if named[0] in _OF_SERIES and _SERIES.search(text):
            return ''
        if named[0] == 'ABDOMEN' and _VIEWS.search(text):
            return ''
    return '' if _CHEST in named else next(filter(None, named), '')


def _named_part(texts: Iterable[str]) -> str:
    """Part that texts name, the chest before others; '' if they name none."""
    capitals = [text.upper() for text in texts]
    if any(map(is_chest, capitals)):
        return _CHEST
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
