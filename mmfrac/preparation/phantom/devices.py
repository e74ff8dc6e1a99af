# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Hard negatives that are not anatomy: pacemaker, port, lines, electrodes, sternal wires, marker."""

from __future__ import annotations

import numpy as np

from mmfrac.preparation.phantom.skeleton import Skeleton
from mmfrac.preparation.phantom.tubes import Tubes, smooth_paths

_FRONT_CM = 9.0


def make_devices(rng: np.random.Generator, skeleton: Skeleton) -> list[Tubes]:
    """Draw none, one or two devices of a film.

    Args:
        rng: Generator of this film's devices.
        skeleton: The patient's bones, for the places.

    Returns:
        Tubes in patient coordinates.
    """
    makers = (_pacemaker, _port, _central_line, _electrodes, _sternal_wires)
    count = int(rng.choice(3, p=[0.55, 0.35, 0.10]))
    chosen = rng.choice(len(makers), 2, replace=False, p=[0.17, 0.15, 0.23, 0.30, 0.15])
    devices: list[Tubes] = []
    for index in chosen[:count]:
        devices += makers[index](rng, skeleton.level)
    return devices


def _line(knots: list, radius: float, fill: float) -> Tubes:
    """A wire or catheter through the knots."""
    path = smooth_paths(np.array([knots], float), 64)
    return Tubes(
        path,
        np.full((1, 64, 2), radius),
        np.zeros((1, 64)),
        np.full((1, 64), fill),
        (0.3, 0.2, 0.93),
    )


def _disc(x: float, y: float, radius: float, thick: float, fill: float, rim: float) -> Tubes:
    """A flat disc that faces the detector."""
    z = _FRONT_CM + np.linspace(0.0, thick, 4)
    path = np.stack([np.full(4, x), np.full(4, y), z], axis=1)[None]
    return Tubes(
        path,
        np.full((1, 4, 2), radius),
        np.full((1, 4), rim),
        np.full((1, 4), fill),
        (0.0, 1.0, 0.0),
    )


def _pacemaker(rng, level) -> list[Tubes]:
    sign = 1.0 if rng.random() < 0.85 else -1.0
    x, y = sign * rng.uniform(8.0, 10.0), level[3] + rng.uniform(0.0, 2.0)
    t = np.linspace(-1.0, 1.0, 40)
    tilt = rng.uniform(-0.5, 0.5)
    run = 2.1 * t
    path = np.stack([x + run * np.cos(tilt), y + run * np.sin(tilt), np.full(40, _FRONT_CM)], 1)
    half = 1.9 * (1.0 - np.abs(t) ** 3.5) ** 0.5 + 0.02
    can = Tubes(
        path[None],
        np.stack([half, np.full(40, 0.33)], -1)[None],
        np.zeros((1, 40)),
        np.full((1, 40), 3.0),
        (0.0, 1.0, 0.0),
    )
    vein = [
        [x - sign * 1.0, y - 1.5, 8.0],
        [sign * 5.0, level[2] + 0.5, 6.0],
        [-1.5, level[3] + 1.0, 3.0],
    ]
    tip = [rng.uniform(2.5, 5.0), level[9] - rng.uniform(0.0, 2.0), 5.0]
    atrium = [-2.6, level[7] - rng.uniform(0.5, 1.5), 5.0]
    return [
        can,
        _line([*vein, [-2.2, level[7], 3.0], [0.0, level[8] + 1.0, 4.0], tip], 0.09, 3.0),
        _line([*vein, [-2.0, level[6], 3.0], [-2.0, level[7] + 0.6, 4.0], atrium], 0.08, 3.0),
    ]


def _port(rng, level) -> list[Tubes]:
    x, y = -rng.uniform(6.5, 8.5), level[3] + rng.uniform(0.5, 2.0)
    knots = [
        [x + 0.6, y - 0.8, 8.0],
        [-5.0, level[1] + 1.0, 6.0],
        [-3.2, level[1] + 0.2, 4.0],
        [-2.0, level[3], 2.0],
        [-2.1, level[5] + rng.uniform(0.0, 2.0), 2.0],
    ]
    return [
        _disc(x, y, 1.25, 0.5, 0.6, 0.7),
        _disc(x, y, 0.65, 0.5, 0.6, 0.5),
        _line(knots, 0.10, 1.6),
    ]


