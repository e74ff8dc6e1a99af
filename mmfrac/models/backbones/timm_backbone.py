# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Backbones of timm (https://github.com/huggingface/pytorch-image-models), with pretrained weights."""

import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """Pyramid features of any model of timm that knows ``features_only``.

    Weights come from timm (``pretrained=True``) or from a file, whose tensors are found by name::

        backbone=dict(
            type='TimmBackbone',
            model_name='tf_efficientnet_lite0',
            init_cfg=dict(type='Pretrained', checkpoint='weights.pth'),
        )

    Files with the names of timm, of torchvision (ResNet), of torchxrayvision (ResNet-50 of chest films)
    and of efficientnet_lite_pytorch are read. A first convolution for another number of channels is
    summed over them, or shared out. The mean and std of ``data_preprocessor`` have to be those that the
    weights were trained with; configs/_base_/models/backbones has some with theirs.

    Args:
        model_name (str): As in ``timm.list_models()``.
        out_indices (Sequence[int]): Levels handed on, by ``feature_info`` of the model. Defaults to
            (1, 2, 3, 4), for most models strides 4 to 32.
        in_channels (int): 1: the first convolution takes the grey plane itself, with weights summed over
            the colours: the values of three equal planes. 3: three equal planes. Defaults to 1.
        pretrained (bool): Whether timm loads weights of its own, which it may download. Defaults to
            False.
        frozen_stages (int): The first levels handed on, with all layers before them, keep their weights,
            and their batch norms the statistics of these. Defaults to 0, none.
        norm_eval (bool): Whether batch norms keep the statistics of the weights. Defaults to False.
        init_cfg (dict, optional): ``dict(type='Pretrained', checkpoint=...)``: a path, a URL, or
            ``package://NAME/FILE`` for a file of an installed Python package. Defaults to None.
        model_args (Any): Further arguments of ``timm.create_model``, e.g. ``drop_path_rate``.

    Attributes:
        channels (list[int]): Channels of each level, what ``neck.in_channels`` has to be.
        strides (list[int]): Stride of each level.

    Raises:
        ImportError: If timm is missing.
        ValueError: If timm has no such model, or not these levels; if the file lacks weights; if
            ``frozen_stages`` is not from 0 to the number of levels, or the model has no such stages.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        in_channels: int = 1,
        pretrained: bool = False,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        init_cfg: OptMultiConfig = None,
        **model_args: Any,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if in_channels not in (1, 3):
            raise ValueError(
                f'in_channels of TimmBackbone is 1 (the grey plane) or 3, got {in_channels}'
            )
        if pretrained and init_cfg is not None:
            raise ValueError(
                "TimmBackbone: either pretrained=True, timm's weights, or init_cfg, a file; got both"
            )
        timm = _timm()
        self.model_name = model_name
        self.in_channels = in_channels
        self.norm_eval = norm_eval
        if not timm.is_model(model_name):
            near = timm.list_models(f'*{model_name.split("_")[0]}*')[:5]
            raise ValueError(
                f"timm has no model '{model_name}'; near it: {', '.join(near) or 'none'}"
            )
        try:
            self.timm_model = timm.create_model(
                model_name,
                pretrained=pretrained,
                features_only=True,
                in_chans=in_channels,
                out_indices=tuple(out_indices),
                **model_args,
            )
        except (IndexError, AssertionError) as error:
            raise ValueError(
                f"'{model_name}' has not the levels out_indices={tuple(out_indices)}"
            ) from error
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise ValueError(
                f"timm's weights of '{model_name}' cannot be had ({type(error).__name__}): name a file, "
                "init_cfg=dict(type='Pretrained', checkpoint=...), or pretrained=False"
            ) from error
        self.channels: list[int] = list(self.timm_model.feature_info.channels())
        self.strides: list[int] = list(self.timm_model.feature_info.reduction())
        if not 0 <= frozen_stages <= len(self.channels):
            raise ValueError(
                f'frozen_stages of TimmBackbone is from 0 to {len(self.channels)}, the number of its '
                f'levels, got {frozen_stages}'
            )
        self.frozen_modules = self._modules_up_to(frozen_stages)
        for module in self.frozen_modules:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)

    def _modules_up_to(self, levels: int) -> list[nn.Module]:
        """All modules up to the end of the first levels; timm defines them in the order they run in."""
        if levels == 0:
            return []
        last = _flat(self.timm_model.feature_info.module_name()[levels - 1])
        named = list(self.timm_model.named_modules())[1:]
        inside = [
            i
            for i, (name, _) in enumerate(named)
            if f'{_flat(name.removeprefix("model."))}_'.startswith(f'{last}_')
        ]
        if not inside:
            raise ValueError(
                f"frozen_stages={levels}: the features of '{self.model_name}' come from no module of "
                'their own that could be frozen'
            )
        # a parent that reaches beyond the level has no parameters of its own
        return [module for _, module in named[: inside[-1] + 1]]

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names."""
        if self.init_cfg is None or self.is_init:
            return
        if not isinstance(self.init_cfg, dict) or self.init_cfg.get('type') != 'Pretrained':
            raise ValueError(
                "init_cfg of TimmBackbone is dict(type='Pretrained', checkpoint=...) or None; timm "
                f'initialises the rest, got {self.init_cfg!r}'
            )
        name = self.init_cfg['checkpoint']
        checkpoint = CheckpointLoader.load_checkpoint(name, map_location='cpu', logger='silent')
        self.load_pretrained(checkpoint, name)
        self._is_init = True

    def load_pretrained(self, checkpoint: dict, name: str) -> None:
        """Load the weights of a classifier.

        Args:
            checkpoint (dict): State dict, or a checkpoint with one.
            name (str): Of its file, for messages.

        Raises:
            ValueError: If one of the backbone's weights is missing or has another shape.
        """
        wanted = self.timm_model.state_dict()
        given = _by_flat_name(checkpoint, list(wanted))
        found: dict[str, Tensor] = {}
        missing = []
        for key, value in wanted.items():
            source = given.pop(_flat(key), None)
            if source is None:
                # a counter that no forward pass of an evaluation reads
                if not key.endswith('num_batches_tracked'):
                    missing.append(key)
                continue
            if source.shape != value.shape:
                source = _adapt_channels(source, value.shape)
            if source is None:
                missing.append(f'{key} of shape {tuple(value.shape)}')
                continue
            found[key] = source
        if missing:
            raise ValueError(
                f"'{name}' has no weights of '{self.model_name}': {len(missing)} of {len(wanted)} are "
                f'missing, {", ".join(missing[:3])} first. It is of another model, or has names other '
                'than those of timm, torchvision, torchxrayvision and efficientnet_lite_pytorch'
            )
        self.timm_model.load_state_dict(found, strict=False)
        print_log(
            f"loaded {len(found)} tensors of '{self.model_name}' from '{name}'"
            + (f', without {len(given)} others ({next(iter(given))} first)' if given else ''),
            logger='current',
        )

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Set the mode; batch norms of frozen levels, with ``norm_eval`` all, stay in evaluation."""
        super().train(mode)
        for module in self.modules() if self.norm_eval else self.frozen_modules:
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Levels of a batch.

        Args:
            x (Tensor): ``(N, 3, H, W)`` of equal planes, or ``(N, 1, H, W)``.

        Returns:
            tuple[Tensor, ...]: ``(N, channels[i], H / strides[i], W / strides[i])``.
        """
        if self.in_channels == 1:
            x = x[:, :1]
        elif x.size(1) == 1:
            x = x.expand(-1, 3, -1, -1)
        return tuple(self.timm_model(x))


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise ImportError(
            'TimmBackbone needs timm: pip install timm, or mmfrac with the extra benchmarks'
        ) from error
    return timm


