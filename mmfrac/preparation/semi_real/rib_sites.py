# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Places on ribs that are seen well enough to break them there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from mmfrac.preparation.semi_real.lungs import Lungs
from mmfrac.preparation.semi_real.ridges import crests, follow, ridge_field, sample

# Lengths are px of a copy of the film on which the chest is this wide.
CHEST = 320.0
SIGMAS = (2.0, 2.8, 3.9)
RIDGE_LENGTH = 8.0
STEEPEST = 1.05
LEAST_CREST = 0.25
LEAST_ON_WALK = 0.3
REACH = 20.0
MARGIN = 34
MOST_BEND = 1 / 35
HALF_WIDTHS = (3.2, 8.0)
ACROSS = np.arange(-17, 17.25, 0.25)
ALONG = np.arange(-15, 15.1, 1.5)
# Shares of a lung's height and width in which no site is sought: clavicle, diaphragm, hilum.
TOP, BOTTOM, MEDIAL = 0.1, 0.1, 0.3
LEAST_CONTRAST = 0.012
LUNG_PERCENTILE = 85


@dataclass(frozen=True)
class RibSite:
    """A place on a rib. Lengths in film px.

    Attributes:
        x, y (float): On the rib's middle line.
        angle (float): Direction of the rib away from the spine, rad, 0 along x, y downwards.
        bend (float): Curvature, 1 / px: the middle line is across = bend / 2 * along^2.
        half_width (float): Of the rib.
        contrast (float): Brightness of the rib above the lung beside it, 1.
    """

    x: float
    y: float
    angle: float
    bend: float
    half_width: float
    contrast: float


