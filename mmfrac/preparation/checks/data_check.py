# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""All checks of a data set: its annotation files, its films, and what films have in common."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from mmfrac.datasets.labels import similar_patients
from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.preparation.checks.finding import Finding, severities
from mmfrac.preparation.checks.report import Report, SplitCounts
from mmfrac.preparation.checks.split_file import ImageEntry, find_splits, read_split, split_names
from mmfrac.utils.io import plain_path
from mmfrac.utils.processes import crash_text, default_workers, map_files

# Mean of 1004 frontal NIH and DICOM films (standardised, left half; the right one mirrors it): air
# beside the head, dark lungs, bright spine and abdomen.
_LEFT_HALF = np.array(
    [
        [-2.4, -2.0, -1.3, 0.1],
        [-0.5, -0.2, -0.6, -0.1],
        [0.3, 0.1, -1.1, -0.2],
        [0.2, 0.0, -1.0, 0.2],
        [-0.2, 0.0, -0.4, 0.8],
        [-0.5, 0.3, 0.5, 1.3],
        [-0.8, 0.7, 1.3, 1.7],
        [-1.0, 1.0, 1.7, 2.0],
    ]
)

INVERTED = 0.5

"""Score above which a film looks inverted. Templates from one half of the patients of those 1004
films, scores of the other: none above 0.5, 97 % of the inverted copies are (0.4: 3 and 98 %)."""

_SMALL = 64

_FLAT = 0.02


