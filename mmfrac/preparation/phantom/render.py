# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A phantom film: anatomy, lesions and devices, then exposure, noise and display curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from mmfrac.preparation.phantom.devices import make_devices, make_marker
from mmfrac.preparation.phantom.dicom_file import FULL_SCALE
from mmfrac.preparation.phantom.lesions import PhantomLesion, apply_lesion, draw_lesions
from mmfrac.preparation.phantom.pose import Pose
from mmfrac.preparation.phantom.skeleton import Skeleton, make_skeleton
from mmfrac.preparation.phantom.soft_tissue import GRID, Build, Outlines, make_vessels, soft_fields
from mmfrac.preparation.phantom.tubes import PointCloud, Tubes, splat, tube_points


def _expose(
    rng: np.random.Generator,
    soft: np.ndarray,
    air: np.ndarray,
    bones: np.ndarray,
    ink: np.ndarray | None,
    film_cm: float,
    size: int,
) -> np.ndarray:
    """Expose one film.

    The exposure follows the soft parts alone, so that a fracture changes the film only where it is.

    Args:
        rng: Generator of this film's exposure and noise.
        soft: Attenuation of the soft parts on their grid, (g, g).
        air: Lung on the same grid in cm, (g, g).
        bones: Attenuation of all else, (size, size).
        ink: Lead letters, added to the displayed film, (size, size), or None.
        film_cm: Edge of the film in cm.
        size: Edge of the film in px.

    Returns:
        12-bit plane, (size, size) uint16.
    """
    scatter_share = rng.uniform(0.15, 0.4)
    photons = 10 ** rng.uniform(4.3, 5.2)
    blur_cm = rng.uniform(0.025, 0.06)
    low, high = rng.normal(0.0, 0.05), min(max(rng.normal(0.0, 0.08), -0.15), 0.2)
    gamma = rng.uniform(0.85, 1.2)

    shutter = rng.uniform(0.008, 0.035, 4) * (rng.random(4) < 0.7) * (rng.random() < 0.45)

    total = cv2.resize(soft, (size, size), interpolation=cv2.INTER_LINEAR) + bones
    sigma = blur_cm * size / film_cm
    total = cv2.GaussianBlur(total, (0, 0), max(sigma, 0.35))
    coarse = np.exp(-cv2.resize(soft, (50, 50), interpolation=cv2.INTER_AREA))
    spread = cv2.GaussianBlur(coarse, (0, 0), 4.0, borderType=cv2.BORDER_REPLICATE)
    spread = cv2.resize(spread, (size, size), interpolation=cv2.INTER_CUBIC)
    signal = np.exp(-total) + np.float32(scatter_share) * np.maximum(spread, 1e-4)
    quanta = photons * (film_cm / size / 0.1) ** 2
    noise = rng.standard_normal((size, size), dtype=np.float32)
    signal += noise * np.sqrt(signal / np.float32(quanta))
    response = -np.log(np.maximum(signal, 1e-4))

    reference = -np.log(np.exp(-soft) + scatter_share * cv2.resize(spread, soft.shape[::-1]))
    lung = float(np.percentile(reference[air > 0.5 * air.max()], 20.0))
    dense = float(np.percentile(reference, 95.0))
    span = dense - lung
    bottom = lung - span * (0.28 + low)
    top = dense + span * (0.14 + high)
    level = np.maximum((response - bottom) / (top - bottom), 0.0)
    # The shoulder of the display curve keeps detail in the dense parts.
    level *= (1.0 + level**6) ** np.float32(-1.0 / 6.0)
    level **= np.float32(gamma)
    if shutter.any():
        level *= _shutter(shutter, size)
    if ink is not None:
        level = level + ink
    level = np.clip(level, 0.0, 1.0)
    return np.round(level * FULL_SCALE).astype(np.uint16)


def _shutter(edges: np.ndarray, size: int) -> np.ndarray:
    """Black border of the collimator: top, bottom, left, right as shares of the film."""
    position = (np.arange(size) + 0.5) / size
    ramp = np.float32(size * 0.5)
    rows = np.clip(
        np.minimum(position - edges[0], 1.0 - edges[1] - position) * ramp + 0.5, 0.0, 1.0
    )
    cols = np.clip(
        np.minimum(position - edges[2], 1.0 - edges[3] - position) * ramp + 0.5, 0.0, 1.0
    )
    return (rows[:, None] * cols[None]).astype(np.float32)


@dataclass
class PhantomImage:
    """One film with its truth.

    Args:
        image: 12-bit display-linear plane, bright bone on dark lung, (size, size) uint16.
        boxes: xyxy in film px, (n, 4) float.
        sites: 'rib' or 'clavicle' for each box.
        kinds: 'acute' or 'chronic' for each box.
        pixel_mm: Spacing of the pixels at the detector, mm.
    """

    image: np.ndarray
    boxes: np.ndarray
    sites: list[str]
    kinds: list[str]
    pixel_mm: float


@dataclass
class Patient:
    """Everything that the films of one patient share."""

    skeleton: Skeleton
    build: Build
    outlines: Outlines
    vessels: list[Tubes]
    texture: np.ndarray  # (GRID, GRID) float32, fine structure of the lung, unit variance
    mottle: np.ndarray  # (GRID, GRID) float32, coarse unevenness of the soft parts


