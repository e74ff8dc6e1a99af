# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print a bad input's message alone instead of a traceback, and leave with exit code 1.

    For the tools: ``ValueError``, ``FileNotFoundError`` and ``ImportError`` are what mmfrac raises for
    input that a user can mend. Set the environment variable ``MMFRAC_TRACEBACK=1`` to see where it
    came from. Other errors pass unchanged.
    """
    try:
        yield
    except (ValueError, FileNotFoundError, ImportError) as error:
        if os.environ.get('MMFRAC_TRACEBACK') == '1':
            raise
        print(f'{type(error).__name__}: {original_message(error)}', file=sys.stderr)
        print('(MMFRAC_TRACEBACK=1 shows where this was raised)', file=sys.stderr)
        sys.exit(1)


def original_message(error: Exception) -> str:
    """Message of an error, without the traceback that torch puts around a data-loading worker's.

    Args:
        error (Exception): Any error.

    Returns:
        str: What the worker's error said; the error's own message where it comes from no worker.
    """
    message = str(error)
    if not re.match(r'Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback', message):
        return message
    raised = re.findall(
        rf'^(?:\w+\.)*{type(error).__name__}: (.*?)\Z', message, re.MULTILINE | re.DOTALL
    )
    return raised[0].strip() if raised else message
