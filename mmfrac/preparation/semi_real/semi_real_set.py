# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A semi-real data set: its folder, and each film written complete or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmfrac.datasets.radiographs.read import RadiographError, image_size, read_radiograph
from mmfrac.preparation.converters.coco_writer import (
    CocoImage,
    ConversionSummary,
    Lesion,
    write_coco,
)
from mmfrac.preparation.semi_real.drawing import PlacedFracture, add_fractures, png_values
from mmfrac.preparation.semi_real.negatives import NegativeImage
from mmfrac.preparation.semi_real.plan import (
    SPLITS,
    PlannedImage,
    Recipe,
    image_generator,
    plan_semi_real,
)
from mmfrac.utils.errors import raise_problems
from mmfrac.utils.io import (
    atomic_path,
    foreign_files,
    remove_files,
    remove_temporary_files,
    write_image,
    write_json,
    write_text,
)
from mmfrac.utils.processes import crash_text, map_files

_RECIPE_NAME = 'semi_real.json'

JOURNAL_NAME = 'lesions.jsonl'


class _Journal:
    """Films that are finished, a JSON object a line, in the order in which they were made.

    Args:
        path (Path): The file; goes on at its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Journal:
        self._file = open(self._path, 'a', encoding='utf-8')
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def add(self, entry: dict[str, Any]) -> None:
        """Note a film; its image must be there."""
        self._file.write(json.dumps(entry) + '\n')
        self._file.flush()


class _SetFolder:
    """A folder with `images/`, `annotations/`, the recipe and the journal.

    Args:
        root (Path): The folder.
        recipe (dict): What the set is made from, as JSON holds it.
    """

    def __init__(self, root: Path, recipe: dict[str, Any]) -> None:
        self.root = root
        self.images, self.annotations = root / 'images', root / 'annotations'
        self._recipe = json.loads(json.dumps(recipe))

    def claim(self, overwrite: bool) -> None:
        """Make the folder ours, or stop if it holds something else.

        Args:
            overwrite (bool): Remove the films of another semi-real set.

        Raises:
            ValueError: If it holds another set, or films of which nothing is known.
        """
        record = self.root / _RECIPE_NAME
        known = _read_json(record) if record.is_file() else None
        taken = any(
            folder.is_dir() and any(folder.iterdir()) for folder in (self.images, self.annotations)
        )
        if known is None and taken:
            raise ValueError(
                f'{self.root} holds a data set that is not semi-real (no {_RECIPE_NAME}): choose '
                'another folder'
            )
        if known is not None and known != self._recipe:
            if not overwrite:
                names = [n for n in self._recipe if (known or {}).get(n) != self._recipe[n]]
                raise ValueError(
                    f'{self.root} holds a semi-real set of other {", ".join(names)}: choose another '
                    'folder or pass overwrite=True (--overwrite)'
                )
            self._remove_set()
        self.images.mkdir(parents=True, exist_ok=True)
        self.annotations.mkdir(exist_ok=True)
        remove_temporary_files(self.images)
        write_json(record, self._recipe, indent=None)

    def _remove_set(self) -> None:
        """Remove the films that the journal names, the annotations and the journal."""
        names = {entry['file_name'] for entry in self.read_journal().values()}
        own = {f'images/{name}' for name in names}
        own |= {f'annotations/{name}.json' for name in (*SPLITS, _TRUTH)}
        for folder in (self.images, self.annotations):
            foreign = [one for one in foreign_files(folder) if f'{folder.name}/{one}' not in own]
            if foreign:
                raise ValueError(
                    f'{folder} holds {foreign[0]!r}, which {JOURNAL_NAME} does not name as of this set: '
                    'move it away, or choose another folder'
                )
        remove_files(self.root, [*own, JOURNAL_NAME])

    def read_journal(self) -> dict[str, dict[str, Any]]:
        """Entries of films that are finished and still there, by name; the journal is tidied."""
        path = self.root / JOURNAL_NAME
        lines = path.read_text(encoding='utf-8').splitlines() if path.is_file() else []
        entries = {}
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                # cut off when the run before was killed
                continue
            if (self.images / entry['file_name']).is_file():
                entries[entry['film']] = entry
        write_text(path, ''.join(json.dumps(entry) + '\n' for entry in entries.values()))
        return entries

    def open_journal(self) -> _Journal:
        """The journal, to go on with."""
        return _Journal(self.root / JOURNAL_NAME)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        return {'unreadable': True}


def _png_name(name: str) -> str:
    """Name of a film that gets fractures."""
    return name if name.lower().endswith('.png') else f'{name}.png'


def write_semi_real_image(images: Path, recipe: Recipe, plan: PlannedImage) -> dict[str, Any]:
    """Write one film.

    Args:
        images (Path): Folder of the set's films.
        recipe (Recipe): How.
        plan (PlannedImage): Which, and whether it is to get fractures.

    Returns:
        dict: `film` (name of the source), `file_name`, `width`, `height`, `lesions` and `reason` (why
            it stayed negative, or ''); or `problem` where it cannot be read.
    """
    source, name = plan.image.path, plan.image.name
    try:
        reason = ''
        if plan.gets_fractures:
            rng = image_generator(recipe.seed, name)
            number = int(rng.integers(recipe.fractures[0], recipe.fractures[1] + 1))
            changed = add_fractures(read_radiograph(source), rng, number, recipe.difficulty)
            reason = changed.reason
            if changed.fractures:
                write_image(images / _png_name(name), png_values(changed.image))
                lesions = [_lesion(fracture) for fracture in changed.fractures]
                return _entry(name, _png_name(name), changed.image.shape[::-1], lesions)
        size = image_size(source)
        _bring(source, images / name, recipe.link)
        return _entry(name, name, size, [], reason)
    except (RadiographError, OSError) as error:
        return {'problem': str(error)}


def _crashed_image(plan: PlannedImage) -> dict[str, Any]:
    """What ``write_semi_real_image`` gives for a film that takes its process with it."""
    return {'problem': crash_text(plan.image.path)}


def _entry(
    source: str, file_name: str, size: tuple[int, ...], lesions: list[dict], reason: str = ''
) -> dict[str, Any]:
    return dict(
        film=source,
        file_name=file_name,
        width=int(size[0]),
        height=int(size[1]),
        lesions=lesions,
        reason=reason,
    )


def _lesion(one: PlacedFracture) -> dict[str, Any]:
    site = {name: round(value, 5) for name, value in asdict(one.site).items()}
    return {'box': list(one.box), 'kind': one.fracture.kind, **site}


def _bring(source: str, path: Path, link: bool) -> None:
    with atomic_path(path) as temporary:
        if link:
            temporary.symlink_to(os.path.abspath(source))
        else:
            shutil.copyfile(source, temporary)


FORMAT_VERSION = 1

_TRUTH = 'train_truth'


@dataclass(frozen=True)
class SetSummary:
    """Counts of a set; ``str()`` is a table.

    Attributes:
        splits (dict[str, ConversionSummary]): Of each annotation file.
        stayed_negative (dict[str, int]): Films that should have got fractures but did not, and why.
        left_out (dict[str, int]): What of the input was not used, and why.
    """

    splits: dict[str, ConversionSummary]
    stayed_negative: dict[str, int]
    left_out: dict[str, int]

    def __str__(self) -> str:
        lines = [f'{"split":<12}' + ''.join(f'{name:>10}' for name in ('films', *_COLUMNS))]
        for name, split in self.splits.items():
            subsets = (split.subsets[subset] for subset in ('P_hos', 'P_pub', 'N'))
            cells = (split.films, *subsets, split.boxes, split.patients)
            lines.append(f'{name:<12}' + ''.join(f'{cell:>10}' for cell in cells))
        for what, counts in (
            ('stayed negative', self.stayed_negative),
            ('left out', self.left_out),
        ):
            lines += [f'{what}: {count} ({reason})' for reason, count in sorted(counts.items())]
        return '\n'.join(lines)


_COLUMNS = ('P_hos', 'P_pub', 'N', 'boxes', 'patients')


def write_semi_real(
    images: Sequence[NegativeImage],
    out_dir: str | os.PathLike,
    recipe: Recipe | None = None,
    workers: int = 2,
    overwrite: bool = False,
    progress: bool = True,
    left_out: dict[str, int] | None = None,
) -> SetSummary:
    """Write a set of real films with synthetic fractures, or what is missing of it.

    Films that get fractures become 16-bit PNG of their own size and depth; the others are copied
    byte for byte. The originals are only read.

    Args:
        images (Sequence[NegativeImage]): Films without fractures.
        out_dir (str or os.PathLike): Folder of the set; gets `images/`, `annotations/{train,val,test,
            train_truth}.json`, `lesions.jsonl` and `semi_real.json`. `train_truth.json` has the boxes
            of the label-only films, too: for measuring, not for training.
        recipe (Recipe, optional): Seed, difficulty, shares. Defaults to `Recipe()`.
        workers (int): Processes; the result does not depend on it. Defaults to 2.
        overwrite (bool): Replace a set of another recipe or other films. Defaults to False.
        progress (bool): Show a progress bar. Defaults to True.
        left_out (dict[str, int], optional): For the summary: what of the input was not used. Defaults to
            None.

    Returns:
        SetSummary: Counts.

    Raises:
        ValueError: On impossible settings, or if the folder holds something else.
        AnnotationError: Naming all films that cannot be read, would get one name, or lie in the folder
            that is written; no annotation file is written then.
    """
    recipe = recipe or Recipe()
    if workers < 0:
        raise ValueError(f'workers={workers}: must not be negative')
    plans = plan_semi_real(images, recipe.shares, recipe.seed)
    folder = _SetFolder(Path(out_dir), _identity(images, recipe))
    _check_names(plans, folder)
    folder.claim(overwrite)
    known = folder.read_journal()
    todo = [plan for plan in plans if plan.image.name not in known]
    write = partial(write_semi_real_image, folder.images, recipe)
    made = map_files(write, todo, workers if workers > 1 else 0, _crashed_image)
    bar = tqdm(
        total=len(plans),
        initial=len(plans) - len(todo),
        desc=f'semi-real {folder.root.name}',
        unit='film',
        disable=not progress,
        mininterval=0.2 if sys.stderr.isatty() else 15.0,
    )
    problems = []
    with bar, folder.open_journal() as journal:
        for plan, entry in zip(todo, made):
            if 'problem' in entry:
                problems.append(entry['problem'])
            else:
                journal.add(entry)
                known[plan.image.name] = entry
            bar.update()
    raise_problems(str(folder.root), problems)
    reasons = Counter(known[plan.image.name]['reason'] for plan in plans)
    del reasons['']
    return SetSummary(_write_annotations(folder, plans, known), dict(reasons), left_out or {})


def _identity(images: Sequence[NegativeImage], recipe: Recipe) -> dict[str, Any]:
    """What two sets must have in common for one to be the other's beginning."""
    names = json.dumps(sorted([image.name, image.patient_id] for image in images))
    digest = hashlib.sha256(names.encode()).hexdigest()
    return {'format_version': FORMAT_VERSION, **asdict(recipe), 'films': digest}


