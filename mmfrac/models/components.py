# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData
from scipy import ndimage
from torch import Tensor


def components(
    prob_map: Tensor,
    scale: tuple[float, float],
    film_shape: tuple[int, int],
    component_thr: float = 0.2,
    max_per_img: int = 100,
) -> InstanceData:
    """8-connected components of a thresholded prob map as boxes.

    Args:
        prob_map (Tensor): ``(h, w)`` in [0, 1].
        scale (tuple): Px per cell in x and y.
        film_shape (tuple): ``(H, W)`` px; boxes are clipped to it.
        component_thr (float): Cells with at least this probability belong. Defaults to 0.2.
        max_per_img (int): Boxes that are kept, highest score first. Defaults to 100.

    Returns:
        InstanceData: ``bboxes`` ``(n, 4)`` xyxy px, ``scores`` ``(n,)`` maxima of the components,
        ``labels`` ``(n,)`` zeros; on the map's device.
    """
    values = prob_map.detach().cpu().numpy()
    mask = (values >= component_thr).astype(np.uint8)
    count, cells, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    x, y, w, h = (stats[1:, i] for i in range(4))
    boxes = np.stack([x, y, x + w, y + h], axis=1) * np.tile(np.asarray(scale, np.float32), 2)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, film_shape[1])
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, film_shape[0])
    scores = np.asarray(ndimage.maximum(values, cells, np.arange(1, count)), dtype=np.float32)
    order = np.argsort(-scores, kind='stable')[:max_per_img]
    return InstanceData(
        bboxes=torch.from_numpy(boxes[order].astype(np.float32)).to(prob_map.device),
        scores=torch.from_numpy(scores[order]).to(prob_map.device),
        labels=torch.zeros(len(order), dtype=torch.long, device=prob_map.device),
    )
