# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Long bright ridges by the Hessian at several scales, and walks along them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

STEP = 1.5
DIRECTIONS = 13
SHARPEST_TURN = 0.35
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
    plane: np.ndarray, sigmas: tuple[float, ...], length: float, steepest: float
) -> RidgeField:
    """Multi-scale ridge filter for long ridges.

    The Hessian at scale sigma, times sigma^2 (Lindeberg, 1998), gives the second derivative across
    every direction. It is averaged along that direction, so that what crosses a ridge does not
    break it. The scale and direction with the strongest answer win.

    Args:
        plane (np.ndarray): (h, w) float32.
        sigmas (tuple[float, ...]): Scales across the ridge, px.
        length (float): Standard deviation of the average along it, px.
        steepest (float): Directions from -steepest to steepest are looked at, rad.

    Returns:
        RidgeField: Of the plane's shape.
    """
    strength = np.zeros(plane.shape, np.float32)
    angle = np.zeros(plane.shape, np.float32)
    directions = np.linspace(-steepest, steepest, DIRECTIONS)
    lines = [_line(length, direction) for direction in directions]
    for sigma in sigmas:
        xx, xy, yy = (
            ndimage.gaussian_filter(plane, sigma, order=order, mode='nearest', truncate=3.5)
            for order in ((0, 2), (1, 1), (2, 0))
        )
        for direction, line in zip(directions, lines):
            c, s = np.cos(direction), np.sin(direction)
            across = (s * s * xx - 2 * s * c * xy + c * c * yy) * -(sigma**2)
            answer = cv2.filter2D(across, cv2.CV_32F, line, borderType=cv2.BORDER_REPLICATE)
            better = answer > strength
            strength[better], angle[better] = answer[better], direction
    return RidgeField(strength, angle)


def sample(plane: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of a plane between its pixels.

    Args:
        plane (np.ndarray): (h, w) float32.
        points (np.ndarray): (..., 2) x, y; pixel centres are integers.

    Returns:
        np.ndarray: (...) float32, linear; beyond the edge the edge's value.
    """
    count = points.size // 2
    rows = np.zeros((2, max(1, -(-count // _ROW)), _ROW), np.float32)
    rows.reshape(2, -1)[:, :count] = points.reshape(-1, 2).T
    values = cv2.remap(plane, rows[0], rows[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.ravel()[:count].reshape(points.shape[:-1])


def crests(field: RidgeField, region: np.ndarray, least: float, thinning: int = 3) -> np.ndarray:
    """Points on the middle lines of ridges.

    Args:
        field (RidgeField): Ridges.
        region (np.ndarray): (h, w) bool, where to look.
        least (float): Share of the region's 90th percentile of strength that a point must have.
        thinning (int): Only every so many points are kept. Default: 3.

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
        place, heading = start.copy(), sign * first
        walk = []
        for _ in range(int(reach / STEP)):
            place = _centred(field.strength, place + STEP * heading, heading)
            turned = _directions(double, place)
            turned *= np.where((turned * heading).sum(-1) < 0, -1.0, 1.0)[:, None]
            alive &= sample(field.strength, place) >= enough
            alive &= (turned * heading).sum(-1) > np.cos(SHARPEST_TURN)
            heading = 0.6 * heading + 0.4 * turned
            heading /= np.linalg.norm(heading, axis=1, keepdims=True)
            walk.append(place)
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


def _centred(strength: np.ndarray, place: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Moved across the heading towards the strongest point within a pixel."""
    normal = np.stack([-heading[:, 1], heading[:, 0]], axis=-1)
    offsets = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    probes = place[:, None] + offsets[:, None] * normal[:, None]
    best = sample(strength, probes).argmax(axis=1)
    return place + 0.5 * offsets[best][:, None] * normal
