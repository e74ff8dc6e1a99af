# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What all converters share: films, their lesions, their files, and what is wrong with any of them."""

import math
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from tqdm import tqdm

from mmfrac.datasets.coco_checks import (
    BOX_TOLERANCE,
    is_relative,
    outside_cause,
    relative_fault,
)
from mmfrac.datasets.radiographs.read import image_size, read_radiograph
from mmfrac.preparation.converters.coco_writer import (
    CocoImage,
    CocoWriter,
    ConversionSummary,
    Lesion,
)
from mmfrac.preparation.converters.convert_options import ConvertOptions
from mmfrac.preparation.converters.file_finder import (
    FoundFolders,
    ImageFinder,
    plain_name,
    relative,
)
from mmfrac.preparation.tables.table import Columns, Problems, Table, location_name
from mmfrac.preparation.tables.values import BLANKS, ImageRow, RawBox, Size, read_label
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.io import leads_outside
from mmfrac.utils.processes import FilePool, crash_text

# Of a box, px: what is less marks no lesion.
_SMALLEST_SIDE = 1


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(v) in (int, float) and math.isfinite(v) for v in values
    )


def _outside(points: list[float], limits: tuple[int, int]) -> bool:
    return any(
        v < -BOX_TOLERANCE or v > limits[i % 2] + BOX_TOLERANCE for i, v in enumerate(points)
    )


def _box_fault(box: Any, limits: tuple[int, int]) -> str | None:
    """What is wrong with a box, None if nothing is; 1 px beyond the film passes.

    Args:
        box (Any): Should be [x1, y1, x2, y2], px.
        limits (tuple[int, int]): Width and height of the film, px.
    """
    if not _numbers(box) or len(box) != 4:
        return f'a box is four numbers [x1, y1, x2, y2] (px), got {box!r}'
    if _outside(box, limits):
        cause = outside_cause(box, box[2:], *limits, form='[x1, y1, x2, y2]')
        return f'box {box} lies outside its film of {limits[0]} x {limits[1]} px{cause}'
    x1, y1, x2, y2 = _clip_points(box, limits)
    if x2 <= x1 or y2 <= y1:
        is_sized = x2 > 0 < y2 and not _outside([x1, y1, x1 + x2, y1 + y2], limits)
        cause = '; is it x, y, width, height?' if is_sized else ''
        return f'box {box} (x1, y1, x2, y2) has no positive size{cause}'
    if is_relative(box, *limits):
        return relative_fault(box, 'x1, y1, x2, y2')
    if min(x2 - x1, y2 - y1) < _SMALLEST_SIDE:
        return (
            f'box {box} (x1, y1, x2, y2) has a side of less than {_SMALLEST_SIDE} px: take it out if it '
            'is a click; in a table a mark may part the thousands of its numbers'
        )
    return None


def _polygon_fault(points: Any, limits: tuple[int, int]) -> str | None:
    """What is wrong with a polygon, None if nothing is; 1 px beyond the film passes.

    Args:
        points (Any): Should be [x1, y1, x2, y2, x3, y3, ...], px.
        limits (tuple[int, int]): Width and height of the film, px.
    """
    if not _numbers(points) or len(points) < 6:
        return 'a polygon is a list of at least three points [x, y] (px)'
    if _outside(points, limits):
        return f'its polygon lies outside the film of {limits[0]} x {limits[1]} px'
    return None


def flat_polygon(polygon: Any) -> list | None:
    """[[x, y], ...] to [x, y, ...]; None if it is anything else."""
    if not isinstance(polygon, list) or not all(
        isinstance(p, list) and len(p) == 2 for p in polygon
    ):
        return None
    return [v for point in polygon for v in point]


def _clip_points(points: list[float], limits: tuple[int, int]) -> list[float]:
    """[x, y, ...] moved onto the film of ``limits`` (width, height, px)."""
    return [min(max(v, 0), limits[i % 2]) for i, v in enumerate(points)]


@dataclass
class _CheckedBoxes:
    """What became of the boxes of one film.

    Attributes:
        lesions (list[Lesion]): The fractures, px of the film.
        faults (list[tuple[int | str, str]]): Location and fault of each box that cannot be used.
        clipped (int): Boxes that left their film by a rounding and were cut to it.
    """

    lesions: list[Lesion] = field(default_factory=list)
    faults: list[tuple[int | str, str]] = field(default_factory=list)
    clipped: int = 0


