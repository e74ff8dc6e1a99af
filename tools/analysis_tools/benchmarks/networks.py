# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Networks of configs, random weights on made-up images, for sections that time them."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.losses import focal_loss
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from mmfrac.engine.runner.compiled import compile_networks
from mmfrac.models import DynamicSharpening, SemiProbMapDetector
from mmfrac.models.losses import WeightedBCELoss
from mmfrac.utils import mmcv_ops
from mmfrac.utils.config import load_config

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'
PRECISIONS = dict(fp32=None, fp16=torch.float16, bf16=torch.bfloat16)


class AutocastOptimWrapper(OptimWrapper):
    """A step under autocast, on any device, without scaling the loss.

    Args:
        device (str): 'cpu' or 'cuda'.
        dtype (torch.dtype, optional): None: no autocast.
        **kwargs: Arguments of ``OptimWrapper``.
    """

    def __init__(self, device: str, dtype: torch.dtype | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.device, self.dtype = device, dtype

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under autocast."""
        with super().optim_context(model), autocast(self.device, self.dtype):
            yield


def autocast(device: str, dtype: torch.dtype | None) -> Any:
    """Autocast in a precision; None: in none."""
    return torch.autocast(device, dtype=dtype, enabled=dtype is not None)


class Network:
    """A network of a config with its optimizer and a batch that is on its device.

    Args:
        config (str or Config): File below configs/, or its content.
        size (int): Edge of the network input in px.
        images (int): Images of a step; of a semi-supervised one half of them are labelled.
        device (str): 'cpu' or 'cuda'.
        precision (str): 'fp32', 'fp16' or 'bf16'. Defaults to 'fp32'.
        channels_last (bool, optional): Memory format of weights and features. Defaults to None, that
            of the config.
        compiled (bool): Whether backbone, neck and head pass ``torch.compile``. Defaults to False.
        folder (str, optional): For what a teacher remembers. Defaults to None.

    Attributes:
        images (int): As above.
        model (nn.Module): The network.
    """

    def __init__(
        self,
        config: str | Config,
        size: int,
        images: int,
        device: str,
        precision: str = 'fp32',
        channels_last: bool | None = None,
        compiled: bool = False,
        folder: str | None = None,
    ) -> None:
        init_default_scope('mmdet')
        cfg = load_config(CONFIGS / config) if isinstance(config, str) else config
        cfg = copy.deepcopy(cfg)
        without_downloads(cfg._cfg_dict)
        self.images, self.device, self.dtype = images, device, PRECISIONS[precision]
        # of every initialised weight
        MMLogger.get_current_instance().setLevel('ERROR')
        torch.manual_seed(0)
        model: Any = MODELS.build(cfg.model)
        model.init_weights()
        self.is_semi = isinstance(model, SemiProbMapDetector)
        sample_names = [f'image_{index}' for index in range(images)]
        # what the hooks of a training do
        for module in model.modules():
            if isinstance(module, WeightedBCELoss):
                module.set_class_counts(1, 1)
            if isinstance(module, DynamicSharpening):
                module.expect_updates()
        if self.is_semi:
            model.set_epoch(model.burn_in_epochs + model.semi_train_cfg['ramp_up_epochs'])
            if folder is not None:
                model.teacher.open([(name, name) for name in sample_names], folder, False)
            model.start_teacher()
        self.model = model.to(device).train()
        if channels_last is not None:
            layout = torch.channels_last if channels_last else torch.contiguous_format
            self.model.to(memory_format=layout)
        if compiled:
            compile_networks(model, device)
        self._epoch = 0
        is_map = self.is_semi or hasattr(model, 'prob_map_head')
        for name, module in model.named_modules():
            if self.dtype is not None and name.endswith(('rpn_head', 'bbox_head')):
                # as in ours, losses and what follows the network are in fp32: NMS knows nothing else
                module.register_forward_hook(lambda head, inputs, outputs: in_fp32(outputs))
        packed = [
            made_up_image(name, size, 1 if is_map else 3, is_map, has_box=index % 2 == 0)
            for index, name in enumerate(sample_names)
        ]
        self.train_batch = self._on_device(_collated(packed, branches=self.is_semi))
        self.test_batch = self._on_device(_collated(packed))
        options = dict(copy.deepcopy(cfg.optim_wrapper), type='OptimWrapper')
        optimizer = build_optim_wrapper(model, options).optimizer
        clip = cfg.optim_wrapper.get('clip_grad')
        self.optim_wrapper: OptimWrapper
        if self.dtype == torch.float16 and device != 'cpu':
            self.optim_wrapper = AmpOptimWrapper(
                loss_scale='dynamic', dtype='float16', optimizer=optimizer, clip_grad=clip
            )
        else:
            self.optim_wrapper = AutocastOptimWrapper(
                device, self.dtype, optimizer=optimizer, clip_grad=clip
            )

    def _on_device(self, batch: dict) -> dict:
        return self.model.data_preprocessor.cast_data(batch)

    def start_epoch(self) -> None:
        """Tell the teacher that an epoch is over and the next one begins."""
        if self.is_semi:
            self.model.teacher.end_epoch()
            self.model.teacher.start_epoch(self._epoch)
            self._epoch += 1

    def step(self) -> dict[str, Tensor]:
        """A training step from a batch that is on the device.

        Returns:
            dict[str, Tensor]: Losses.
        """
        losses = self.model.train_step(self.train_batch, self.optim_wrapper)
        if self.is_semi:
            self.model.teacher.after_step(self.model.student)
        return losses

    def gradient(self) -> Tensor:
        """Gradient of the losses of a step that is not taken, of all weights in a row, fp32."""
        self.model.zero_grad()
        data = self.model.data_preprocessor(copy.copy(self.train_batch), True)
        with autocast(self.device, self.dtype):
            losses = self.model(**data, mode='loss')
        self.model.parse_losses(losses)[0].backward()
        grads = [
            weight.grad.flatten() for weight in self.model.parameters() if weight.grad is not None
        ]
        self.model.zero_grad()
        return torch.cat(grads).float()

    @torch.no_grad()
    def predict(self) -> list[DetDataSample]:
        """Predictions of the images, post-processing included."""
        self.model.eval()
        try:
            with autocast(self.device, self.dtype):
                return self.model.test_step(copy.copy(self.test_batch))
        finally:
            self.model.train()


def in_fp32(outputs: Any) -> Any:
    """Tensors of low precision, in any nested lists and tuples, as fp32."""
    return tree_map(
        lambda value: (
            value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        ),
        outputs,
    )


def without_downloads(cfg: Any) -> None:
    """Take every ``init_cfg`` that loads weights out of a config, in place."""
    if isinstance(cfg, dict):
        init = cfg.get('init_cfg')
        if isinstance(init, dict) and init.get('type') == 'Pretrained':
            cfg['init_cfg'] = None
        for value in cfg.values():
            without_downloads(value)
    elif isinstance(cfg, (list, tuple)):
        for value in cfg:
            without_downloads(value)


def made_up_image(name: str, size: int, channels: int, is_map: bool, has_box: bool) -> dict:
    """A packed image of noise, as a pipeline gives it.

    Args:
        name (str): ``img_path``; the noise and the box follow from it.
        size (int): Edge in px.
        channels (int): Planes of the input.
        is_map (bool): Whether the target is a map of stride 4, else boxes.
        has_box (bool): Whether it shows a fracture.

    Returns:
        dict: ``inputs`` ``(channels, size, size)`` and ``data_samples``.
    """
    rng = np.random.default_rng(list(name.encode()))
    left, top = (int(4 * edge) for edge in rng.integers(1, size // 6, 2))
    right, bottom = left + max(8, size // 12), top + max(8, size // 12)
    boxes = [[left, top, right, bottom]] * has_box
    sample = DetDataSample(
        metainfo=dict(
            img_id=name,
            img_path=name,
            img_shape=(size, size),
            ori_shape=(size, size),
            scale_factor=(1.0, 1.0),
            homography_matrix=np.eye(3),
            label=int(has_box),
            regions=True,
            instances=[dict(bbox=box, bbox_label=0, ignore_flag=0) for box in boxes],
        )
    )
    if is_map:
        target = torch.zeros(1, size // 4, size // 4, dtype=torch.uint8)
        target[0, top // 4 : bottom // 4, left // 4 : right // 4] = int(has_box)
        valid = torch.ones_like(target, dtype=torch.bool)
        sample.gt_prob_map = PixelData(prob_map=target, valid=valid)
    else:
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.zeros(len(boxes), dtype=torch.int64),
        )
    plane = torch.from_numpy(rng.random((1, size, size), dtype=np.float32))
    return dict(inputs=plane.expand(channels, -1, -1), data_samples=sample)


def _collated(packed: list[dict], branches: bool = False) -> dict:
    batch = {key: [one[key] for one in packed] for key in ('inputs', 'data_samples')}
    if not branches:
        return batch
    half = len(packed) // 2
    return {
        key: dict(
            sup=values[:half] + [None] * (len(packed) - half),
            unsup_teacher=[None] * half + values[half:],
            unsup_student=[None] * half + copy.deepcopy(values[half:]),
        )
        for key, values in batch.items()
    }


@contextmanager
def focal_loss_without_operators() -> Iterator[None]:
    """Where mmcv has no compiled operators, mmdet's focal loss runs in PyTorch on a GPU, too."""
    if mmcv_ops.are_compiled():
        yield
        return
    compiled = focal_loss.sigmoid_focal_loss

    def loss(pred: Tensor, target: Tensor, weight: Tensor | None = None, **options: Any) -> Tensor:
        one_hot = F.one_hot(target, pred.size(1) + 1)[:, : pred.size(1)]
        return focal_loss.py_sigmoid_focal_loss(pred, one_hot, weight, **options)

    focal_loss.sigmoid_focal_loss = loss
    try:
        yield
    finally:
        focal_loss.sigmoid_focal_loss = compiled
