# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

import numpy as np
from mmdet.registry import DATA_SAMPLERS, HOOKS
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader

from mmfrac.models.losses import WeightedBCELoss
from mmfrac.utils.dataset_wrappers import values_as_read


@HOOKS.register_module()
class ClassWeightHook(Hook):
    """Gives ``WeightedBCELoss(alpha_l='auto')`` the class frequencies of the training films.

    Counted are the films whose mask is known (label 0, label 1 with regions), each source in the
    proportion in which ``MultiSourceBatchSampler`` reads it, so that ``alpha_l`` has mean 1 over an
    epoch (paper, section 2.1).

    Raises:
        ValueError: At the start of a training, if its sampler reads some films more often than others.
    """

    def before_train(self, runner: Runner) -> None:
        """Count the films once, before the first epoch."""
        losses = [
            module
            for module in runner.model.modules()
            if isinstance(module, WeightedBCELoss) and module.auto_alpha_l
        ]
        if not losses:
            return
        loader = runner.train_dataloader
        check_samplers(loader)
        whole = _whole(loader.dataset)
        if len(loader.dataset) < len(whole):
            runner.logger.warning(
                'train_dataloader.num_batch_per_epoch: every epoch reads the same first '
                f'{len(loader.dataset)} of {len(whole)} films, which alone count in alpha_l'
            )
        negatives, positives = class_frequencies(
            loader.dataset, getattr(loader.batch_sampler, 'shares', None)
        )
        for loss in losses:
            loss.set_class_counts(negatives, positives)
        runner.logger.info(
            f'alpha_l = {losses[0].alpha_l.tolist()} for label 0 and 1 '
            f'({negatives:g} : {positives:g} of the films with a known mask)'
        )


def check_samplers(loader: DataLoader) -> None:
    """Raise unless a data loader reads each film of a source as often as the others.

    Args:
        loader (DataLoader): Of a training.

    Raises:
        ValueError: When its sampler or its batch sampler is of a kind that is not known to.
    """
    batch_sampler = loader.batch_sampler
    sampler = getattr(batch_sampler, 'sampler', loader.sampler)
    for key, one, kinds in (
        (
            'batch_sampler',
            batch_sampler,
            (BatchSampler, DATA_SAMPLERS.get('MultiSourceBatchSampler')),
        ),
        ('sampler', sampler, (DefaultSampler, InfiniteSampler)),
    ):
        if not isinstance(one, kinds):
            raise ValueError(
                f"alpha_l='auto' counts each film as often as the others of its source, and "
                f'train_dataloader.{key} is a {type(one).__name__}, which may read them otherwise: '
                'take a DefaultSampler, with a MultiSourceBatchSampler for shares of sources, or give '
                'alpha_l numbers'
            )


def class_frequencies(dataset: Any, shares: list[float] | None = None) -> tuple[float, float]:
    """Frequency of label 0 and label 1 among the films with a known mask.

    Args:
        dataset (Any): ``CXRDataset``, ``ConcatDataset`` of several, or wrappers of them, each image
            as often as they read it.
        shares (list[float], optional): Relative frequency at which each source of a
            ``ConcatDataset`` is read. Defaults to its size.

    Returns:
        tuple[float, float]: Weighted counts ``(negatives, positives)``.

    Raises:
        ValueError: When a source has no labels.
    """
    sources: list[Any] = dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]
    weights = (
        [float(share) / len(source) for share, source in zip(shares, sources)] if shares else None
    )
    counts = [0.0, 0.0]
    for index, source in enumerate(sources):
        labels, regions = (values_as_read(_whole(source), name) for name in ('labels', 'regions'))
        if labels is None or regions is None:
            raise ValueError(
                f"alpha_l='auto' needs labels, which {type(_whole(source)).__name__} does not have: "
                'train on CXRDataset, or give alpha_l a number'
            )
        if source is not _whole(source):
            labels, regions = labels[: len(source)], regions[: len(source)]
        has_mask = (labels == 0) | ((labels == 1) & regions)
        for label in (0, 1):
            share = weights[index] if weights else 1.0
            counts[label] += share * int(np.count_nonzero(has_mask & (labels == label)))
    return counts[0], counts[1]


def _whole(dataset: Any) -> Any:
    # num_batch_per_epoch makes mmengine put a wrapper around it that hands on the first films
    return getattr(dataset, '_dataset', dataset)
