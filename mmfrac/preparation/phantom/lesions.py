# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Fractures: where they are, what they do to the points of a bone, and the exact box around that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from mmfrac.preparation.phantom.pose import Pose
from mmfrac.preparation.phantom.skeleton import Skeleton
from mmfrac.preparation.phantom.tubes import PointCloud, Tubes, splat, tube_points

# Resolution of the truth: boxes are the same whatever the size of the film.
_REFERENCE_SIZE = 512
BOX_LEVEL = 0.15
_BOX_MARGIN_CM = 0.12
_CLAVICLE_SHARE = 0.12
ACUTE_SHARE = 0.6
_REACH_CM = 2.0
_SEPARATION_CM = 4.5


@dataclass(frozen=True)
class PhantomLesion:
    """One fracture.

    Args:
        site: 'rib' or 'clavicle'.
        kind: 'acute' (step-off with a lucent gap) or 'chronic' (callus).
        tube: Index of the bone in its group.
        arc: Place along the bone, cm.
        normal: Direction of the step in the film, (2,) unit vector.
        size: Step of an acute one or relative bulge of a chronic one (cm or 1).
        detail: Width of the gap (cm) or relative extra density of the callus (1).
        edge: Extra density of the fragments' edges (1) or width of the callus (cm).
        slant: Obliquity of the fracture line (1).
        phase: Phase of its jagged course (rad).
        box: xyxy as shares of the film's edge, (4,).
    """

    site: str
    kind: str
    tube: int
    arc: float
    normal: tuple[float, float]
    size: float
    detail: float
    edge: float
    slant: float
    phase: float
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def draw_lesions(
    rng: np.random.Generator,
    skeleton: Skeleton,
    pose: Pose,
    air: np.ndarray,
    count: int,
    difficulty: float,
) -> list[PhantomLesion]:
    """Place fractures on different bones, where a reader could see them, and box them.

    Args:
        rng: Generator of this film's fractures; difficulty does not change what is drawn.
        skeleton: The patient's bones.
        pose: Patient to film.
        air: Thickness of lung on the grid, (GRID, GRID), cm.
        count: Number of fractures.
        difficulty: 0 obvious to 1 subtle.

    Returns:
        The fractures with their boxes.

    Raises:
        ValueError: If the film has too few bones for `count` fractures.
    """
    ribs = _candidates(skeleton.ribs, pose, air, range(2, 20))
    clavicles = _candidates(skeleton.clavicles, pose, None, range(2))
    lesions: list[PhantomLesion] = []
    points: list[np.ndarray] = []
    for _ in range(count):
        on_clavicle = rng.random() < _CLAVICLE_SHARE
        draws, pick = rng.random(6), rng.random()
        pools = (('clavicle', clavicles), ('rib', ribs))
        for site, pool in pools if on_clavicle else pools[::-1]:
            used = [lesion.tube for lesion in lesions if lesion.site == site]
            free = pool[~np.isin(pool[:, 0], used)]
            for point in points:
                apart = np.linalg.norm(free[:, 2:4] - point, axis=1) > _SEPARATION_CM
                free = free[apart] if apart.any() else free
            if len(free):
                break
        else:
            raise ValueError(
                f'num_fractures={count}: only {len(lesions)} bones are free on this film; ask for fewer'
            )
        tube, arc, x, y, tx, ty = free[int(pick * len(free))]
        points.append(np.array([x, y]))
        lesion = _make(draws, site, int(tube), arc, (-ty, tx), difficulty)
        group = skeleton.ribs if site == 'rib' else skeleton.clavicles
        lesions.append(replace(lesion, box=_exact_box(group, pose, lesion)))
    return lesions


def _candidates(tubes: Tubes, pose: Pose, air: np.ndarray | None, members: range) -> np.ndarray:
    """Rows of tube, arc, film x, film y, unit tangent x and y of places fit for a fracture."""
    rows = np.array(members)
    centre = tubes.centre[rows]
    projected = pose.project(centre)
    steps = np.diff(centre, axis=1)
    length = np.linalg.norm(steps, axis=-1)
    arc = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(length, 1)], axis=1)
    run = np.gradient(projected, axis=1) / np.gradient(arc, axis=1)[..., None]
    seen = np.linalg.norm(run, axis=-1)
    margin = 0.055 * pose.film_cm
    fit = ((projected > margin) & (projected < pose.film_cm - margin)).all(-1) & (seen > 0.6)
    fit &= (arc > 3.5) & (arc < arc[:, -1:] - 2.0)
    if air is not None:
        near = cv2.dilate(air, np.ones((9, 9), np.uint8))
        cell = np.clip((projected * (len(air) / pose.film_cm)).astype(int), 0, len(air) - 1)
        fit &= near[cell[..., 1], cell[..., 0]] > 0.35 * air.max()
    unit = run / np.maximum(seen, 1e-6)[..., None]
    tube = np.broadcast_to(rows[:, None], arc.shape)
    return np.column_stack([tube[fit], arc[fit], projected[fit], unit[fit]])


