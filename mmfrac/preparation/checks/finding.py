# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What can be wrong with a data set, and how much each of it matters."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple


class Check(NamedTuple):
    """One thing that is looked for.

    Attributes:
        severity (str): By default; 'error' or 'warning'.
        title (str): What it is.
        advice (str): How to mend it.
    """

    severity: str
    title: str
    advice: str


CHECKS = {
    'root': Check('error', 'data set not found', 'name the folder of images/ and annotations/'),
    'file': Check('error', 'annotation file cannot be read', 'write it anew with its converter'),
    'field': Check(
        'error',
        'missing or wrong fields',
        'tools/README.md lists the fields of a film and of a box',
    ),
    'duplicate_id': Check('error', 'ids or files twice', 'every id and file occurs once a split'),
    'box': Check('error', 'boxes outside their film or without size', 'boxes are [x, y, w, h], px'),
    'label': Check(
        'error',
        'labels that contradict boxes',
        'set label and regions to what is known of the film; which boxes count --category says',
    ),
    'missing_film': Check('error', 'missing films', 'copy them, or take them out of the split'),
    'unreadable_film': Check('error', 'unreadable films', 'copy them anew from their source'),
    'wrong_size': Check(
        'error',
        'films of another size than in the annotation file',
        'boxes would lie elsewhere: convert the data set anew',
    ),
    'shared_patient': Check(
        'error', 'patients in two splits', 'keep all films of a patient in one split'
    ),
    'no_patient': Check(
        'warning',
        'images without a patient',
        'write patient_id, or images of one person may come into two splits',
    ),
    'similar_patients': Check(
        'warning',
        'patient ids that differ in blanks, case or leading zeros',
        'write one id for each person',
    ),
    'shared_film': Check('error', 'films in two splits', 'keep a film in one split'),
    'shared_pixels': Check(
        'error', 'same pixels in two splits', 'keep all copies of a film in one split'
    ),
    'alike': Check(
        'warning',
        'films that look alike in two splits',
        'look at them: keep all copies of a film in one split, whatever their format and size',
    ),
    'same_pixels': Check(
        'error', 'same pixels under two names', 'keep one of the copies, it counts twice'
    ),
    'label_conflict': Check(
        'error', 'same pixels with different labels', 'find out which label is right'
    ),
    'blank_film': Check('error', 'blank films', 'take them out: they show nothing'),
    'inverted': Check(
        'warning',
        'films that look inverted',
        'bone must be bright: mend PhotometricInterpretation, or invert the image',
    ),
    'doubtful': Check(
        'warning',
        'images whose header is doubtful',
        'look at them: they are read by a rule, and may be shown in another way elsewhere',
    ),
    'odd_box': Check(
        'warning', 'boxes of an odd size, or twice', 'look at them; a fracture is larger than 2 px'
    ),
    'one_class': Check('warning', 'splits with one class only', 'AUROC needs both'),
}


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        check (str): Key of ``CHECKS``.
        message (str): What, where.
        split (str): Name of the split; '' if it concerns none.
        image (str): Its file name in the annotation file; '' if it concerns none.
        weight (float): Worse findings of a check have more. Defaults to 0.
    """

    check: str
    message: str
    split: str = ''
    image: str = ''
    weight: float = 0.0


def severities(
    errors: Collection[str] = (),
    warnings: Collection[str] = (),
    off: Collection[str] = (),
    strict: bool = False,
) -> dict[str, str]:
    """Severity of each check.

    Args:
        errors (Collection[str]): Checks that count as errors. Defaults to none.
        warnings (Collection[str]): Checks that count as warnings. Defaults to none.
        off (Collection[str]): Checks that are left out. Defaults to none.
        strict (bool): Whether warnings count as errors. Defaults to False.

    Returns:
        dict[str, str]: 'error', 'warning' or 'off', in the order of ``CHECKS``.

    Raises:
        ValueError: If a check is unknown or named twice.
    """
    named = [*errors, *warnings, *off]
    unknown = sorted(set(named) - set(CHECKS))
    if unknown:
        raise ValueError(f'unknown check {unknown}, valid are {list(CHECKS)}')
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ValueError(f'check {twice} is given two severities')
    chosen = {name: check.severity for name, check in CHECKS.items()}
    for names, severity in ((errors, 'error'), (warnings, 'warning'), (off, 'off')):
        chosen.update(dict.fromkeys(names, severity))
    if strict:
        chosen = {n: 'error' if s == 'warning' else s for n, s in chosen.items()}
    return chosen
