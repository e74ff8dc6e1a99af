# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Shoulder blades and arms of one patient."""

from __future__ import annotations

import numpy as np

from mmfrac.preparation.phantom.tubes import Tubes, smooth_paths


def make_shoulders(
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
