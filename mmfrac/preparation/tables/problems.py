# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Everything that is wrong with the tables of one conversion, for one error."""

from collections.abc import Sequence

from mmfrac.utils.errors import MAX_LINES, AnnotationError


class Problems:
    """Collects what is wrong, with table and line, until it is all raised at once."""

    def __init__(self) -> None:
        self._found: list[tuple[str, int | str, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, table: str, place: int | str, text: str) -> None:
        """Note a problem.

        Args:
            table (str): Name of the file.
            place (int or str): Line of the file, counted from 1, or another name of the record.
            text (str): What is wrong, and how to mend it.
        """
        self._found.append((table, place, text))

    @property
    def lines(self) -> list[str]:
        """A line for each, in the order of the tables; what concerns a whole file stands first."""
        self._found.sort(key=lambda one: (one[0], one[1] if isinstance(one[1], int) else -1))
        return [f'{table}: {place_name(place)}: {text}' for table, place, text in self._found]

    def raise_any(self, files: Sequence[str]) -> None:
        """Raise one error for all of them; nothing if there are none.

        Args:
            files (Sequence[str]): What was read, for the message.

        Raises:
            AnnotationError: If there is a problem; a line for each of the first, and the places of
                the others.
        """
        if not self._found:
            return
        lines = self.lines
        count = f'{len(lines)} problem' + ('s' if len(lines) > 1 else '')
        message = [f'{count} in {", ".join(files)}:', *(f'  {one}' for one in lines[:MAX_LINES])]
        if len(lines) > MAX_LINES:
            rest = _places(self._found[MAX_LINES:])
            message.append(f'  ... and {len(lines) - MAX_LINES} more: {rest}')
        raise AnnotationError('\n'.join(message), lines)


def place_name(place: int | str) -> str:
    """'line 12' for a line, other names as they are."""
    return f'line {place}' if isinstance(place, int) else place


def _places(found: Sequence[tuple[str, int | str, str]]) -> str:
    """``a.csv lines 3, 7-12; b.csv lines 2``: runs of lines in short."""
    tables: dict[str, list[int | str]] = {}
    for table, place, _ in found:
        places = tables.setdefault(table, [])
        if not places or places[-1] != place:
            places.append(place)
    return '; '.join(f'{table} lines {_runs(places)}' for table, places in tables.items())


def _runs(places: Sequence[int | str]) -> str:
    runs: list[list[int | str]] = []
    for place in places:
        last = runs[-1][-1] if runs else None
        if isinstance(place, int) and isinstance(last, int) and place == last + 1:
            runs[-1][1:] = [place]
        else:
            runs.append([place])
    return ', '.join('-'.join(map(str, run)) for run in runs)
