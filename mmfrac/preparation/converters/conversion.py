# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From the rows of label tables to one COCO JSON: what all converters do alike."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from tqdm import tqdm

from mmfrac.preparation.converters.coco_writer import FilmWriter
from mmfrac.preparation.converters.film_files import FilmFiles, FoundFilm
from mmfrac.preparation.converters.film_record import ConversionSummary, FilmRecord, Lesion
from mmfrac.preparation.converters.lesions import check_boxes
from mmfrac.preparation.converters.options import ConvertOptions, Size
from mmfrac.preparation.tables.film_row import FilmRow
from mmfrac.preparation.tables.problems import Problems, place_name
from mmfrac.preparation.tables.table import Columns, Table
from mmfrac.preparation.tables.values import BLANKS, read_label
from mmfrac.utils.annotation_error import AnnotationError

Place = tuple[str, int | str]

_BATCH = 1024
# Kinds of films left out that the summary lists one by one.
_REASONS = 40

CLIPPED = 'boxes clipped to their film'
SCALED = 'films with boxes scaled to the size of their file'
REPEATED = 'repeated row'


class Conversion:
    """One conversion: its tables, choices, counts and problems.

    A converter opens its tables with :meth:`table`, turns their rows into ``FilmRow`` with the help of
    :meth:`label` and :meth:`keeps_view`, and passes them to :meth:`write`. Rows are streamed: at no
    time more than a batch of films is held.

    Args:
        image_dir (str or os.PathLike): Folder with the films.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Default: ``ConvertOptions()``.
        source (str): ``source`` of the films unless the options name another.
        frontal (Iterable[str]): Names of the frontal views in the words of the set. Default: PA, AP.
    """

    def __init__(
        self,
        image_dir: str | os.PathLike,
        out_file: str | os.PathLike,
        options: ConvertOptions | None,
        source: str,
        frontal: Iterable[str] = ('pa', 'ap'),
    ) -> None:
        self.image_dir = os.fspath(image_dir)
        self.out_file = os.fspath(out_file)
        self.options = options or ConvertOptions()
        self.source = self.options.source or source
        self.problems = Problems()
        self.left_out: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self._files: list[str] = []
        views = self.options.views
        self._views = {name.lower() for name in (frontal if isinstance(views, str) else views)}

    def table(
        self, path: str | os.PathLike, wanted: Columns, optional: Columns | None = None
    ) -> Table:
        """Open a table, see :class:`Table`.

        Args:
            path (str or os.PathLike): The table.
            wanted (Columns): Names of the columns that it must have.
            optional (Columns, optional): Names of those that it may have. Default: none.
        """
        self._files.append(os.fspath(path))
        encoding, progress = self.options.encoding, self.options.progress
        return Table(path, wanted, self.problems, optional, encoding, progress)

    def reads(self, path: str | os.PathLike) -> None:
        """Note that ``path`` is read, for the messages."""
        self._files.append(os.fspath(path))

    def check_headers(self) -> None:
        """Raise what is wrong with the headers of all tables.

        Raises:
            AnnotationError: If a table cannot be used at all.
        """
        self.problems.raise_any(self._files)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count films or boxes that are left out.

        Args:
            reason (str): Why.
            count (int): How many. Default: 1.
        """
        known = reason in self.left_out or len(self.left_out) < _REASONS
        self.left_out[reason if known else 'for other reasons'] += count

    def label(self, text: str, table: str, line: int) -> int | None:
        """Label of a film after the policies.

        Args:
            text (str): As in the table.
            table (str): Its name.
            line (int): Its line.

        Returns:
            int or None: 1, 0 or -1; None if the film is left out, or the text is no label.
        """
        try:
            return self.decide(read_label(text))
        except ValueError as error:
            self.problems.add(table, line, str(error))
            return None

    def decide(self, label: int | None) -> int | None:
        """Apply the policies to a label; a film that is left out is counted.

        Args:
            label (int, optional): 1, 0, -1 uncertain; None: the set does not say.

        Returns:
            int or None: 1, 0 or -1; None if the film is left out.
        """
        if label in (0, 1):
            return label
        policy = self.options.blank if label is None else self.options.uncertain
        if policy == 'drop':
            self.leave_out('no fracture label' if label is None else 'uncertain label')
            return None
        return dict(unknown=-1, negative=0, positive=1)[policy]

    def wants_view(self, view: str) -> bool:
        """Whether films of a view are wanted; see :meth:`keeps_view`."""
        return self.options.views == 'all' or view.lower() in self._views

    def keeps_view(self, view: str) -> bool:
        """Whether films of a view are wanted; one that is not is counted.

        Args:
            view (str): In the words of the set.
        """
        if self.wants_view(view):
            return True
        self.leave_out('view not given' if view.lower() in BLANKS else f'view {view[:20]}')
        return False

    def write(
        self, rows: Iterable[FilmRow], total: int | None = None, unique_names: bool = False
    ) -> ConversionSummary:
        """Write the films of ``rows``.

        Args:
            rows (Iterable[FilmRow]): Films; read once, problems may be found meanwhile.
            total (int, optional): Their number, for a bar. Default: None, tables show one.
            unique_names (bool): Whether no two films of the set have the same file name. Default:
                False.

        Returns:
            ConversionSummary: The counts.

        Raises:
            FileNotFoundError: If films are to be looked at and there is no image folder.
            AnnotationError: With all problems of all tables; nothing is written then.
        """
        hidden = total is None or not self.options.progress
        files = FilmFiles(self.image_dir, self.options, unique_names)
        # the processes of `files` before the bar, which starts a thread
        with FilmWriter(self.out_file) as writer, files:
            with tqdm(total=total, desc='films', unit='film', disable=hidden) as bar:
                seen: dict[str, tuple[Place, int]] = {}
                for batch in _batches(rows):
                    for row, found in zip(batch, files.look_up(batch)):
                        film = self._film(row, found, seen)
                        for fault in writer.add(film) if film else ():
                            self.problems.add(row.table, row.place, f'{found.name}: {fault}')
                    bar.update(len(batch))
            self.problems.raise_any(self._files)
            if not len(writer):
                reasons = ', '.join(f'{n} {reason}' for reason, n in self.left_out.items())
                raise AnnotationError(
                    f'no film is left of {", ".join(self._files)}; left out: {reasons or "none"}'
                )
            return writer.finish(self.left_out, self.changed, self.noted)

    def _film(
        self, row: FilmRow, found: FoundFilm, seen: dict[str, tuple[Place, int]]
    ) -> FilmRecord | None:
        """The film of a row, or None with its problem or count."""
        if found.is_missing and self.options.missing == 'drop':
            self.leave_out('film is not in the folder')
            return None
        if found.fault or found.size is None:
            fault = str(found.fault)
            named = fault if row.names[0] in fault else f'{row.names[0]}: {fault}'
            self.problems.add(row.table, row.place, named)
            return None
        lesions = self._lesions(row, found.size)
        if lesions is None:
            return None
        regions = row.regions or row.label == 0
        content = (row.names[0], row.label, row.patient_id, regions, str(lesions))
        here = (row.table, row.place)
        place, known = seen.setdefault(found.name, (here, hash(content)))
        if place != here:
            if known == hash(content):
                self.leave_out(REPEATED)
                return None
            other = place_name(place[1])
            other += f' of {place[0]}' if place[0] != row.table else ''
            text = f'{found.name}: the same film as {other}, but with another content'
            self.problems.add(row.table, row.place, text)
            return None
        source = self.source if row.source is None else row.source
        return FilmRecord(
            found.name, *found.size, row.label, regions, source, row.patient_id, lesions, row.extra
        )

    def _lesions(self, row: FilmRow, size: Size) -> list[Lesion] | None:
        """Lesions of a film of ``size``; None if one of its boxes has a fault."""
        drawn_on = row.size or size
        checked = check_boxes(row.boxes, drawn_on, size)
        for place, fault in checked.faults:
            if isinstance(place, int):
                self.problems.add(row.table, place, fault)
            else:
                self.problems.add(row.table, row.place, f'{place}: {fault}')
        if checked.clipped:
            self.changed[CLIPPED] += checked.clipped
        if checked.lesions and drawn_on != size:
            self.changed[SCALED] += 1
        return None if checked.faults else checked.lesions


def _batches(rows: Iterable[FilmRow]) -> Iterator[list[FilmRow]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
