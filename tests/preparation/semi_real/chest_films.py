# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Small chest films for the tests, and films on which no pair of lungs can be found."""

from functools import lru_cache

import cv2
import numpy as np

from mmfrac.preparation.phantom import render_image
from mmfrac.preparation.semi_real import Lungs, NegativeImage

SIZE = 192


@lru_cache(maxsize=16)
def chest_film(patient: int, film: int = 0) -> np.ndarray:
    """A phantom film without fractures, (SIZE, SIZE) float32, 12 bits."""
    plane = (render_image(patient, film, SIZE).image / np.float32(4095)).astype(np.float32)
    plane.flags.writeable = False
    return plane


def drawn_chest(size=400, half=6.0, slope=0.35, lift=0.1) -> tuple[np.ndarray, Lungs, np.ndarray]:
    """Two dark lungs with bright parallel bars; rib i is y = 60 + 45 i + slope * |x - middle|."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    beside = np.abs(x - size / 2)
    lung = (beside > 30) & (beside < 145) & (y > 60) & (y < 320)
    course = (y - slope * (beside - 30) - 10) / np.hypot(1, slope)
    spacing = 45
    nearest = course - spacing * np.rint(course / spacing)
    bar = 1 / (1 + np.exp((np.abs(nearest) - half) / 0.7))
    plane = np.where(lung, 0.3 + lift * bar, 0.8).astype(np.float32)
    masks = (lung & (x < size / 2), lung & (x > size / 2))
    return plane, Lungs(*masks, scale=1.0), nearest


def films_without_lungs() -> dict[str, np.ndarray]:
    """Films by what they are."""
    rng = np.random.default_rng(0)
    lateral = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(lateral, (96, 100), (70, 95), 0, 0, 360, 0.7, -1)
    cv2.ellipse(lateral, (62, 62), (18, 34), 20, 0, 360, 0.25, -1)  # behind the sternum
    cv2.ellipse(lateral, (122, 112), (22, 50), -15, 0, 360, 0.3, -1)  # behind the heart
    cv2.ellipse(lateral, (88, 112), (30, 34), 30, 0, 360, 0.85, -1)  # heart
    lateral = cv2.GaussianBlur(lateral, (0, 0), 3)
    return {
        'constant': np.full((SIZE, SIZE), 0.5, np.float32),
        'black': np.zeros((64, 80), np.float32),
        'noise': rng.random((SIZE, SIZE), np.float32),
        'lateral': lateral,
        'lying': np.ascontiguousarray(chest_film(0).T),
        'one lung': np.where(np.arange(SIZE) < SIZE // 2, chest_film(0), 0.8).astype(np.float32),
    }


def write_negatives(folder, patients: int, films: int) -> list[NegativeImage]:
    """16-bit PNGs in subfolders, some of them without lungs."""
    written = []
    for patient in range(patients):
        for film in range(films):
            name = f'{patient % 2}/p{patient:02d}_{film}.png'
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            plane = chest_film(patient, film) if patient else films_without_lungs()['noise']
            cv2.imwrite(str(path), np.rint(plane * 4095).astype(np.uint16))
            written.append(NegativeImage(str(path), name, f'p{patient:02d}'))
    return written
