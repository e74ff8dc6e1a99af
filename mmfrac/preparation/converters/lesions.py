# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Boxes of a label table become lesions of a film."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mmfrac.preparation.converters.box_checks import box_fault, clip_points, polygon_fault
from mmfrac.preparation.converters.film_record import Lesion
from mmfrac.preparation.converters.options import Size
from mmfrac.preparation.tables.film_row import RawBox


@dataclass
class CheckedBoxes:
    """What became of the boxes of one film.

    Attributes:
        lesions (list[Lesion]): The fractures, px of the film.
        faults (list[tuple[int | str, str]]): Place and fault of each box that cannot be used.
        clipped (int): Boxes that left their film by a rounding and were cut to it.
    """

    lesions: list[Lesion] = field(default_factory=list)
    faults: list[tuple[int | str, str]] = field(default_factory=list)
    clipped: int = 0


def check_boxes(boxes: Sequence[RawBox], drawn_on: Size, size: Size) -> CheckedBoxes:
    """Check the boxes of a film and scale them to it.

    Args:
        boxes (Sequence[RawBox]): px of a film of ``drawn_on``; those of other findings are checked only.
        drawn_on (tuple[int, int]): Width and height (px) of the film when they were drawn.
        size (tuple[int, int]): Width and height (px) of its file; each side is scaled by itself.

    Returns:
        CheckedBoxes: Lesions and faults.
    """
    checked = CheckedBoxes()
    for raw in boxes:
        fault = box_fault(raw.box, drawn_on)
        if not fault and raw.polygon is not None:
            fault = polygon_fault(raw.polygon, drawn_on)
        if fault:
            checked.faults.append((raw.place, fault))
        elif raw.is_fracture:
            box = clip_points(raw.box, drawn_on)
            checked.clipped += box != list(raw.box)
            x1, y1, x2, y2 = _scaled(box, drawn_on, size)
            polygon = raw.polygon and _scaled(clip_points(raw.polygon, drawn_on), drawn_on, size)
            checked.lesions.append(Lesion((x1, y1, x2, y2), polygon, raw.site))
    return checked


def _scaled(points: list[float], old: Size, new: Size) -> list[float]:
    if old == new:
        return points
    return [value * new[i % 2] / old[i % 2] for i, value in enumerate(points)]
