# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The folder of a semi-real set: whose it is, and how far the work in it has come."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mmfrac.utils.io import remove_temporary_files, write_json, write_text

RECIPE_NAME = 'semi_real.json'
JOURNAL_NAME = 'lesions.jsonl'


class Journal:
    """Films that are finished, a JSON object a line, in the order in which they were made.

    Args:
        path (Path): The file; goes on at its end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Journal:
        self._file = open(self._path, 'a', encoding='utf-8')
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def add(self, entry: dict[str, Any]) -> None:
        """Note a film; its image must be there."""
        self._file.write(json.dumps(entry) + '\n')
        self._file.flush()


class SetFolder:
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
        record = self.root / RECIPE_NAME
        known = _read_json(record) if record.is_file() else None
        taken = any(
            folder.is_dir() and any(folder.iterdir()) for folder in (self.images, self.annotations)
        )
        if known is None and taken:
            raise ValueError(
                f'{self.root} holds a data set that is not semi-real (no {RECIPE_NAME}): choose '
                'another folder'
            )
        if known is not None and known != self._recipe:
            if not overwrite:
                names = [n for n in self._recipe if (known or {}).get(n) != self._recipe[n]]
                raise ValueError(
                    f'{self.root} holds a semi-real set of other {", ".join(names)}: choose another '
                    'folder or pass overwrite=True (--overwrite)'
                )
            for folder in (self.images, self.annotations):
                shutil.rmtree(folder, ignore_errors=True)
            (self.root / JOURNAL_NAME).unlink(missing_ok=True)
        self.images.mkdir(parents=True, exist_ok=True)
        self.annotations.mkdir(exist_ok=True)
        remove_temporary_files(self.images)
        write_json(record, self._recipe, indent=None)

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

    def open_journal(self) -> Journal:
        """The journal, to go on with."""
        return Journal(self.root / JOURNAL_NAME)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        return {'unreadable': True}
