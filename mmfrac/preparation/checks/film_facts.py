# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What one film's pixels say, small enough to keep of hundreds of thousands."""

import hashlib
from dataclasses import dataclass

import numpy as np

from mmfrac.datasets.radiographs.radiograph_io import film_size, read_radiograph
from mmfrac.preparation.checks.inversion import inversion_score
from mmfrac.utils.film_pool import crash_text

# Beyond this a size is no film's but a damaged header's, and decoding would ask for gigabytes.
MAX_PIXELS = 2 * 10**8
# Range of the middle 99 % of the film's values below which it shows nothing.
BLANK_SPREAD = 0.02


@dataclass(frozen=True)
class FilmFacts:
    """Facts of one film file.

    Attributes:
        fault (str): '' if the film was read, else 'missing_film' or 'unreadable_film'.
        reason (str): Of the fault.
        size (tuple[int, int]): Width and height, px.
        digest (bytes): Of the decoded pixels and their shape.
        spread (float): Range of the middle 99 % of its values, in [0, 1].
        inversion (float): See :func:`inversion_score`.
    """

    fault: str = ''
    reason: str = ''
    size: tuple[int, int] = (0, 0)
    digest: bytes = b''
    spread: float = 0.0
    inversion: float = 0.0


def film_facts(path: str) -> FilmFacts:
    """Read a film with the reader of ``LoadRadiograph`` and look at its pixels.

    Args:
        path (str): The film's file.

    Returns:
        FilmFacts: Never raises: what goes wrong is a fact.
    """
    try:
        width, height = film_size(path)
        if not 0 < width * height <= MAX_PIXELS:
            return FilmFacts('unreadable_film', f'its header says {width} x {height} px')
        plane = read_radiograph(path)
        return FilmFacts(
            size=(plane.shape[1], plane.shape[0]),
            digest=pixel_digest(plane),
            spread=_spread(plane),
            inversion=inversion_score(plane),
        )
    except FileNotFoundError:
        return FilmFacts('missing_film', f'missing file {path}')
    except Exception as error:  # any file at all comes here, through many decoders
        reason = str(error) or type(error).__name__
        return FilmFacts('unreadable_film', reason)


def crashed_facts(path: str) -> FilmFacts:
    """Facts of a film that took its process with it."""
    return FilmFacts('unreadable_film', crash_text(path))


def pixel_digest(plane: np.ndarray) -> bytes:
    """Hash of a film's pixels, whatever the file around them.

    Args:
        plane (np.ndarray): Film (h, w), float in [0, 1].

    Returns:
        bytes: 16 bytes, the same for planes that agree in 16 bits.
    """
    state = hashlib.blake2b(repr(plane.shape).encode(), digest_size=16)
    for rows in np.array_split(plane, max(1, plane.shape[0] // 256)):
        state.update(np.rint(rows * np.float32(65535)).astype('<u2').tobytes())
    return state.digest()


def _spread(plane: np.ndarray) -> float:
    low, high = np.quantile(plane[:: max(1, plane.shape[0] // 256)], (0.005, 0.995))
    return float(high - low)
