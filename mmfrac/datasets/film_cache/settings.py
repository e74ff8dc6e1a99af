# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a resized plane depends on besides its film."""

import hashlib
import json
from importlib import metadata
from typing import Any

import cv2
import numpy as np
import PIL
import pydicom
from mmdet.datasets.transforms import Resize

from mmfrac.datasets.radiographs.read import VALUES_VERSION
from mmfrac.datasets.transforms.load_radiograph import LoadRadiograph

# Decoders that pydicom finds; another version of a lossy one may give other values.
_CODECS = ('pylibjpeg', 'pylibjpeg-libjpeg', 'pylibjpeg-openjpeg', 'python-gdcm')
# Attributes that change no pixel.
_OTHERS = ('on_error', 'skipped', 'clip_object_border')


def settings_of(load: LoadRadiograph, resize: Resize) -> dict[str, Any]:
    """All that the plane of a film depends on: options of both steps, and versions.

    Args:
        load (LoadRadiograph): First step.
        resize (Resize): The step that resizes; with a fixed scale.

    Returns:
        dict: Plain data; two caches with equal settings hold equal planes.

    Raises:
        ValueError: If the scale is not fixed.
    """
    if not resize.scale:
        raise ValueError(
            f'the film cache needs a Resize of fixed scale, got {resize}: set scale=(width, height)'
        )
    settings = {
        'values_version': VALUES_VERSION,
        'LoadRadiograph': _options(load),
        'Resize': _options(resize),
        'versions': _versions(),
    }
    return json.loads(json.dumps(settings))


def settings_name(settings: dict[str, Any]) -> str:
    """Folder name of the films of some settings, e.g. '1024x1024_5f0c7a12'."""
    width, height = settings['Resize']['scale']
    text = json.dumps(settings, sort_keys=True)
    return f'{width}x{height}_{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}'


def difference(one: Any, other: Any, where: str = '') -> list[str]:
    """What differs between two settings.

    Args:
        one, other (Any): Settings, or parts of them.
        where (str): Name of the part. Default: ''.

    Returns:
        list[str]: E.g. 'versions opencv: 5.0.0, here 4.13.0'.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys((*one, *other))
        found = [difference(one.get(k), other.get(k), f'{where} {k}'.strip()) for k in keys]
        return [line for lines in found for line in lines]
    return [] if one == other else [f'{where}: {one}, here {other}']


def _options(step: object) -> dict[str, Any]:
    return {name: value for name, value in vars(step).items() if name not in _OTHERS}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {
        'opencv': cv2.__version__,
        'numpy': np.__version__,
        'pillow': PIL.__version__,
        'pydicom': pydicom.__version__,
    }
    for name in _CODECS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
