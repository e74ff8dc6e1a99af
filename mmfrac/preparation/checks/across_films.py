# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What only shows when films are compared: pure functions on lists of films."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from mmfrac.preparation.checks.finding import Finding
from mmfrac.preparation.checks.split_file import Film

_SHOWN = 3


def shared_patients(films: Iterable[Film]) -> list[Finding]:
    """Patients with films in several splits, one finding each.

    Args:
        films (Iterable[Film]): Of all splits; films without ``patient_id`` are left out.

    Returns:
        list[Finding]: In the order of the patients' first films.
    """
    by_patient: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for film in films:
        if film.patient is not None:
            by_patient[film.patient][film.split].append(film.name)
    findings = []
    for patient, splits in by_patient.items():
        if len(splits) > 1:
            places = ', '.join(f'{split} ({_some(names)})' for split, names in splits.items())
            last = list(splits)[-1]
            number = float(sum(map(len, splits.values())))
            message = f'patient {patient} is in {places}'
            findings.append(Finding('shared_patient', message, last, splits[last][0], number))
    return findings


def shared_films(films: Iterable[Film]) -> list[Finding]:
    """Files that several splits list, one finding each."""
    by_path: dict[str, dict[str, Film]] = defaultdict(dict)
    for film in films:
        by_path[film.path].setdefault(film.split, film)
    return [
        Finding('shared_film', f'{path} is in {", ".join(splits)}', *_last(splits.values()))
        for path, splits in by_path.items()
        if len(splits) > 1
    ]


def equal_pixels(groups: Iterable[Sequence[Film]]) -> list[Finding]:
    """Files with the same pixels.

    Args:
        groups (Iterable[Sequence[Film]]): Films of equal pixels, of two files at least each.

    Returns:
        list[Finding]: For each group 'shared_pixels' if it lies in several splits, else
            'same_pixels'; and 'label_conflict' if its known labels differ.
    """
    findings = []
    for group in groups:
        names = [f'{film.split}: {film.name}' for film in group]
        check = 'shared_pixels' if len({film.split for film in group}) > 1 else 'same_pixels'
        message = f'{len(group)} films have the same pixels ({_some(names, 6)})'
        findings.append(Finding(check, message, *_last(group), float(len(group))))
        labels = {film.label for film in group} - {None, -1}
        if len(labels) > 1:
            told = [f'{film.split}: {film.name} label {film.label}' for film in group]
            message = f'the same pixels are labelled differently ({_some(told, 6)})'
            findings.append(Finding('label_conflict', message, *_last(group)))
    return findings


def odd_boxes(film: Film, smallest: float = 2.0, largest_share: float = 0.25) -> list[Finding]:
    """Boxes that lie within their film, but hardly hold a fracture.

    Args:
        film (Film): With the size of the annotation file.
        smallest (float): Shorter sides are odd, px. Default: 2.
        largest_share (float): Boxes that cover more of the film are odd. Default: 0.25.

    Returns:
        list[Finding]: One for each such box.
    """
    if film.size is None:
        return []
    area = film.size[0] * film.size[1]
    findings = []

    def report(text: str, weight: float) -> None:
        message = f'{film.split}: {film.name}: {text}'
        findings.append(Finding('odd_box', message, film.split, film.name, weight))

    for bbox, count in Counter(map(tuple, film.boxes)).items():
        w, h = bbox[2:]
        if w <= 0 or h <= 0:
            continue  # has no size at all: an error of its own
        if count > 1:
            report(f'box {list(bbox)} is there {count} times', 1.0)
        if min(w, h) < smallest:
            report(f'box {list(bbox)} is thinner than {smallest:g} px', 0.0)
        elif w * h > largest_share * area:
            report(f'box {list(bbox)} covers {w * h / area:.0%} of the film', w * h / area)
    return findings


def one_class(split: str, films: Sequence[Film]) -> list[Finding]:
    """A split without films, or whose labels are all the same."""
    if not films:
        return [Finding('one_class', f'{split} holds no film', split)]
    known = Counter(film.label for film in films if film.label in (0, 1))
    if len(known) > 1:
        return []
    found = f'{known.total()} of label {next(iter(known))}' if known else 'none with a known label'
    return [Finding('one_class', f'{split} has films of one class only: {found}', split)]


def _some(names: Sequence[str], shown: int = _SHOWN) -> str:
    rest = len(names) - shown
    return ', '.join(names[:shown]) + (f' and {rest} more' if rest > 0 else '')


def _last(films: Iterable[Film]) -> tuple[str, str]:
    last = list(films)[-1]
    return last.split, last.name
