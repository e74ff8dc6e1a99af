# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which cases of a test are run each time, and which with ``--slow`` alone."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(values: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Values of ``parametrize``, all but a few of them marked slow.

    Args:
        values (Iterable): Of the parameter, or tuples of several.
        quick (Collection): Those that are run each time, at least one of each kind.
    """
    values = list(values)
    assert set(quick) <= set(values), f'{set(quick) - set(values)} are no cases'
    wrapped = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*case, marks=() if value in quick else pytest.mark.slow)
        for case, value in zip(wrapped, values)
    ]