def _flat(key: str) -> str:
    # features_only flattens some models: stages.0.blocks becomes stages_0.blocks
    return key.replace('.', '_')


def _by_flat_name(checkpoint: dict, wanted: list[str]) -> dict[str, Tensor]:
    """Tensors of a state dict by the flat names of timm."""
    state_dict = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(state_dict.get(key), dict):
            state_dict = state_dict[key]
    tensors = {key: value for key, value in state_dict.items() if torch.is_tensor(value)}
    for prefix in ('module.', 'model.', 'backbone.', 'timm_model.'):
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    if '_conv_stem.weight' in tensors:
        tensors = _of_efficientnet(tensors, wanted)
    return {_flat(key): value for key, value in tensors.items()}


_PARTS = {
    # of a block without expansion, and of one with it
    False: dict(_depthwise_conv='conv_dw', _bn1='bn1', _project_conv='conv_pw', _bn2='bn2'),
    True: dict(
        _expand_conv='conv_pw',
        _bn0='bn1',
        _depthwise_conv='conv_dw',
        _bn1='bn2',
        _project_conv='conv_pwl',
        _bn2='bn3',
        _se_reduce='se.conv_reduce',
        _se_expand='se.conv_expand',
    ),
}


def _of_efficientnet(tensors: dict[str, Tensor], wanted: list[str]) -> dict[str, Tensor]:
    """Names of efficientnet_lite_pytorch (blocks counted through) to timm's (blocks of a stage)."""
    stages = sorted(
        {tuple(map(int, key.split('.')[1:3])) for key in wanted if key.startswith('blocks.')}
    )
    named = {}
    for key, value in tensors.items():
        if (block := re.match(r'_blocks\.(\d+)\.(\w+)\.(.*)', key)) is None:
            new = key.replace('_conv_stem', 'conv_stem').replace('_bn0', 'bn1')
        elif int(block[1]) >= len(stages):
            continue  # of a stage behind the last level
        else:
            stage, index = stages[int(block[1])]
            expands = f'_blocks.{block[1]}._expand_conv.weight' in tensors
            part = _PARTS[expands].get(block[2], block[2])
            new = f'blocks.{stage}.{index}.{part}.{block[3]}'
        named[new] = value
    return named


def _adapt_channels(weight: Tensor, shape: torch.Size) -> Tensor | None:
    """A first convolution for another number of input channels, or None."""
    if weight.ndim != 4 or weight.shape[0] != shape[0] or weight.shape[2:] != shape[2:]:
        return None
    given, asked = weight.shape[1], shape[1]
    if (given, asked) == (3, 1):
        return weight.sum(1, keepdim=True)
    if (given, asked) == (1, 3):
        return (weight / 3).expand(-1, 3, -1, -1)
    return None
