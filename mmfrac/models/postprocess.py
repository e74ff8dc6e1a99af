# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From prob maps to image scores, boxes and data samples."""

from collections.abc import Mapping
from typing import Any

import torch
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from mmfrac.models.target_maps import stack_valid
from mmfrac.utils.prob_map import component_boxes

_TEST_CFG = {'component_thr': 0.2, 'max_per_img': 100}


def prediction_options(test_cfg: Mapping[str, Any] | None, model: str) -> dict[str, Any]:
    """``component_thr`` and ``max_per_img`` of a model that predicts prob maps.

    Args:
        test_cfg (Mapping, optional): Its ``test_cfg``; 0.2 and 100 are the defaults.
        model (str): Its name, for the message.

    Raises:
        ValueError: When there is another option.
    """
    unknown = sorted(set(test_cfg or {}) - set(_TEST_CFG))
    if unknown:
        raise ValueError(
            f'test_cfg of {model} has no option {unknown}; it takes {sorted(_TEST_CFG)}'
        )
    return {**_TEST_CFG, **(test_cfg or {})}


def component_options(model: Any) -> dict[str, Any]:
    """``component_thr`` and ``max_per_img`` of a model; defaults where its ``test_cfg`` has none.

    Args:
        model (nn.Module): Any detector; of a teacher-student model its student counts.
    """
    test_cfg = getattr(getattr(model, 'student', model), 'test_cfg', None)
    # of a box detector it may be a list, or hold other options
    own = test_cfg if isinstance(test_cfg, Mapping) else {}
    return {key: usual if own.get(key) is None else own[key] for key, usual in _TEST_CFG.items()}


def image_scores(prob_map: Tensor, samples: SampleList) -> Tensor:
    """Image scores of a training batch: maxima of the maps over the cells that count.

    They are ``pred_score`` of the same maps, unless the maximum lies in an ignored box.

    Args:
        prob_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
        samples (list[DetDataSample]): The films in the same view, see ``cells_of_images``.

    Returns:
        Tensor: ``(N,)``.
    """
    valid = cells_of_images(prob_map, samples)
    return prob_map.masked_fill(~valid, 0).flatten(1).amax(dim=1)


def cells_of_images(prob_map: Tensor, samples: SampleList) -> Tensor:
    """Which cells of a batch of maps count: the images' own, but those of ignored boxes.

    Args:
        prob_map (Tensor): ``(N, 1, h, w)``.
        samples (list[DetDataSample]): The images in the same view. Without ``gt_prob_map`` nothing is
            known of padding and ignored boxes, and all cells count.

    Returns:
        Tensor: ``(N, 1, h, w)`` bool.

    Raises:
        ValueError: When the targets of the images are of another stride.
    """
    if samples and 'gt_prob_map' in samples[0]:
        valid = stack_valid(samples)
        (rows, columns), (height, width) = prob_map.shape[-2:], valid.shape[-2:]
        if (height, width) != (rows, columns):
            raise ValueError(
                f'maps of {rows} x {columns} cells, the targets of their images have {height} x '
                f'{width}: give ProbMapTarget the stride of the head, as tools/train.py does where the '
                'option is left out'
            )
        return valid
    return torch.ones_like(prob_map, dtype=torch.bool)


def components(
    prob_map: Tensor,
    scale: tuple[float, float],
    image_shape: tuple[int, int],
    component_thr: float = 0.2,
    max_per_img: int = 100,
) -> InstanceData:
    """8-connected components of a thresholded prob map as boxes.

    Args:
        prob_map (Tensor): ``(h, w)`` in [0, 1].
        scale (tuple): Px per cell in x and y.
        image_shape (tuple): ``(H, W)`` px; boxes are clipped to it.
        component_thr (float): Cells with at least this probability belong. Defaults to 0.2.
        max_per_img (int): Boxes that are kept, highest score first. Defaults to 100.

    Returns:
        InstanceData: ``bboxes`` ``(n, 4)`` xyxy px, ``scores`` ``(n,)`` maxima of the components,
        ``labels`` ``(n,)`` zeros; on the map's device, where the host is the right one: a map of
        another device is waited for.
    """
    values = prob_map.detach().cpu().numpy()
    boxes, scores = component_boxes(values, scale, image_shape, component_thr, max_per_img)
    return InstanceData(
        bboxes=torch.from_numpy(boxes).to(prob_map.device),
        scores=torch.from_numpy(scores).to(prob_map.device),
        labels=torch.zeros(len(scores), dtype=torch.long, device=prob_map.device),
    )


def add_prediction(
    sample: DetDataSample,
    prob_map: Tensor,
    score: Tensor,
    stride: int,
    test_cfg: dict[str, Any],
    rescale: bool = True,
) -> None:
    """Write the prediction of a film into its data sample, as ``FracMetric`` reads it.

    Args:
        sample (DetDataSample): Film in the un-augmented view. It gets ``pred_prob_map``
            (``PixelData``), ``pred_score``, ``pred_instances`` (components of the map with their maxima
            as scores) and the meta key ``map_scale`` = (px per cell in x, in y).
        prob_map (Tensor): ``(1, h, w)`` in [0, 1], the film's own area.
        score (Tensor): Scalar image score in [0, 1].
        stride (int): Input px per map cell.
        test_cfg (dict): Options of ``components``.
        rescale (bool): Boxes and ``map_scale`` in film px, else in input px. Defaults to True.
    """
    factor = sample.scale_factor if rescale else (1, 1)
    scale = (stride / factor[0], stride / factor[1])
    sample.set_metainfo(dict(map_scale=scale))
    sample.pred_prob_map = PixelData(data=prob_map)
    sample.pred_score = score
    size = sample.ori_shape if rescale else sample.img_shape
    sample.pred_instances = components(prob_map[0], scale, size, **test_cfg)