@lru_cache(maxsize=4)
def _make_patient(patient_seed: int) -> Patient:
    """Draw the anatomy of a patient."""
    rng = np.random.default_rng([1, patient_seed])
    skeleton = make_skeleton(rng, age=float(rng.random()), build=float(rng.normal(1.0, 0.045)))
    build = Build.random(rng, skeleton)
    vessels = make_vessels(rng, skeleton, min(build.dome))
    texture = 0.6 * _noise(rng, 1.3) + _noise(rng, 3.0) + 0.8 * _noise(rng, 7.0)
    mottle = _noise(rng, 14.0) + 0.8 * _noise(rng, 30.0)
    outlines = Outlines.around(skeleton, build)
    return Patient(skeleton, build, outlines, vessels, texture, mottle)


def _noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Smooth noise of unit variance on the grid."""
    cell = max(1, int(sigma / 2))
    white = rng.standard_normal((GRID // cell + 1,) * 2, dtype=np.float32)
    small = cv2.GaussianBlur(white, (0, 0), sigma / cell)
    return cv2.resize(small / small.std(), (GRID, GRID), interpolation=cv2.INTER_LINEAR)


def render_image(
    patient_seed: int,
    image_seed: int,
    size: int = 512,
    num_fractures: int = 0,
    difficulty: float = 0.3,
) -> PhantomImage:
    """Render one synthetic chest film.

    Args:
        patient_seed: Chooses the anatomy.
        image_seed: Chooses pose, exposure, devices, noise and fractures.
        size: Edge of the square film in px, default 512.
        num_fractures: Number of fractures, default 0. They leave every other draw as it is.
        difficulty: 0 obvious to 1 subtle, default 0.3.

    Returns:
        The film and its boxes.

    Raises:
        ValueError: If a value is out of its range.
    """
    if size < 32 or num_fractures < 0 or not 0.0 <= difficulty <= 1.0:
        raise ValueError(
            f'render_image(size={size}, num_fractures={num_fractures}, difficulty={difficulty}): '
            'size must be at least 32 px, num_fractures at least 0, difficulty in [0, 1]'
        )
    patient, pose, fields, lesions = _stage(patient_seed, image_seed, num_fractures, difficulty)
    mottle, texture = (_in_pose(pattern, pose) for pattern in (patient.mottle, patient.texture))
    soft = fields.attenuation * (1.0 + 0.012 * mottle) + 0.0035 * texture * fields.air
    key = [patient_seed, image_seed]
    device_rng = np.random.default_rng([4, *key])
    devices = make_devices(device_rng, patient.skeleton)
    bones = _bones(patient, pose, size, lesions) + _sum_tubes(devices, pose, size)
    marker = make_marker(device_rng, pose.film_cm)
    ink = None if marker is None else _sum_tubes([marker], Pose.of_film(pose.film_cm), size)
    image = _expose(
        np.random.default_rng([5, *key]), soft, fields.air, bones, ink, pose.film_cm, size
    )
    return PhantomImage(image, *_truth(lesions, size), 10.0 * pose.film_cm / size)


def image_truth(
    patient_seed: int, image_seed: int, size: int, num_fractures: int, difficulty: float
) -> tuple[np.ndarray, list[str], list[str]]:
    """Boxes, sites and kinds that `render_image` gives for the same arguments, without the film."""
    return _truth(_stage(patient_seed, image_seed, num_fractures, difficulty)[3], size)


def _stage(patient_seed: int, image_seed: int, num_fractures: int, difficulty: float):
    """Patient, pose, soft parts and fractures of a film; each has its own random stream."""
    patient = _make_patient(patient_seed)
    key = [patient_seed, image_seed]
    pose = Pose.random(np.random.default_rng([2, *key]))
    fields = soft_fields(patient.build, patient.outlines, patient.skeleton.level, pose)
    lesions: list[PhantomLesion] = []
    if num_fractures:
        rng = np.random.default_rng([3, *key])
        lesions = draw_lesions(rng, patient.skeleton, pose, fields.air, num_fractures, difficulty)
    return patient, pose, fields, lesions


def _in_pose(pattern: np.ndarray, pose: Pose) -> np.ndarray:
    """Patient texture on the grid of the film."""
    corners = np.array([[-18.0, 1.0], [18.0, 1.0], [-18.0, 37.0]])
    source = (corners + [18.0, -1.0]) * (GRID / 36.0)
    target = pose.project_plane(corners) * (GRID / pose.film_cm)
    warp = cv2.getAffineTransform(source.astype(np.float32), target.astype(np.float32))
    return cv2.warpAffine(pattern, warp, (GRID, GRID), borderMode=cv2.BORDER_REFLECT)


def _truth(lesions: list[PhantomLesion], size: int) -> tuple[np.ndarray, list[str], list[str]]:
    boxes = np.array([lesion.box for lesion in lesions], float).reshape(-1, 4) * size
    return boxes, [lesion.site for lesion in lesions], [lesion.kind for lesion in lesions]


def _sum_tubes(groups: list[Tubes], pose: Pose, size: int) -> np.ndarray:
    return splat((tube_points(group, pose, size) for group in groups), pose.film_cm, size)


def _bones(patient: Patient, pose: Pose, size: int, lesions: list[PhantomLesion]) -> np.ndarray:
    """Attenuation of bones and vessels with the lesions in them."""
    skeleton = patient.skeleton

    def clouds() -> Iterator[PointCloud]:
        for site, group in (('rib', skeleton.ribs), ('clavicle', skeleton.clavicles)):
            cloud = tube_points(group, pose, size)
            for lesion in lesions:
                if lesion.site == site:
                    apply_lesion(cloud, lesion.tube, lesion)
            yield cloud
        for group in (skeleton.cartilage, *skeleton.others, *patient.vessels):
            yield tube_points(group, pose, size)

    return splat(clouds(), pose.film_cm, size)
