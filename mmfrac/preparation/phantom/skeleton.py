# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Bones of one patient: ribs, clavicles, spine, shoulder blades and arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmfrac.preparation.phantom.tubes import Tubes, smooth_paths


def _make_shoulders(
    rng: np.random.Generator, level: np.ndarray, build: float, bone: float
) -> list[Tubes]:
    """Scapular borders and spine as ridges, humerus as a long tube with a round head."""
    ridges, arms = [], []
    swing = rng.normal(0.0, 0.6)
    top = level[2]
    for sign in (-1.0, 1.0):
        out = sign * (build + rng.normal(0.0, 0.015))
        tip = [out * (13.4 + swing), top + 12.5, -8.0]
        glenoid = [out * 16.0, top + 1.8, -3.0]
        medial = [out * (10.0 + 0.4 * swing), top + 0.4, -8.0]
        acromion = [out * 17.3, top - 2.2, -2.0]
        ridges += [
            [tip, [out * (14.6 + 0.6 * swing), top + 7.5, -6.5], glenoid],
            [tip, [out * (11.2 + 0.7 * swing), top + 7.0, -8.5], medial],
            [medial, [out * 13.4, top - 0.6, -7.0], acromion],
            [medial, [out * 12.6, top - 0.5, -6.0], [out * 15.2, top - 0.7, 1.0]],
        ]
        spread = rng.uniform(3.0, 9.0)
        # Straight: a bent tube as wide as the head would cross itself.
        run = np.linspace(0.0, 1.0, 4)[:, None]
        head = np.array([out * 17.7, top - 0.8, -2.0])
        arms.append(head + run * [out * (1.0 + 1.4 * spread), 34.0, 0.0])
    ends = np.clip(np.minimum(np.arange(32), np.arange(32)[::-1]) / 5.0 + 0.1, 0.0, 1.0)[None]
    ridge = Tubes(
        smooth_paths(np.array(ridges), 32),
        np.tile(np.array([[0.42, 0.42], [0.2, 0.2], [0.4, 0.4], [0.3, 0.3]]), (2, 1))[:, None]
        * np.ones((1, 32, 1)),
        np.tile(np.array([0.075, 0.05, 0.06, 0.05]), 2)[:, None] * bone * ends,
        np.tile(np.array([0.08, 0.05, 0.05, 0.04]), 2)[:, None] * bone * ends,
    )
    paths = smooth_paths(np.array(arms), 48)
    along = np.cumsum(np.linalg.norm(np.gradient(paths[0], axis=0), axis=1))
    head = np.sqrt(np.clip(2.3**2 - (along - 2.3) ** 2, 0.01, None))
    neck = 1.05 + 1.2 * np.exp(-(((along - 2.6) / 1.7) ** 2))
    thick = np.where(along < 2.3, head, neck)
    arm = Tubes(
        paths,
        np.broadcast_to(np.stack([thick, thick], -1), (2, 48, 2)).copy(),
        np.broadcast_to(bone * (0.05 + 0.15 * np.clip(along / 6 - 0.4, 0, 1)), (2, 48)).copy(),
        np.full((2, 48), 0.05 * bone),
        (0.0, 0.0, 1.0),
    )
    return [ridge, arm]


def _make_spine(
    rng: np.random.Generator, spine_x: np.ndarray, spine_y: np.ndarray, bone: float
) -> list[Tubes]:
    """Waisted bodies with dense end plates, pedicle rings, spinous and transverse processes."""
    count = len(spine_y)
    gap = np.gradient(spine_y)
    size = np.linspace(0.75, 1.15, count)
    t = np.linspace(-1.0, 1.0, 13)
    centre = np.zeros((count, 13, 3))
    centre[..., 0] = spine_x[:, None] + np.gradient(spine_x)[:, None] * t / 2
    centre[..., 1] = spine_y[:, None] + gap[:, None] * 0.41 * t
    centre[..., 2] = -4.5
    radii = np.repeat((1.5 * size[:, None] * (0.9 + 0.1 * t**2))[..., None], 2, axis=-1)
    plate = np.where(np.abs(t) > 0.9, 1.0, 0.0)
    bodies = Tubes(
        centre,
        radii,
        np.full((count, 13), 0.05 * bone),
        bone * (0.045 + 0.16 * plate) * np.ones((count, 1)),
        (0.0, 0.0, 1.0),
    )
    pedicle, processes = np.zeros((2 * count, 4, 3)), np.zeros((3 * count, 6, 3))
    depth = np.linspace(-0.4, 0.4, 4)
    run = np.linspace(0.0, 1.0, 6)
    for i in range(count):
        for s, sign in enumerate((-1.0, 1.0)):
            x = spine_x[i] + sign * 0.95 * size[i]
            pedicle[2 * i + s] = np.stack(
                [np.full(4, x), np.full(4, spine_y[i] - 0.2), -6.0 + depth], 1
            )
            reach = 2.0 * (1.15 - 0.03 * i)
            processes[3 * i + s] = np.stack(
                [x + sign * reach * run, spine_y[i] - 0.2 - 0.5 * run, -6.5 - 1.2 * run], 1
            )
        wobble = rng.normal(0.0, 0.06)
        processes[3 * i + 2] = np.stack(
            [spine_x[i] + wobble * run, spine_y[i] + 0.4 + 1.3 * run, -7.0 - 2.0 * run], 1
        )
    rings = Tubes(
        pedicle,
        np.broadcast_to([0.5, 0.36], (2 * count, 4, 2)).copy(),
        np.full((2 * count, 4), 0.045 * bone),
        np.zeros((2 * count, 4)),
    )
    spurs = Tubes(
        processes,
        np.broadcast_to([0.42, 0.3], (3 * count, 6, 2)).copy(),
        np.full((3 * count, 6), 0.05 * bone),
        np.full((3 * count, 6), 0.04 * bone),
    )
    return [bodies, rings, spurs]


