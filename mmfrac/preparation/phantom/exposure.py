# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From attenuation to the film: blur, Beer-Lambert, scatter, quantum noise, log, display curve."""

from __future__ import annotations

import cv2
import numpy as np

from mmfrac.preparation.phantom.dicom import FULL_SCALE


def expose(
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
    place = (np.arange(size) + 0.5) / size
    ramp = np.float32(size * 0.5)
    rows = np.clip(np.minimum(place - edges[0], 1.0 - edges[1] - place) * ramp + 0.5, 0.0, 1.0)
    cols = np.clip(np.minimum(place - edges[2], 1.0 - edges[3] - place) * ramp + 0.5, 0.0, 1.0)
    return (rows[:, None] * cols[None]).astype(np.float32)
