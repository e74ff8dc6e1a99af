# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmdet.models.data_preprocessors import MultiBranchDataPreprocessor
from mmdet.registry import MODELS
from torch import nn


@MODELS.register_module()
class SemiDataPreprocessor(MultiBranchDataPreprocessor):
    """mmdet's ``MultiBranchDataPreprocessor`` for batches in which a branch may have no film.

    Burn-in batches are supervised alone, and with ``batch_size=1`` the branches take turns; mmdet's
    own fails on an empty branch.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise, stack and move every branch that has films.

        Args:
            data (dict): ``inputs`` and ``data_samples``, in training each a dict of branches whose lists
                hold None for films of another branch.
            training (bool): Whether ``data`` has branches. Defaults to False.

        Returns:
            dict: The same with tensors; branches without films are left out.

        Raises:
            ValueError: In training, when the data has no branches; else when an image is of 8 bits.
        """
        if training:
            if not isinstance(data['inputs'], dict):
                raise ValueError(
                    'teacher-student training got a batch without branches: give train_dataloader the '
                    'data sets of configs/_base_/datasets/cxr_semi.py, or end the pipelines in a '
                    'MultiBranch as it has them'
                )
            data = {
                key: {
                    branch: values
                    for branch, values in branches.items()
                    if any(value is not None for value in values)
                }
                for key, branches in data.items()
            }
        else:
            check_float(data['inputs'])
        return super().forward(data, training)


def check_batch(preprocessor: nn.Module, args: tuple) -> None:
    """Forward pre-hook of a prob-map detector's preprocessor: refuses batches made for other models.

    Args:
        preprocessor (nn.Module): The preprocessor.
        args (tuple): What it is called with, the batch first.

    Raises:
        ValueError: When the batch has the branches of teacher-student training, or images of 8 bits.
    """
    inputs = args[0].get('inputs') if args and isinstance(args[0], dict) else None
    if isinstance(inputs, dict):
        raise ValueError(
            'a plain model got a batch with the branches of teacher-student training '
            f'({", ".join(inputs)}): give train_dataloader the data set of '
            'configs/_base_/datasets/cxr.py, or train a SemiProbMapDetector'
        )
    check_float(inputs)


def check_float(inputs: Any) -> None:
    """Raise a ``ValueError`` where an image of a batch has 8 bits, which is no film in [0, 1]."""
    images = inputs if isinstance(inputs, Sequence) else [inputs]
    if any(getattr(one, 'dtype', None) == torch.uint8 for one in images):
        raise ValueError(
            'a prob-map detector got an image of uint8, films are float in [0, 1]: begin the pipeline '
            'with LoadRadiograph in the place of LoadImageFromFile'
        )


class Normalisation(NamedTuple):
    """What a preprocessor does to the values of an image.

    Attributes:
        mean, std (tuple[float, ...]): For each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        mean, std = (', '.join(f'{value:.6g}' for value in values) for values in self)
        return f'mean {mean} and std {std}'


def normalisation_of(preprocessor: nn.Module) -> Normalisation | None:
    """That of a preprocessor, of ``SemiDataPreprocessor`` the inner one's.

    Args:
        preprocessor (nn.Module): Of any model.

    Returns:
        Normalisation or None: None where there is none, or on the device ``meta``, without values.
    """
    inner: Any = getattr(preprocessor, 'data_preprocessor', preprocessor)
    mean = getattr(inner, 'mean', None)
    if mean is None or mean.is_meta:
        return None
    return Normalisation(*(tuple(values.flatten().tolist()) for values in (inner.mean, inner.std)))
