# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What is behind wrappers of data sets, as ``ConcatDataset`` and ``RepeatDataset``."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from mmdet.datasets.transforms import MultiBranch


def innermost_sets(dataset: Any) -> list[Any]:
    """The data sets that a data set joins and wraps.

    Args:
        dataset (Any): A data set, a ``ConcatDataset`` or a wrapper of such.

    Returns:
        list[Any]: Those that tell of their images (``img_paths``) or wrap nothing.
    """
    if hasattr(dataset, 'img_paths'):
        return [dataset]
    if hasattr(dataset, 'datasets'):
        return [one for part in dataset.datasets for one in innermost_sets(part)]
    return innermost_sets(dataset.dataset) if hasattr(dataset, 'dataset') else [dataset]


def values_as_read(dataset: Any, name: str) -> np.ndarray | None:
    """A value of each image that a pass over a data set reads, in its order.

    Args:
        dataset (Any): As of ``innermost_sets``.
        name (str): Method of the innermost sets that gives it, ``'labels'`` or ``'regions'``.

    Returns:
        np.ndarray | None: ``(N,)``; None where a data set has no such method.
    """
    if hasattr(dataset, name):
        return getattr(dataset, name)()
    if hasattr(dataset, 'datasets'):
        parts = [values_as_read(part, name) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    found = values_as_read(dataset.dataset, name) if hasattr(dataset, 'dataset') else None
    if found is None or not hasattr(dataset, '_get_ori_dataset_idx'):
        return found
    # of mmengine's wrappers
    return found[[dataset._get_ori_dataset_idx(index) for index in range(len(dataset))]]


def branches_of(dataset: Any) -> set[str]:
    """Branches that the images of a data set come in, by the ``MultiBranch`` of its pipelines.

    Args:
        dataset (Any): As of ``innermost_sets``.

    Returns:
        set[str]: Of the data set, of what it joins or wraps and of wrappers between, all together; empty
        where no pipeline parts branches.
    """
    steps = [step for step in transforms_of(dataset) if isinstance(step, MultiBranch)]
    names = {name for step in steps for name in step.branch_pipelines}
    parts = [dataset.dataset] if hasattr(dataset, 'dataset') else []
    return names.union(*map(branches_of, getattr(dataset, 'datasets', parts)))


def transforms_of(dataset: Any) -> list[Any]:
    """Built transforms of a data set or of a wrapper (``MultiImageMixDataset``) itself; none without."""
    pipeline = getattr(dataset, 'pipeline', ())
    steps = getattr(pipeline, 'transforms', pipeline)
    # a pipeline may be any function
    return list(steps) if isinstance(steps, Iterable) else []