_PAIRS = 12

# Table of a normal adult, rib 1 to 12, in cm and radians.
_HALF_WIDTH = np.array([6.1, 9.0, 11.0, 12.2, 13.0, 13.5, 13.8, 13.9, 13.8, 13.4, 12.8, 12.0])

_HALF_DEPTH = np.array([3.6, 5.0, 6.2, 7.2, 8.0, 8.6, 9.0, 9.2, 9.2, 9.0, 8.6, 8.0])

_DROP = np.array([4.4, 6.0, 7.6, 9.0, 10.3, 11.4, 12.4, 13.2, 13.4, 13.2, 12.0, 10.5])

_END_ANGLE = np.array([2.35, 2.45, 2.50, 2.52, 2.50, 2.46, 2.40, 2.30, 2.15, 1.98, 1.25, 0.75])

_SPACING = np.array([0.0, 1.8, 2.1, 2.3, 2.35, 2.4, 2.45, 2.5, 2.5, 2.55, 2.6, 2.65])

_FIRST_VERTEBRA_CM = 4.6

_LATERAL_SHARE = 0.47


@dataclass
class Skeleton:
    """Tubes by part; tube 2 * k + s of `ribs` is rib k + 1 of side s (0: film left, 1: film right)."""

    ribs: Tubes
    clavicles: Tubes
    cartilage: Tubes
    others: list[Tubes]
    level: np.ndarray  # (12,), y of the vertebra of each rib, cm
    wall_x: np.ndarray  # (2, 12), x of the inner chest wall at each rib's side, cm
    wall_y: np.ndarray  # (12,), its y, cm


def make_skeleton(rng: np.random.Generator, age: float, build: float) -> Skeleton:
    """Draw the bones.

    Args:
        rng: Generator of this patient.
        age: 0 young to 1 old; thins the cortex and calcifies the cartilage.
        build: Width factor of the thorax, about 1.

    Returns:
        The bones in patient coordinates.
    """
    stretch = rng.uniform(0.95, 1.07)
    level = _FIRST_VERTEBRA_CM + np.cumsum(_SPACING) * stretch
    width = _HALF_WIDTH * build * (1.0 + rng.normal(0.0, 0.012, 12))
    depth = _HALF_DEPTH * rng.uniform(0.92, 1.08)
    drop = _DROP * rng.uniform(0.85, 1.12) * (1.0 + rng.normal(0.0, 0.02, 12))
    bone = rng.uniform(0.9, 1.15) * (1.0 - 0.3 * age)
    curve = rng.normal(0.0, 0.5)

    spine_x = curve * np.sin(np.linspace(-0.5, 4.2, 19))
    spine_y = np.concatenate(
        [level[0] - np.array([6.4, 4.8, 3.2, 1.6]), level, level[-1] + np.array([2.8, 5.7, 8.7])]
    )
    ribs, cartilage = _ribs(rng, level, width, depth, drop, bone, age, spine_x[4:16])
    wall_y = level + _LATERAL_SHARE * drop
    wall_x = np.stack([-(width - 0.5), width - 0.5]) + 0.4 * spine_x[4:16]
    others = [
        *_make_spine(rng, spine_x, spine_y, bone),
        *_make_shoulders(rng, level, build, bone),
    ]
    return Skeleton(
        ribs, _clavicles(rng, level, build, bone), cartilage, others, level, wall_x, wall_y
    )


