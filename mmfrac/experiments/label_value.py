# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What the label "fracture" adds to what a model already sees, in films whose boxes are known."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import SampleList
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmfrac.engine.hooks.pseudo_truth_hook import hidden_films, pseudo_map_counts
from mmfrac.models.detectors.semi_prob_map_detector import SemiProbMapDetector
from mmfrac.models.pseudo_labels.noisy_or_posterior import NoisyOrPosterior
from mmfrac.models.target_maps import stack_targets, stack_valid
from mmfrac.utils.config import film_sets

# the odds of a map times e^-3 to e^3
LOG_FACTORS = tuple(step / 4 for step in range(-12, 13))


class LabelValue(NamedTuple):
    """Cross-entropy of maps and boxes in nats per 1,000 cells: lower is nearer to the boxes.

    Attributes:
        films (int): How many.
        mass (float): Sum of the maps, for each true cell.
        peak (float): Share of films whose highest cell is true.
        as_is (float): Of the maps.
        scaled (float): With the odds times the best of ``LOG_FACTORS``: what one number tells that is
            the same for all films.
        posterior (float): Of ``NoisyOrPosterior``: divided by the probability of a lesion anywhere.
        scaled_posterior (float): With the odds times the best factor before that. What it is below
            ``scaled`` is what the labels tell besides that number.
        found (float | None): Share of the lesions of ``truth_dataset`` in whose midpoint the map is
            above 0.5. Defaults to None, not measured.
        found_boxed (float | None): The same of the lesions whose boxes the model was trained with, all
            that training can know of its sensitivity. Defaults to None.
    """

    films: int
    mass: float
    peak: float
    as_is: float
    scaled: float
    posterior: float
    scaled_posterior: float
    found: float | None = None
    found_boxed: float | None = None


Batch = tuple[Tensor, Tensor, Tensor, SampleList]


def label_value(batches: Iterable[Batch]) -> LabelValue:
    """What the labels of positive films tell.

    Args:
        batches (Iterable): Of each batch the maps in [0, 1], the truth (1: fracture) and which cells
            count, all ``(N, 1, h, w)``, and the data samples.

    Returns:
        LabelValue: Of all films. Its factors are chosen on them: it explains, and chooses nothing.

    Raises:
        ValueError: If there is no film, or none has a true cell.
    """
    films = peaks = 0
    cells = true = mass = 0.0
    losses = torch.zeros(2, len(LOG_FACTORS), dtype=torch.float64)
    for maps, truth, valid, samples in batches:
        truth = truth.double() * valid
        films += len(maps)
        cells += valid.sum().item()
        true += truth.sum().item()
        mass += maps.double().mul(valid).sum().item()
        at = maps.masked_fill(~valid, -1).flatten(1).argmax(1, keepdim=True)
        peaks += int((truth.flatten(1).gather(1, at) > 0).sum())
        for index, log_factor in enumerate(LOG_FACTORS):
            for kind, other in enumerate(_with_odds(maps, log_factor, samples)):
                losses[kind, index] += _cross_entropy(other, truth, valid)
    if not true:
        raise ValueError(
            f'{films} films without a true cell: their boxes are needed (truth_dataset)'
        )
    plain, posterior = (losses * (1000 / cells)).tolist()
    none = LOG_FACTORS.index(0)
    return LabelValue(
        films,
        mass / true,
        peaks / films,
        plain[none],
        min(plain),
        posterior[none],
        min(posterior),
    )


def _with_odds(maps: Tensor, log_factor: float, samples: SampleList) -> tuple[Tensor, Tensor]:
    """Maps of other odds, and their posterior."""
    divisor = float(torch.tensor(-log_factor).exp())
    scaled = maps / (divisor + (1 - divisor) * maps)
    step = NoisyOrPosterior(alpha_r=1.0, teacher_alpha_r=divisor)
    return scaled, step(maps, torch.ones_like(maps), samples, samples)[0]


