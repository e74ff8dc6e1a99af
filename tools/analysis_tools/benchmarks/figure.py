# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A measured figure that is no comparison."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measurement with what it should be.

    Args:
        section (str): Section of the benchmark.
        case (str): What was measured.
        value (float): The measurement.
        unit (str): Its unit.
        low (float): It should be at least this.
        high (float): It should be at most this.
    """

    section: str
    case: str
    value: float
    unit: str
    low: float
    high: float

    @property
    def is_met(self) -> bool:
        """Whether it is what it should be."""
        return self.low <= self.value <= self.high
