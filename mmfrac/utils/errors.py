# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Errors that a user can mend, and how they are shown."""

import io
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from mmfrac.utils.text import PrintableRecord, printable, printable_line

_BUILD = os.path.join('mmengine', 'registry', 'build_functions.py')

_CONFIG = os.path.join('mmengine', 'config', 'config.py')

_OF_WORKER = re.compile(r'Caught \w+ in DataLoader worker process \d+\.\nOriginal ')

_WRONG_OPTION = r'__init__\(\) (got an unexpected keyword|got multiple values|missing \d+ required)'


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print a bad input's message alone instead of a traceback, and leave with exit code 1.

    For the tools: ``ValueError``, ``OSError`` (files and folders that cannot be read or written) and
    ``ImportError`` are what mmfrac raises for input that a user can mend; besides, what mmengine
    raises for a config that names a type or an option that does not exist. Set the environment
    variable ``MMFRAC_TRACEBACK=1`` to see where it came from. Other errors pass unchanged.

    What a tool prints, logs and warns of names files of others: no name ends it with a
    ``UnicodeEncodeError``, and logs and warnings command no terminal.
    """
    try:
        with _printable_output():
            yield
    except Exception as error:
        is_plain = isinstance(error, (ValueError, OSError, ImportError)) or _is_of_config(error)
        if not is_plain or os.environ.get('MMFRAC_TRACEBACK') == '1':
            raise
        message = printable(_original_message(error))
        print(f'{type(error).__name__}: {message}', file=sys.stderr)
        print('(MMFRAC_TRACEBACK=1 shows where this was raised)', file=sys.stderr)
        sys.exit(1)


@contextmanager
def _printable_output() -> Iterator[None]:
    """Take any text to stdout, as stderr does; log records and warnings are ``printable``."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # where the file below it was replaced by a pipe
            sys.stdout.reconfigure(errors='backslashreplace')
    factory, format_warning = logging.getLogRecordFactory(), warnings.formatwarning

    def format_printable(*args: Any, **kwargs: Any) -> str:
        return printable(format_warning(*args, **kwargs))

    logging.setLogRecordFactory(PrintableRecord)
    warnings.formatwarning = format_printable
    try:
        yield
    finally:
        logging.setLogRecordFactory(factory)
        warnings.formatwarning = format_warning


def _is_of_config(error: Exception) -> bool:
    """Whether a config names what does not exist: a type, an option of one, or a setting of its own."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if not files:
        return False
    if isinstance(error, (AttributeError, KeyError)) and files[-1].endswith(_CONFIG):
        return True
    if not any(file.endswith(_BUILD) for file in files):
        return False
    if isinstance(error, KeyError):
        return 'registry' in str(error)
    return isinstance(error, TypeError) and bool(re.search(_WRONG_OPTION, str(error)))


def _original_message(error: Exception) -> str:
    """Message of an error, without the traceback that torch puts around a data-loading worker's.

    Args:
        error (Exception): Any error.

    Returns:
        str: What the worker's error said; the error's own message where it comes from no worker.
    """
    # that of a KeyError is the repr of its argument
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if not _OF_WORKER.match(message):
        return message
    # the last of those that one was raised from
    raised = re.split(rf'^(?:\w+\.)*{type(error).__name__}: ', message, flags=re.MULTILINE)
    return raised[-1].strip() if len(raised) > 1 else message


MAX_LINES = 50


class AnnotationError(ValueError):
    """All that is wrong with an annotation file, a line for each record.

    Attributes:
        problems (tuple[str, ...]): Every line, also those beyond the message's limit. Defaults to none.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class MissingImageError(AnnotationError, FileNotFoundError):
    """An annotation file names films that do not exist."""


def raise_problems(
    file: str, problems: Sequence[str], error: type[AnnotationError] = AnnotationError
) -> None:
    """Raise one error for all problems; nothing if there are none.

    Args:
        file (str): Annotation file, named in every line.
        problems (Sequence[str]): One line each.
        error (type): Class of the error. Defaults to AnnotationError.

    Raises:
        AnnotationError: If there is a problem.
    """
    if not problems:
        return
    name = os.path.basename(file)
    lines = [f'  {name}: {problem}' for problem in problems[:MAX_LINES]]
    if len(problems) > MAX_LINES:
        lines.append(f'  ... and {len(problems) - MAX_LINES} more')
    count = f'{len(problems)} problem' + ('s' if len(problems) > 1 else '')
    raise error(f'{count} in {file}:\n' + '\n'.join(lines), problems)


def one_line(error: BaseException) -> str:
    """Message of an error of a library, in one line; its type where it says nothing.

    Args:
        error (BaseException): Any error.
    """
    return ' '.join(str(error).split()) or type(error).__name__


class RadiographError(ValueError):
    """A film exists but cannot be turned into a plane.

    The message names the file, what is wrong with it (for DICOM also the transfer syntax) and how
    to mend it, in one line: control characters, which a damaged header may hold, are escaped.
    """

    def __init__(self, message: str) -> None:
        # torch raises it once more in the main process, around the traceback of the worker's
        if not _OF_WORKER.match(message):
            message = printable_line(message)
        super().__init__(message)


class RadiographWarning(UserWarning):
    """A film was read, and something about it is doubtful; the message names the file."""
