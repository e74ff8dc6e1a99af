# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A plain detector out of a teacher-student checkpoint."""

import re

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