def find_rib_sites(plane: np.ndarray, lungs: Lungs) -> list[RibSite]:
    """Find places on ribs over lung.

    From the crests of the ridge filter, walks that can go on for some rib widths both ways are
    kept, an arc is laid through each, and the rib is measured on the strip along the arc: both its
    edges must be seen, lung must be on both sides, little may cross it, and another rib must run
    beside it, which vessels and the edges of heart and diaphragm do not have.

    Args:
        plane (np.ndarray): Film (h, w) float32 in [0, 1].
        lungs (Lungs): Of `find_lungs`.

    Returns:
        list[RibSite]: Many for each rib, in the order of the film's rows; empty if no rib is clear.
    """
    scale = lungs.width / CHEST
    height, width = (max(8, round(side / scale)) for side in plane.shape)
    shrinks = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    small = cv2.resize(plane, (width, height), interpolation=shrinks)
    lung = _resized(lungs.left | lungs.right, small.shape)
    rows, columns = (np.flatnonzero(lung.any(axis=axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - MARGIN), max(0, columns[0] - MARGIN)
    window = (slice(top, rows[-1] + MARGIN), slice(left, columns[-1] + MARGIN))
    region = _resized(_lateral(lungs.left, -1) | _lateral(lungs.right, 1), small.shape)[window]
    if not region.any():
        return []
    part = np.ascontiguousarray(small[window])
    field = ridge_field(part, SIGMAS, RIDGE_LENGTH, STEEPEST)
    walks = follow(field, crests(field, region, LEAST_CREST), REACH, LEAST_ON_WALK)
    brightest = float(np.percentile(small[lung], LUNG_PERCENTILE))
    middle = (np.nonzero(lung)[1].mean() - left) if lung.any() else 0.0
    found = [_measure(part, walk, brightest, middle) for walk in walks]
    sites = _with_parallels([site for site in found if site is not None])
    ratio = np.array([plane.shape[1] / width, plane.shape[0] / height])
    return [_on_film(site, np.array([left, top]), ratio) for site in sites]


def _resized(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    flags = mask.astype(np.uint8)
    return cv2.resize(flags, shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _lateral(lung: np.ndarray, outward: int) -> np.ndarray:
    """The part of a lung away from hilum, clavicle and diaphragm; outward is -1 or 1 along x."""
    rows = np.flatnonzero(lung.any(axis=1))
    tall = rows[-1] - rows[0] + 1
    part = np.zeros_like(lung)
    for row in rows[(rows >= rows[0] + TOP * tall) & (rows <= rows[-1] - BOTTOM * tall)]:
        columns = np.flatnonzero(lung[row])
        skipped = int(MEDIAL * (columns[-1] - columns[0] + 1))
        first = columns[0] + (skipped if outward > 0 else 0)
        last = columns[-1] - (skipped if outward < 0 else 0)
        part[row, first : last + 1] = True
    return part


def _measure(part: np.ndarray, walk: np.ndarray, brightest: float, middle: float) -> RibSite | None:
    """The rib under a walk (k, 2), if it is one that is clearly seen."""
    arc = _arc(walk, middle)
    if arc is None:
        return None
    origin, angle, bend = arc
    forth = np.array([np.cos(angle), np.sin(angle)])
    normal = np.array([-forth[1], forth[0]])
    course = origin + ALONG[:, None] * forth + (bend / 2 * ALONG**2)[:, None] * normal
    strip = sample(part, course[:, None] + ACROSS[:, None] * normal)
    edges = _edges(strip.mean(axis=0))
    if edges is None:
        return None
    shift, half = sum(edges) / 2, (edges[1] - edges[0]) / 2
    across = ACROSS - shift
    core = strip[:, np.abs(across) < 0.7 * half].mean(axis=1)
    sides = [
        strip[:, (sign * across > 1.35 * half) & (sign * across < 2.1 * half)].mean(axis=1)
        for sign in (-1, 1)
    ]
    above = [core.mean() - side.mean() for side in sides]
    contrast = (above[0] + above[1]) / 2
    near = strip[:, np.abs(across) < 2.1 * half]
    clutter = float((near - near.mean(axis=0)).std())
    is_clear = (
        min(above) >= max(LEAST_CONTRAST, clutter)
        and abs(above[0] - above[1]) <= 1.4 * contrast
        and max(side.mean() for side in sides) <= brightest
        and np.percentile(core - (sides[0] + sides[1]) / 2, 10) >= 0.35 * contrast
    )
    if not is_clear:
        return None
    x, y = origin + shift * normal
    return RibSite(float(x), float(y), angle, bend, float(half), float(contrast))


def _arc(walk: np.ndarray, middle: float) -> tuple[np.ndarray, float, float] | None:
    """Origin, direction away from the spine, and curvature of the arc through a walk."""
    start = walk[len(walk) // 2]
    chord = walk[-1] - walk[0]
    forth = chord / np.linalg.norm(chord)
    if forth[0] * (start[0] - middle) < 0:
        forth = -forth
    normal = np.array([-forth[1], forth[0]])
    along, across = (walk - start) @ forth, (walk - start) @ normal
    design = np.column_stack([np.ones_like(along), along, along**2 / 2])
    (offset, slope, bend), *_ = np.linalg.lstsq(design, across, rcond=None)
    miss = across - design @ (offset, slope, bend)
    if np.sqrt(np.mean(miss**2)) > 0.8 or abs(bend) > MOST_BEND:
        return None
    angle = float(np.arctan2(forth[1], forth[0]) + np.arctan(slope))
    if abs(np.sin(angle)) > np.sin(STEEPEST):
        return None
    return start + offset * normal, angle, float(bend)


def _edges(profile: np.ndarray) -> tuple[float, float] | None:
    """Where the mean profile across the rib rises and falls most steeply."""
    slope = np.gradient(ndimage.gaussian_filter1d(profile, 2.5), ACROSS)
    within = (np.abs(ACROSS) >= HALF_WIDTHS[0] - 1) & (np.abs(ACROSS) <= HALF_WIDTHS[1])
    rise = np.where(within & (ACROSS < 0), slope, -np.inf).argmax()
    fall = np.where(within & (ACROSS > 0), -slope, -np.inf).argmax()
    low, high = ACROSS[rise], ACROSS[fall]
    half = (high - low) / 2
    if slope[rise] <= 0 or slope[fall] >= 0 or not HALF_WIDTHS[0] <= half <= HALF_WIDTHS[1]:
        return None
    return None if abs(low + high) > 1.4 * half else (float(low), float(high))


def _with_parallels(sites: list[RibSite]) -> list[RibSite]:
    """Sites that have another rib beside theirs."""
    if not sites:
        return []
    places = np.array([(site.x, site.y) for site in sites])
    angles = np.array([site.angle for site in sites])
    kept = []
    for site in sites:
        apart = places - (site.x, site.y)
        c, s = np.cos(site.angle), np.sin(site.angle)
        along, across = np.abs(apart @ (c, s)), np.abs(apart @ (-s, c))
        is_parallel = np.cos(angles - site.angle) > np.cos(0.35)
        if (is_parallel & (along < 33) & (across > 13) & (across < 60)).any():
            kept.append(site)
    return kept


def _on_film(site: RibSite, corner: np.ndarray, ratio: np.ndarray) -> RibSite:
    """From px of the search to film px."""
    x, y = (np.array([site.x, site.y]) + corner + 0.5) * ratio - 0.5
    factor = float(ratio.mean())
    return RibSite(
        float(x), float(y), site.angle, site.bend / factor, site.half_width * factor, site.contrast
    )
