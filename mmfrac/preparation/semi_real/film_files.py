# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One film of a semi-real set: read from its source, written complete or not at all."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmfrac.datasets.radiographs.radiograph_io import RadiographError, film_size, read_radiograph
from mmfrac.preparation.semi_real.film import FilmFracture, make_film
from mmfrac.preparation.semi_real.film_depth import png_values
from mmfrac.preparation.semi_real.plan import PlannedFilm, film_generator
from mmfrac.preparation.semi_real.recipe import Recipe
from mmfrac.utils.film_pool import crash_text


def png_name(name: str) -> str:
    """Name of a film that gets fractures."""
    return name if name.lower().endswith('.png') else f'{name}.png'


def write_film(images: Path, recipe: Recipe, plan: PlannedFilm) -> dict[str, Any]:
    """Write one film.

    Args:
        images (Path): Folder of the set's films.
        recipe (Recipe): How.
        plan (PlannedFilm): Which, and whether it is to get fractures.

    Returns:
        dict: `film` (name of the source), `file_name`, `width`, `height`, `lesions` and `reason` (why
            it stayed negative, or ''); or `problem` where it cannot be read.
    """
    source, name = plan.film.path, plan.film.name
    try:
        reason = ''
        if plan.gets_fractures:
            rng = film_generator(recipe.seed, name)
            number = int(rng.integers(recipe.fractures[0], recipe.fractures[1] + 1))
            film = make_film(read_radiograph(source), rng, number, recipe.difficulty)
            reason = film.reason
            if film.fractures:
                _write_png(images / png_name(name), film.plane)
                lesions = [_lesion(fracture) for fracture in film.fractures]
                return _entry(name, png_name(name), film.plane.shape[::-1], lesions)
        size = film_size(source)
        _bring(source, images / name, recipe.link)
        return _entry(name, name, size, [], reason)
    except (RadiographError, OSError) as error:
        return {'problem': str(error)}


def crashed_film(plan: PlannedFilm) -> dict[str, Any]:
    """What ``write_film`` gives for a film that takes its process with it."""
    return {'problem': crash_text(plan.film.path)}


def _entry(
    film: str, file_name: str, size: tuple[int, ...], lesions: list[dict], reason: str = ''
) -> dict[str, Any]:
    return dict(
        film=film,
        file_name=file_name,
        width=int(size[0]),
        height=int(size[1]),
        lesions=lesions,
        reason=reason,
    )


def _lesion(one: FilmFracture) -> dict[str, Any]:
    site = {name: round(value, 5) for name, value in asdict(one.site).items()}
    return {'box': list(one.box), 'kind': one.fracture.kind, **site}


def _write_png(place: Path, plane: np.ndarray) -> None:
    part = _part(place)
    part.write_bytes(cv2.imencode('.png', png_values(plane))[1].tobytes())
    os.replace(part, place)


def _bring(source: str, place: Path, link: bool) -> None:
    part = _part(place)
    if link:
        part.unlink(missing_ok=True)
        part.symlink_to(os.path.abspath(source))
    else:
        shutil.copyfile(source, part)
    os.replace(part, place)


def _part(place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return place.with_name(f'.{place.name}.{os.getpid()}.part')
