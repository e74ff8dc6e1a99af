# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATASETS, HOOKS
from mmdet.structures import SampleList
from mmengine.dataset import pseudo_collate
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.models.pseudo_labels.warp import map_stride
from mmfrac.models.target_maps import stack_targets, stack_valid
from mmfrac.utils.config import film_sets
from mmfrac.utils.dataset_wrappers import innermost_sets, values_as_read
from mmfrac.utils.prob_map import width_bins

BINS = 10


@HOOKS.register_module()
class PseudoTruthHook(Hook):
    """Measures the pseudo maps of some P_pub films against their hidden boxes, and trains on none.

    For data whose label-only films have known fractures (phantom, semi-real). After every
    semi-supervised epoch teacher and pseudo-label pipeline are run on the un-augmented films, and
    ``truth/*`` goes to the visualizer, see ``pseudo_map_counts`` and ``rates``. A model without pseudo
    maps (a method that trains on labels alone, over the same config) is left alone, and so is a training
    without a semi-supervised epoch. Where there are no hidden boxes a warning says so, and nothing is
    measured.

    Args:
        dataset (dict): P_pub films with their boxes, of which those are measured that are P_pub in the
            training, see ``hidden_films``; its pipeline is that of the teacher's view, with branch
            ``unsup_teacher``.
        num_films (int): Evenly spaced films that are measured. Defaults to 64.
        batch_size (int): Films at a time. Defaults to 8.

    Raises:
        ValueError: If a number is not positive.
    """

    priority = 'LOW'

    def __init__(self, dataset: dict, num_films: int = 64, batch_size: int = 8) -> None:
        if num_films < 1 or batch_size < 1:
            raise ValueError(
                f'num_films and batch_size must be positive, got {num_films} and {batch_size}'
            )
        self.dataset = dataset
        self.num_films = num_films
        self.batch_size = batch_size
        self._images: Any = None

    def before_train(self, runner: Runner) -> None:
        """Build the data set: what is wrong with it shows before the first epoch."""
        model = unwrapped_model(runner)
        if not isinstance(model, SemiProbMapDetector) or model.burn_in_epochs >= runner.max_epochs:
            return
        for one in film_sets(self.dataset):
            file = os.path.join(one.get('data_root') or '', one['ann_file'])
            if one.get('backend_args') is None and not os.path.isfile(file):
                runner.logger.warning(f'no {file}: pseudo maps are not compared with hidden boxes')
                return
        images = hidden_films(self.dataset, innermost_sets(runner.train_dataloader.dataset))
        if not len(images):
            runner.logger.warning(
                'no boxes of the P_pub films of the training are known: pseudo maps are not compared '
                'with hidden boxes'
            )
            return
        rank, world_size = get_dist_info()
        chosen = np.unique(np.linspace(0, len(images) - 1, self.num_films).round().astype(int))
        self._images = Subset(images, chosen[rank::world_size].tolist())

    @torch.no_grad()
    def after_train_epoch(self, runner: Runner) -> None:
        """Measure and log."""
        model = unwrapped_model(runner)
        if self._images is None or not model.is_semi_supervised:
            return
        was_training = model.training
        model.eval()
        counts = np.zeros(6 + 2 * BINS)
        for data in DataLoader(self._images, batch_size=self.batch_size, collate_fn=pseudo_collate):
            batch = model.data_preprocessor(data, training=True)
            inputs, samples = (batch[name]['unsup_teacher'] for name in ('inputs', 'data_samples'))
            teacher_map, pseudo_map, _ = model.pseudo_maps(inputs, samples, samples)
            counts += pseudo_map_counts(teacher_map, pseudo_map, samples)
        model.train(was_training)
        values = rates(np.sum(all_gather_object(counts), axis=0))
        runner.visualizer.add_scalars(
            {f'truth/{name}': value for name, value in values.items()}, step=runner.epoch + 1
        )
        runner.logger.info(
            f'Pseudo maps in epoch {runner.epoch + 1}: '
            + ', '.join(f'{name} {value:.3f}' for name, value in values.items())
        )


