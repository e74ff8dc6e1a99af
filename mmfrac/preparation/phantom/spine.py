# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The spine of one patient."""

from __future__ import annotations

import numpy as np

from mmfrac.preparation.phantom.tubes import Tubes


def make_spine(
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
