# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which films get fractures, and what each is used for; nothing is read here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmfrac.preparation.semi_real.negatives import NegativeImage

SPLITS = ('train', 'val', 'test')


@dataclass(frozen=True)
class Shares:
    """How films are dealt out.

    Attributes:
        splits (tuple[float, float, float]): Shares of the patients in train, val and test; sum 1.
        hospital (float): Share of the training patients whose films are 'hospital', with boxes; the
            others are 'public', label only. Val and test are 'hospital'.
        hospital_positive (float): Share of the hospital films that get fractures, in every split.
        public_positive (float): Share of the public films that get fractures.

    Raises:
        ValueError: If one is no number from 0 to 1, or those of the splits do not sum to 1.
    """

    splits: tuple[float, float, float] = (0.7, 0.1, 0.2)
    hospital: float = 0.35
    hospital_positive: float = 0.25
    public_positive: float = 0.5

    def __post_init__(self) -> None:
        rest = (self.hospital, self.hospital_positive, self.public_positive)
        if any(not 0 <= share <= 1 for share in (*self.splits, *rest)):
            raise ValueError(f'{self}: a share is a number from 0 to 1')
        if len(self.splits) != len(SPLITS) or abs(sum(self.splits) - 1) > 1e-6:
            raise ValueError(f'splits={self.splits}: shares of train, val and test that sum to 1')


@dataclass(frozen=True)
class PlannedImage:
    """What is to become of one film.

    Attributes:
        image (NegativeImage): The film.
        split (str): 'train', 'val' or 'test'.
        source (str): 'hospital' or 'public'.
        gets_fractures (bool): Whether fractures are put into it.
    """

    image: NegativeImage
    split: str
    source: str
    gets_fractures: bool


def plan_semi_real(
    images: Sequence[NegativeImage], shares: Shares, seed: int
) -> list[PlannedImage]:
    """Deal patients to splits and sources, and films to positives and negatives.

    A patient is in one split and of one source.

    Args:
        images (Sequence[NegativeImage]): In any order.
        shares (Shares): How.
        seed (int): Seed of the set.

    Returns:
        list[PlannedImage]: By split, then by name.

    Raises:
        ValueError: If there are too few patients for the splits that are wanted.
    """
    patients = sorted({image.patient_id for image in images}, key=lambda key: _order(seed, key))
    wanted = [split for split, share in zip(SPLITS, shares.splits) if share > 0]
    if len(patients) < len(wanted):
        raise ValueError(
            f'{len(patients)} patient(s) cannot be dealt to {wanted}: a patient is in one split only; '
            'set the share of a split to 0'
        )
    groups: dict[str, tuple[str, str]] = {}
    numbers = _deal(len(patients), shares.splits)
    for split, some in zip(SPLITS, np.split(np.array(patients, object), np.cumsum(numbers)[:-1])):
        hospital = round(shares.hospital * len(some)) if split == 'train' else len(some)
        for rank, patient in enumerate(some):
            groups[patient] = (split, 'hospital' if rank < hospital else 'public')
    planned = []
    for group in sorted(set(groups.values()), key=lambda group: (SPLITS.index(group[0]), group[1])):
        members = [image for image in images if groups[image.patient_id] == group]
        members.sort(key=lambda image: _order(seed, image.name))
        is_hospital = group[1] == 'hospital'
        share = shares.hospital_positive if is_hospital else shares.public_positive
        positive = round(share * len(members))
        planned += [
            PlannedImage(image, *group, rank < positive) for rank, image in enumerate(members)
        ]
    return sorted(planned, key=lambda plan: (SPLITS.index(plan.split), plan.image.name))


def image_generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one film: neither other films nor the order of work change them.

    Args:
        seed (int): Seed of the set.
        name (str): Name of the film.
    """
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([9, seed, *np.frombuffer(digest, np.uint32).tolist()])


def _order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f'{seed} {name}'.encode()).digest()


def _deal(count: int, shares: tuple[float, ...]) -> list[int]:
    """Whole numbers in the proportion of the shares, at least 1 where the share is not 0."""
    exact = np.array(shares) * count
    numbers = np.floor(exact).astype(int)
    for index in np.argsort(numbers - exact, kind='stable')[: count - numbers.sum()]:
        numbers[index] += 1
    for index in np.flatnonzero((np.array(shares) > 0) & (numbers == 0)):
        numbers[numbers.argmax()] -= 1
        numbers[index] = 1
    return numbers.tolist()


@dataclass(frozen=True)
class Recipe:
    """What a set is made with.

    Attributes:
        seed (int): Seed of the set. Defaults to 0.
        difficulty (float): 0 obvious to 1 subtle fractures. Defaults to 0.3.
        fractures (tuple[int, int]): Fewest and most of a film that gets some. Defaults to (1, 3).
        shares (Shares): How films are dealt out.
        link (bool): Link films that stay as they are instead of copying them. Defaults to False.

    Raises:
        ValueError: If seed, difficulty or number of fractures is out of range.
    """

    seed: int = 0
    difficulty: float = 0.3
    fractures: tuple[int, int] = (1, 3)
    shares: Shares = field(default_factory=Shares)
    link: bool = False

    def __post_init__(self) -> None:
        low, high = self.fractures
        if self.seed < 0 or not 0 <= self.difficulty <= 1 or not 1 <= low <= high:
            raise ValueError(
                f'seed={self.seed}, difficulty={self.difficulty}, fractures={self.fractures}: needed '
                'are seed >= 0, difficulty in [0, 1], 1 <= fewest <= most fractures'
            )
