# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The text of a config, which mmengine asks for five times before the first image, formatted once.

Each time yapf takes 1.5 to 3 s for the text of ``configs/phantom/frac_ssl_phantom.py``, so that a tool
that starts waited some 10 s for it.
"""

import functools
from typing import Any

from mmengine.config import config as stock
from yapf.yapflib.yapf_api import FormatCode


def format_once() -> None:
    """Make mmengine's configs remember the last texts that yapf formatted for them (idempotent)."""
    stock.FormatCode = _format_code


def _format_code(text: str, style_config: dict[str, Any], **options: Any) -> tuple[str, bool]:
    """yapf's ``FormatCode``, which gives the same for the same text and style."""
    return _formatted(text, tuple(style_config.items()), tuple(options.items()))


@functools.lru_cache(maxsize=8)
def _formatted(text: str, style: tuple, options: tuple) -> tuple[str, bool]:
    formatted, is_changed = FormatCode(text, style_config=dict(style), **dict(options))
    return formatted, is_changed
