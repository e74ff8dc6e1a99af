# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from abc import ABC, abstractmethod

STUDENT = 'student.'


class AdaptedWeights(ABC):
    """Part of a module that loads checkpoints of its kin, too; ``adapt_state_dict`` renames them."""

    @abstractmethod
    def adapt_state_dict(self, state_dict: dict) -> dict:
        """Values of a checkpoint under this model's names."""

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        # within another model the checkpoint is that one's matter
        if not prefix:
            adapted = self.adapt_state_dict(state_dict)
            if adapted is not state_dict:
                state_dict.clear()
                state_dict.update(adapted)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)  # type: ignore[misc]


class StudentWeights(AdaptedWeights):
    """Part of a plain model that loads a checkpoint of teacher-student training: its student."""

    def adapt_state_dict(self, state_dict: dict) -> dict:
        """Take the student's weights, without its prefix.

        Args:
            state_dict (dict): Of a plain model or of a ``SemiProbMapDetector``.

        Returns:
            dict: The same values under this model's names.
        """
        student = {
            key.removeprefix(STUDENT): value
            for key, value in state_dict.items()
            if key.startswith(STUDENT)
        }
        return student or state_dict