def _check_boxes(boxes: Sequence[RawBox], drawn_on: Size, size: Size) -> _CheckedBoxes:
    """Check the boxes of a film and scale them to it.

    Args:
        boxes (Sequence[RawBox]): px of a film of ``drawn_on``; those of other findings are checked only.
        drawn_on (tuple[int, int]): Width and height (px) of the film when they were drawn.
        size (tuple[int, int]): Width and height (px) of its file; each side is scaled by itself.

    Returns:
        CheckedBoxes: Lesions and faults.
    """
    checked = _CheckedBoxes()
    for raw in boxes:
        fault = _box_fault(raw.box, drawn_on)
        if not fault and raw.polygon is not None:
            fault = _polygon_fault(raw.polygon, drawn_on)
        if fault:
            checked.faults.append((raw.location, fault))
        elif raw.is_fracture:
            box = _clip_points(raw.box, drawn_on)
            checked.clipped += box != list(raw.box)
            x1, y1, x2, y2 = _scaled(box, drawn_on, size)
            polygon = raw.polygon and _scaled(_clip_points(raw.polygon, drawn_on), drawn_on, size)
            checked.lesions.append(Lesion((x1, y1, x2, y2), polygon, raw.site, raw.is_ignored))
    return checked


def _distinct(lesions: Sequence[Lesion]) -> list[Lesion]:
    """Lesions without those that are there again, with the same site or without one."""
    sited = {str(replace(lesion, site=None)) for lesion in lesions if lesion.site}
    return list({str(one): one for one in lesions if one.site or str(one) not in sited}.values())


def _proportion_fault(drawn_on: Size, size: Size) -> str | None:
    """What is wrong with the sides of an image beside those that its boxes were drawn on.

    Args:
        drawn_on (tuple[int, int]): Width and height (px) that table or annotation file give.
        size (tuple[int, int]): Of the image itself.

    Returns:
        str or None: None if one is the other, scaled.
    """
    (w, h), (wide, high) = drawn_on, size
    rounding = max(w, h, wide, high)
    if abs(wide * h - high * w) <= rounding:
        return None
    told = f'it is {wide} x {high} px, and {w} x {h} where its boxes were drawn'
    if abs(wide * w - high * h) <= rounding:
        return f'{told}: are width and height exchanged there, or was the image turned?'
    return (
        f'{told}: its sides are scaled by {wide / w:.3g} and {high / h:.3g}, so it was cropped, '
        'stretched or is another image (--allow-stretched scales each side by itself)'
    )


def _scaled(points: list[float], old: Size, new: Size) -> list[float]:
    if old == new:
        return points
    return [value * new[i % 2] / old[i % 2] for i, value in enumerate(points)]


# Headers are read by threads, which wait for the storage at the same time, so many a task; where a
# header takes less, s, there is nothing to wait for but each other.
_THREADS = 8

_CHUNK = 64

_WAIT = 5e-4

_HOW_WITHOUT = (
    'the sizes of the films are read from there; without films give --size table (where the tables '
    'have sizes) or --size WIDTHxHEIGHT'
)


_OUTSIDE = 'name a folder above it, or allow that (--allow-outside)'


@dataclass(frozen=True, slots=True)
class FoundImage:
    """What is known of a film's file.

    Attributes:
        name (str): Path below the image folder.
        size (tuple[int, int], optional): Width and height, px.
        fault (str, optional): Why it cannot be used.
        is_missing (bool): There is no such file.
    """

    name: str
    size: Size | None = None
    fault: str | None = None
    is_missing: bool = False


