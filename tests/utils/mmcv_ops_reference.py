# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Values of mmcv's operators and of the box detectors that call them.

In an environment with compiled operators (``bash tools/setup_env.sh --with-mmcv-ops``), write them anew:

    python -m tests.utils.mmcv_ops_reference
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType

import mmcv
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor

import mmfrac
from mmfrac.utils import mmcv_ops

PATH = Path(__file__).with_suffix('.npz')
CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'compare' / 'phantom'
DETECTORS = ('retinanet', 'fcos', 'atss', 'faster_rcnn', 'rtmdet')
ROI_OPTIONS = tuple(product((0, 1), (0, 2), (True, False)))
SCALE, BINS = 0.25, (3, 2)


def nms_inputs() -> Iterator[tuple[str, Tensor, Tensor, float, int]]:
    """Boxes with equal scores, equal boxes, boxes without an area, and none."""
    rng = np.random.default_rng(0)
    for case, (count, offset) in enumerate(product((0, 1, 7, 60), (0, 1))):
        corner = rng.uniform(0, 40, (count, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(0, 30, (count, 2))], 1)
        scores = rng.uniform(0, 1, count)
        if count > 10:
            boxes[:9], boxes[9:12, 2:] = boxes[9:18], boxes[9:12, :2]
            scores[20:30] = scores[20]
        yield f'nms_{case}', torch.tensor(boxes).float(), torch.tensor(scores).float(), 0.4, offset


def roi_inputs() -> Iterator[tuple[str, Tensor, Tensor, dict]]:
    """Regions within, across the edge of, and off a map; one smaller than a cell."""
    rng = np.random.default_rng(1)
    cells = torch.tensor(rng.normal(size=(2, 2, 9, 7))).float()
    corner = rng.uniform(-12, 30, (6, 2))
    size = rng.uniform(0, 30, (6, 2))
    corner[0], size[0] = (300, 300), (10, 10)
    size[1] = 0.5
    rois = np.concatenate([np.arange(6)[:, None] % 2, corner, corner + size], 1)
    for mode, ratio, aligned in ROI_OPTIONS:
        options = dict(
            aligned_height=BINS[0],
            aligned_width=BINS[1],
            spatial_scale=SCALE,
            sampling_ratio=ratio,
            pool_mode=mode,
            aligned=aligned,
        )
        yield f'roi_{mode}_{ratio}_{aligned}', cells, torch.tensor(rois).float(), options


def roi_align(operators: ModuleType, cells: Tensor, rois: Tensor, options: dict) -> tuple:
    """Pooled cells, and the gradient of a weighted sum of them."""
    output = cells.new_zeros(len(rois), cells.shape[1], *BINS)
    argmax = [torch.zeros_like(output) if options['pool_mode'] == 0 else cells.new_zeros(0)] * 2
    argmax = [one.clone() for one in argmax]
    operators.roi_align_forward(cells, rois, output, *argmax, **options)
    gradient = torch.zeros_like(cells)
    weights = torch.arange(output.numel()).float().view_as(output).cos()
    operators.roi_align_backward(weights, rois, *argmax, gradient, **options)
    return output, gradient


def detector_values(name: str) -> dict[str, np.ndarray]:
    """Losses and best boxes of a detector with weights and images that hang on no generator of torch."""
    DefaultScope.get_instance('operators', scope_name='mmdet')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(CONFIGS / f'{name}.py').model)
    rng = np.random.default_rng(2)
    with torch.no_grad():
        for tensor in model.parameters():
            spread = (2 / max(tensor[0].numel(), 1)) ** 0.5 if tensor.dim() > 1 else 0.1
            tensor.copy_(torch.tensor(rng.normal(0, spread, tensor.shape)))
    model.eval()
    size = (96, 128)
    images = torch.tensor(rng.normal(size=(2, 3, *size))).float()
    samples = []
    for corner in ((20.0, 30.0), (60.0, 10.0)):
        boxes = torch.tensor([[*corner, corner[0] + 24, corner[1] + 30]])
        sample = DetDataSample(
            metainfo=dict(
                img_shape=size,
                ori_shape=size,
                pad_shape=size,
                batch_input_shape=size,
                scale_factor=(1, 1),
            )
        )
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.zeros(1, dtype=torch.long))
        samples.append(sample)
    torch.manual_seed(0)
    found = {}
    for key, value in model.loss(images, samples).items():
        found[f'{name}_{key}'] = (
            torch.stack([torch.as_tensor(value).sum()] if torch.is_tensor(value) else value)
            .sum()
            .detach()
            .numpy()
        )
    with torch.no_grad():
        for index, sample in enumerate(model.predict(images, samples)):
            best = sample.pred_instances[:5]
            found[f'{name}_boxes_{index}'] = best.bboxes.numpy()
            found[f'{name}_scores_{index}'] = best.scores.numpy()
    return found


def main() -> None:
    if not mmcv_ops.are_compiled():
        raise SystemExit('mmcv has no compiled operators here: the values would be those of mmfrac')
    operators = __import__('mmcv._ext', fromlist=['nms'])
    values = {}
    for name, boxes, scores, threshold, offset in nms_inputs():
        values[name] = operators.nms(boxes, scores, iou_threshold=threshold, offset=offset).numpy()
    for name, cells, rois, options in roi_inputs():
        output, gradient = roi_align(operators, cells, rois, options)
        values |= {f'{name}_output': output.numpy(), f'{name}_gradient': gradient.numpy()}
    for name in DETECTORS:
        values |= detector_values(name)
    np.savez_compressed(PATH, **values)
    print(f'{PATH}: {len(values)} values, mmcv {mmcv.__version__}, mmfrac {mmfrac.__version__}')


if __name__ == '__main__':
    main()
