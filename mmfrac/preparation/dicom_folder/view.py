# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From which side a chest film was taken and how it is stored, in the words of many devices."""

import re
from collections.abc import Sequence

FRONTAL = ('PA', 'AP', 'frontal')

# How a film may be stored otherwise than upright, with the patient's right at its left.
MIRRORED, UPSIDE_DOWN, ON_ITS_SIDE = 'mirrored', 'stored upside down', 'stored on its side'

# Whole words of a text in capitals; what is joined (P.A., postero-anterior) is parted before.
_WORDS = {
    'PA': ('PA', 'POSTEROANTERIOR', 'DV'),
    'AP': ('AP', 'ANTEROPOSTERIOR', 'VD'),
    'frontal': ('FRONTAL', 'FRONTALE', 'FACE', 'FRONT', 'VIEWFRONTAL'),
    'lateral': (
        *('LAT', 'LATERAL', 'LATERALE', 'LATEROLATERAL', 'LATEROLATERALE', 'LL', 'RL', 'SIDE'),
        *('SEITLICH', 'SEITL', 'PROFIL', 'PROFILE', 'PERFIL', 'SWIMMERS', 'DWARS'),
    ),
    'oblique': (
        *('OBL', 'OBLIQUE', 'OBLIQUA', 'OBLICUA', 'SCHRAEG', 'SCHRÄG'),
        *('LAO', 'RAO', 'LPO', 'RPO', 'LLO', 'RLO'),
    ),
}
_VIEW_OF = {word: view for view, words in _WORDS.items() for word in words}
# Lying on the side, taken from the front: 'left lateral decubitus' is no lateral.
_DECUBITUS = re.compile(r'\b(DECUB\w*|LLD|RLD)\b')
# Languages that part no words.
_PARTS = {
    'PA': ('后前位', '後前位'),
    'AP': ('前后位', '前後位'),
    'frontal': ('正位', '正面'),
    'lateral': ('侧位', '側位', '側面'),
    'oblique': ('斜位',),
}
_JOINED = (
    (re.compile(r'\bP[.\-/ ]A\b'), 'PA'),
    (re.compile(r'\bA[.\-/ ]P\b'), 'AP'),
    (re.compile(r'\bPOSTERO\W*ANTERIOR\w*'), 'PA'),
    (re.compile(r'\bANTERO\W*POSTERIOR\w*'), 'AP'),
    (re.compile(r'\bLATERO\W*LATERAL\w*'), 'LAT'),
)
_LEFT_RIGHT, _FRONT_BACK, _HEAD_FEET = set('LR'), set('AP'), set('HF')


def view_of(texts: Sequence[str], orientation: Sequence[str] = ()) -> str:
    """View of a film from what its header says, the first text that tells one view counts.

    Args:
        texts (Sequence[str]): ViewPosition, then descriptions, the surest first.
        orientation (Sequence[str]): PatientOrientation, e.g. ('L', 'F'); counts where no text tells.
            Defaults to none.

    Returns:
        str: 'PA', 'AP', 'frontal' (either), 'lateral', 'oblique', or '' if nothing tells.
    """
    for text in texts:
        view = view_in(text)
        if view:
            return view
    return _view_of_orientation(orientation)


def view_in(text: str) -> str:
    """View that a text names; '' if it names none or several ('CHEST PA AND LAT').

    Args:
        text (str): Any case, any device's wording.
    """
    plain = text.upper().replace('_', ' ')
    for pattern, word in _JOINED:
        plain = pattern.sub(word, plain)
    found = {_VIEW_OF[word] for word in re.findall(r'[^\W\d_]+', plain) if word in _VIEW_OF}
    found |= {view for view, parts in _PARTS.items() if any(part in text for part in parts)}
    if _DECUBITUS.search(plain):
        found = (found & set(FRONTAL)) or {'frontal'}
    if len(found) > 1 and found <= set(FRONTAL):
        precise = found - {'frontal'}
        return precise.pop() if len(precise) == 1 else 'frontal'
    return found.pop() if len(found) == 1 else ''


def _view_of_orientation(orientation: Sequence[str]) -> str:
    if len(orientation) != 2 or not all(orientation):
        return ''
    row, column = (set(direction.upper()) for direction in orientation)
    axes = [axis for axis in (_LEFT_RIGHT, _FRONT_BACK, _HEAD_FEET) if axis & (row | column)]
    if axes == [_LEFT_RIGHT, _HEAD_FEET]:
        return 'frontal'
    return 'lateral' if axes == [_FRONT_BACK, _HEAD_FEET] else ''


def stored_otherwise(orientation: Sequence[str], view: str = '') -> str:
    """How a film is stored that is not stored upright, by the directions of its rows and columns.

    Args:
        orientation (Sequence[str]): PatientOrientation, e.g. ('L', 'F'); the first letter of each
            counts, as of ('L', 'FP').
        view (str): Of :func:`view_of`; laterals and obliques are not mirrored. Defaults to '', unknown.

    Returns:
        str: ``MIRRORED``, ``UPSIDE_DOWN`` or ``ON_ITS_SIDE``; '' of an upright film, or if it does not
            tell.
    """
    if len(orientation) != 2 or not all(orientation):
        return ''
    row, column = (direction.upper() for direction in orientation)
    if set(row + column) - (_LEFT_RIGHT | _FRONT_BACK | _HEAD_FEET):
        return ''
    if row[0] in _HEAD_FEET and column[0] not in _HEAD_FEET:
        return ON_ITS_SIDE
    if row[0] in _HEAD_FEET or column[0] not in _HEAD_FEET:
        return ''
    if column[0] == 'H':
        return UPSIDE_DOWN
    return MIRRORED if row[0] == 'R' and view in ('', *FRONTAL) else ''
