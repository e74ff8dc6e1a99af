# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training with a share of the boxes: which patients keep theirs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmfrac.datasets.labels import lesions, subset_of

_RESTS = ('P_pub', 'drop')


@dataclass(frozen=True)
class LabelFraction:
    """A share of the boxes of a split, by patient.

    The patients with boxes stand in an order that depends on ``seed`` and ``patient_id`` alone, and the
    first of them keep their boxes, as many as come nearest to ``fraction`` of all boxes. So the 5 %
    are part of the 10 %, a patient's films stay together, and every rank, worker and fold decides
    alike.

    Args:
        fraction (float): Share of the boxes, in (0, 1].
        seed (int): Another seed gives another order. Default: 0.
        rest (str): What becomes of the other P_hos films: 'P_pub' (their label is kept, their boxes are
            not) or 'drop' (left out). Default: 'P_pub'.

    Raises:
        ValueError: If an argument is none of these.
    """

    fraction: float
    seed: int = 0
    rest: str = 'P_pub'

    def __post_init__(self) -> None:
        if isinstance(self.fraction, bool) or not 0 < self.fraction <= 1:
            raise ValueError(f'label_fraction must be in (0, 1], got {self.fraction!r}')
        if self.rest not in _RESTS:
            raise ValueError(f'label_fraction: rest must be one of {_RESTS}, got {self.rest!r}')

    @classmethod
    def of(cls, value: Any) -> 'LabelFraction | None':
        """From a config: None, a number, or a dict of the arguments.

        Raises:
            ValueError: If it is none of these, or an argument is unknown.
        """
        if value is None or isinstance(value, cls):
            return value
        options = dict(value) if isinstance(value, Mapping) else dict(fraction=value)
        known = set(cls.__dataclass_fields__)
        if 'fraction' not in options or set(options) - known:
            raise ValueError(
                f'label_fraction is a number in (0, 1] or a dict of {sorted(known)}, got {value!r}'
            )
        return cls(**options)

    def apply(self, infos: Sequence[dict], name: str = '') -> tuple[list[dict], list[int]]:
        """Films with the boxes that are kept.

        Args:
            infos (Sequence[dict]): All films of a split, with ``label``, ``regions``, ``patient_id`` and
                ``instances``; they are not changed.
            name (str): Annotation file, for the log. Default: ''.

        Returns:
            tuple[list[dict], list[int]]: Films in the same order, and the index of each in ``infos``.
        """
        boxes: dict[str, int] = {}
        for info in infos:
            if _is_p_hos(info):
                patient = str(info['patient_id'])
                boxes[patient] = boxes.get(patient, 0) + len(lesions(info['instances']))
        kept = kept_patients(boxes, self.fraction, self.seed)
        left, indices = [], []
        for index, info in enumerate(infos):
            loses = _is_p_hos(info) and str(info['patient_id']) not in kept
            if not (loses and self.rest == 'drop'):
                left.append({**info, 'regions': False, 'instances': []} if loses else info)
                indices.append(index)
        print_log(
            f'label_fraction {self.fraction:g} of {name or "the split"}, seed {self.seed}: '
            f'{sum(boxes[patient] for patient in kept)} of {sum(boxes.values())} boxes, of '
            f'{len(kept)} of {len(boxes)} patients; other P_hos films: {self.rest}',
            logger='current',
        )
        return left, indices


def kept_patients(boxes: Mapping[str, int], fraction: float, seed: int = 0) -> set[str]:
    """Patients that keep their boxes.

    Args:
        boxes (Mapping[str, int]): Boxes of each patient that has some.
        fraction (float): Share of the boxes, in (0, 1].
        seed (int): Of the order. Default: 0.

    Returns:
        set[str]: At least one where there is one; part of what any larger fraction keeps.
    """
    order = sorted(boxes, key=lambda patient: (_digest(seed, patient), patient))
    total = np.cumsum([boxes[patient] for patient in order])
    if not total.size:
        return set()
    nearest = int(np.argmin(np.abs(total - fraction * total[-1])))
    return set(order[: nearest + 1])


def _digest(seed: int, patient: str) -> bytes:
    # hash() of a string differs from process to process
    return hashlib.sha256(f'{seed}:{patient}'.encode()).digest()


def _is_p_hos(info: Mapping) -> bool:
    return subset_of(info['label'], info['regions']) == 'P_hos'
