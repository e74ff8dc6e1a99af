# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A fracture: what is drawn at random about it, and what it does to a rib.

Lengths here are half widths of the rib; `along` and `across` are coordinates that follow it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

ACUTE_SHARE = 0.6
# Beyond this distance from its middle a fracture changes nothing.
REACH = 7.0
# Size, strength and width of an obvious and of a subtle fracture of each kind.
_EXTREMES = {
    'acute': ((0.95, 0.9, 0.16), (0.22, 0.3, 0.07)),
    'chronic': ((0.6, 0.9, 1.5), (0.16, 0.2, 1.0)),
}


@dataclass(frozen=True)
class Fracture:
    """One fracture.

    Attributes:
        kind (str): 'acute' (step-off and lucent line) or 'chronic' (callus).
        size (float): Step of an acute one, bulge of a chronic one; half widths.
        strength (float): Share of the bone that is lost in the lucent line, or density that the
            callus adds, in contrasts of the rib.
        width (float): Standard deviation of the line, or of the callus along the rib; half widths.
        length (float): How far the step reaches along the rib; half widths.
        slant (float): Obliquity of the line: along for each across.
        phase (float): Of the line's jagged course, rad.
        side (int): -1 or 1, to which side of the rib it goes.
        grain_seed (int): Seed of the callus's unevenness.
    """

    kind: str
    size: float
    strength: float
    width: float
    length: float
    slant: float
    phase: float
    side: int
    grain_seed: int


def draw_fracture(rng: np.random.Generator, difficulty: float) -> Fracture:
    """Draw a fracture.

    Args:
        rng (np.random.Generator): Difficulty does not change what is drawn from it.
        difficulty (float): 0 obvious to 1 subtle; size, strength and width shrink linearly.

    Returns:
        Fracture: The fracture.
    """
    draws = rng.random(8)
    kind = 'acute' if draws[0] < ACUTE_SHARE else 'chronic'
    easy, hard = (np.array(extreme) for extreme in _EXTREMES[kind])
    size, strength, width = (easy + (hard - easy) * difficulty) * (0.8 + 0.4 * draws[1:4])
    return Fracture(
        kind=kind,
        size=float(size),
        strength=float(strength),
        width=float(width),
        length=float(3.2 + 1.2 * draws[4]),
        slant=float(1.4 * draws[5] - 0.7),
        phase=float(2 * np.pi * draws[6]),
        side=1 if draws[7] < 0.5 else -1,
        grain_seed=int(rng.integers(2**31)),
    )


def displacement(
    fracture: Fracture, along: np.ndarray, across: np.ndarray, pixel: float
) -> np.ndarray:
    """How far the film's content comes from, across the rib.

    Acute: the part beyond the line is moved aside as one piece, which joins the rib again further
    on; lung beside the rib yields. Chronic: the rib's edges move apart.

    Args:
        fracture (Fracture): The fracture.
        along, across (np.ndarray): (h, w), half widths.
        pixel (float): Edge of a film px, half widths: no edge may be sharper.

    Returns:
        np.ndarray: (h, w), half widths; exactly 0 beyond REACH.
    """
    window = 1 - _smooth(np.hypot(along, across), REACH - 1.5, REACH)
    if fracture.kind == 'chronic':
        envelope = np.exp(-0.5 * (along / fracture.width) ** 2)
        bulge = fracture.size * envelope
        beside = np.maximum(np.abs(across) - 1 - bulge, 0)
        apart = across * bulge / (1 + bulge) * (1 - _smooth(beside, 0, 1.6))
        aside = 0.2 * fracture.side * bulge * (1 - _smooth(np.abs(across), 1.2, 3.0))
        return (apart + aside) * window
    beyond = _beyond_line(fracture, along, across)
    beside = _beside(fracture, across, 1.15)
    # sharp in the bone, gradual in the lung: nothing tears there
    blur = max(0.06, 1.8 * pixel) + 0.9 * _smooth(beside, 0, 1)
    step = fracture.side * fracture.size * _smooth(beyond / blur, -0.5, 0.5)
    return step * (1 - _smooth(beyond, 0, fracture.length)) * (1 - _smooth(beside, 0, 2)) * window


def lost_bone(
    fracture: Fracture, along: np.ndarray, across: np.ndarray, pixel: float
) -> np.ndarray:
    """Share of the bone that an acute fracture takes away: its line, between denser margins.

    Args:
        fracture (Fracture): An acute one.
        along, across (np.ndarray): (h, w), half widths.
        pixel (float): Edge of a film px, half widths.

    Returns:
        np.ndarray: (h, w), 1 nothing is left, 0 as it was, negative denser.
    """
    beyond = _beyond_line(fracture, along, across)
    width = max(fracture.width, 0.75 * pixel)
    line = np.exp(-0.5 * (beyond / width) ** 2)
    margins = sum(
        np.exp(-0.5 * ((beyond - shift * width) / (1.3 * width)) ** 2) for shift in (-3, 3)
    )
    inside = 1 - _smooth(_beside(fracture, across, 0.95), 0, 0.3)
    return fracture.strength * (line - 0.2 * margins) * inside


def added_bone(fracture: Fracture, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Density of a chronic fracture's callus.

    Args:
        fracture (Fracture): A chronic one.
        along, across (np.ndarray): (h, w), half widths.

    Returns:
        np.ndarray: (h, w), contrasts of the rib.
    """
    envelope = np.exp(-0.5 * (along / fracture.width) ** 2)
    moved = np.abs(across - 0.2 * fracture.side * fracture.size * envelope)
    body = 1 - _smooth(moved, 0.6, 1.25 + fracture.size)
    noise = np.random.default_rng(fracture.grain_seed).standard_normal((28, 28))
    x, y = ((2 * (axis + REACH)).astype(np.float32) for axis in (along, across))
    reflect = cv2.BORDER_REFLECT
    grain = cv2.remap(noise.astype(np.float32), x, y, cv2.INTER_CUBIC, borderMode=reflect)
    window = 1 - _smooth(np.hypot(along, across), REACH - 1.5, REACH)
    return fracture.strength * envelope * body * (1 + 0.25 * grain) * window


def _smooth(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """From 0 at low to 1 at high with flat ends."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def _beyond_line(fracture: Fracture, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Distance beyond the fracture line, measured along the rib."""
    jagged = 0.07 * np.sin(3 * across + fracture.phase) + 0.04 * np.sin(
        8 * across + 2 * fracture.phase
    )
    return along - fracture.slant * across - jagged


def _beside(fracture: Fracture, across: np.ndarray, half: float) -> np.ndarray:
    """Distance from the strip that holds the rib where it was and where it has gone."""
    step = fracture.side * fracture.size
    return np.maximum(np.maximum(min(0.0, step) - half - across, across - max(0.0, step) - half), 0)