def _cross_entropy(maps: Tensor, truth: Tensor, valid: Tensor) -> float:
    maps = maps.double().clamp(1e-6, 1 - 1e-6)
    return F.binary_cross_entropy(maps, truth, valid.double(), reduction='sum').item()


@torch.no_grad()
def measure_label_value(cfg: Config, checkpoints: Sequence[str], batch_size: int = 8) -> LabelValue:
    """The same of trained models: mean of their maps of both flips, on the films of P_pub.

    Args:
        cfg (Config): Of teacher-student training, with ``truth_dataset``; its films are chosen as those
            of ``PseudoTruthHook``.
        checkpoints (Sequence[str]): One, or several whose mean is taken.
        batch_size (int): Films at a time. Defaults to 8.

    Returns:
        LabelValue: On the GPU where there is one.

    Raises:
        ValueError: If the config has no ``truth_dataset``, or that no boxes of the films that are P_pub
            in the training, or a checkpoint is of another model.
    """
    if cfg.get('truth_dataset') is None:
        raise ValueError(
            f"'{cfg.filename}' has no truth_dataset: take a config of teacher-student training on films "
            'whose boxes are known, as configs/semi_real/frac_ssl_semi_real_v2.py'
        )
    settings = copy.deepcopy(cfg.model)
    settings.teacher = dict(
        type='AugmentedTeacher', teacher=dict(type='FrozenTeacher', checkpoints=list(checkpoints))
    )
    model = MODELS.build(settings)
    if not isinstance(model, SemiProbMapDetector):
        raise ValueError(f"'{cfg.filename}' is of no teacher-student training ({settings.type})")
    model.start_teacher()
    model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()
    hidden, boxed = LesionsFound(), LesionsFound()
    training = [DATASETS.build(one) for one in film_sets(cfg.train_dataloader)]
    films = hidden_films(cfg.truth_dataset, training)
    value = label_value(hidden.counted(_batches(model, films, batch_size)))
    with_boxes = _boxed_images(cfg)
    if with_boxes is not None:
        for _ in boxed.counted(_batches(model, DATASETS.build(with_boxes), batch_size)):
            pass
    return value._replace(found=hidden.share, found_boxed=boxed.share)


class LesionsFound:
    """Counts the lesions that maps show, while something else reads the batches."""

    def __init__(self) -> None:
        self.lesions = self.hits = 0

    @property
    def share(self) -> float | None:
        """Lesions in whose midpoint the map is above 0.5; None where there is no lesion."""
        return self.hits / self.lesions if self.lesions else None

    def counted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches.

        Args:
            batches (Iterable): See ``label_value``; the samples have ``instances`` and
                ``scale_factor``.

        Yields:
            tuple: Each of them, when its lesions are counted.
        """
        for batch in batches:
            maps, _, _, samples = batch
            lesions, hits = pseudo_map_counts(maps, maps, samples)[4:6]
            self.lesions += int(lesions)
            self.hits += int(hits)
            yield batch


def _boxed_images(cfg: Config) -> dict | None:
    """The data set of the films that training has boxes of, in the teacher's view; None without one."""
    for trained in film_sets(cfg.train_dataloader):
        subset = trained.get('subset') or 'P_hos'
        if 'P_hos' in ([subset] if isinstance(subset, str) else subset):
            return dict(
                cfg.truth_dataset,
                subset='P_hos',
                ann_file=trained['ann_file'],
                label_fraction=trained.get('label_fraction'),
                complete_boxes=trained.get('complete_boxes', False),
            )
    return None


def _batches(model: SemiProbMapDetector, films: Dataset, batch_size: int) -> Iterator[Batch]:
    for data in DataLoader(films, batch_size=batch_size, collate_fn=pseudo_collate):
        batch = model.data_preprocessor(data, training=True)
        inputs, samples = (batch[name]['unsup_teacher'] for name in ('inputs', 'data_samples'))
        maps, _ = model.get_teacher_maps(inputs, samples)
        yield maps, stack_targets(samples) > 0, stack_valid(samples), samples
