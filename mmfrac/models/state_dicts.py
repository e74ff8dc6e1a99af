# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Checkpoints of kindred models: a student's weights in a plain detector and the other way round."""

import re
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


# the average may be inside of another teacher
_PREFIXES = {'student': r'student\.', 'teacher': r'teacher\.(?:teacher\.)*ema\.module\.'}


def detector_checkpoint(checkpoint: dict, source: str = 'student') -> dict:
    """Weights of the student or of an averaged teacher under the names of a plain ``ProbMapDetector``.

    Args:
        checkpoint (dict): Of a ``SemiProbMapDetector``, with ``state_dict`` and perhaps ``meta``.
        source (str): ``'student'`` or ``'teacher'``. Defaults to ``'student'``.

    Returns:
        dict: ``state_dict`` and ``meta`` (epoch, iter and classes where they are known).

    Raises:
        ValueError: When ``source`` is neither, or the checkpoint holds no such model.
    """
    if source not in _PREFIXES:
        raise ValueError(f'source must be one of {tuple(_PREFIXES)}, got {source!r}')
    name = re.compile(rf'(?:module\.)?{_PREFIXES[source]}(.+)')
    named = {name.fullmatch(key): value for key, value in checkpoint.get('state_dict', {}).items()}
    state_dict = {match[1]: value for match, value in named.items() if match}
    if not state_dict:
        raise ValueError(
            f'the checkpoint holds no {source}: no tensor is named {_PREFIXES[source]}*; a teacher with '
            'weights of its own is MeanTeacher'
        )
    wanted = ('epoch', 'iter', 'dataset_meta', 'mmengine_version')
    meta = checkpoint.get('meta', {})
    return dict(state_dict=state_dict, meta={key: meta[key] for key in wanted if key in meta})
