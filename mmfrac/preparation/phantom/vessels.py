# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Pulmonary vessels: trees that branch from the hila towards the chest wall; and the airway."""

from __future__ import annotations

import numpy as np

from mmfrac.preparation.phantom.skeleton import Skeleton
from mmfrac.preparation.phantom.tubes import Tubes

STATIONS = 6
GENERATIONS = 7
SOFT_MU = 0.19


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
        for generation in range(GENERATIONS):
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
    t = np.linspace(0.0, 1.0, STATIONS)[None, :, None]
    path = start[:, None] + (heading * length)[:, None] * t + (bend * length)[:, None] * t**2
    taper = radius[:, None] * np.linspace(1.0, 0.86, STATIONS)
    tube = Tubes(
        path,
        np.repeat(taper[..., None], 2, axis=-1),
        np.zeros((count, STATIONS)),
        np.full((count, STATIONS), SOFT_MU * 1.35 * crowd),
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
    t = np.linspace(0.0, 1.0, STATIONS)[:, None]
    runs = [
        (np.array([0.0, level[0] - 9.0, 0.0]), fork),
        (fork, fork + [-3.2, 2.6, 0.0]),
        (fork, fork + [4.0, 2.4, 0.0]),
    ]
    centre = np.stack([a + (b - a) * t for a, b in runs])
    radius = np.array([0.85, 0.6, 0.52])[:, None] * np.ones((1, STATIONS))
    return Tubes(
        centre,
        np.repeat(radius[..., None], 2, axis=-1),
        np.zeros((3, STATIONS)),
        np.full((3, STATIONS), -0.75 * SOFT_MU),
        (0.0, 0.0, 1.0),
    )
