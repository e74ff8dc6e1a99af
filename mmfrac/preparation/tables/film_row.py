# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A film as a label table gives it, before its file has been looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmfrac.preparation.converters.options import Size


@dataclass(slots=True)
class RawBox:
    """A box that has not been checked.

    Attributes:
        box (Any): Should be [x1, y1, x2, y2], px.
        place (int or str): Line of its table, or its name in the film's record.
        site (str, optional): 'rib', 'clavicle', ...
        polygon (Any): Should be [x1, y1, x2, y2, ...], px. Default: None.
        is_fracture (bool): False: it is checked, too, but not written. Default: True.
    """

    box: Any
    place: int | str
    site: str | None = None
    polygon: Any = None
    is_fracture: bool = True


@dataclass(slots=True)
class FilmRow:
    """A film of a label table.

    Attributes:
        table (str): Name of the table, for messages.
        place (int or str): Its line, or its name, for messages.
        names (tuple[str, ...]): Paths under which its file may be found, the release's first.
        label (int): 1 fracture, 0 none, -1 unknown.
        patient_id (str): Patient.
        regions (bool): Whether ``boxes`` is complete; label 0 needs no boxes. Default: False.
        boxes (Sequence[RawBox]): Default: none.
        size (tuple[int, int], optional): Width and height (px) that the table gives, in which the
            boxes are drawn. Default: None, that of the file.
        source (str, optional): Default: None, that of the conversion.
        extra (dict[str, str]): More fields of its image. Default: none.
    """

    table: str
    place: int | str
    names: tuple[str, ...]
    label: int
    patient_id: str
    regions: bool = False
    boxes: Sequence[RawBox] = ()
    size: Size | None = None
    source: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
