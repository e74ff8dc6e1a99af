# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The images of a data set behind wrappers, as ``RepeatDataset`` and ``ClassBalancedDataset``."""

from typing import Any

import numpy as np


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


def labels_as_read(dataset: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Label and regions of each image that a pass over a data set reads, in its order.

    Args:
        dataset (Any): As of ``innermost_sets``.

    Returns:
        tuple[np.ndarray, np.ndarray] | None: ``(N,)`` int8 and bool; None where a data set does not
        tell labels.
    """
    if hasattr(dataset, 'labels'):
        return dataset.labels(), dataset.regions()
    if hasattr(dataset, 'datasets'):
        parts = [labels_as_read(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        labels, regions = (np.concatenate(columns) for columns in zip(*known))
        return labels, regions
    found = labels_as_read(dataset.dataset) if hasattr(dataset, 'dataset') else None
    if found is None or not hasattr(dataset, '_get_ori_dataset_idx'):
        return found
    # of mmengine's wrappers
    order = [dataset._get_ori_dataset_idx(index) for index in range(len(dataset))]
    return found[0][order], found[1][order]
