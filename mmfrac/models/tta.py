# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.model import BaseTTAModel
from mmengine.structures import PixelData
from torch import Tensor

from mmfrac.models.merged_scores import merged_score, score_is_map_maximum
from mmfrac.models.postprocess import components
from mmfrac.models.pseudo_labels.warp import warp_map

# how far a score may be from the maximum of the map that it is taken from, as a share of it
_ROUNDING = {torch.bfloat16: 1e-2, torch.float16: 1e-3}


@MODELS.register_module()
class ProbMapTTAModel(BaseTTAModel):
    """Test-time augmentation of a prob map detector: the mean map of flipped and resized views.

    The grid of the first view, its flip undone, is the common frame. Every view is sampled at the
    centres of its cells (bilinear), where these px of the film lie in that view: a film whose width is
    no whole number of cells is mirrored about its own middle, not about that of its map.

    Args:
        module (dict or nn.Module): The detector, any that predicts ``pred_prob_map``.
        data_preprocessor (dict, optional): In place of the detector's own.
    """

    _is_maximum: bool | None
    _is_asked = False

    def merge_preds(self, data_samples_list: Sequence[Sequence[DetDataSample]]) -> SampleList:
        """Merge the views of each film.

        Args:
            data_samples_list (Sequence[Sequence[DetDataSample]]): Films, each a sequence of its views
                with ``pred_prob_map`` (the film's own area) and ``pred_score``.

        Returns:
            list[DetDataSample]: A film each, as ``ProbMapDetector.predict`` gives it: the mean map,
            ``pred_instances`` cut from it and ``pred_score``, its maximum; of a detector with
            ``image_score_is_map_maximum = False`` the mean of the views' scores. Of one that says
            neither, the maximum for a film whose scores are those of its maps, else the mean; this is
            warned of once.

        Raises:
            ValueError: When a view has no map, or another score than its maximum where the detector says
                that it is, or was moved by more than ``Resize`` and ``RandomFlip`` before ``Pad``.
        """
        detector: Any = getattr(self.module, 'student', self.module)
        if not self._is_asked:
            self._is_maximum, self._is_asked = score_is_map_maximum([detector]), True
        return [
            merge_views(views, detector.test_cfg, self._is_maximum) for views in data_samples_list
        ]


def merge_views(
    views: Sequence[DetDataSample],
    test_cfg: dict,
    image_score_is_map_maximum: bool | None = None,
) -> DetDataSample:
    """Merge the views of one film, see ``ProbMapTTAModel``.

    Args:
        views (Sequence[DetDataSample]): Predictions with ``map_scale`` in film px.
        test_cfg (dict): Options of ``components``.
        image_score_is_map_maximum (bool, optional): Whether ``pred_score`` is the maximum of the map;
            else it is averaged. Defaults to None, as it is in these views.

    Returns:
        DetDataSample: The first view with map, score and boxes of all.

    Raises:
        ValueError: When a view has no prob map, or another score than its maximum where it should have
            that.
    """
    for view in views:
        if 'pred_prob_map' not in view:
            raise ValueError(
                f'ProbMapTTAModel merges prob maps, the model predicts none of {view.img_path}; '
                "for boxes use tta_model = dict(type='DetTTAModel', ...) of mmdet"
            )
    merged = views[0]
    scale = merged.map_scale
    maps = [view.pred_prob_map.data for view in views]
    scores = [view.pred_score for view in views]
    if image_score_is_map_maximum and not _are_alike(scores, maps):
        raise ValueError(
            f'pred_score of {merged.img_path} is not the maximum of its map: the detector needs '
            'image_score_is_map_maximum = False, so that the scores of the views are averaged'
        )
    shape = tuple(maps[0].shape[-2:])
    prob_map = torch.stack([_in_frame(view, scale, shape) for view in views]).mean(dim=0)
    merged.pred_prob_map = PixelData(data=prob_map)
    merged.pred_score = merged_score(prob_map, maps, scores, image_score_is_map_maximum)
    merged.pred_instances = components(prob_map[0], scale, merged.ori_shape, **test_cfg)
    fx, fy = merged.scale_factor
    merged.set_metainfo(
        dict(flip=False, flip_direction=None, homography_matrix=np.diag([fx, fy, 1.0]))
    )
    return merged


def _are_alike(predicted: Sequence[Any], maps: Sequence[Tensor]) -> bool:
    scores = torch.stack([torch.as_tensor(score) for score in predicted]).reshape(len(predicted))
    maxima = torch.stack([one.amax() for one in maps])
    rounding = max(_ROUNDING.get(values.dtype, 1e-5) for values in (scores, maxima))
    found, expected = scores.tolist(), maxima.tolist()
    return np.allclose(found, expected, rtol=rounding, atol=1e-3 * rounding, equal_nan=True)


def _in_frame(view: DetDataSample, scale: tuple[float, float], shape: tuple[int, int]) -> Tensor:
    """Map ``(1, h, w)`` of a view on cells of ``scale`` film px."""
    to_cells = np.diag([1 / view.map_scale[0], 1 / view.map_scale[1], 1]) @ _mirror(view)
    from_frame = to_cells @ np.diag([scale[0], scale[1], 1])
    prob_map = view.pred_prob_map.data[None]
    homography = np.linalg.inv(from_frame)[None]
    return warp_map(prob_map, homography, shape, padding_mode='border')[0]


def _mirror(view: DetDataSample) -> np.ndarray:
    """Flip of a view as a matrix ``(3, 3)`` on film px."""
    height, width = view.ori_shape[:2]
    mirror = np.eye(3)
    direction = (view.metainfo.get('flip_direction') or '') if view.metainfo.get('flip') else ''
    if direction in ('horizontal', 'diagonal'):
        mirror[0] = [-1, 0, width]
    if direction in ('vertical', 'diagonal'):
        mirror[1] = [0, -1, height]
    recorded = view.metainfo.get('homography_matrix')
    expected = np.diag([*view.scale_factor, 1]) @ mirror
    # half a px: the film's own size in the input is rounded
    if recorded is not None and not np.allclose(recorded, expected, rtol=0, atol=0.5):
        raise ValueError(
            f'a view of {view.img_path} was moved by {np.asarray(recorded).tolist()}: views of '
            'ProbMapTTAModel may be resized and then flipped, before Pad'
        )
    return mirror
