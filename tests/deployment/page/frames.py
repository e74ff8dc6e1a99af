# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Answers of the page, as its script reads them."""

import json
import struct
from typing import NamedTuple

import numpy as np

from mmfrac.deployment.results import ResultLine


class Frame(NamedTuple):
    header: dict
    result: ResultLine
    plane: np.ndarray | None
    prob_map: np.ndarray | None


def read_frames(content: bytes) -> list[Frame]:
    frames = []
    while content:
        (length,) = struct.unpack_from('<L', content)
        header = json.loads(content[4 : 4 + length])
        content = content[4 + length :]
        arrays = []
        for name, dtype in (('plane', '<u2'), ('map', '<f4')):
            size = header[name]
            if size is None:
                arrays.append(None)
                continue
            count = size[0] * size[1] * np.dtype(dtype).itemsize
            arrays.append(np.frombuffer(content[:count], dtype).reshape(size[::-1]))
            content = content[count:]
        frames.append(Frame(header, ResultLine.from_json(header['result']), *arrays))
    return frames
