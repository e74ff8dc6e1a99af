# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Everything that is wrong with a data set, in one pass over its films."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tqdm import tqdm

from mmfrac.preparation.checks.across_films import (
    equal_pixels,
    odd_boxes,
    one_class,
    shared_films,
    shared_patients,
)
from mmfrac.preparation.checks.film_facts import BLANK_SPREAD, FilmFacts, crashed_facts, film_facts
from mmfrac.preparation.checks.finding import Finding, severities
from mmfrac.preparation.checks.inversion import INVERTED
from mmfrac.preparation.checks.report import Report, SplitCounts
from mmfrac.preparation.checks.split_file import Film, find_splits, read_split, split_names
from mmfrac.utils.film_pool import default_workers, map_films


def check_data(
    data_root: str | os.PathLike,
    ann_files: Sequence[str] | None = None,
    image_folder: str = 'images',
    severity: Mapping[str, str] | None = None,
    decode: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[Report, dict[str, Film]]:
    """Look for everything that ``CHECKS`` lists.

    Each film file is decoded once, by the reader of ``LoadRadiograph``; of its pixels only a hash
    and a few numbers are kept.

    Args:
        data_root (str or os.PathLike): Folder of ``images/`` and ``annotations/``.
        ann_files (Sequence[str], optional): Annotation files of the splits, below ``data_root`` or
            anywhere. Default: train.json, val.json and test.json in ``annotations/``.
        image_folder (str): Where film names start, below ``data_root``. Default: 'images'.
        severity (Mapping[str, str], optional): Of :func:`severities`. Default: that of ``CHECKS``.
        decode (bool): Whether films are read; else only whether they exist. Default: True.
        workers (int, optional): Processes; 0: this one. Default: one a processor.
        progress (bool): Show a progress bar. Default: True.

    Returns:
        tuple[Report, dict[str, Film]]: What was found, and the films that decode and are named in
            it, by ``Finding.split`` and ``Finding.film`` joined with '/'.
    """
    data_root = os.fspath(data_root)
    report = Report(data_root, dict(severity or severities()))
    files, missing = find_splits(data_root, ann_files)
    report.add(missing)
    folder = os.path.join(data_root, image_folder)
    has_images = os.path.isdir(folder)
    if files and not has_images:
        report.add([Finding('root', f'no image folder {folder}')])
    films: list[Film] = []
    for name, file in zip(split_names(files), files, strict=True):
        split = read_split(name, file, folder)
        report.add(split.findings)
        report.add([finding for film in split.films for finding in odd_boxes(film)])
        if not any(finding.check == 'file' for finding in split.findings):
            report.add(one_class(name, split.films))
        report.splits[name] = _counts(file, split.films)
        films += split.films
    report.add(shared_patients(films))
    report.add(shared_films(films))
    readable = _check_pixels(report, films, decode, workers, progress) if has_images else set()
    report.sort()
    named = {(finding.split, finding.film) for finding in report.findings}
    shown = {
        f'{film.split}/{film.name}': film
        for film in films
        if film.path in readable and (film.split, film.name) in named
    }
    return report, shown


def _counts(ann_file: str, films: Sequence[Film]) -> SplitCounts:
    labels = Counter(film.label for film in films)
    return SplitCounts(
        ann_file=ann_file,
        films=len(films),
        positives=labels[1],
        negatives=labels[0],
        unknown=labels[-1],
        boxes=sum(len(film.boxes) for film in films),
        patients=len({film.patient or film.name for film in films}),
    )


def _check_pixels(
    report: Report, films: Sequence[Film], decode: bool, workers: int | None, progress: bool
) -> set[str]:
    """Add what the film files show; returns the paths of those that decode."""
    uses: dict[str, list[Film]] = defaultdict(list)
    for film in films:
        uses[film.path].append(film)
    if not decode:
        absent = [path for path in uses if not _is_file(path)]
        for path in absent:
            report.add(_faults(FilmFacts('missing_film', f'missing file {path}'), uses[path]))
        return set()
    digests: dict[bytes, str | list[str]] = {}
    readable = set()
    count = default_workers() if workers is None else workers
    facts = map_films(film_facts, uses, count, crashed_facts)
    bar = tqdm(facts, 'decoding', len(uses), unit='film', disable=not progress)
    for path, found in zip(uses, bar, strict=True):
        report.add(_faults(found, uses[path]))
        if not found.fault:
            report.decoded += 1
            readable.add(path)
            if found.spread >= BLANK_SPREAD:  # blank films are all alike
                _remember(digests, found.digest, path)
    groups = (
        [film for path in paths for film in uses[path]]
        for paths in digests.values()
        if isinstance(paths, list)
    )
    report.add(equal_pixels(groups))
    return readable


def _faults(facts: FilmFacts, uses: Iterable[Film]) -> list[Finding]:
    """Findings of one film file, for each place that lists it."""
    findings = []
    for film in uses:

        def report(check: str, text: str, weight: float = 0.0, film: Film = film) -> None:
            message = f'{film.split}: {film.name}: {text}'
            findings.append(Finding(check, message, film.split, film.name, weight))

        if facts.fault:
            report(facts.fault, facts.reason)
            continue
        if film.size is not None and film.size != facts.size:
            (w, h), (wide, high) = film.size, facts.size
            report(
                'wrong_size', f'the annotation file says {w} x {h} px, the film has {wide} x {high}'
            )
        if facts.spread < BLANK_SPREAD:
            report('blank_film', f'99 % of its values lie within {facts.spread:.3f} of 1')
        elif facts.inversion > INVERTED:
            report(
                'inverted', f'dark where bone is bright ({facts.inversion:+.2f})', facts.inversion
            )
    return findings


def _remember(digests: dict[bytes, str | list[str]], digest: bytes, path: str) -> None:
    """A single path for most digests: a list for each would be most of the memory."""
    known = digests.setdefault(digest, path)
    if isinstance(known, list):
        known.append(path)
    elif known != path:
        digests[digest] = [known, path]


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a name that no file can have
        return False
