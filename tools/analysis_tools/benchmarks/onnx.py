# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Exported detectors beside eager torch with folded batch norms, from plane to boxes, on the CPU."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.apis.inferencer import FracInferencer
from mmfrac.deployment.onnx.export import export_onnx
from mmfrac.deployment.onnx.runtime import OnnxDetector
from mmfrac.utils.config import load_config, set_img_scale

from .networks import CONFIGS
from .pairing import Comparison, compare

# config and edge of the network's input, px
CASES = (('phantom/frac_sup_phantom.py', 256), ('frac_sup.py', 512), ('frac_sup.py', 1024))
_PLANE = (1200, 1000)


def measure(
    repeats: int = 9, cases: Sequence[tuple[str, int]] = CASES, threads: int | None = None
) -> Iterator[Comparison]:
    """How much faster than torch onnxruntime predicts an image, in fp32.

    Args:
        repeats (int): Pairs a case. Defaults to 9.
        cases (Sequence[tuple]): Config of a prob map detector, and px of its input.
        threads (int, optional): Of either. Defaults to None, those that torch takes.

    Yields:
        Comparison: Ratio of an image; the goal is not to be slower.
    """
    threads = threads or torch.get_num_threads()
    plane = np.random.default_rng(0).random(_PLANE, np.float32)
    for config, size in cases:
        with tempfile.TemporaryDirectory() as folder:
            inferencer = _inferencer(config, size, folder)
            export_onnx(inferencer, Path(folder) / 'onnx', 'benchmark')
            detector = OnnxDetector(Path(folder) / 'onnx', threads=threads)
            case = f'image {config} {size} px, {threads} threads'
            yield compare(
                'onnx',
                case,
                lambda detector=detector: detector.predict(plane),
                lambda inferencer=inferencer: inferencer(plane),
                repeats,
                1.0,
                at_least=True,
            )


def _inferencer(config: str, size: int, folder: str) -> FracInferencer:
    cfg: Config = load_config(CONFIGS / config)
    set_img_scale(cfg._cfg_dict, (size, size))
    # random weights, nothing is downloaded
    cfg.model.get('detector', cfg.model).backbone.init_cfg = None
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    path = Path(folder) / 'random.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return FracInferencer(cfg, path, 'cpu', 'fp32')