class ImageFiles:
    """Looks films up on disk, batch by batch; a context manager.

    Args:
        image_dir (str or os.PathLike): Folder with the films.
        options (ConvertOptions): Where sizes come from, and whether films are decoded.
        unique_names (bool): Whether no two films of the set have the same file name.

    Raises:
        FileNotFoundError: If films are to be looked at and there is no such folder.
    """

    def __init__(
        self, image_dir: str | os.PathLike, options: ConvertOptions, unique_names: bool
    ) -> None:
        self.image_dir = os.fspath(image_dir)
        self.options = options
        self._finder = ImageFinder(self.image_dir, unique_names)
        self._stack = ExitStack()
        if options.looks_at_files and not os.path.isdir(self.image_dir):
            raise FileNotFoundError(f"no image folder '{self.image_dir}': {_HOW_WITHOUT}")

    def __enter__(self) -> 'ImageFiles':
        if self.options.verify:
            # small chunks: processes wait for the last one of each batch
            pool = FilePool(decoded_size, self.options.workers, _crashed_size, chunk=4)
            self._pool = self._stack.enter_context(pool)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def prefix(self) -> str:
        """First folders of the names without which the films are in the image folder."""
        return self._finder.prefix or ''

    @property
    def is_flattened(self) -> bool:
        """Whether films are there without other folders, too."""
        return self._finder.is_flattened

    def look_up(self, rows: Sequence[ImageRow]) -> list[FoundImage]:
        """Find and measure the films of a batch.

        Args:
            rows (Sequence[ImageRow]): As the tables name them.

        Returns:
            list[FoundImage]: In the same order.
        """
        if not self.options.looks_at_files:
            return [self._unseen(row) for row in rows]
        found: list[FoundImage] = []
        if not self._finder.is_settled:
            self._finder.settle(row.names for row in rows)
        for row in rows:
            if self._finder.is_settled:
                break
            found.append(self._measure(row))
        while len(found) < len(rows):
            began, count = time.perf_counter(), len(found)
            found += map(self._measure, rows[count : count + _CHUNK])
            if time.perf_counter() - began > _WAIT * (len(found) - count):
                # that of a network or a slow disk
                break
        rest = rows[len(found) :]
        chunks = [rest[start : start + _CHUNK] for start in range(0, len(rest), _CHUNK)]
        # threads end with their batch: none lives when processes are forked
        with ThreadPoolExecutor(_THREADS) as threads:
            for some in threads.map(lambda chunk: [self._measure(row) for row in chunk], chunks):
                found += some
        return list(self._decode(found)) if self.options.verify else found

    def _unseen(self, row: ImageRow) -> FoundImage:
        name = relative(plain_name(row.names[0]), self.image_dir)
        return self._led_outside(name) or self._with_size(row, name, None)

    def _led_outside(self, name: str) -> FoundImage | None:
        """An image outside of the folder, where that is not allowed."""
        if self.options.allow_outside or not leads_outside(name):
            return None
        return FoundImage(name, fault=f'{name}: it lies outside of the image folder: {_OUTSIDE}')

    def _with_size(self, row: ImageRow, name: str, size: Size | None) -> FoundImage:
        """Takes the size that the options want; ``size`` is that of the file."""
        if not isinstance(self.options.size, str):
            return FoundImage(name, self.options.size)
        if self.options.size == 'files':
            return FoundImage(name, size)
        if row.size is None:
            return FoundImage(
                name, None, 'the table gives no size: use --size files or WIDTHxHEIGHT'
            )
        return FoundImage(name, row.size)

    def _measure(self, row: ImageRow) -> FoundImage:
        try:
            name = self._finder.find(row.names)
            if name is None:
                fault = f'missing file {os.path.join(self.image_dir, row.names[0])}'
                if self.prefix:
                    fault += (
                        f'; other films are there without the {self.prefix!r} of their names: name the '
                        'image folder in which the names of the table begin'
                    )
                return FoundImage(row.names[0], fault=fault, is_missing=True)
            outside = self._led_outside(name)
            if outside is not None:
                return outside
            size = None
            if self.options.size == 'files':
                size = image_size(os.path.join(self.image_dir, name))
            return self._with_size(row, name, size)
        except (OSError, ValueError) as error:
            return FoundImage(row.names[0], fault=str(error))

    def _decode(self, found: Sequence[FoundImage]) -> Iterator[FoundImage]:
        sound = (os.path.join(self.image_dir, one.name) for one in found if not one.fault)
        decoded = self._pool.map(sound)
        for one in found:
            if one.fault:
                yield one
                continue
            fault, size = next(decoded)
            if not fault and size != one.size:
                fault = f'its pixels are {size}, not {one.size} (width, height)'
            yield FoundImage(one.name, one.size, fault)


def decoded_size(path: str) -> tuple[str | None, Size | None]:
    """Whether a film decodes.

    Args:
        path (str): Its file.

    Returns:
        tuple[str | None, tuple[int, int] | None]: What is wrong with it, None if nothing is; and the
            width and height (px) of its pixels.
    """
    try:
        height, width = read_radiograph(path).shape
    except (OSError, ValueError, MemoryError) as error:
        return str(error) or type(error).__name__, None
    return None, (width, height)


def _crashed_size(path: str) -> tuple[str | None, Size | None]:
    """What ``decoded_size`` gives for a film that takes its process with it."""
    return crash_text(path), None


_Location = tuple[str, int | str]

_BATCH = 1024