def _make(draws, site, tube, arc, normal, difficulty) -> PhantomLesion:
    """Sizes between those of an obvious and of a subtle fracture."""
    vary = 0.85 + 0.3 * draws[1:4]
    scale = 1.15 if site == 'clavicle' else 1.0
    sign = 1.0 if draws[4] < 0.5 else -1.0
    if draws[0] < ACUTE_SHARE:
        easy, hard = np.array([1.35, 0.8, 9.0]), np.array([0.22, 0.10, 0.1])
        kind = 'acute'
    else:
        easy, hard = np.array([0.85, 10.0, 0.62]), np.array([0.18, 0.40, 0.5])
        kind = 'chronic'
    size, detail, edge = (easy + (hard - easy) * difficulty) * vary
    return PhantomLesion(
        site,
        kind,
        tube,
        float(arc),
        (sign * normal[0], sign * normal[1]),
        float(size * scale),
        float(detail * scale),
        float(edge),
        float(1.2 * draws[5] - 0.6),
        float(2.0 * np.pi * draws[4]),
    )


def apply_lesion(cloud: PointCloud, row: int, lesion: PhantomLesion) -> None:
    """Move and reweigh the points of bone `row` in place."""
    position, mass = cloud.position[row], cloud.mass[row]
    normal = np.array(lesion.normal, np.float32)
    along = cloud.arc[row][:, None] - np.float32(lesion.arc)
    if lesion.kind == 'chronic':
        callus = np.exp(-0.5 * (along / lesion.edge) ** 2)
        middle = cloud.centre[row][:, None]
        # Each point goes out by its own share: a cloud around the old cortex, not a blown-up one.
        chance = np.random.default_rng(lesion.tube).random(mass.shape, dtype=np.float32)
        share = 0.4 + 1.2 * np.sqrt(chance)
        stretch = (lesion.size * callus * share).astype(np.float32)
        position[:] = middle + (position - middle) * (1.0 + stretch)[..., None]
        position += (0.12 * lesion.size * callus)[..., None] * normal
        mass *= 1.0 + lesion.detail * callus
        return
    across = cloud.across[row]
    along = along - lesion.slant * across - 0.07 * np.sin(9.0 * across + lesion.phase)
    reach = np.clip(np.abs(along) / _REACH_CM, 0.0, 1.0)
    fade = 1.0 - reach * reach * (3.0 - 2.0 * reach)
    step = np.where(along > 0, 0.62, -0.38) * lesion.size * fade
    position += step[..., None].astype(np.float32) * normal
    outside = np.abs(along) - 0.5 * lesion.detail
    rim = np.exp(-((np.maximum(outside, 0.0) / 0.15) ** 2))
    mass *= np.clip(outside / 0.06 + 0.5, 0.0, 1.0) * (1.0 + lesion.edge * rim)


def _exact_box(
    group: Tubes, pose: Pose, lesion: PhantomLesion
) -> tuple[float, float, float, float]:
    """Bounds of what the fracture changes on the film, from the bone with and without it."""
    bone = group.select(lesion.tube)
    cloud = tube_points(bone, pose, _REFERENCE_SIZE)
    whole = splat([cloud], pose.film_cm, _REFERENCE_SIZE)
    apply_lesion(cloud, 0, lesion)
    broken = splat([cloud], pose.film_cm, _REFERENCE_SIZE)
    sigma = 0.07 * _REFERENCE_SIZE / pose.film_cm
    change = np.abs(cv2.GaussianBlur(broken - whole, (0, 0), sigma))
    rows, cols = np.nonzero(change > BOX_LEVEL * change.max())
    margin = _BOX_MARGIN_CM / pose.film_cm
    low = np.array([cols.min(), rows.min()]) / _REFERENCE_SIZE - margin
    high = np.array([cols.max() + 1, rows.max() + 1]) / _REFERENCE_SIZE + margin
    x1, y1, x2, y2 = np.clip(np.concatenate([low, high]), 0.0, 1.0)
    return float(x1), float(y1), float(x2), float(y2)
