# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A data pipeline one step at a time."""

import copy
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

from mmcv.transforms import Compose, RandomApply, RandomChoice
from mmdet.datasets.transforms import MultiBranch
from mmdet.datasets.transforms.wrappers import RandomOrder
from mmengine.dataset import Compose as DatasetCompose

# One step each: which of theirs are run is drawn when they are.
_AT_RANDOM = (RandomApply, RandomChoice, RandomOrder)


class Step(NamedTuple):
    """What a film is after one step.

    Attributes:
        branch (str): Of ``MultiBranch``; '' before it.
        name (str): Class of the transform.
        results (dict, optional): As the transform left them; the next step may change them. None: the
            transform left the film out.
    """

    branch: str
    name: str
    results: dict | None


def pipeline_steps(transforms: Sequence[Callable], info: dict) -> Iterator[Step]:
    """Run a pipeline on a film; ``Compose`` and the branches of ``MultiBranch`` are entered.

    What is drawn at random is drawn in the same order as in training. ``MultiBranch`` is the last step:
    whatever follows it is not run.

    Args:
        transforms (Sequence[Callable]): ``dataset.pipeline.transforms``.
        info (dict): Of ``dataset.get_data_info``; changed.

    Yields:
        Step: After each transform.
    """
    yield from _steps(transforms, info, '')


def _steps(
    transforms: Sequence[Callable], results: dict | None, branch: str
) -> Generator[Step, None, dict | None]:
    for transform in transforms:
        if results is None:
            break
        if isinstance(transform, MultiBranch):
            for name, pipeline in transform.branch_pipelines.items():
                inner = copy.deepcopy(results)
                yield from _steps(pipeline.transforms, inner, f'{branch}/{name}'.lstrip('/'))
            return None
        if isinstance(transform, (Compose, DatasetCompose)) and not isinstance(
            transform, _AT_RANDOM
        ):
            results = yield from _steps(transform.transforms, results, branch)
            continue
        results = transform(results)
        yield Step(branch, type(transform).__name__, results)
    return results
