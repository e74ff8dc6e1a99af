# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where ribs run in a film: bright ridges by the Hessian, and walks along them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from mmfrac.preparation.semi_real.lungs import Lungs

_STEP = 1.5

_DIRECTIONS = 13

_SHARPEST_TURN = 0.35

# OpenCV's remap takes fewer than 2^15 points a row.
_ROW = 4096


@dataclass(frozen=True)
class RidgeField:
    """Ridges of a plane.

    Attributes:
        strength (np.ndarray): (h, w) float32, second derivative across the ridge; 0 off ridges.
        angle (np.ndarray): (h, w) float32, direction of the ridge, rad, 0 along x, y downwards.
    """

    strength: np.ndarray
    angle: np.ndarray


def ridge_field(
    image: np.ndarray, sigmas: tuple[float, ...], length: float, steepest: float
) -> RidgeField:
    """Multi-scale ridge filter for long ridges.

    The Hessian at scale sigma, times sigma^2 (Lindeberg, 1998), gives the second derivative across
    every direction. It is averaged along that direction, so that what crosses a ridge does not
    break it. The scale and direction with the strongest answer win.

    Args:
        image (np.ndarray): (h, w) float32.
        sigmas (tuple[float, ...]): Scales across the ridge, px.
        length (float): Standard deviation of the average along it, px.
        steepest (float): Directions from -steepest to steepest are looked at, rad.

    Returns:
        RidgeField: Of the plane's shape.
    """
    strength = np.zeros(image.shape, np.float32)
    angle = np.zeros(image.shape, np.float32)
    directions = np.linspace(-steepest, steepest, _DIRECTIONS)
    lines = [_line(length, direction) for direction in directions]
    for sigma in sigmas:
        xx, xy, yy = (
            ndimage.gaussian_filter(image, sigma, order=order, mode='nearest', truncate=3.5)
            for order in ((0, 2), (1, 1), (2, 0))
        )
        for direction, line in zip(directions, lines):
            c, s = np.cos(direction), np.sin(direction)
            across = (s * s * xx - 2 * s * c * xy + c * c * yy) * -(sigma**2)
            answer = cv2.filter2D(across, cv2.CV_32F, line, borderType=cv2.BORDER_REPLICATE)
            better = answer > strength
            strength[better], angle[better] = answer[better], direction
    return RidgeField(strength, angle)


