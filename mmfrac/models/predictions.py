# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from typing import Any

from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from torch import Tensor

from mmfrac.models.components import components


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
