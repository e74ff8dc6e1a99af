# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from __future__ import annotations

from dataclasses import dataclass, field

from mmfrac.preparation.semi_real.plan import Shares


@dataclass(frozen=True)
class Recipe:
    """What a set is made with.

    Attributes:
        seed (int): Seed of the set. Default: 0.
        difficulty (float): 0 obvious to 1 subtle fractures. Default: 0.3.
        fractures (tuple[int, int]): Fewest and most of a film that gets some. Default: (1, 3).
        shares (Shares): How films are dealt out.
        link (bool): Link films that stay as they are instead of copying them. Default: False.

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
