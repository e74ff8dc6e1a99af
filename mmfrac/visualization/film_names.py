# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from pathlib import PurePath

from mmfrac.datasets.radiographs.film_suffixes import FILM_SUFFIXES


class FilmNames:
    """Names for what is written about films: the film's own, without suffix, each given once."""

    def __init__(self) -> None:
        self._films: dict[str, str] = {}

    def name(self, film: str) -> str:
        """Name of a film; a second film of the same file name gets a number.

        Args:
            film (str): Path or name of the film.

        Returns:
            str: Always the same for the same film.
        """
        path = PurePath(film)
        base = path.stem if path.suffix.lower() in FILM_SUFFIXES else path.name
        name, number = base, 1
        while self._films.setdefault(name, film) != film:
            number += 1
            name = f'{base}_{number}'
        return name
