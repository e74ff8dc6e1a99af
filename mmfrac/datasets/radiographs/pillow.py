# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Pillow; where it is not installed, DICOM is read without it, and other images say what they need.

mmfrac itself installs it: it lacks only where an exported detector runs by itself.
"""

from typing import Any

NO_PILLOW = 'PNG, JPEG and TIFF are read with Pillow, which is not installed: pip install pillow'

try:
    from PIL import Image, UnidentifiedImageError

    HAS_PILLOW = True
except ImportError:
    HAS_PILLOW = False

    class UnidentifiedImageError(OSError):  # type: ignore[no-redef]
        """What Pillow does not know."""

    class _Image:
        MAX_IMAGE_PIXELS = None

        class Image:
            """In the place of Pillow's."""

        class DecompressionBombError(Exception):
            """In the place of Pillow's."""

        @staticmethod
        def open(*args: Any, **options: Any) -> Any:
            """Know no image."""
            raise UnidentifiedImageError(NO_PILLOW)

    Image = _Image  # type: ignore[assignment]
