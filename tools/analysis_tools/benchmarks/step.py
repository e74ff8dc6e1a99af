# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training steps beside a bare PyTorch loop with the same network passes."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import Compose
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn

import mmfrac  # noqa: F401
from mmfrac.models import DynamicSharpening, SemiProbMapDetector

from .pairing import Comparison, compare

CONFIG = Path(__file__).resolve().parents[3] / 'configs/phantom/frac_ssl_phantom.py'
GOALS = {'supervised': 1.05, 'semi-supervised': 1.10}


def measure(repeats: int = 15, size: int = 256, films: int = 8) -> Iterator[Comparison]:
    """Cost of ``train_step`` from a collated batch, against the passes alone.

    Args:
        repeats (int): Pairs a case. Defaults to 15.
        size (int): Edge of the network input in px. Defaults to 256.
        films (int): Films of the supervised batch, and of each half of the semi-supervised one.
            Defaults to 8.

    Yields:
        Comparison: The supervised and the semi-supervised step.
    """
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIG)
    packed = [_film(cfg, index, size) for index in range(2 * films)]
    inputs, samples = zip(*((film['inputs'], film['data_samples']) for film in packed))
    half = [*inputs[:films]], [*samples[:films]]
    other = [*inputs[films:]], [*samples[films:]]
    none: list[None] = [None] * films
    branches = [
        dict(
            sup=half[part] + none,
            unsup_teacher=none + other[part],
            unsup_student=none + other[part],
        )
        for part in (0, 1)
    ]
    steps = {
        'supervised': (
            _train_step(cfg, cfg.model.detector, half),
            _bare_supervised(cfg, *_tensors(half)),
        ),
        'semi-supervised': (
            _train_step(cfg, cfg.model, branches),
            _bare_semi_supervised(cfg, *_tensors(half), _tensors(other)[0]),
        ),
    }
    for kind, (ours, bare) in steps.items():
        yield compare(
            'step',
            f'{kind}, {films} films a branch of {size} x {size}',
            ours,
            bare,
            repeats,
            GOALS[kind],
            at_least=False,
        )


def _build(model_cfg: dict) -> Any:
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(model_cfg))
    if isinstance(model, SemiProbMapDetector):
        # what the hooks of a training do
        model.set_epoch(model.burn_in_epochs)
        model.start_teacher()
        for step in model.pseudo_pipeline:
            if isinstance(step, DynamicSharpening):
                step.expect_updates()
    return model.train()


def _film(cfg: Config, index: int, size: int) -> dict:
    rng = np.random.default_rng(index)
    left, top = rng.uniform(0, 0.8 * size, 2)
    boxes = [[left, top, left + 0.1 * size, top + 0.1 * size]] if index % 2 else []
    return Compose(cfg.pack)(
        dict(
            img=rng.random((size, size), dtype=np.float32),
            img_id=index,
            img_path=f'film_{index}',
            img_shape=(size, size),
            ori_shape=(size, size),
            scale_factor=(1.0, 1.0),
            homography_matrix=np.eye(3, dtype=np.float32),
            label=index % 2,
            regions=True,
            instances=[dict(bbox=box, bbox_label=0, ignore_flag=0) for box in boxes],
        )
    )


def _tensors(batch: tuple[list, list]) -> tuple[Tensor, Tensor]:
    inputs, samples = batch
    target = torch.stack([sample.gt_prob_map.prob_map for sample in samples])
    return (torch.stack(inputs) - 0.449) / 0.226, target.float()


def _train_step(cfg: Config, model_cfg: dict, batch: Any) -> Callable[[], object]:
    model = _build(model_cfg)
    optim_wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    inputs, samples = batch
    return lambda: model.train_step(dict(inputs=inputs, data_samples=samples), optim_wrapper)


def _adam(cfg: Config, model: nn.Module) -> torch.optim.Optimizer:
    options = {key: value for key, value in cfg.optim_wrapper.optimizer.items() if key != 'type'}
    return torch.optim.Adam(model.parameters(), **options)


def _bare_supervised(cfg: Config, inputs: Tensor, target: Tensor) -> Callable[[], object]:
    model = _build(cfg.model.detector)
    optimizer = _adam(cfg, model)

    def step() -> None:
        loss = F.binary_cross_entropy_with_logits(model.logits(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _bare_semi_supervised(
    cfg: Config, sup: Tensor, target: Tensor, unsup: Tensor
) -> Callable[[], object]:
    model = _build(cfg.model.detector)
    optimizer = _adam(cfg, model)

    def step() -> None:
        model.eval()
        with torch.no_grad():
            teacher_map = model.logits(unsup).sigmoid()
        model.train()
        logits = model.logits(torch.cat([sup, unsup]))
        loss = F.binary_cross_entropy_with_logits(logits, torch.cat([target, teacher_map]))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