def hidden_films(dataset: dict, training: Iterable[Any]) -> Subset:
    """Films whose boxes are known, and that a training reads without them.

    Args:
        dataset (dict): Config of films with their boxes, e.g. of ``train_truth.json``.
        training (Iterable): Built data sets of the training. Those that do not tell of their films are
            left out; if none does, the films are those of ``dataset``.

    Returns:
        Subset: Films that are P_pub in both, in the order of ``dataset``. Where there are none (the file
        says ``regions: true`` of its films, or ``label_fraction`` alone makes films P_pub) those that
        are P_pub in the training, and have boxes in its file.
    """
    told = [one for one in training if hasattr(one, 'labels') and hasattr(one, 'img_paths')]
    if not told:
        films = DATASETS.build(dataset)
        return Subset(films, range(len(films)))
    films = DATASETS.build(dict(dataset, subset=None) if dataset.get('subset') else dataset)
    in_training: dict[str, bool] = {}
    for one in told:
        for path, is_p_pub in zip(*_paths_of_p_pub(one)):
            in_training[path] = in_training.get(path, True) and is_p_pub
    paths, of_truth = _paths_of_p_pub(films)
    hidden = [index for index, path in enumerate(paths) if in_training.get(path)]
    chosen = [index for index in hidden if of_truth[index]]
    if not chosen:
        chosen = [index for index in hidden if _boxes(films.get_data_info(index)['instances'])]
    return Subset(films, chosen)


def _paths_of_p_pub(dataset: Any) -> tuple[list[str], list[bool]]:
    """Path of each film, and whether it is P_pub: of label 1, its boxes not complete."""
    paths, labels, regions = (
        values_as_read(dataset, name) for name in ('img_paths', 'labels', 'regions')
    )
    assert paths is not None and labels is not None and regions is not None
    is_p_pub = [label == 1 and not complete for label, complete in zip(labels, regions)]
    return [os.path.abspath(path) for path in paths], is_p_pub


def pseudo_map_counts(teacher_map: Tensor, pseudo_map: Tensor, samples: SampleList) -> np.ndarray:
    """What ``rates`` needs of a batch; the counts of several batches are added.

    Args:
        teacher_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
        pseudo_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
        samples (list[DetDataSample]): With ``gt_prob_map`` and ``instances``.

    Returns:
        np.ndarray: (6 + 2 * BINS,) cells that are valid, positive in the pseudo map (above 0.5), true,
        both; lesions, lesions whose midpoint is positive; then the sums of teacher probability and of
        truth in bins of the probability (``width_bins``).
    """
    target = stack_targets(samples) > 0
    valid = stack_valid(samples)
    positive = (pseudo_map > 0.5) & valid
    target = target & valid
    lesions = hits = 0
    stride = np.asarray(map_stride(pseudo_map, samples))
    for sample, cells in zip(samples, positive[:, 0]):
        steps = np.asarray(sample.scale_factor) / stride
        for box in _boxes(sample.metainfo.get('instances', ())):
            column, row = np.floor((box[:2] + box[2:]) / 2 * steps).astype(int)
            lesions += 1
            hits += bool(cells[min(row, cells.size(0) - 1), min(column, cells.size(1) - 1)])
    cells = [valid.sum(), positive.sum(), target.sum(), (positive & target).sum()]
    probability = teacher_map[valid].double().cpu().numpy()
    bins = width_bins(probability, BINS)
    truth = target[valid].double().cpu().numpy()
    sums = [np.bincount(bins, weights=values, minlength=BINS) for values in (probability, truth)]
    return np.concatenate([[float(count) for count in cells], [lesions, hits], *sums])


def rates(counts: np.ndarray) -> dict[str, float]:
    """Rates of summed counts.

    Args:
        counts (np.ndarray): Sum of ``pseudo_map_counts``.

    Returns:
        dict[str, float]: ``precision`` and ``recall`` of pseudo-positive cells, ``positive_cells`` and
        ``true_cells`` (fractions of all), ``lesion_recall``, and ``calibration_error`` of the teacher
        map (expected calibration error over ten bins); 0 where there is nothing to divide by.
    """
    valid, positive, true, both, lesions, hits = counts[:6]
    predicted, observed = np.split(counts[6:], 2)
    return {
        'precision': _ratio(both, positive),
        'recall': _ratio(both, true),
        'positive_cells': _ratio(positive, valid),
        'true_cells': _ratio(true, valid),
        'lesion_recall': _ratio(hits, lesions),
        'calibration_error': _ratio(float(np.abs(predicted - observed).sum()), valid),
    }


def _boxes(instances: Sequence[dict]) -> list[np.ndarray]:
    return [np.asarray(one['bbox'], float) for one in instances if not one.get('ignore_flag')]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
