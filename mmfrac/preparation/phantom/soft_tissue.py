# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Soft parts of one patient: outlines in the coronal plane in cm, vessels, thickness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from mmfrac.preparation.phantom.pose import Pose
from mmfrac.preparation.phantom.skeleton import Skeleton
from mmfrac.preparation.phantom.tubes import Tubes


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
    position = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    curve = CubicSpline(position, knots, bc_type='periodic' if closed else 'natural')
    return curve(np.linspace(0.0, position[-1], samples))


def _torso_contour(build: Build, skeleton: Skeleton) -> np.ndarray:
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


def _arm_contour(skeleton: Skeleton, side: int) -> np.ndarray:
    """One upper arm."""
    path = skeleton.others[-1].centre[side][:, :2]
    normal = np.gradient(path, axis=0)[:, ::-1] * [1.0, -1.0]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    width = np.linspace(3.2, 5.2, len(path))[:, None]
    return np.concatenate([path + normal * width, (path - normal * width)[::-1]])


def _lung_contour(
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


def _dome_contour(build: Build, side: int) -> np.ndarray:
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


def _mediastinum_contour(build: Build, level: np.ndarray) -> np.ndarray:
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


def _heart_contour(build: Build, level: np.ndarray) -> np.ndarray:
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


class Outlines(NamedTuple):
    """Contours (n, 2) of one patient's soft parts in the coronal plane, cm; pairs are left and right of
    the film.
    """

    torso: np.ndarray
    arms: list[np.ndarray]
    mediastinum: np.ndarray
    heart: np.ndarray
    lungs: list[np.ndarray]
    domes: list[np.ndarray]

    @classmethod
    def around(cls, skeleton: Skeleton, build: Build) -> Outlines:
        """Those of a build around its bones."""
        level, wall_x, wall_y = skeleton.level, skeleton.wall_x, skeleton.wall_y
        return cls(
            _torso_contour(build, skeleton),
            [_arm_contour(skeleton, side) for side in range(2)],
            _mediastinum_contour(build, level),
            _heart_contour(build, level),
            [_lung_contour(build, level, wall_x[side], wall_y, side) for side in range(2)],
            [_dome_contour(build, side) for side in range(2)],
        )


_STATIONS = 6

_GENERATIONS = 7


def make_vessels(rng: np.random.Generator, skeleton: Skeleton, dome: float) -> list[Tubes]:
    """Grow the trees of both lungs.

    Args:
        rng: Generator of this patient.
        skeleton: Gives the chest wall.
        dome: y of the diaphragm, cm.

    Returns:
        Groups of tubes of like calibre, and the airway (negative fill).
    """
    crowd = rng.uniform(0.8, 1.25)
    groups: list[list[Tubes]] = [[] for _ in range(3)]
    for side, sign in enumerate((-1.0, 1.0)):
        hilum = np.array([sign * 3.0, skeleton.level[6] - 0.6 - 0.5 * side, 0.0])
        fan = np.deg2rad(np.array([-75, -48, -15, 12, 35, 55, 72, 84]) + rng.normal(0, 6, 8))
        heading = np.stack([sign * np.cos(fan), np.sin(fan), rng.normal(0, 0.35, 8)], 1)
        start = hilum + heading * 0.2 + rng.normal(0, 0.25, (8, 3))
        radius = rng.uniform(0.3, 0.48, 8)
        for generation in range(_GENERATIONS):
            tube, start, heading, radius = _grow(rng, start, heading, radius, crowd)
            groups[min(generation // 2, 2)].append(tube)
            limit = np.interp(start[:, 1], skeleton.wall_y, np.abs(skeleton.wall_x[side])) - 0.8
            alive = (np.abs(start[:, 0]) < limit) & (start[:, 1] < dome + 2.5)
            alive &= (start[:, 1] > skeleton.level[0]) & (start[:, 0] * sign > 1.5)
            start, heading, radius = start[alive], heading[alive], radius[alive]
    return [_merge(g) for g in groups] + [_airway(rng, skeleton)]


def _grow(rng, start, heading, radius, crowd):
    """One generation: a bent segment of every branch, then its two daughters."""
    count = len(start)
    length = rng.uniform(1.0, 2.3, (count, 1))
    heading = heading / np.linalg.norm(heading, axis=1, keepdims=True)
    bend = rng.normal(0.0, 0.12, (count, 3))
    t = np.linspace(0.0, 1.0, _STATIONS)[None, :, None]
    path = start[:, None] + (heading * length)[:, None] * t + (bend * length)[:, None] * t**2
    taper = radius[:, None] * np.linspace(1.0, 0.86, _STATIONS)
    tube = Tubes(
        path,
        np.repeat(taper[..., None], 2, axis=-1),
        np.zeros((count, _STATIONS)),
        np.full((count, _STATIONS), _SOFT_MU * 1.35 * crowd),
    )
    onward = heading + 2.0 * bend
    split = rng.normal(0.0, 1.0, (count, 3)) * [0.55, 0.55, 0.4]
    daughters = np.concatenate([onward + 0.5 * split, onward - 0.8 * split])
    share = rng.uniform(0.68, 0.86, count)
    radii = np.concatenate([radius * share, radius * np.sqrt(1.0 - share**2 * 0.72)])
    return tube, np.concatenate([path[:, -1]] * 2), daughters, radii


def _merge(tubes: list[Tubes]) -> Tubes:
    parts = [np.concatenate(p) for p in zip(*((t.centre, t.radii, t.wall, t.fill) for t in tubes))]
    return Tubes(parts[0], parts[1], parts[2], parts[3])


def _airway(rng, skeleton: Skeleton) -> Tubes:
    """Trachea and main bronchi as air in soft tissue."""
    level, lean = skeleton.level, rng.normal(0.2, 0.25)
    fork = np.array([-lean, level[4] + 0.9, -1.0])
    t = np.linspace(0.0, 1.0, _STATIONS)[:, None]
    runs = [
        (np.array([0.0, level[0] - 9.0, 0.0]), fork),
        (fork, fork + [-3.2, 2.6, 0.0]),
        (fork, fork + [4.0, 2.4, 0.0]),
    ]
    centre = np.stack([a + (b - a) * t for a, b in runs])
    radius = np.array([0.85, 0.6, 0.52])[:, None] * np.ones((1, _STATIONS))
    return Tubes(
        centre,
        np.repeat(radius[..., None], 2, axis=-1),
        np.zeros((3, _STATIONS)),
        np.full((3, _STATIONS), -0.75 * _SOFT_MU),
        (0.0, 0.0, 1.0),
    )


GRID = 320

_SOFT_MU = 0.19

_LUNG_AIR = 0.78

# grid cells that a contour is smoothed over, to each side
_SMOOTHED = 4

# that OpenCV computes at once, at most
_COLUMNS = 32


class SoftFields(NamedTuple):
    """Fields on the grid, (GRID, GRID) float32."""

    attenuation: np.ndarray  # of everything but bones and vessels
    air: np.ndarray  # cm of lung along the beam


def _mask(contour: np.ndarray, pose: Pose, depth: float = 0.0) -> np.ndarray:
    projected = pose.project_plane(contour, depth) * (GRID / pose.film_cm)
    mask = np.zeros((GRID, GRID), np.uint8)
    cv2.fillPoly(mask, [np.round((projected - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return mask


def _round(mask: np.ndarray, reach: float, pose: Pose) -> np.ndarray:
    """Profile of a rounded slab: 0 at the contour, 1 from `reach` cm inside it."""
    profile = np.zeros((GRID, GRID), np.float32)
    left, top, width, height = cv2.boundingRect(mask)
    if not height:
        return profile
    # beyond what is smoothed there is nothing, nor anything that reaches into it; in whole blocks, as
    # OpenCV rounds in another way where columns are left over
    rows, cols = (
        slice(
            max(start - 2 * _SMOOTHED, 0) // _COLUMNS * _COLUMNS,
            min(-(-(start + extent + 2 * _SMOOTHED) // _COLUMNS) * _COLUMNS, GRID),
        )
        for start, extent in ((top, height), (left, width))
    )
    # A frame of ones lets bodies run out of the film at full thickness.
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    framed = np.ascontiguousarray(framed[rows.start : rows.stop + 2, cols.start : cols.stop + 2])
    inside, outside = (
        cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
        for region in (framed, 1 - framed)
    )
    # Smoothing the signed distance takes the steps of the grid off the contour.
    signed = cv2.GaussianBlur(inside - outside, (2 * _SMOOTHED + 1,) * 2, 1.6)
    inside = np.clip(signed * np.float32(pose.film_cm / GRID / reach), 0.0, 1.0)
    np.sqrt(np.maximum(inside * (2.0 - inside), 0.0), out=profile[rows, cols])
    return profile


def soft_fields(build: Build, outlines: Outlines, level: np.ndarray, pose: Pose) -> SoftFields:
    """Add up the soft parts in this pose.

    Args:
        build: Soft parts of the patient.
        outlines: Their contours.
        level: y of the vertebra of each rib, (12,), cm.
        pose: Patient to film.
    """
    rows = (np.arange(GRID, dtype=np.float32) + 0.5) * (pose.film_cm / GRID)
    patient_y = rows[:, None] - pose.shift[1] + 19.0

    torso = _mask(outlines.torso, pose)
    swell = np.interp(patient_y[:, 0], [0, 5, 10, 17, 26, 38], [0.55, 0.6, 0.7, 0.9, 1.0, 1.06])
    body = _round(torso, 8.0, pose) * (build.depth * swell[:, None]).astype(np.float32)
    for side, sign in enumerate((-1.0, 1.0)):
        arm = _mask(outlines.arms[side], pose)
        body = np.maximum(body, _round(arm, 4.0, pose) * 8.5)
        if build.breast:
            body += _breast(build, level, sign, side, pose)

    centre = _mask(outlines.mediastinum, pose)
    heart = _mask(outlines.heart, pose, 4.0)
    solid = np.maximum(
        _round(centre, 2.6, pose) * np.float32(0.62 * build.depth),
        _round(heart, 5.0, pose) * np.float32(0.60 * build.depth),
    )
    air = np.zeros((GRID, GRID), np.float32)
    depth = np.interp(
        patient_y[:, 0], [level[0], level[3], level[7], level[11]], [0.55, 0.7, 0.78, 0.78]
    )
    room = (build.depth * depth[:, None]).astype(np.float32)
    for side in range(2):
        lung = _mask(outlines.lungs[side], pose)
        dome = _mask(outlines.domes[side], pose)
        # Below the dome's edge the liver takes the lung's room fast; a thin recess stays behind it.
        below = _round(dome, 4.0, pose) * room
        filled = _round(lung, 6.0, pose) * room - solid
        air = np.maximum(air, np.maximum(filled - below, np.minimum(filled, 1.0) - 0.3 * solid))
    gas = np.zeros_like(air)
    if build.bubble:
        x, y = 6.0 + build.wobble[0], build.dome[1] + 0.9 + build.bubble
        turn = np.linspace(0.0, 2.0 * np.pi, 60)
        bubble = np.stack(
            [x + 1.7 * build.bubble * np.cos(turn), y + build.bubble * np.sin(turn)], 1
        )
        gas = _round(_mask(bubble, pose), build.bubble, pose) * np.float32(build.bubble * 1.4)
    soft = body - np.float32(_LUNG_AIR) * np.minimum(air, body * 0.8) - gas
    soft = cv2.GaussianBlur(np.maximum(soft, 0.0) * np.float32(_SOFT_MU), (0, 0), 0.8)
    return SoftFields(soft, air)


def _breast(build, level, sign, side, pose) -> np.ndarray:
    turn = np.linspace(0.0, 2.0 * np.pi, 80)
    x, y = sign * (8.6 + 0.3 * build.wobble[3]), level[7] + 2.0 + 0.4 * build.wobble[4 + side]
    radius = 5.0 + 0.6 * build.breast
    contour = np.stack([x + 1.05 * radius * np.cos(turn), y + radius * np.sin(turn)], 1)
    profile = _round(_mask(contour, pose, 10.0), 4.5, pose)
    fade = np.interp(
        (np.arange(GRID) + 0.5) * (pose.film_cm / GRID) - pose.shift[1] + 19.0,
        [y - radius, y + radius],
        [0.1, 1.0],
    )
    return profile * (build.breast * fade[:, None]).astype(np.float32)
