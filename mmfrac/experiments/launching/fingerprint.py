# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a result was made from, in a few digits."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def fingerprint(contents: Iterable[Any], files: Iterable[Path]) -> str:
    """Short hash of settings and files.

    Args:
        contents (Iterable): Parts of configs, options: whatever JSON can hold, the rest by its ``str``.
        files (Iterable[Path]): Annotation files.

    Returns:
        str: 16 hexadecimal digits of the SHA-256 of both, in their order.
    """
    digest = hashlib.sha256()
    for content in contents:
        digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
