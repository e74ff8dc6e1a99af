# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Methods that are called by name if a class has them: one that is misspelt is an error."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn


def check_events(cls: type[nn.Module], events: Mapping[str, Callable[..., Any]]) -> None:
    """Raise unless the methods of a class are events as they are called, or its own.

    Args:
        cls (type): What is told of the events; its bases are not looked at.
        events (Mapping[str, Callable]): Methods, with ``self``, that take what the events bring.

    Raises:
        TypeError: When a method is named almost as an event, or takes other arguments than one.
    """
    for name, method in vars(cls).items():
        if not inspect.isfunction(method) or name.startswith('_') or hasattr(nn.Module, name):
            continue
        if name in events:
            wanted = inspect.signature(events[name])
            try:
                inspect.signature(method).bind(*wanted.parameters)
            except TypeError as error:
                raise TypeError(
                    f'{cls.__name__}.{name} is called as {name}{wanted}: {error}'
                ) from None
        elif near := difflib.get_close_matches(name, events, n=1, cutoff=0.75):
            raise TypeError(
                f'{cls.__name__}.{name} is never called: the event is {near[0]!r}. A method of its '
                f'own needs a name that is not so near to one of {", ".join(events)}'
            )
