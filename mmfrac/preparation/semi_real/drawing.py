# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Fractures drawn into one real film, in its own grey scale and depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmfrac.preparation.semi_real.fractures import (
    REACH,
    Fracture,
    added_bone,
    displacement,
    draw_fracture,
    lost_bone,
)
from mmfrac.preparation.semi_real.lungs import find_lungs
from mmfrac.preparation.semi_real.rib_sites import RibSite, find_rib_sites

# What `read_raster` takes for the depth of a 16-bit file: the bits of its maximum, at least these.
_SMALLEST_DEPTH = 10

_DEPTHS = (8, *range(_SMALLEST_DEPTH, 16))


def native_bits(image: np.ndarray) -> int:
    """Depth of the file that a film was read from.

    Args:
        image (np.ndarray): Film (h, w) float32 in [0, 1].

    Returns:
        int: The smallest of 8 and 10 to 15 bits on whose scale all values lie, else 16.
    """
    for bits in _DEPTHS:
        values = image * np.float32(2**bits - 1)
        if np.abs(values - np.rint(values)).max() < 0.02:
            return bits
    return 16


def at_native_depth(image: np.ndarray, original: np.ndarray) -> np.ndarray:
    """A changed film on the grey scale of the original.

    Without this the finer values would give the changed pixels away.

    Args:
        image (np.ndarray): Changed film (h, w) float32 in [0, 1].
        original (np.ndarray): The film before.

    Returns:
        np.ndarray: (h, w) float32; values that have not changed stay bit for bit.
    """
    full = np.float32(2 ** native_bits(original) - 1)
    rounded = (np.rint(image * full) / full).astype(np.float32)
    return np.where(image == original, original, rounded)


def png_values(image: np.ndarray) -> np.ndarray:
    """Values of a 16-bit PNG that `read_radiograph` reads as this film.

    8-bit films are spread over 16 bits, others keep their depth. The reader takes the smallest
    depth from 10 bits that holds the film's maximum; a film without any value in the upper half of
    its scale is therefore written with 10 bits (an error of at most 1 / 2046).

    Args:
        image (np.ndarray): Film (h, w) float32 in [0, 1].

    Returns:
        np.ndarray: (h, w) uint16.
    """
    bits = native_bits(image)
    bits = 16 if bits == 8 else bits
    values = np.rint(image.astype(np.float64) * (2**bits - 1)).astype(np.uint16)
    if max(_SMALLEST_DEPTH, int(values.max()).bit_length()) != bits:
        values = np.rint(image.astype(np.float64) * (2**_SMALLEST_DEPTH - 1)).astype(np.uint16)
    return values


# Fractures keep this many half widths apart: what one changes the next does not touch.
APART = 2 * REACH + 0.5

# A box holds the pixels that change by more than this share of the greatest change.
BOX_LEVEL = 0.1

BOX_BLUR = 0.25

_GRAIN_SIGMA = 1.0

NO_LUNGS = 'both lungs not found'

NO_RIBS = 'no rib clear enough'


@dataclass(frozen=True)
class PlacedFracture:
    """One fracture of a film.

    Attributes:
        box (tuple[float, float, float, float]): xyxy, film px.
        fracture (Fracture): What it is like.
        site (RibSite): Where it is.
    """

    box: tuple[float, float, float, float]
    fracture: Fracture
    site: RibSite


@dataclass(frozen=True)
class SemiRealImage:
    """A film with fractures, or why it has none.

    Attributes:
        image (np.ndarray): (h, w) float32 in [0, 1]; the very film where there are no fractures.
        fractures (list[PlacedFracture]): In the order in which they were made.
        reason (str): Why there are none; '' if there are.
    """

    image: np.ndarray
    fractures: list[PlacedFracture]
    reason: str = ''


def add_fractures(
    image: np.ndarray, rng: np.random.Generator, number: int, difficulty: float
) -> SemiRealImage:
    """Put fractures into the ribs of a film.

    Args:
        image (np.ndarray): Film (h, w) float32 in [0, 1], bright bone on dark lung.
        rng (np.random.Generator): Chooses places and fractures, for every difficulty the same.
        number (int): How many; fewer where the film has no more places far enough apart.
        difficulty (float): 0 obvious to 1 subtle.

    Returns:
        SemiRealImage: Without fractures where lungs or ribs are not found.
    """
    lungs = find_lungs(image)
    if lungs is None:
        return SemiRealImage(image, [], NO_LUNGS)
    sites = _choose(find_rib_sites(image, lungs), rng, number)
    if not sites:
        return SemiRealImage(image, [], NO_RIBS)
    broken = image.copy()
    made = []
    for site in sites:
        fracture = draw_fracture(rng, difficulty)
        break_rib(broken, site, fracture)
        made.append((site, fracture))
    broken = at_native_depth(broken, image)
    fractures = [
        PlacedFracture(changed_box(image, broken, site), fracture, site) for site, fracture in made
    ]
    return SemiRealImage(broken, fractures)


