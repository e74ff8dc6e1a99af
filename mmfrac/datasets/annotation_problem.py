# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong with an annotation file; ``str()`` is its line.

    Attributes:
        kind (str): 'field' (missing or of a wrong type), 'duplicate_id', 'box' or 'label'.
        where (str): The record's place, id and file name; '' for the file as a whole.
        fault (str): What is wrong.
        film (int, optional): Place of the film concerned in ``images``.
    """

    kind: str
    where: str
    fault: str
    film: int | None = None

    def __str__(self) -> str:
        return f'{self.where}: {self.fault}' if self.where else self.fault
