# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Thickness of body, air and organs along the beam, on one grid so that all film sizes agree."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from mmfrac.preparation.phantom import contours
from mmfrac.preparation.phantom.contours import Build
from mmfrac.preparation.phantom.pose import Pose
from mmfrac.preparation.phantom.skeleton import Skeleton

GRID = 320
SOFT_MU = 0.19
LUNG_AIR = 0.78


class SoftFields(NamedTuple):
    """Fields on the grid, (GRID, GRID) float32."""

    attenuation: np.ndarray  # of everything but bones and vessels
    air: np.ndarray  # cm of lung along the beam


def _mask(contour: np.ndarray, pose: Pose, depth: float = 0.0) -> np.ndarray:
    film = pose.project_plane(contour, depth) * (GRID / pose.film_cm)
    mask = np.zeros((GRID, GRID), np.uint8)
    cv2.fillPoly(mask, [np.round((film - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return mask


def _round(mask: np.ndarray, reach: float, pose: Pose) -> np.ndarray:
    """Profile of a rounded slab: 0 at the contour, 1 from `reach` cm inside it."""
    # A frame of ones lets bodies run out of the film at full thickness.
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside, outside = (
        cv2.distanceTransform(plane, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
        for plane in (framed, 1 - framed)
    )
    # Smoothing the signed distance takes the steps of the grid off the contour.
    signed = cv2.GaussianBlur(inside - outside, (9, 9), 1.6)
    inside = np.clip(signed * np.float32(pose.film_cm / GRID / reach), 0.0, 1.0)
    return np.sqrt(np.maximum(inside * (2.0 - inside), 0.0))


def soft_fields(build: Build, skeleton: Skeleton, pose: Pose) -> SoftFields:
    """Add up the soft parts in this pose."""
    level, wall_x, wall_y = skeleton.level, skeleton.wall_x, skeleton.wall_y
    rows = (np.arange(GRID, dtype=np.float32) + 0.5) * (pose.film_cm / GRID)
    patient_y = rows[:, None] - pose.shift[1] + 19.0

    torso = _mask(contours.torso(build, skeleton), pose)
    swell = np.interp(patient_y[:, 0], [0, 5, 10, 17, 26, 38], [0.55, 0.6, 0.7, 0.9, 1.0, 1.06])
    body = _round(torso, 8.0, pose) * (build.depth * swell[:, None]).astype(np.float32)
    for side, sign in enumerate((-1.0, 1.0)):
        arm = _mask(contours.arm(skeleton, side), pose)
        body = np.maximum(body, _round(arm, 4.0, pose) * 8.5)
        if build.breast:
            body += _breast(build, level, sign, side, pose)

    centre = _mask(contours.mediastinum(build, level), pose)
    heart = _mask(contours.heart(build, level), pose, 4.0)
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
        lung = _mask(contours.lung(build, level, wall_x[side], wall_y, side), pose)
        dome = _mask(contours.dome(build, side), pose)
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
    soft = body - np.float32(LUNG_AIR) * np.minimum(air, body * 0.8) - gas
    soft = cv2.GaussianBlur(np.maximum(soft, 0.0) * np.float32(SOFT_MU), (0, 0), 0.8)
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