def _check_names(plans: Sequence[PlannedImage], folder: _SetFolder) -> None:
    """No two films may get one name, and no source may be written over."""
    names = Counter(
        name for plan in plans for name in {plan.image.name, _png_name(plan.image.name)}
    )
    problems = [
        f'{name}: two films would get this name; rename one of them'
        for name, count in sorted(names.items())
        if count > 1
    ]
    images = os.path.realpath(folder.images) + os.sep
    problems += [
        f'{plan.image.path}: lies in the folder that is written; choose another one'
        for plan in plans
        if os.path.realpath(plan.image.path).startswith(images)
    ]
    raise_problems(str(folder.images), problems)


def _write_annotations(
    folder: _SetFolder, plans: Sequence[PlannedImage], known: dict[str, dict[str, Any]]
) -> dict[str, ConversionSummary]:
    summaries = {}
    for name in (*SPLITS, _TRUTH):
        split = 'train' if name == _TRUTH else name
        records = [
            _record(plan, known[plan.image.name], shows_all=name == _TRUTH)
            for plan in plans
            if plan.split == split
        ]
        if records:
            summaries[name] = write_coco(records, folder.annotations / f'{name}.json')
    return summaries


def _record(plan: PlannedImage, entry: dict[str, Any], shows_all: bool) -> CocoImage:
    lesions = [Lesion(tuple(lesion['box']), site='rib') for lesion in entry['lesions']]
    is_label_only = bool(lesions) and plan.source == 'public'
    return CocoImage(
        file_name=entry['file_name'],
        width=entry['width'],
        height=entry['height'],
        label=int(bool(lesions)),
        regions=not is_label_only,
        source=plan.source,
        patient_id=plan.image.patient_id,
        lesions=lesions if shows_all or not is_label_only else [],
    )
