# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from mmdet.models.data_preprocessors import MultiBranchDataPreprocessor
from mmdet.registry import MODELS
from torch import Tensor, nn


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
            ValueError: In training, when the data has no branches; else when an image is of 8 bits; when
                images do not fit mean and std, see ``check_images``.
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
        check_first_images(self, (data,))
        return super().forward(data, training)


def check_batch(preprocessor: nn.Module, args: tuple) -> None:
    """Forward pre-hook of a prob-map detector's preprocessor: refuses batches made for other models.

    Args:
        preprocessor (nn.Module): The preprocessor.
        args (tuple): What it is called with, the batch first.

    Raises:
        ValueError: When the batch has the branches of teacher-student training, images of 8 bits, or
            images that do not fit mean and std, see ``check_images``.
    """
    inputs = args[0].get('inputs') if args and isinstance(args[0], dict) else None
    if isinstance(inputs, dict):
        raise ValueError(
            'a plain model got a batch with the branches of teacher-student training '
            f'({", ".join(inputs)}): give train_dataloader the data set of '
            'configs/_base_/datasets/cxr.py, or train a SemiProbMapDetector'
        )
    check_float(inputs)
    check_first_images(preprocessor, args)


def check_float(inputs: Any) -> None:
    """Raise a ``ValueError`` where an image of a batch has 8 bits, which is no film in [0, 1]."""
    images = inputs if isinstance(inputs, Sequence) else [inputs]
    if any(getattr(one, 'dtype', None) == torch.uint8 for one in images):
        raise ValueError(
            'a prob-map detector got an image of uint8, films are float in [0, 1]: begin the pipeline '
            'with LoadRadiograph in the place of LoadImageFromFile'
        )


# of images in [0, 1] even with noise, and of their mean and std; those of 8 bits go far beyond
_HIGHEST = 2.0


def check_first_images(preprocessor: nn.Module, args: tuple) -> None:
    """Forward pre-hook of any preprocessor: ``check_images`` of the first batch.

    That is the first one that shows what it is, in training and in evaluation each, so that looking at
    every value costs nothing later.

    Args:
        preprocessor (nn.Module): The preprocessor.
        args (tuple): What it is called with, the batch first.
    """
    checked = preprocessor.__dict__.setdefault('_checked_modes', set())
    if preprocessor.training in checked or not (args and isinstance(args[0], dict)):
        return
    if check_images(preprocessor, args[0].get('inputs')):
        checked.add(preprocessor.training)


def check_images(preprocessor: nn.Module, inputs: Any) -> bool:
    """Check that images are such as a preprocessor was made for.

    Args:
        preprocessor (nn.Module): Of any model, perhaps around another one.
        inputs (Any): Images ``(C, H, W)``, a tensor or a list that may hold None, or a dict of such.

    Returns:
        bool: Whether the images show what they are; black ones do not.

    Raises:
        ValueError: When mean and std are of 8 bits and the images lie in [0, 1], or the reverse; when
            three channels are expected of an image of one.
    """
    images = list(_images(inputs))
    inner: Any = getattr(preprocessor, 'data_preprocessor', preprocessor)
    normalisation = normalisation_of(preprocessor)
    swaps = getattr(inner, '_channel_conversion', False)
    wants_colour = swaps or (normalisation is not None and len(normalisation.mean) == 3)
    if wants_colour and any(image.shape[-3] == 1 for image in images):
        raise ValueError(
            'the data_preprocessor of the model expects three planes '
            f'({"bgr_to_rgb=True" if swaps else normalisation}) and got an image of one: give it '
            f'{_OF_FILMS}, or begin the pipelines with LoadRadiograph(channels=3)'
        )
    if normalisation is None:
        return True
    highest = max((float(image.max()) for image in images if image.numel()), default=0.0)
    is_of_bytes = highest > _HIGHEST or any(image.dtype == torch.uint8 for image in images)
    if not is_of_bytes and highest <= 0:
        return False
    takes_bytes = max(*normalisation.mean, *normalisation.std) > _HIGHEST
    if takes_bytes and not is_of_bytes:
        raise ValueError(
            f'the data_preprocessor of the model has {normalisation}, which are of images of 8 bits '
            f'(0 to 255), and films lie in [0, 1] (these reach {highest:.3g}): give it {_OF_FILMS}'
        )
    # std 1 leaves the scale as it is, whatever it is
    if is_of_bytes and not takes_bytes and min(normalisation.std) < 1:
        raise ValueError(
            f'the data_preprocessor of the model has {normalisation}, which are of films in [0, 1], and '
            f'got images of 8 bits (these reach {highest:.3g}): begin the pipelines with LoadRadiograph '
            'in the place of LoadImageFromFile, or give it mean and std of 0 to 255'
        )
    return True


_OF_FILMS = 'mean=[0.449], std=[0.226], bgr_to_rgb=False'


def _images(inputs: Any) -> Iterator[Tensor]:
    if isinstance(inputs, Tensor):
        yield inputs
    elif isinstance(inputs, (dict, list, tuple)):
        for one in inputs.values() if isinstance(inputs, dict) else inputs:
            yield from _images(one)


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