def inversion_score(image: np.ndarray) -> float:
    """How much a film looks like a chest film inverted.

    The film, without flat margins (collimation, padding), shrinks to 8 x 8 means; the score is the
    negative of their correlation with a mean chest film in the quarter turn in which it is
    strongest, so that films that lie or hang upside down count alike.

    Args:
        image (np.ndarray): Film (h, w), float in [0, 1].

    Returns:
        float: In [-1, 1]; above ``INVERTED`` the film looks inverted. 0 for a flat film.
    """
    small = cv2.resize(image, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    side = _TEMPLATES.shape[-1]
    cells = cv2.resize(_without_margins(small), (side, side), interpolation=cv2.INTER_AREA)
    likeness = (_TEMPLATES * _standardised(cells)).mean(axis=(1, 2))
    return -float(likeness[np.abs(likeness).argmax()])


def _without_margins(small: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(np.ptp(small, axis=1) > _FLAT)
    columns = np.flatnonzero(np.ptp(small, axis=0) > _FLAT)
    if min(len(rows), len(columns)) < _SMALL // 4:
        return small
    return small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _standardised(cells: np.ndarray) -> np.ndarray:
    centred = cells - cells.mean()
    return centred / max(float(centred.std()), 1e-6)


def _turns() -> np.ndarray:
    upright = _standardised(np.hstack([_LEFT_HALF, _LEFT_HALF[:, ::-1]]))
    return np.stack([upright, upright[::-1], upright.T, upright[::-1].T])


_TEMPLATES = _turns()

# Cells of a side of the thumbnails by which films are compared.
_CELLS = 16

# Distance of two thumbnails below which their films look alike. Of 727 real films (384 px) no two are
# less than 0.23 apart; copies as JPEG of quality 75, or at half the size, are at most 0.004 away.
_ALIKE = 0.01

# Films that are compared at once.
_ROWS = 128

# Range of the middle 99 % of the film's values below which it shows nothing.
BLANK_SPREAD = 0.02


@dataclass(frozen=True)
class FileFacts:
    """Facts of one film file.

    Attributes:
        fault (str): '' if the film was read, else 'missing_film' or 'unreadable_film'.
        reason (str): Of the fault.
        size (tuple[int, int]): Width and height, px.
        digest (bytes): Of the decoded pixels and their shape.
        thumbnail (bytes): See :func:`thumbnail_of`.
        spread (float): Range of the middle 99 % of its values, in [0, 1].
        inversion (float): See :func:`inversion_score`.
        doubts (tuple[str, ...]): What its reader was not sure of, see ``read_radiograph``.
    """

    fault: str = ''
    reason: str = ''
    size: tuple[int, int] = (0, 0)
    digest: bytes = b''
    thumbnail: bytes = b''
    spread: float = 0.0
    inversion: float = 0.0
    doubts: tuple[str, ...] = ()


def file_facts(path: str) -> FileFacts:
    """Read a film with the reader of ``LoadRadiograph`` and look at its pixels.

    Args:
        path (str): The film's file.

    Returns:
        FileFacts: Never raises: what goes wrong is a fact.
    """
    try:
        notes: list[str] = []
        image = read_radiograph(path, notes)
        return FileFacts(
            size=(image.shape[1], image.shape[0]),
            digest=pixel_digest(image),
            thumbnail=thumbnail_of(image),
            spread=_spread(image),
            inversion=inversion_score(image),
            doubts=tuple(notes),
        )
    except FileNotFoundError:
        return FileFacts('missing_film', f'missing file {path}')
    except Exception as error:  # any file at all comes here, through many decoders
        reason = str(error) or type(error).__name__
        return FileFacts('unreadable_film', reason)


def _crashed_facts(path: str) -> FileFacts:
    """Facts of a film that took its process with it."""
    return FileFacts('unreadable_film', crash_text(path))


def pixel_digest(image: np.ndarray) -> bytes:
    """Hash of a film's pixels, whatever the file around them.

    Args:
        image (np.ndarray): Film (h, w), float in [0, 1].

    Returns:
        bytes: 16 bytes, the same for planes that agree in 16 bits.
    """
    state = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    for rows in np.array_split(image, max(1, image.shape[0] // 256)):
        state.update(np.rint(rows * np.float32(65535)).astype('<u2').tobytes())
    return state.digest()


def thumbnail_of(image: np.ndarray) -> bytes:
    """What of a film stays the same in copies of other formats, compressions and sizes.

    Args:
        image (np.ndarray): Film (h, w), float in [0, 1].

    Returns:
        bytes: (256,) float16, its 16 x 16 means, centred, of length 1.
    """
    cells = cv2.resize(image, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).ravel()
    centred = cells - cells.mean()
    return (centred / max(float(np.linalg.norm(centred)), 1e-6)).astype('<f2').tobytes()


def _spread(image: np.ndarray) -> float:
    low, high = np.quantile(image[:: max(1, image.shape[0] // 256)], (0.005, 0.995))
    return float(high - low)


_SHOWN = 3


def patients_in_several_splits(entries: Iterable[ImageEntry]) -> list[Finding]:
    """Patients with films in several splits, one finding each.

    Args:
        entries (Iterable[ImageEntry]): Of all splits; films without ``patient_id`` are left out.

    Returns:
        list[Finding]: In the order of the patients' first films.
    """
    by_patient: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        if entry.patient is not None:
            by_patient[entry.patient][entry.split].append(entry.name)
    findings = []
    for patient, splits in by_patient.items():
        if len(splits) > 1:
            where = ', '.join(f'{split} ({_some(names)})' for split, names in splits.items())
            last = list(splits)[-1]
            number = float(sum(map(len, splits.values())))
            message = f'patient {patient} is in {where}'
            findings.append(Finding('shared_patient', message, last, splits[last][0], number))
    return findings


def unsure_patients(entries: Iterable[ImageEntry]) -> list[Finding]:
    """Images without a patient, a finding each split, and patients that may be one, a finding each."""
    found = list(entries)
    without = Counter(entry.split for entry in found if entry.patient is None)
    totals = Counter(entry.split for entry in found)
    findings = [
        Finding(
            'no_patient',
            f'{split}: {count} of {totals[split]} images have no patient_id: each counts as a patient',
            split,
            weight=float(count),
        )
        for split, count in without.items()
    ]
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in found:
        if entry.patient is not None:
            splits[entry.patient].add(entry.split)
    for group in similar_patients(splits):
        told = [f'{patient!r} in {", ".join(sorted(splits[patient]))}' for patient in group]
        where = set().union(*(splits[patient] for patient in group))
        message = f'are these one patient? {_some(told, 6)}'
        findings.append(Finding('similar_patients', message, max(where), weight=float(len(where))))
    return findings


def shared_images(entries: Iterable[ImageEntry]) -> list[Finding]:
    """Files that several splits list, or one split under two names, one finding each."""
    by_path: dict[str, dict[str, ImageEntry]] = defaultdict(dict)
    findings = []
    for entry in entries:
        first = by_path[entry.path].setdefault(entry.split, entry)
        # what differs in nothing, or in ./ and // alone, the check of the file finds
        if first is not entry and plain_path(first.name) != plain_path(entry.name):
            message = f'{entry.split}: {entry.name} is the file of {first.name}, too'
            findings.append(Finding('duplicate_id', message, entry.split, entry.name))
    return findings + [
        Finding('shared_film', f'{path} is in {", ".join(splits)}', *_last(splits.values()))
        for path, splits in by_path.items()
        if len(splits) > 1
    ]


def equal_pixels(groups: Iterable[Sequence[ImageEntry]]) -> list[Finding]:
    """Files with the same pixels.

    Args:
        groups (Iterable[Sequence[ImageEntry]]): Films of equal pixels, of two files at least each.

    Returns:
        list[Finding]: For each group 'shared_pixels' if it lies in several splits, else
            'same_pixels'; and 'label_conflict' if its known labels differ.
    """
    findings = []
    for group in groups:
        names = [f'{entry.split}: {entry.name}' for entry in group]
        check = 'shared_pixels' if len({entry.split for entry in group}) > 1 else 'same_pixels'
        message = f'{len(group)} films have the same pixels ({_some(names, 6)})'
        findings.append(Finding(check, message, *_last(group), float(len(group))))
        labels = {entry.label for entry in group} - {None, -1}
        if len(labels) > 1:
            told = [f'{entry.split}: {entry.name} label {entry.label}' for entry in group]
            message = f'the same pixels are labelled differently ({_some(told, 6)})'
            findings.append(Finding('label_conflict', message, *_last(group)))
    return findings


def alike_images(images: Iterable[tuple[ImageEntry, bytes]]) -> list[Finding]:
    """Films of different splits that look alike.

    Args:
        images (Iterable[tuple[ImageEntry, bytes]]): Films, one for each file and its pixels, and
            their thumbnails.

    Returns:
        list[Finding]: One for each pair.
    """
    by_split: dict[str, list[tuple[ImageEntry, bytes]]] = defaultdict(list)
    for entry, thumbnail in images:
        by_split[entry.split].append((entry, thumbnail))
    findings = []
    before: list[tuple[ImageEntry, bytes]] = []
    for split, members in by_split.items():
        others = _vectors(before)
        for start in range(0, len(members) if before else 0, _ROWS):
            some = members[start : start + _ROWS]
            # of vectors of length 1: |a - b|^2 = 2 - 2 ab
            squares = 2 - 2 * _vectors(some) @ others.T
            for row, column in np.argwhere(squares < _ALIKE**2).tolist():
                entry, other = some[row][0], before[column][0]
                message = f'{split}: {entry.name} looks like {other.split}: {other.name}'
                findings.append(Finding('alike', message, split, entry.name))
        before += members
    return findings


def _vectors(images: Sequence[tuple[ImageEntry, bytes]]) -> np.ndarray:
    content = b''.join(thumbnail for _, thumbnail in images)
    vectors = np.frombuffer(content, '<f2').reshape(-1, _CELLS**2).astype(np.float32)
    # rounding to float16 changed their length
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def odd_boxes(
    entry: ImageEntry, smallest: float = 2.0, largest_share: float = 0.25
) -> list[Finding]:
    """Boxes that lie within their film, but hardly hold a fracture.

    Args:
        entry (ImageEntry): With the size of the annotation file.
        smallest (float): Shorter sides are odd, px. Defaults to 2.
        largest_share (float): Boxes that cover more of the film are odd. Defaults to 0.25.

    Returns:
        list[Finding]: One for each such box.
    """
    if entry.size is None:
        return []
    area = entry.size[0] * entry.size[1]
    findings = []

    def report(text: str, weight: float) -> None:
        message = f'{entry.split}: {entry.name}: {text}'
        findings.append(Finding('odd_box', message, entry.split, entry.name, weight))

    for bbox, count in Counter(map(tuple, entry.boxes)).items():
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


def one_class(split: str, entries: Sequence[ImageEntry]) -> list[Finding]:
    """A split without films, or whose labels are all the same."""
    if not entries:
        return [Finding('one_class', f'{split} holds no film', split)]
    known = Counter(entry.label for entry in entries if entry.label in (0, 1))
    if len(known) > 1:
        return []
    found = f'{known.total()} of label {next(iter(known))}' if known else 'none with a known label'
    return [Finding('one_class', f'{split} has films of one class only: {found}', split)]


def _some(names: Sequence[str], shown: int = _SHOWN) -> str:
    rest = len(names) - shown
    return ', '.join(names[:shown]) + (f' and {rest} more' if rest > 0 else '')


def _last(entries: Iterable[ImageEntry]) -> tuple[str, str]:
    last = list(entries)[-1]
    return last.split, last.name


def check_data(
    data_root: str | os.PathLike,
    ann_files: Sequence[str] | None = None,
    image_folder: str = 'images',
    severity: Mapping[str, str] | None = None,
    decode: bool = True,
    workers: int | None = None,
    progress: bool = True,
    allow_outside: bool = False,
    category: str | Sequence[str] | None = None,
) -> tuple[Report, dict[str, ImageEntry]]:
    """Look for everything that ``CHECKS`` lists.

    Each film file is decoded once, by the reader of ``LoadRadiograph``; of its pixels only a hash
    and a few numbers are kept.

    Args:
        data_root (str or os.PathLike): Folder of ``images/`` and ``annotations/``.
        ann_files (Sequence[str], optional): Annotation files of the splits, below ``data_root`` or
            anywhere. Defaults to train.json, val.json and test.json in ``annotations/``.
        image_folder (str): Where film names start, below ``data_root``. Defaults to 'images'.
        severity (Mapping[str, str], optional): Of :func:`severities`. Defaults to that of ``CHECKS``.
        decode (bool): Whether films are read; else only whether they exist. Defaults to True.
        workers (int, optional): Processes; 0: this one. Defaults to one a processor.
        progress (bool): Show a progress bar. Defaults to True.
        allow_outside (bool): Take file names that lead out of the image folder. Defaults to False.
        category (str or Sequence[str], optional): Categories whose boxes are lesions, as
            ``metainfo.classes`` of a config names them. Defaults to 'fracture', or to all in a file that
            has no category of that name.

    Returns:
        tuple[Report, dict[str, ImageEntry]]: What was found, and the films that decode and are named in
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
    entries: list[ImageEntry] = []
    for name, file in zip(split_names(files), files, strict=True):
        split = read_split(name, file, folder, allow_outside, category)
        report.add(split.findings)
        report.add([finding for entry in split.entries for finding in odd_boxes(entry)])
        if not any(finding.check == 'file' for finding in split.findings):
            report.add(one_class(name, split.entries))
        report.splits[name] = _counts(file, split.entries)
        entries += split.entries
    report.add(patients_in_several_splits(entries))
    report.add(unsure_patients(entries))
    report.add(shared_images(entries))
    readable = _check_pixels(report, entries, decode, workers, progress) if has_images else set()
    report.sort()
    named = {(finding.split, finding.image) for finding in report.findings}
    shown = {
        f'{entry.split}/{entry.name}': entry
        for entry in entries
        if entry.path in readable and (entry.split, entry.name) in named
    }
    return report, shown


def _counts(ann_file: str, entries: Sequence[ImageEntry]) -> SplitCounts:
    labels = Counter(entry.label for entry in entries)
    return SplitCounts(
        ann_file=ann_file,
        films=len(entries),
        positives=labels[1],
        negatives=labels[0],
        unknown=labels[-1],
        boxes=sum(len(entry.boxes) for entry in entries),
        patients=len({entry.patient or entry.name for entry in entries}),
    )


def _check_pixels(
    report: Report, entries: Sequence[ImageEntry], decode: bool, workers: int | None, progress: bool
) -> set[str]:
    """Add what the film files show; returns the paths of those that decode."""
    uses: dict[str, list[ImageEntry]] = defaultdict(list)
    for entry in entries:
        uses[entry.path].append(entry)
    if not decode:
        absent = [path for path in uses if not _is_file(path)]
        for path in absent:
            report.add(_faults(FileFacts('missing_film', f'missing file {path}'), uses[path]))
        return set()
    digests: dict[bytes, str | list[str]] = {}
    thumbnails: list[tuple[ImageEntry, bytes]] = []
    readable = set()
    count = default_workers() if workers is None else workers
    facts = map_files(file_facts, uses, count, _crashed_facts)
    bar = tqdm(facts, 'decoding', len(uses), unit='film', disable=not progress)
    for path, found in zip(uses, bar, strict=True):
        report.add(_faults(found, uses[path]))
        if not found.fault:
            report.decoded += 1
            readable.add(path)
            if found.spread >= BLANK_SPREAD:  # blank films are all alike
                if found.digest not in digests:
                    thumbnails.append((uses[path][0], found.thumbnail))
                _remember(digests, found.digest, path)
    groups = (
        [entry for path in paths for entry in uses[path]]
        for paths in digests.values()
        if isinstance(paths, list)
    )
    report.add(equal_pixels(groups))
    if report.severity['alike'] != 'off':
        report.add(alike_images(thumbnails))
    return readable


def _faults(facts: FileFacts, uses: Iterable[ImageEntry]) -> list[Finding]:
    """Findings of one film file, for each place that lists it."""
    findings = []
    for entry in uses:

        def report(check: str, text: str, weight: float = 0.0, entry: ImageEntry = entry) -> None:
            message = f'{entry.split}: {entry.name}: {text}'
            findings.append(Finding(check, message, entry.split, entry.name, weight))

        if facts.fault:
            report(facts.fault, facts.reason)
            continue
        if entry.size is not None and entry.size != facts.size:
            (w, h), (wide, high) = entry.size, facts.size
            cause = ': width and height are exchanged' if (w, h) == (high, wide) else ''
            report(
                'wrong_size',
                f'the annotation file says {w} x {h} px, the film has {wide} x {high}{cause}',
            )
        if facts.spread < BLANK_SPREAD:
            report('blank_film', f'99 % of its values lie within {facts.spread:.3f} of 1')
            continue
        for doubt in facts.doubts:
            report('doubtful', doubt)
        if facts.inversion > INVERTED:
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