def sample(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a plane between its pixels.

    Args:
        image (np.ndarray): (h, w) float32.
        points (np.ndarray): (..., 2) x, y; pixel centres are integers.

    Returns:
        np.ndarray: (...) float32, linear; beyond the edge the edge's value.
    """
    count = points.size // 2
    rows = np.zeros((2, max(1, -(-count // _ROW)), _ROW), np.float32)
    rows.reshape(2, -1)[:, :count] = points.reshape(-1, 2).T
    values = cv2.remap(image, rows[0], rows[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.ravel()[:count].reshape(points.shape[:-1])


def crests(field: RidgeField, region: np.ndarray, least: float, thinning: int = 3) -> np.ndarray:
    """Points on the middle lines of ridges.

    Args:
        field (RidgeField): Ridges.
        region (np.ndarray): (h, w) bool, where to look.
        least (float): Share of the region's 90th percentile of strength that a point must have.
        thinning (int): Only every so many points are kept. Defaults to 3.

    Returns:
        np.ndarray: (n, 2) x, y, px.
    """
    strong = field.strength > least * np.percentile(field.strength[region], 90)
    rows, columns = np.nonzero(region & strong)
    points = np.column_stack([columns, rows]).astype(np.float64)
    angle = field.angle[rows, columns]
    normal = np.column_stack([-np.sin(angle), np.cos(angle)])
    here = field.strength[rows, columns]
    before, after = (sample(field.strength, points + sign * normal) for sign in (-1, 1))
    return points[(here > before) & (here >= after)][::thinning]


def follow(field: RidgeField, start: np.ndarray, reach: float, least: float) -> np.ndarray:
    """Walk along ridges from points on them, both ways.

    Args:
        field (RidgeField): Ridges.
        start (np.ndarray): (n, 2) x, y, px.
        reach (float): How far each way, px.
        least (float): A walk ends where the strength is below this share of that at its start, or
            where the ridge turns sharply: there it has met another one.

    Returns:
        np.ndarray: (m, 2 * k + 1, 2) x, y in steps of STEP px, of the m <= n walks that went all the
            way; the start is in the middle.
    """
    # angles are averaged as doubled vectors: a direction has no sign
    double = [part(2 * field.angle) for part in (np.cos, np.sin)]
    first = _directions(double, start)
    enough = least * sample(field.strength, start)
    alive = np.ones(len(start), bool)
    halves = []
    for sign in (-1.0, 1.0):
        point, heading = start.copy(), sign * first
        walk = []
        for _ in range(int(reach / _STEP)):
            point = _centred(field.strength, point + _STEP * heading, heading)
            turned = _directions(double, point)
            turned *= np.where((turned * heading).sum(-1) < 0, -1.0, 1.0)[:, None]
            alive &= sample(field.strength, point) >= enough
            alive &= (turned * heading).sum(-1) > np.cos(_SHARPEST_TURN)
            heading = 0.6 * heading + 0.4 * turned
            heading /= np.linalg.norm(heading, axis=1, keepdims=True)
            walk.append(point)
        halves.append(np.stack(walk, axis=1))
    return np.concatenate([halves[0][:, ::-1], start[:, None], halves[1]], axis=1)[alive]


def _line(length: float, direction: float) -> np.ndarray:
    """Kernel of a Gaussian along a line."""
    reach = int(np.ceil(2.5 * length))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    along = x * np.cos(direction) + y * np.sin(direction)
    across = y * np.cos(direction) - x * np.sin(direction)
    kernel = np.exp(-0.5 * (along / length) ** 2) * np.maximum(0, 1 - np.abs(across))
    return (kernel / kernel.sum()).astype(np.float32)


def _directions(double: list[np.ndarray], points: np.ndarray) -> np.ndarray:
    cosine, sine = (sample(part, points) for part in double)
    angle = 0.5 * np.arctan2(sine, cosine)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float64)


def _centred(strength: np.ndarray, point: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Moved across the heading towards the strongest point within a pixel."""
    normal = np.stack([-heading[:, 1], heading[:, 0]], axis=-1)
    offsets = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    probes = point[:, None] + offsets[:, None] * normal[:, None]
    best = sample(strength, probes).argmax(axis=1)
    return point + 0.5 * offsets[best][:, None] * normal


# Lengths are px of a copy of the film on which the chest is this wide.
CHEST = 320.0

_SIGMAS = (2.0, 2.8, 3.9)

_RIDGE_LENGTH = 8.0

_STEEPEST = 1.05

_LEAST_CREST = 0.25

_LEAST_ON_WALK = 0.3

REACH = 20.0

MARGIN = 34

_MOST_BEND = 1 / 35

_HALF_WIDTHS = (3.2, 8.0)

_ACROSS = np.arange(-17, 17.25, 0.25)

_ALONG = np.arange(-15, 15.1, 1.5)

# Shares of a lung's height and width in which no site is sought: clavicle, diaphragm, hilum.
_TOP, _BOTTOM, _MEDIAL = 0.1, 0.1, 0.3

_LEAST_CONTRAST = 0.012

_LUNG_PERCENTILE = 85


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


def find_rib_sites(image: np.ndarray, lungs: Lungs) -> list[RibSite]:
    """Find places on ribs over lung.

    From the crests of the ridge filter, walks that can go on for some rib widths both ways are
    kept, an arc is laid through each, and the rib is measured on the strip along the arc: both its
    edges must be seen, lung must be on both sides, little may cross it, and another rib must run
    beside it, which vessels and the edges of heart and diaphragm do not have.

    Args:
        image (np.ndarray): Film (h, w) float32 in [0, 1].
        lungs (Lungs): Of `find_lungs`.

    Returns:
        list[RibSite]: Many for each rib, in the order of the film's rows; empty if no rib is clear.
    """
    scale = lungs.width / CHEST
    height, width = (max(8, round(side / scale)) for side in image.shape)
    shrinks = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    small = cv2.resize(image, (width, height), interpolation=shrinks)
    lung = _resized(lungs.left | lungs.right, small.shape)
    rows, columns = (np.flatnonzero(lung.any(axis=axis)) for axis in (1, 0))
    top, left = max(0, rows[0] - MARGIN), max(0, columns[0] - MARGIN)
    window = (slice(top, rows[-1] + MARGIN), slice(left, columns[-1] + MARGIN))
    region = _resized(_lateral(lungs.left, -1) | _lateral(lungs.right, 1), small.shape)[window]
    if not region.any():
        return []
    part = np.ascontiguousarray(small[window])
    field = ridge_field(part, _SIGMAS, _RIDGE_LENGTH, _STEEPEST)
    walks = follow(field, crests(field, region, _LEAST_CREST), REACH, _LEAST_ON_WALK)
    brightest = float(np.percentile(small[lung], _LUNG_PERCENTILE))
    middle = (np.nonzero(lung)[1].mean() - left) if lung.any() else 0.0
    found = [_measure(part, walk, brightest, middle) for walk in walks]
    sites = _with_parallels([site for site in found if site is not None])
    ratio = np.array([image.shape[1] / width, image.shape[0] / height])
    return [_on_image(site, np.array([left, top]), ratio) for site in sites]


def _resized(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    flags = mask.astype(np.uint8)
    return cv2.resize(flags, shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _lateral(lung: np.ndarray, outward: int) -> np.ndarray:
    """The part of a lung away from hilum, clavicle and diaphragm; outward is -1 or 1 along x."""
    rows = np.flatnonzero(lung.any(axis=1))
    tall = rows[-1] - rows[0] + 1
    part = np.zeros_like(lung)
    for row in rows[(rows >= rows[0] + _TOP * tall) & (rows <= rows[-1] - _BOTTOM * tall)]:
        columns = np.flatnonzero(lung[row])
        skipped = int(_MEDIAL * (columns[-1] - columns[0] + 1))
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
    course = origin + _ALONG[:, None] * forth + (bend / 2 * _ALONG**2)[:, None] * normal
    strip = sample(part, course[:, None] + _ACROSS[:, None] * normal)
    edges = _edges(strip.mean(axis=0))
    if edges is None:
        return None
    shift, half = sum(edges) / 2, (edges[1] - edges[0]) / 2
    across = _ACROSS - shift
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
        min(above) >= max(_LEAST_CONTRAST, clutter)
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
    if np.sqrt(np.mean(miss**2)) > 0.8 or abs(bend) > _MOST_BEND:
        return None
    angle = float(np.arctan2(forth[1], forth[0]) + np.arctan(slope))
    if abs(np.sin(angle)) > np.sin(_STEEPEST):
        return None
    return start + offset * normal, angle, float(bend)


def _edges(profile: np.ndarray) -> tuple[float, float] | None:
    """Where the mean profile across the rib rises and falls most steeply."""
    slope = np.gradient(ndimage.gaussian_filter1d(profile, 2.5), _ACROSS)
    within = (np.abs(_ACROSS) >= _HALF_WIDTHS[0] - 1) & (np.abs(_ACROSS) <= _HALF_WIDTHS[1])
    rise = np.where(within & (_ACROSS < 0), slope, -np.inf).argmax()
    fall = np.where(within & (_ACROSS > 0), -slope, -np.inf).argmax()
    low, high = _ACROSS[rise], _ACROSS[fall]
    half = (high - low) / 2
    if slope[rise] <= 0 or slope[fall] >= 0 or not _HALF_WIDTHS[0] <= half <= _HALF_WIDTHS[1]:
        return None
    return None if abs(low + high) > 1.4 * half else (float(low), float(high))


def _with_parallels(sites: list[RibSite]) -> list[RibSite]:
    """Sites that have another rib beside theirs."""
    if not sites:
        return []
    points = np.array([(site.x, site.y) for site in sites])
    angles = np.array([site.angle for site in sites])
    kept = []
    for site in sites:
        apart = points - (site.x, site.y)
        c, s = np.cos(site.angle), np.sin(site.angle)
        along, across = np.abs(apart @ (c, s)), np.abs(apart @ (-s, c))
        is_parallel = np.cos(angles - site.angle) > np.cos(0.35)
        if (is_parallel & (along < 33) & (across > 13) & (across < 60)).any():
            kept.append(site)
    return kept


def _on_image(site: RibSite, corner: np.ndarray, ratio: np.ndarray) -> RibSite:
    """From px of the search to film px."""
    x, y = (np.array([site.x, site.y]) + corner + 0.5) * ratio - 0.5
    factor = float(ratio.mean())
    return RibSite(
        float(x), float(y), site.angle, site.bend / factor, site.half_width * factor, site.contrast
    )
