# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
import logging
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mmcv.transforms import Compose
from mmdet.engine.hooks import PipelineSwitchHook
from mmdet.models import SemiBaseDetector
from mmdet.models.roi_heads.mask_heads import FusedSemanticHead
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.data_preprocessor import check_first_images, check_images
from mmfrac.models.heads.prob_map_head import ProbMapHead
from mmfrac.models.teachers import FrozenTeacher
from mmfrac.utils.config import type_name
from mmfrac.utils.dataset_wrappers import (
    branches_of,
    innermost_sets,
    transforms_of,
    values_as_read,
)

# of mmdet's semi-supervised detectors, which need all of them in every step
BRANCHES = ('sup', 'unsup_teacher', 'unsup_student')


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Refuses data that do not fit the model, where no training would show it, or show it late.

    Before anything is loaded the data of a training are checked, see ``check_training_data``, and an
    image of its validation; in any run the first batch, whose images must be such as the model's mean
    and std are made for, see ``check_images``.

    Raises:
        ValueError: When the data do not fit the model.
    """

    def before_run(self, runner: Runner) -> None:
        """Check the data of a training, and have the first images of any run checked."""
        preprocessor = unwrapped_model(runner).data_preprocessor
        preprocessor.register_forward_pre_hook(check_first_images)
        # a run that only tests leaves the loop's config unbuilt
        if isinstance(runner._train_loop, BaseLoop):
            check_training_data(runner)
            check_first_val_image(runner)


def check_training_data(runner: Runner) -> None:
    """Raise a ``ValueError`` with the first fault that a training would not show, or show late."""
    model, loader = unwrapped_model(runner), runner.train_dataloader
    check_classes(model, loader.dataset)
    check_wrappers(loader.dataset)
    check_switches(runner.hooks, loader.dataset)
    check_positives(model, loader, has_weights=runner._resume or runner._load_from is not None)
    if getattr(model, 'burn_in_epochs', 0) < runner.max_epochs:
        check_branches(model, loader)
        check_boxes(model, loader.dataset)


def check_classes(model: nn.Module, dataset: Any) -> None:
    """Check that a box detector knows the classes of its data, as mmdet's ``NumClassCheckHook`` does.

    Boxes of a class beyond ``num_classes`` are background to most heads. A prob map has no classes: all
    boxes are lesions.

    Args:
        model (nn.Module): To be trained.
        dataset (Any): A data set with ``metainfo``, or wrappers of such.

    Raises:
        ValueError: With the numbers that differ.
    """
    # the text names the classes of an open vocabulary
    if hasattr(model, 'language_model'):
        return
    numbers = {
        name: module.num_classes
        for name, module in model.named_modules()
        if isinstance(getattr(module, 'num_classes', None), int)
        and not {'backbone', 'neck', 'rpn_head', 'teacher'} & set(name.split('.'))
        and not isinstance(module, FusedSemanticHead)
    }
    for one in innermost_sets(dataset):
        classes = list(getattr(one, 'metainfo', {}).get('classes') or ())
        wrong = [name for name, number in numbers.items() if number != len(classes)]
        if not (classes and wrong):
            continue
        where = f'model.{wrong[0]}.num_classes'.replace('model.student.', 'model.detector.')
        raise ValueError(
            f'{where} is {numbers[wrong[0]]}, and train_dataloader has {len(classes)} classes, '
            f'{classes}: boxes of a class beyond num_classes would be learnt as background. Set '
            f'it to {len(classes)} wherever the model has it, or give all boxes one category in the '
            'annotation file, and the data sets metainfo=dict(classes=(...)) with its name'
        )


def check_wrappers(dataset: Any, after: Sequence[Any] = ()) -> None:
    """Check transforms of wrappers (``MultiImageMixDataset``) as those of a ``CXRDataset``.

    Args:
        dataset (Any): A data set, or wrappers of such.
        after (Sequence): Built transforms that its films go through after its own. Defaults to none.

    Raises:
        ValueError: See ``CXRDataset.check_transforms``.
    """
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            check_wrappers(part, after)
    elif hasattr(dataset, 'dataset'):
        check_wrappers(dataset.dataset, [*transforms_of(dataset), *after])
    elif after and hasattr(dataset, 'check_transforms'):
        dataset.check_transforms([*transforms_of(dataset), *after])


def check_switches(hooks: Iterable[Hook], dataset: Any) -> None:
    """Check the pipelines that mmdet's ``PipelineSwitchHook`` will set.

    Args:
        hooks (Iterable[Hook]): Of the runner.
        dataset (Any): To be trained on.

    Raises:
        ValueError: When a switch has no effect, or its pipeline a fault as of ``check_wrappers``.
    """
    for hook in hooks:
        if not isinstance(hook, PipelineSwitchHook):
            continue
        if hasattr(dataset, 'datasets') or hasattr(dataset, 'dataset'):
            raise ValueError(
                f'{type(hook).__name__} sets the pipeline of train_dataloader.dataset, and the films of '
                f'a {type(dataset).__name__} go through those of the data sets in it, which stay as '
                'they are: leave it out of custom_hooks, and give the later pipeline to the data sets '
                "of a second training that starts from the first one's checkpoint (load_from)"
            )
        if hasattr(dataset, 'check_transforms'):
            dataset.check_transforms(Compose(copy.deepcopy(hook.switch_pipeline)).transforms)


def check_branches(model: nn.Module, loader: Any) -> None:
    """Check that every batch has images of each branch, without which mmdet's detectors fail.

    Args:
        model (nn.Module): To be trained; one that is no ``SemiBaseDetector`` is left alone.
        loader (DataLoader): Of the training. One without a ratio of sources is left alone.

    Raises:
        ValueError: With the branches that a batch lacks.
    """
    if not isinstance(model, SemiBaseDetector) or not hasattr(loader.dataset, 'datasets'):
        return
    branches = [branches_of(one) for one in loader.dataset.datasets]
    # what has none at all is refused by the preprocessor
    if not any(branches):
        return
    for index, sources in enumerate(_sources_of_batches(loader)):
        given = {name for source in sources for name in branches[source]}
        missing = [name for name in BRANCHES if name not in given]
        if missing:
            raise ValueError(
                f'{type(model).__name__} learns from {", ".join(BRANCHES)} in every batch, and batch '
                f'{index + 1} of the training would have no image of {", ".join(missing)}: '
                f'{_remedy(loader, branches)}'
            )


def check_boxes(model: nn.Module, dataset: Any) -> None:
    """Check that there are images with boxes, where a part of the model measures something on them.

    Args:
        model (nn.Module): To be trained; a part that needs boxes has ``needs_boxes = True``.
        dataset (Any): To be trained on. One that does not tell of its labels is left alone.

    Raises:
        ValueError: With the part.
    """
    needing = [
        type(part).__name__ for part in model.modules() if getattr(part, 'needs_boxes', False)
    ]
    labels, regions = (values_as_read(dataset, name) for name in ('labels', 'regions'))
    if not needing or labels is None or regions is None or ((labels == 1) & regions).any():
        return
    raise ValueError(
        f'{needing[0]} measures its settings on images with boxes, and train_dataloader has none: add '
        "a source of subset='P_hos', or give it numbers in place of 'match'"
    )


def check_positives(model: nn.Module, loader: Any, has_weights: bool) -> None:
    """Check that L_sup of a prob map has images with boxes, where it learns from masks alone.

    Without them it learns from negatives that there is a fracture nowhere. A model that has weights
    already (a checkpoint, a pretrained head or detector), semi-supervised training without burn-in or
    with a ``FrozenTeacher`` may know fractures from elsewhere: then it is a warning.

    Args:
        model (nn.Module): To be trained. One whose L_sup has ``needs_mask = False``, or that has no
            ``ProbMapHead``, is left alone.
        loader (DataLoader): Of the training. One that does not tell of its labels is left alone.
        has_weights (bool): Whether the training starts from a checkpoint.

    Raises:
        ValueError: When there is none.
    """
    head = getattr(getattr(model, 'student', model), 'prob_map_head', None)
    if not isinstance(head, ProbMapHead) or not getattr(head.loss_sup, 'needs_mask', True):
        return
    sources = getattr(loader.dataset, 'datasets', [loader.dataset])
    shares = getattr(loader.batch_sampler, 'shares', [1] * len(sources))
    sets = [one for source, share in zip(sources, shares) if share for one in _supervised(source)]
    for one in sets:
        labels, regions = (values_as_read(one, name) for name in ('labels', 'regions'))
        if labels is None or regions is None or ((labels == 1) & regions).any():
            return
    if not sets:
        return
    told = (
        'L_sup of this training has no film with label 1 and complete boxes (P_hos): from negatives '
        'alone a map learns that there is a fracture nowhere. Draw boxes on some films (mmfrac '
        'annotate), start from a detector that is trained (load_from), or learn from labels without '
        'boxes (configs/baselines/chexnet_cam.py, noisy_or.py)'
    )
    burns_in = getattr(model, 'burn_in_epochs', math.inf) > 0
    parts = (model, getattr(model, 'student', None), head)
    may_know = (
        has_weights
        or any(isinstance(part, FrozenTeacher) for part in model.modules())
        or any(_is_pretrained(getattr(part, 'init_cfg', None)) for part in parts)
    )
    if burns_in and not may_know:
        raise ValueError(told)
    print_log(told, logger='current', level=logging.WARNING)


def _is_pretrained(init_cfg: Any) -> bool:
    cfgs = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    return any(isinstance(cfg, dict) and type_name(cfg) == 'Pretrained' for cfg in cfgs)


def _supervised(dataset: Any) -> list[Any]:
    """Data sets of a data set whose images come in branch ``sup``, or in none."""
    if hasattr(dataset, 'datasets'):
        return [one for part in dataset.datasets for one in _supervised(part)]
    branches = branches_of(dataset)
    return [] if branches and 'sup' not in branches else [dataset]


def _remedy(loader: Any, branches: list[set[str]]) -> str:
    sampler = loader.batch_sampler if hasattr(loader.batch_sampler, 'shares') else loader.sampler
    ratio = getattr(sampler, 'shares', None) or sampler.source_ratio
    size = sampler.batch_size
    shares = [
        size * sum(share for share, names in zip(ratio, branches) if branch in names) / sum(ratio)
        for branch in BRANCHES
    ]
    if not min(shares):
        return (
            'no source of train_dataloader with a share in source_ratio has it in its MultiBranch'
        )
    least = max(math.ceil(1 / min(shares) * size - 1e-9), size + 1)
    return (
        f'with a batch size of {size} they have {", ".join(f"{share:.3g}" for share in shares)} images '
        f'a batch on average; set train_dataloader.batch_size to {least} or more, or change source_ratio'
    )


def _sources_of_batches(loader: Any) -> Iterator[set[int]]:
    """Sources that each batch reads, of samplers that mix sources by a ratio."""
    if hasattr(loader.batch_sampler, 'shares'):
        ends = loader.dataset.cumulative_sizes
        for batch in loader.batch_sampler:
            yield {bisect_right(ends, index) for index in batch}
    elif hasattr(loader.sampler, 'num_per_source'):
        # all batches of mmdet's MultiSourceSampler are alike
        yield {source for source, count in enumerate(loader.sampler.num_per_source) if count}


def check_first_val_image(runner: Runner) -> None:
    """Check an image of the validation before an epoch is spent, see ``check_images``."""
    if runner.val_loop is None:
        return
    dataset = runner.val_dataloader.dataset
    if all(hasattr(one, 'img_paths') for one in innermost_sets(dataset)) and len(dataset):
        check_images(unwrapped_model(runner).data_preprocessor, dataset[0].get('inputs'))
