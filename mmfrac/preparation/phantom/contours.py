# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Soft parts of a patient and their outlines in the coronal plane, (n, 2) in cm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from mmfrac.preparation.phantom.skeleton import Skeleton


@dataclass
class Build:
    """Soft parts of one patient; lengths in cm.

    Args:
        fat: Extra thickness at the side of the chest.
        depth: Thickness of the body.
        dome: y of the right and left diaphragm dome, (2,).
        heart: Width factor of the heart.
        breast: Thickness of the breasts, 0 for none.
        bubble: Radius of the stomach bubble.
        wobble: Small contour irregularities, (32,).
    """

    fat: float
    depth: float
    dome: tuple[float, float]
    heart: float
    breast: float
    bubble: float
    wobble: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator, skeleton: Skeleton) -> Build:
        """Draw the soft parts that fit the bones."""
        right = skeleton.level[9] + rng.normal(-0.6, 0.7)
        return cls(
            fat=float(rng.uniform(1.0, 3.2)),
            depth=float(rng.uniform(19.0, 24.0)),
            dome=(right, right + rng.uniform(0.5, 1.6)),
            heart=float(np.clip(rng.normal(1.0, 0.09), 0.82, 1.25)),
            breast=float(rng.uniform(1.5, 3.5) * (rng.random() < 0.5)),
            bubble=float(rng.uniform(1.0, 2.6) * (rng.random() < 0.65)),
            wobble=rng.normal(0.0, 1.0, 32),
        )


def _spline(points: list, closed: bool = True, samples: int = 240) -> np.ndarray:
    """Smooth contour through the points by chord length."""
    knots = np.asarray(points, float)
    if closed:
        knots = np.concatenate([knots, knots[:1]])
    place = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    curve = CubicSpline(place, knots, bc_type='periodic' if closed else 'natural')
    return curve(np.linspace(0.0, place[-1], samples))


def torso(build: Build, skeleton: Skeleton) -> np.ndarray:
    """Neck, shoulders and flanks."""
    level, side = skeleton.level, skeleton.wall_x[1] + 0.5
    flank = side[7] + build.fat
    neck = 5.6 + 0.25 * build.wobble[1]
    right = [
        (neck, -20.0),
        (neck, level[0] - 4.5),
        (neck + 2.2, level[0] - 2.4),
        (12.5, level[0] - 0.9),
        (17.6, level[2] - 3.0),
        (21.3, level[3] - 1.2),
        (22.8, level[5]),
        (flank + 2.1, level[6] + 0.6),
        (flank + 0.4, level[8]),
        (flank + 0.1 * build.wobble[2], level[10]),
        (flank + 0.5, level[11] + 4.0),
        (flank + 1.0, 60.0),
    ]
    dense = _spline(right, closed=False)
    left = dense[::-1] * [-1.0, 1.0]
    return np.concatenate([dense, left])


def arm(skeleton: Skeleton, side: int) -> np.ndarray:
    """One upper arm."""
    path = skeleton.others[-1].centre[side][:, :2]
    normal = np.gradient(path, axis=0)[:, ::-1] * [1.0, -1.0]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    width = np.linspace(3.2, 5.2, len(path))[:, None]
    return np.concatenate([path + normal * width, (path - normal * width)[::-1]])


def lung(
    build: Build, level: np.ndarray, wall_x: np.ndarray, wall_y: np.ndarray, side: int
) -> np.ndarray:
    """Apex, chest wall, the recess behind the dome, and a medial border hidden in the mediastinum."""
    sign = -1.0 if side == 0 else 1.0
    low = build.dome[side] + 4.6 + 0.4 * build.wobble[8 + side]
    keep = wall_y < low - 1.5
    corner = (np.interp(low, wall_y, wall_x) + sign * 0.1, low)
    top = [(2.4, level[0] + 0.7), (4.3, level[0] - 0.1), (0.72 * abs(wall_x[1]), level[0] + 1.5)]
    outer = [(sign * x, y) for x, y in top]
    outer += [*list(zip(wall_x[keep], wall_y[keep]))[1:], corner]
    base = [corner, (sign * 7.0, low + 0.3), (sign * 2.5, low - 1.2)]
    inner = [(sign * 0.2, level[5]), (sign * 1.4, level[0] + 1.0)]
    return np.concatenate(
        [_spline(outer, closed=False, samples=120), _spline(base, closed=False, samples=40), inner]
    )


def dome(build: Build, side: int) -> np.ndarray:
    """What lies under the diaphragm, from its contour down."""
    sign, y = (-1.0, build.dome[0]) if side == 0 else (1.0, build.dome[1])
    lean = 0.25 * build.wobble[12 + side]
    crest = [
        (-1.0, 3.4),
        (2.0, 1.5),
        (4.6, 0.35),
        (7.0 + lean, 0.0),
        (9.6, 0.6),
        (12.0, 2.6),
        (14.0, 5.4),
    ]
    crest += [(15.5, 9.0)]
    edge = _spline([(sign * x, y + dy) for x, dy in crest], closed=False)
    return np.concatenate([edge, [(sign * 15.5, 70.0), (-sign * 1.0, 70.0)]])


def mediastinum(build: Build, level: np.ndarray) -> np.ndarray:
    """Great vessels and spine, with the aortic knob."""
    knob = 3.1 + 0.3 * build.wobble[10]
    left = [
        (2.6, -10.0),
        (2.4, level[0]),
        (2.7, level[2]),
        (knob, level[3] + 1.2),
        (2.7, level[5] - 0.5),
    ]
    left += [(2.9, level[6]), (2.8, level[8]), (2.6, 60.0)]
    right = [
        (-2.5, 60.0),
        (-2.6, level[8]),
        (-2.7, level[5]),
        (-2.6 - 0.2 * build.wobble[11], level[3]),
    ]
    right += [(-2.5, level[1]), (-2.6, -10.0)]
    return np.concatenate([_spline(left, closed=False), _spline(right, closed=False)])


def heart(build: Build, level: np.ndarray) -> np.ndarray:
    """Heart, apex to the right of the film."""
    w, base = build.heart, build.dome[1]
    top = level[4] + 0.8
    return _spline(
        [
            (0.0, top - 0.8),
            (2.6 * w, top),
            (3.4 * w, top + 1.8),
            (5.4 * w, 0.45 * top + 0.55 * base),
            (8.2 * w, base - 1.6),
            (8.3 * w, base + 0.6),
            (5.0 * w, base + 2.2),
            (-0.5, base + 2.0),
            (-3.4 * w, base + 0.2),
            (-4.3 * w, base - 2.6),
            (-3.6 * w, 0.5 * top + 0.5 * base - 0.4),
            (-2.5, top + 0.2),
        ]
    )