# Kinds of films left out that the summary lists one by one.
_REASONS = 40

_CLIPPED = 'boxes clipped to their film'

_EXCHANGED = 'films without boxes whose width and height are exchanged in the table'

_STRETCHED = 'films with boxes scaled by different factors to the sides of their file'

_SCALED = 'films with boxes scaled to the size of their file'

_REPEATED_BOX = 'repeated box of a film'

REPEATED = 'repeated row'


class Conversion:
    """One conversion: its tables, choices, counts and problems.

    A converter opens its tables with :meth:`table`, turns their rows into ``ImageRow`` with the help of
    :meth:`label` and :meth:`keeps_view`, and passes them to :meth:`write`. Rows are streamed: at no
    time more than a batch of films is held.

    Args:
        image_dir (str or os.PathLike): Folder with the films.
        out_file (str or os.PathLike): COCO JSON to write.
        options (ConvertOptions, optional): Choices. Defaults to ``ConvertOptions()``.
        source (str): ``source`` of the films unless the options name another.
        frontal (Iterable[str]): Names of the frontal views in the words of the set. Defaults to PA, AP.
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
        self.allow_stretched = self.options.allow_stretched
        self.problems = Problems()
        self.left_out: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self.notes: list[str] = []
        self._files: list[str] = []
        self._tables: list[Table] = []
        views = self.options.views
        self._views = {name.lower() for name in (frontal if isinstance(views, str) else views)}

    def table(
        self,
        path: str | os.PathLike,
        wanted: Columns,
        optional: Columns | None = None,
        private: bool = False,
        renamable: bool = False,
    ) -> Table:
        """Open a table, see :class:`Table`.

        Args:
            path (str or os.PathLike): The table.
            wanted (Columns): Names of the columns that it must have.
            optional (Columns, optional): Names of those that it may have. Defaults to none.
            private (bool): Keep what it holds out of the messages. Defaults to False.
            renamable (bool): Columns of other names can be told by ``--column``. Defaults to False.
        """
        self._files.append(os.fspath(path))
        encoding, progress = self.options.encoding, self.options.progress
        options = (encoding, progress, private, renamable)
        table = Table(path, wanted, self.problems, optional, *options)
        self._tables.append(table)
        return table

    def reads(self, path: str | os.PathLike) -> None:
        """Note that ``path`` is read, for the messages."""
        self._files.append(os.fspath(path))

    def check_headers(self) -> None:
        """Raise what is wrong with the headers of all tables.

        Raises:
            AnnotationError: If a table cannot be used at all.
        """
        self.problems.raise_any(self._files)

    def join(
        self, one: tuple[str, str], other: tuple[str, str], keys: Set, other_keys: Set
    ) -> None:
        """Tell what of two tables has no partner in the other, with an example of each.

        Args:
            one (tuple[str, str]): Name of a table and of its rows, e.g. ``('labels.csv', 'studies')``.
            other (tuple[str, str]): The same of the other table.
            keys (Set): What names the rows of the one table.
            other_keys (Set): Of the other. If none of them is in the one table, that is a problem.
        """
        pairs = ((one, other, keys - other_keys), (other, one, other_keys - keys))
        for (table, rows), (elsewhere, _), left in pairs:
            if left:
                self.noted[f'{rows} of {table} not in {elsewhere}, e.g. {_key_text(min(left))}'] = (
                    len(left)
                )
        if keys and other_keys and not keys & other_keys:
            text = (
                f'none of its {len(keys)} {one[1]} is in {other[0]}: here e.g. {_key_text(min(keys))}, '
                f'there {_key_text(min(other_keys))}; are the ids of one set, and written alike?'
            )
            self.problems.add(one[0], 'all lines', text)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count films or boxes that are left out.

        Args:
            reason (str): Why.
            count (int): How many. Defaults to 1.
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
        self, rows: Iterable[ImageRow], total: int | None = None, unique_names: bool = False
    ) -> ConversionSummary:
        """Write the films of ``rows``.

        Args:
            rows (Iterable[ImageRow]): Films; read once, problems may be found meanwhile.
            total (int, optional): Their number, for a bar. Defaults to None, tables show one.
            unique_names (bool): Whether no two films of the set have the same file name. Defaults to
                False.

        Returns:
            ConversionSummary: The counts.

        Raises:
            FileNotFoundError: If films are to be looked at and there is no image folder.
            AnnotationError: With all problems of all tables; nothing is written then.
        """
        hidden = total is None or not self.options.progress
        files = ImageFiles(self.image_dir, self.options, unique_names)
        # the processes of `files` before the bar, which starts a thread
        inputs, outside = self._files, self.options.allow_outside
        with CocoWriter(self.out_file, outside, inputs) as writer, files:
            with tqdm(total=total, desc='films', unit='film', disable=hidden) as bar:
                seen: dict[str, tuple[_Location, int]] = {}
                folders = FoundFolders()
                for batch in _batches(rows):
                    for row, found in zip(batch, files.look_up(batch)):
                        image = self._coco_image(row, found, seen)
                        if image and unique_names and self.options.looks_at_files:
                            folders.add(row, found.name)
                        for fault in writer.add(image) if image else ():
                            self.problems.add(row.table, row.location, f'{found.name}: {fault}')
                    bar.update(len(batch))
            for table in self._tables:
                table.check_numbers()
            for mask in folders.masks():
                self.problems.add(*mask)
            self.problems.raise_any(self._files)
            self.notes += folders.notes
            if files.prefix and not unique_names:
                others = ' or other folders' if files.is_flattened else ''
                self.notes.append(
                    f'films are in the image folder without the {files.prefix!r}{others} of their names'
                )
            if not len(writer):
                reasons = ', '.join(f'{n} {reason}' for reason, n in self.left_out.items())
                raise AnnotationError(
                    f'no film is left of {", ".join(self._files)}; left out: {reasons or "none"}'
                )
            unread = {table.name: table.unread for table in self._tables if table.unread}
            return writer.finish(self.left_out, self.changed, self.noted, unread, self.notes)

    def _coco_image(
        self, row: ImageRow, found: FoundImage, seen: dict[str, tuple[_Location, int]]
    ) -> CocoImage | None:
        """The film of a row, or None with its problem or count."""
        if found.is_missing and self.options.missing == 'drop':
            self.leave_out('film is not in the folder')
            return None
        if found.fault or found.size is None:
            fault = str(found.fault)
            named = fault if row.names[0] in fault else f'{row.names[0]}: {fault}'
            self.problems.add(row.table, row.location, named)
            return None
        lesions = self._lesions(row, found.size)
        if lesions is None:
            return None
        regions = row.regions or row.label == 0
        content = (row.names[0], row.label, row.patient_id, row.source, regions, str(lesions))
        here = (row.table, row.location)
        location, known = seen.setdefault(found.name, (here, hash(content)))
        if location != here:
            if known == hash(content):
                self.leave_out(REPEATED)
                return None
            other = location_name(location[1])
            other += f' of {location[0]}' if location[0] != row.table else ''
            text = f'{found.name}: the same film as {other}, but with another content'
            self.problems.add(row.table, row.location, text)
            return None
        source = self.source if row.source is None else row.source
        return CocoImage(
            found.name, *found.size, row.label, regions, source, row.patient_id, lesions, row.extra
        )

    def _lesions(self, row: ImageRow, size: Size) -> list[Lesion] | None:
        """Lesions of a film of ``size``; None if one of its boxes has a fault."""
        drawn_on = row.drawn_on or row.size or size
        proportion = None if drawn_on == size else _proportion_fault(drawn_on, size)
        if proportion and not row.boxes:
            # nothing lies elsewhere for it
            if size == drawn_on[::-1]:
                self.noted[_EXCHANGED] += 1
        elif proportion:
            may_stretch = self.allow_stretched or size[0] == size[1]
            if not may_stretch or 'exchanged' in proportion:
                self.problems.add(row.table, row.location, f'{row.names[0]}: {proportion}')
                return None
        checked = _check_boxes(row.boxes, drawn_on, size)
        for location, fault in checked.faults:
            if isinstance(location, int):
                self.problems.add(row.table, location, fault)
            else:
                self.problems.add(row.table, row.location, f'{location}: {fault}')
        lesions = _distinct(checked.lesions)
        if len(lesions) < len(checked.lesions):
            self.leave_out(_REPEATED_BOX, len(checked.lesions) - len(lesions))
        if checked.clipped:
            self.changed[_CLIPPED] += checked.clipped
        if lesions and drawn_on != size:
            self.changed[_STRETCHED if proportion else _SCALED] += 1
        return None if checked.faults else lesions


def _key_text(key: object) -> str:
    return ', '.join(map(str, key)) if isinstance(key, tuple) else repr(key)


def _batches(rows: Iterable[ImageRow]) -> Iterator[list[ImageRow]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
