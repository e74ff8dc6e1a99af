# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How the patient stands before the film: the map from patient centimetres to film centimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_PATIENT_CENTRE = np.array([0.0, 19.0, 0.0])
_SOURCE_DISTANCE_CM = 180.0


@dataclass(frozen=True)
class Pose:
    """Rotation, magnification and shift of one film.

    Args:
        film_cm: Edge of the square film in cm.
        matrix: Rotation and projection, (2, 3).
        shift: Film position of the patient's centre, (2,), cm.
    """

    film_cm: float
    matrix: np.ndarray
    shift: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator) -> Pose:
        """Draw the small turns and shifts that real positioning leaves."""
        yaw, pitch, roll = np.deg2rad(np.clip(rng.normal(0.0, (2.2, 3.0, 1.6)), -6.0, 6.0))
        film_cm = float(rng.uniform(35.5, 41.0))
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        cr, sr = np.cos(roll), np.sin(roll)
        about_y = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
        about_x = np.array([[1.0, 0.0, 0.0], [0.0, cp, -sp], [0.0, sp, cp]])
        about_z = np.array([[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]])
        matrix = (about_z @ about_x @ about_y)[:2]
        shift = np.array([film_cm / 2 + rng.normal(0.0, 0.8), film_cm / 2 + rng.normal(0.0, 0.8)])
        return cls(film_cm, matrix, shift)

    @classmethod
    def of_film(cls, film_cm: float) -> Pose:
        """For what lies on the cassette: its coordinates are those of the film."""
        return cls(film_cm, np.eye(2, 3), _PATIENT_CENTRE[:2])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Patient points (..., 3) to film cm (..., 2), magnified with distance from the detector."""
        offset = points - _PATIENT_CENTRE
        near = 1.0 - offset[..., 2:] / _SOURCE_DISTANCE_CM
        return (offset @ self.matrix.T) * near + self.shift

    def project_plane(self, points: np.ndarray, depth: float = 0.0) -> np.ndarray:
        """Points (..., 2) of the coronal plane at `depth` cm (default 0) to film cm (..., 2)."""
        full = np.concatenate([points, np.full((*points.shape[:-1], 1), depth)], axis=-1)
        return self.project(full)