def _central_line(rng, level) -> list[Tubes]:
    sign = -1.0 if rng.random() < 0.7 else 1.0
    lean = rng.normal(0.0, 0.4)
    knots = [
        [sign * (6.5 + lean), level[0] - 9.0, 6.0],
        [sign * (4.2 + lean), level[0] - 3.0, 4.0],
        [sign * 2.8, level[1], 2.0],
        [-1.8, level[3] + 0.6, 1.0],
        [-2.2, level[6] + rng.uniform(-1.5, 0.8), 1.0],
    ]
    return [_line(knots, 0.11, 1.5)]


def _electrodes(rng, level) -> list[Tubes]:
    points = [
        (-11.0, level[2] + 1.0),
        (10.5, level[2] + 1.2),
        (11.0, level[9] + 1.0),
        (-2.0, level[7]),
    ]
    parts: list[Tubes] = []
    for index in rng.permutation(4)[: int(rng.integers(2, 4))]:
        x, y = points[index] + rng.normal(0.0, 1.0, 2)
        sag = rng.normal(0.0, 2.0, 2)
        away = [16.0 * np.sign(x) + sag[1], 44.0 if y > level[6] else y + 16.0, 10.0]
        parts += [
            _disc(x, y, 0.95, 0.25, 0.25, 0.25),
            _disc(x, y, 0.38, 0.3, 3.0, 0.2),
            _line(
                [
                    [x, y, 9.5],
                    [x + 0.5 * sag[0], y + 4.0, 10.0],
                    [x + sag[0] * 1.5, y + 9.0, 10.0],
                    away,
                ],
                0.07,
                2.2,
            ),
        ]
    return parts


def _sternal_wires(rng, level) -> list[Tubes]:
    parts = []
    for y in np.linspace(level[3] + 1.0, level[8], 5):
        w, h = rng.uniform(0.7, 1.1), rng.uniform(0.25, 0.5)
        turn = np.linspace(0.0, 2.0 * np.pi, 9) + rng.normal(0.0, 0.3)
        loop = np.stack([w * np.sin(turn), y + h * np.sin(2.0 * turn), _FRONT_CM + 0 * turn], 1)
        parts.append(_line(loop.tolist(), 0.06, 4.0))
    return parts


def make_marker(rng: np.random.Generator, film_cm: float) -> Tubes | None:
    """Lead letter L or R in an upper corner, in film cm; None on a third of the films."""
    shown, right_side = rng.random() < 0.67, rng.random() < 0.5
    inset, tall, tilt = rng.uniform([2.0, 0.9, -0.35], [3.2, 1.5, 0.35])
    if not shown:
        return None
    letter_l = [[(0, 0), (0, 1)], [(0, 1), (0.55, 1)]]
    letter_r = [[(0, 0), (0, 1)], [(0, 0), (0.5, 0.05)], [(0.5, 0.05), (0.5, 0.5)]]
    letter_r += [[(0.5, 0.5), (0, 0.5)], [(0.2, 0.5), (0.55, 1)]]
    strokes = np.array(letter_l if right_side else letter_r, float) * tall
    turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
    strokes = strokes @ turn.T
    strokes += [film_cm - inset - tall if right_side else inset, inset]
    share = np.linspace(0.0, 1.0, 6)[None, :, None]
    flat = strokes[:, :1] + (strokes[:, 1:] - strokes[:, :1]) * share
    path = np.concatenate([flat, np.zeros((*flat.shape[:2], 1))], axis=-1)
    shape = path.shape[:2]
    return Tubes(
        path, np.full((*shape, 2), 0.11), np.zeros(shape), np.full(shape, 4.0), (0.0, 0.0, 1.0)
    )
