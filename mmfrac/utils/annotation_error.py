# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""One error for all that is wrong with an annotation file."""

import os
from collections.abc import Sequence

MAX_LINES = 50


class AnnotationError(ValueError):
    """All that is wrong with an annotation file, a line for each record.

    Attributes:
        problems (tuple[str, ...]): Every line, also those beyond the message's limit. Default: none.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class MissingFilmError(AnnotationError, FileNotFoundError):
    """An annotation file names films that do not exist."""


def raise_problems(
    file: str, problems: Sequence[str], error: type[AnnotationError] = AnnotationError
) -> None:
    """Raise one error for all problems; nothing if there are none.

    Args:
        file (str): Annotation file, named in every line.
        problems (Sequence[str]): One line each.
        error (type): Class of the error. Default: AnnotationError.

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
