# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Bent tubes as clouds of attenuating points: of these are bones, vessels and devices built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
from scipy.interpolate import CubicSpline

from mmfrac.preparation.phantom.pose import Pose

_GOLDEN_ANGLE = np.pi * (3.0 - np.sqrt(5.0))
SAMPLES_PER_PIXEL = 1.3


@dataclass
class Tubes:
    """K tubes with S stations each, in patient coordinates.

    Unit cm; x to the right of the film, y down, z towards the detector.

    Args:
        centre: Centre lines, (K, S, 3).
        radii: Semi-axes of the elliptical section, (K, S, 2): along `reference` and across it.
        wall: Attenuation of the wall, mu times thickness, (K, S).
        fill: Attenuation coefficient of the inside (1/cm, relative to what is around), (K, S).
        reference: Direction that the first semi-axis keeps to, (3,).
    """

    centre: np.ndarray
    radii: np.ndarray
    wall: np.ndarray
    fill: np.ndarray
    reference: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def select(self, index: int) -> Tubes:
        """One tube as a batch of one."""
        part = slice(index, index + 1)
        return Tubes(
            self.centre[part], self.radii[part], self.wall[part], self.fill[part], self.reference
        )


class PointCloud(NamedTuple):
    """Points of K tubes on the film: J points at each of S stations."""

    position: np.ndarray  # (K, S, J, 2), film cm
    mass: np.ndarray  # (K, S, J), attenuation times cm^2
    centre: np.ndarray  # (K, S, 2), film cm
    arc: np.ndarray  # (K, S), cm along the tube
    across: np.ndarray  # (K, S, J), cm along the first semi-axis


def smooth_paths(knots: np.ndarray, stations: int = 48) -> np.ndarray:
    """Cubic spline through the knots of each path, evenly spaced.

    Args:
        knots (np.ndarray): (K, n, d).
        stations (int): Points of a path. Defaults to 48.

    Returns:
        np.ndarray: (K, stations, d).
    """
    spline = CubicSpline(np.linspace(0.0, 1.0, knots.shape[1]), knots, axis=1)
    dense = spline(np.linspace(0.0, 1.0, 4 * stations))
    lengths = np.linalg.norm(np.diff(dense, axis=1), axis=-1)
    arc = np.concatenate([np.zeros((len(knots), 1)), np.cumsum(lengths, 1)], axis=1)
    even = np.linspace(0.0, 1.0, stations)
    paths = np.empty((len(knots), stations, knots.shape[2]))
    for path, at, points in zip(paths, arc / arc[:, -1:], dense):
        for axis in range(knots.shape[2]):
            path[:, axis] = np.interp(even, at, points[:, axis])
    return paths


@numba.njit(cache=True)
def _resample(values, stations):
    """Linear interpolation of (K, S, d) along axis 1 to `stations` midpoints."""
    tubes, knots, numbers = values.shape
    dense = np.empty((tubes, stations, numbers), np.float32)
    one = np.float32(1.0)
    for s in range(stations):
        at = (s + 0.5) / stations * (knots - 1)
        low = min(int(at), knots - 2)
        weight = np.float32(at - low)
        for k in range(tubes):
            for i in range(numbers):
                dense[k, s, i] = values[k, low, i] * (one - weight) + values[k, low + 1, i] * weight
    return dense


def tube_points(tubes: Tubes, pose: Pose, size: int) -> PointCloud:
    """Sample tubes densely enough for a film of `size` px and project the points.

    Args:
        tubes: K tubes.
        pose: Patient to film.
        size: Edge of the film in px; sets the density of points.

    Returns:
        The projected cloud; summed over a pixel, mass over pixel area is the attenuation there.
    """
    pixel = pose.film_cm / size
    steps = np.diff(tubes.centre, axis=1)
    lengths = np.sqrt((steps**2).sum(-1))
    stations = int(np.ceil(lengths.sum(1).max() * SAMPLES_PER_PIXEL / pixel)) + 2
    around = min(int(np.ceil(5.5 * tubes.radii.max() / pixel)) + 8, 160)

    tangents = np.gradient(tubes.centre, axis=1)
    tangents /= np.linalg.norm(tangents, axis=-1, keepdims=True) + 1e-9
    normals = np.cross(tangents, np.asarray(tubes.reference))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    binormals = np.cross(normals, tangents)

    arc_knots = np.concatenate([np.zeros((len(lengths), 1)), np.cumsum(lengths, 1)], axis=1)
    directions = np.stack([binormals, normals], axis=2) @ pose.matrix.T
    knots = np.concatenate(
        [
            pose.project(tubes.centre),
            directions.reshape(len(lengths), -1, 4),
            tubes.radii,
            *(v[..., None] for v in (tubes.wall, tubes.fill, arc_knots)),
        ],
        axis=-1,
    )
    dense = _resample(knots.astype(np.float32), stations)
    radii, wall, fill = dense[..., 6:8], dense[..., 8], dense[..., 9]
    step = (arc_knots[:, -1:] / stations).astype(np.float32)
    patterns = []
    if np.any(tubes.wall != 0):
        patterns.append(_wall_pattern(radii, wall * step, around))
    if np.any(tubes.fill != 0):
        patterns.append(_fill_pattern(radii, fill * step, around))
    unit = np.concatenate([pattern for pattern, _ in patterns], axis=1)
    mass = np.concatenate([mass for _, mass in patterns], axis=-1)
    position = np.empty((*mass.shape, 2), np.float32)
    across = np.empty_like(mass)
    _arrange(dense, unit, position, across)
    return PointCloud(position, mass, dense[..., :2], dense[..., 10], across)


