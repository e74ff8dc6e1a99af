# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any, NamedTuple

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
        """
        if training:
            data = {
                key: {
                    branch: values
                    for branch, values in branches.items()
                    if any(value is not None for value in values)
                }
                for key, branches in data.items()
            }
        return super().forward(data, training)


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
