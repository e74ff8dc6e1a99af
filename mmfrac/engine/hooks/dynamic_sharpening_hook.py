# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import ConcatDataset, DataLoader, Subset

from mmfrac.engine.hooks.semi_hook import semi_model
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.models.pseudo_labels.sharpening import DynamicSharpening
from mmfrac.models.teachers.base import eval_mode
from mmfrac.utils.dataset_wrappers import values_as_read


@HOOKS.register_module()
class DynamicSharpeningHook(Hook):
    """Updates ``m``, ``t``, ``a`` of ``DynamicSharpening`` once an epoch (paper, section 2.3).

    ``m`` is the median (or the step's other ``quantile``), over the epoch's distinct P_pub films of
    all ranks, of the teacher's image score (the mean of a film's scores where it was seen more than
    once); it sets ``t`` and ``a`` of the next epoch. Before the first semi-supervised epoch one
    pass over P_pub, shared by the ranks, gives ``m``. The values in force are logged in every semi-
    supervised epoch. A model without a ``DynamicSharpening`` step is left alone.

    Args:
        unsup_source (int | Sequence[int], optional): Indices in the train ``ConcatDataset`` of the
            sources whose films with label 1 that first pass scores. Defaults to None: the
            ``unsup_sources`` of the batch sampler; the last source where it names none.
    """

    priority = 'NORMAL'

    def __init__(self, unsup_source: int | Sequence[int] | None = None) -> None:
        self.unsup_source = unsup_source

    def before_train(self, runner: Runner) -> None:
        """Tell the steps that they will be updated."""
        for step in _sharpening_steps(semi_model(self, runner)):
            step.expect_updates()

    def before_train_epoch(self, runner: Runner) -> None:
        """Make sure that ``m`` is known, and log the values in force."""
        model = semi_model(self, runner)
        if model is None or runner.epoch < model.burn_in_epochs:
            return
        for step in _sharpening_steps(model):
            if math.isnan(step.m.item()):
                step.pop_scores()
                self._score_all_images(runner, model, step)
                self._update(runner, step)
            values = {name: getattr(step, name).item() for name in ('m', 't', 'a')}
            for name, value in values.items():
                runner.message_hub.update_scalar(f'train/{name}', value)
            runner.visualizer.add_scalars(
                {f'sharpening/{name}': value for name, value in values.items()},
                step=runner.epoch + 1,
            )
            runner.logger.info(
                'Dynamic sharpening in epoch {}: m = {m:.4f}, t = {t:.4f}, a = {a:g}'.format(
                    runner.epoch + 1, **values
                )
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Turn the epoch's teacher scores into the next epoch's parameters."""
        for step in _sharpening_steps(semi_model(self, runner)):
            self._update(runner, step)

    def _update(self, runner: Runner, step: DynamicSharpening) -> None:
        scores = scores_of_images(all_gather_object(step.pop_scores()))
        if scores:
            step.update(scores)

    @torch.no_grad()
    def _score_all_images(
        self, runner: Runner, model: SemiProbMapDetector, step: DynamicSharpening
    ) -> None:
        loader = runner.train_dataloader
        sources = self._unsup_sources(loader)
        images: ConcatDataset = ConcatDataset([_positive_images(source) for source in sources])
        if not len(images):
            raise ValueError(
                'no film with label 1 in the unsupervised sources, so that DynamicSharpening has no m: '
                'give train_dataloader a source of P_pub, name it as unsup_source of '
                'DynamicSharpeningHook, or take another step in pseudo_pipeline'
            )
        rank, world_size = get_dist_info()
        runner.logger.info(f'Teacher scores of {len(images)} P_pub films for the first median')
        batches = DataLoader(
            Subset(images, range(rank, len(images), world_size)),
            batch_size=loader.batch_sampler.batch_size,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
        )
        for data in batches:
            batch = model.data_preprocessor(data, training=True)
            inputs, samples = (batch[name]['unsup_teacher'] for name in ('inputs', 'data_samples'))
            # in eval mode: a teacher that remembers films learns nothing from this pass
            with eval_mode(model.teacher):
                step.note_scores(model.teacher(model.student, inputs, samples), samples)

    def _unsup_sources(self, loader: DataLoader) -> list[Any]:
        if not isinstance(loader.dataset, ConcatDataset):
            return [loader.dataset]
        chosen = self.unsup_source
        if chosen is None:
            chosen = getattr(loader.batch_sampler, 'unsup_sources', None) or -1
        indices = [chosen] if isinstance(chosen, int) else chosen
        return [loader.dataset.datasets[index] for index in indices]


def _positive_images(source: Any) -> Any:
    """Those with label 1; all where a data set does not tell labels."""
    labels = values_as_read(source, 'labels')
    return source if labels is None else Subset(source, np.flatnonzero(labels == 1).tolist())


def scores_of_images(scores_of_ranks: list[dict[str, list[float]]]) -> list[float]:
    """One score of each distinct image, the mean of those that it had.

    Args:
        scores_of_ranks (list[dict]): Per rank the scores of each image it saw.

    Returns:
        list[float]: Sorted; empty when no image was seen.
    """
    merged: dict[str, list[float]] = {}
    for scores in scores_of_ranks:
        for path, values in scores.items():
            merged.setdefault(path, []).extend(values)
    # neither fsum nor the order depend on that in which the ranks come
    return sorted(math.fsum(values) / len(values) for values in merged.values())


def quantile_over_images(
    scores_of_ranks: list[dict[str, list[float]]], quantile: float = 0.5
) -> float | None:
    """Quantile of the image scores of distinct films.

    Args:
        scores_of_ranks (list[dict]): Per rank the scores of each film it saw.
        quantile (float): Interpolated linearly. Defaults to 0.5, the median.

    Returns:
        float | None: None when no film was seen.
    """
    scores = scores_of_images(scores_of_ranks)
    return float(np.quantile(scores, quantile)) if scores else None


def _sharpening_steps(model: SemiProbMapDetector | None) -> list[DynamicSharpening]:
    if model is None:
        return []
    return [module for module in model.modules() if isinstance(module, DynamicSharpening)]