@numba.njit(cache=True)
def _arrange(dense, unit, position, across):
    """Centre plus the two semi-axes, each by its share, for all points."""
    tubes, stations, points = across.shape
    for k in range(tubes):
        for s in range(stations):
            row = dense[k, s]
            for j in range(points):
                a, b = unit[s, j, 0] * row[6], unit[s, j, 1] * row[7]
                across[k, s, j] = a
                position[k, s, j, 0] = row[0] + a * row[2] + b * row[4]
                position[k, s, j, 1] = row[1] + a * row[3] + b * row[5]


def _wall_pattern(radii: np.ndarray, strength: np.ndarray, around: int):
    """Points on the ellipse itself; mass goes with its arc length."""
    stations = radii.shape[1]
    turn = (np.arange(stations) % 2) * 0.5
    phi = ((np.arange(around) + turn[:, None]) * 2.0 * np.pi / around).astype(np.float32)
    cos, sin = np.cos(phi), np.sin(phi)
    length = np.sqrt((radii[..., :1] * sin) ** 2 + (radii[..., 1:] * cos) ** 2)
    mass = length * (strength * np.float32(2.0 * np.pi / around))[..., None]
    return np.stack([cos, sin], axis=-1), mass


def _fill_pattern(radii: np.ndarray, strength: np.ndarray, around: int):
    """Sunflower points in the ellipse, turned from station to station: even, but no grid."""
    stations = radii.shape[1]
    # Wide flat things need even fillings; in slim ones the blur hides the grain.
    count = around if radii.max() > 0.8 else max(5, around // 3)
    index = np.arange(count)
    phi = index * _GOLDEN_ANGLE + (np.arange(stations) ** 2 * _GOLDEN_ANGLE)[:, None]
    rho = np.sqrt((index + 0.5) / count)
    cos, sin = (rho * np.cos(phi)).astype(np.float32), (rho * np.sin(phi)).astype(np.float32)
    area = np.float32(np.pi) * radii[..., 0] * radii[..., 1]
    mass = np.repeat((strength * area / count)[..., None], count, axis=-1)
    return np.stack([cos, sin], axis=-1), mass


def splat(clouds: Iterable[PointCloud], film_cm: float, size: int) -> np.ndarray:
    """Sum point masses onto the pixels with bilinear weights.

    Args:
        clouds: Projected points.
        film_cm: Edge of the film in cm.
        size: Edge of the film in px.

    Returns:
        Attenuation, (size, size) float32.
    """
    total = np.zeros((size + 3, size + 3), np.float32)
    for cloud in clouds:
        _deposit(cloud.position.reshape(-1, 2), cloud.mass.ravel(), size / film_cm, total)
    return total[1 : size + 1, 1 : size + 1]


@numba.njit(cache=True)
def _deposit(points, mass, per_cm, total):
    """Add points to their four nearest pixels; a frame around the film catches the rest."""
    last = total.shape[0] - 2.0
    for i in range(len(mass)):
        x = min(max(points[i, 0] * per_cm + 0.5, 0.0), last)
        y = min(max(points[i, 1] * per_cm + 0.5, 0.0), last)
        col, row = int(x), int(y)
        right, low = x - col, y - row
        weight = mass[i] * per_cm * per_cm
        total[row, col] += weight * (1.0 - low) * (1.0 - right)
        total[row, col + 1] += weight * (1.0 - low) * right
        total[row + 1, col] += weight * low * (1.0 - right)
        total[row + 1, col + 1] += weight * low * right
