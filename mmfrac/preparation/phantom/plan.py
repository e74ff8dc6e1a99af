# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which films a phantom set consists of: counts, patients, seeds; nothing is rendered here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

SPLITS = ('train', 'val', 'test')
ROLES = ('P_hos', 'N_hos', 'P_pub', 'N_pub')
PAPER_COUNTS = {'P_hos': 580, 'N_hos': 9858, 'P_pub': 4825, 'N_pub': 16921}
FEWEST = 4
PATIENTS_PER_SEED = 1_000_000


class FilmPlan(NamedTuple):
    """All that is needed to render one film."""

    file_name: str
    patient_id: str
    role: str  # one of ROLES
    patient_seed: int
    film_seed: int
    num_fractures: int
    monochrome1: bool
    modality: str


def paper_counts(num_train: int) -> dict[str, int]:
    """Training counts in the paper's proportions.

    Args:
        num_train: Number of training films, at least 16.

    Returns:
        P_hos, N_hos, P_pub, N_pub; they sum to `num_train`, each at least 4.

    Raises:
        ValueError: If `num_train` is too small.
    """
    if num_train < FEWEST * len(ROLES):
        raise ValueError(f'num_train={num_train}: at least {FEWEST * len(ROLES)} films are needed')
    total = sum(PAPER_COUNTS.values())
    counts = {r: max(FEWEST, round(num_train * n / total)) for r, n in PAPER_COUNTS.items()}
    surplus = sum(counts.values()) - num_train
    for role in ('N_pub', 'N_hos', 'P_pub'):
        taken = min(surplus, counts[role] - FEWEST)
        counts[role] -= taken
        surplus -= taken
    return counts


def check_counts(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Fill in zeros and reject what cannot be meant.

    Args:
        counts: Films per split and role. 'val' and 'test' have P_hos and N_hos only.

    Returns:
        A plain copy with every split and role.

    Raises:
        ValueError: On an unknown split or role, a negative or fractional count, or no film at all.
    """
    full = {split: dict.fromkeys(ROLES, 0) for split in SPLITS}
    for split, roles in counts.items():
        if split not in full:
            raise ValueError(f'counts[{split!r}]: unknown split; choose from {SPLITS}')
        allowed = ROLES if split == 'train' else ROLES[:2]
        for role, count in roles.items():
            if role not in allowed:
                raise ValueError(f'counts[{split!r}][{role!r}]: unknown; choose from {allowed}')
            if int(count) != count or count < 0:
                raise ValueError(f'counts[{split!r}][{role!r}]={count!r}: not a number of films')
            full[split][role] = int(count)
    if not any(any(roles.values()) for roles in full.values()):
        raise ValueError('counts: no film asked for')
    return full


def plan_films(
    counts: Mapping[str, Mapping[str, int]], seed: int, lesions_per_film: tuple[int, int]
) -> dict[str, list[FilmPlan]]:
    """Deal the films of each split to patients of 1 to 3 films.

    A patient is of one split and one source, but may have films with and without a fracture.

    Args:
        counts: As `check_counts` returns them.
        seed: Seed of the set.
        lesions_per_film: Fewest and most fractures of a positive film.

    Returns:
        Films per split.
    """
    films: dict[str, list[FilmPlan]] = {}
    patient = 0
    for index, split in enumerate(SPLITS):
        rng = np.random.default_rng([6, seed, index])
        films[split] = []
        for source in ('hos', 'pub'):
            roles = [f'{sign}_{source}' for sign in 'PN']
            kinds = np.repeat(np.arange(2), [counts[split][role] for role in roles])
            deck = rng.permutation(kinds).tolist()
            while deck:
                patient += 1
                number = int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
                for film in range(min(number, len(deck))):
                    positive = deck.pop() == 0
                    some = int(rng.integers(lesions_per_film[0], lesions_per_film[1] + 1))
                    chance = rng.random(2)
                    films[split].append(
                        FilmPlan(
                            file_name=f'P{patient:06d}_{film}.dcm',
                            patient_id=f'P{patient:06d}',
                            role=roles[0] if positive else roles[1],
                            patient_seed=seed * PATIENTS_PER_SEED + patient,
                            film_seed=film,
                            num_fractures=some if positive else 0,
                            monochrome1=bool(chance[0] < 1.0 / 3.0),
                            modality='DX' if chance[1] < 0.7 else 'CR',
                        )
                    )
    return films