def _ribs(rng, level, width, depth, drop, bone, age, spine_x) -> tuple[Tubes, Tubes]:
    """Ribs as space curves: half ellipses from the spine forwards that drop on their way."""
    stations = 64
    height = 0.56 * rng.uniform(0.9, 1.12)
    bend = rng.uniform(1.2, 1.45)
    centre, radii, wall, fill = (
        np.zeros((24, stations, 3)),
        np.zeros((24, stations, 2)),
        np.zeros((24, stations)),
        np.zeros((24, stations)),
    )
    paths = []
    for k in range(_PAIRS):
        for s, sign in enumerate((-1.0, 1.0)):
            i = 2 * k + s
            end = _END_ANGLE[k] + rng.normal(0.0, 0.04)
            theta = np.linspace(np.arcsin(min(1.0, (2.0 / width[k]) ** 1.2)), end, stations)
            share = theta / np.pi
            x = width[k] * np.abs(np.sin(theta)) ** 0.83
            rise = -0.55 * np.exp(-(((theta - 0.55) / 0.35) ** 2)) * (k < 9)
            ripple = rng.normal(0.0, 0.10, 2) @ np.stack([np.sin(2 * theta), np.sin(3 * theta)])
            turn = np.clip((share - 0.28) / 0.45, 0.0, 1.0)
            fall = drop[k] * (0.62 * (share / 0.85) ** bend + 0.38 * turn**2 * (3.0 - 2.0 * turn))
            y = level[k] - 0.3 + rise + fall + ripple + rng.normal(0.0, 0.08)
            hub = spine_x[k] * np.exp(-share * 3.0)
            z = -depth[k] * np.cos(theta) - 0.5
            centre[i] = np.stack([sign * x + hub, y, z], axis=1)
            run = np.linspace(0.0, 1.0, stations)
            taper = np.clip(run * 12.0 + 0.7, 0.0, 1.0)
            if k >= 10:
                taper = taper * (1.0 - 0.75 * run**2)
            flare = 1.0 + 0.18 * np.clip(share / 0.8 - 0.75, 0.0, 1.0) / 0.25
            radii[i, :, 0] = height * taper * flare * (1.0 if k < 10 else 0.75)
            radii[i, :, 1] = 0.30 * taper
            grain = 1.0 + np.convolve(rng.normal(0.0, 0.25, stations), np.ones(5) / 5, 'same')
            wall[i] = bone * 0.11 * (1.2 - 0.6 * share) * grain * (1.0 if k < 10 else 0.6)
            fill[i] = bone * 0.085 * (1.1 - 0.5 * share) * grain
            if k < 10:
                paths.append(_cartilage_knots(centre[i], sign, k, level))
    cartilage = smooth_paths(np.stack(paths), stations)
    calcified = np.clip(age * 1.5 + rng.normal(-0.35, 0.25), 0.06, 1.0)
    spots = np.clip(rng.normal(-0.2, 1.0, (20, stations)), 0.0, 3.0)
    spots = (spots + np.roll(spots, 1, axis=1)) / 2 * (0.3 + rng.random((20, 1)))
    spots[:, :3] += 0.35
    chondral = Tubes(
        cartilage,
        np.broadcast_to(np.array([height * 1.05, 0.4]), (20, stations, 2)).copy(),
        0.055 * calcified * spots,
        0.012 + 0.07 * calcified * spots,
    )
    return Tubes(centre, radii, wall, fill), chondral


def _cartilage_knots(rib: np.ndarray, sign: float, k: int, level: np.ndarray) -> np.ndarray:
    """From the rib's end to the sternum; the lower ones climb to it."""
    start, before = rib[-1], rib[-6]
    target_y = level[min(k, 6)] + 4.5 + 0.9 * min(k, 6)
    target = np.array([sign * (2.0 + 0.25 * k), min(target_y, start[1] + 0.8), start[2] + 1.5])
    middle = start + (start - before) * 0.8
    middle = 0.5 * middle + 0.5 * (0.5 * (start + target) + [0.0, 0.5, 0.0])
    return np.stack([start, middle, target])


def _clavicles(rng, level, build, bone) -> Tubes:
    knots = []
    lift = rng.normal(0.0, 0.7)
    for sign in (-1.0, 1.0):
        y = level[2] + rng.normal(0.6, 0.25)
        tilt = rng.normal(0.0, 0.3)
        knots.append(
            [
                [sign * 1.9, y + 0.5, 7.0],
                [sign * 5.0 * build, y - 0.7, 8.0],
                [sign * 9.0 * build, y - 2.0 - 0.4 * lift + tilt, 6.0],
                [sign * 13.0 * build, y - 2.8 - 0.8 * lift + tilt, 2.0],
                [sign * 16.5 * build, y - 2.9 - lift + tilt, 0.0],
            ]
        )
    centre = smooth_paths(np.array(knots), 64)
    t = np.linspace(0.0, 1.0, 64)
    thick = 0.55 + 0.32 * np.exp(-((t / 0.16) ** 2)) + 0.12 * np.exp(-(((t - 1.0) / 0.2) ** 2))
    radii = np.broadcast_to(np.stack([thick, thick * 0.95], -1), (2, 64, 2)).copy()
    wall = np.full((2, 64), 0.105 * bone) * (1.0 - 0.35 * np.exp(-((t / 0.2) ** 2)))
    return Tubes(centre, radii, wall, np.full((2, 64), 0.07 * bone))
