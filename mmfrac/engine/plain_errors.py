# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
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
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        print('(MMFRAC_TRACEBACK=1 shows where this was raised)', file=sys.stderr)
        sys.exit(1)