def break_rib(image: np.ndarray, site: RibSite, fracture: Fracture) -> None:
    """Put one fracture into a film, in place.

    Structures are moved by cubic interpolation; the grain of the film, what is finer than a pixel
    or so, is moved by whole pixels, because any interpolation would smooth it and give the place
    away.

    Args:
        image (np.ndarray): Film (h, w) float32.
        site (RibSite): Where.
        fracture (Fracture): What.
    """
    window = _window(image.shape, site)
    patch = image[window]
    top, left = window[0].start, window[1].start
    y, x = np.mgrid[: patch.shape[0], : patch.shape[1]].astype(np.float64)
    along, across = _rib_axes(site, x + left, y + top)
    pixel = 1 / site.half_width
    moved = displacement(fracture, along, across, pixel) * site.half_width
    from_x = (x + moved * np.sin(site.angle)).astype(np.float32)
    from_y = (y - moved * np.cos(site.angle)).astype(np.float32)
    base = cv2.GaussianBlur(patch, (0, 0), _GRAIN_SIGMA)
    reflect = cv2.BORDER_REFLECT_101
    broken = cv2.remap(base, from_x, from_y, cv2.INTER_CUBIC, borderMode=reflect)
    grain = cv2.remap(patch - base, from_x, from_y, cv2.INTER_NEAREST, borderMode=reflect)
    broken = np.where(moved == 0, patch, broken + grain)
    if fracture.kind == 'acute':
        bone = _bone(broken, site, along, across)
        broken = broken - bone * lost_bone(fracture, along, across, pixel)
    else:
        broken = broken + site.contrast * added_bone(fracture, along, across)
    image[window] = np.clip(broken, image.min(), image.max())


def changed_box(
    before: np.ndarray, after: np.ndarray, site: RibSite
) -> tuple[float, float, float, float]:
    """Bounds of what a fracture changes.

    The change is blurred a little (BOX_BLUR half widths, at least a pixel): moved grain is no
    lesion.

    Args:
        before, after (np.ndarray): Film (h, w) without and with its fractures.
        site (RibSite): Where the fracture is.

    Returns:
        tuple[float, float, float, float]: xyxy px of the pixels that change by more than BOX_LEVEL of
            the greatest change; a pixel covers [c, c + 1].
    """
    window = _window(before.shape, site)
    change = after[window] - before[window]
    change = np.abs(cv2.GaussianBlur(change, (0, 0), max(1.0, BOX_BLUR * site.half_width)))
    rows, columns = np.nonzero(change > BOX_LEVEL * change.max())
    top, left = window[0].start, window[1].start
    return (
        float(columns.min() + left),
        float(rows.min() + top),
        float(columns.max() + 1 + left),
        float(rows.max() + 1 + top),
    )


def _choose(sites: list[RibSite], rng: np.random.Generator, number: int) -> list[RibSite]:
    chosen: list[RibSite] = []
    for index in rng.permutation(len(sites)):
        site = sites[index]
        apart = APART * site.half_width
        if all(np.hypot(site.x - s.x, site.y - s.y) > apart for s in chosen):
            chosen.append(site)
        if len(chosen) == number:
            break
    return chosen


def _window(shape: tuple[int, ...], site: RibSite) -> tuple[slice, slice]:
    reach = int(np.ceil(REACH * site.half_width)) + 1
    x, y = round(site.x), round(site.y)
    return (
        slice(max(0, y - reach), min(shape[0], y + reach + 1)),
        slice(max(0, x - reach), min(shape[1], x + reach + 1)),
    )


def _rib_axes(site: RibSite, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across the rib, half widths."""
    dx, dy = x - site.x, y - site.y
    c, s = np.cos(site.angle), np.sin(site.angle)
    along = dx * c + dy * s
    across = dy * c - dx * s - site.bend / 2 * along**2
    return along / site.half_width, across / site.half_width


def _bone(patch: np.ndarray, site: RibSite, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """What the rib adds to the lung behind it near the fracture, (h, w): a gap shows the lung."""
    base = cv2.GaussianBlur(patch, (0, 0), _GRAIN_SIGMA)
    near = np.abs(along) < 1.5
    sides = [base[near & (sign * across > 1.5) & (sign * across < 2.2)].mean() for sign in (-1, 1)]
    lung = sides[0] + (sides[1] - sides[0]) * (across + 1.85) / 3.7
    return np.clip(base - lung, 0, 1.6 * site.contrast)
