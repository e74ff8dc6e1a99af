# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch
from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS
from mmengine.structures import PixelData

META_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'homography_matrix',
    'label',
    'regions',
    'source',
    'patient_id',
    'instances',
)


@TRANSFORMS.register_module()
class PackProbMapInputs(PackDetInputs):
    """``PackDetInputs`` plus the prob map target and what the metric needs.

    ``gt_prob_map`` and ``valid_map`` of ``ProbMapTarget`` become the ``PixelData``
    ``data_sample.gt_prob_map`` with fields ``prob_map`` ``(c, h, w)`` uint8 (c = 1) and ``valid``
    ``(1, h, w)`` bool; ``label``, ``regions``, ``instances`` (boxes in film px) and the geometry go
    into the meta information, so any mmdet detector packed with this transform can be evaluated by
    ``FracMetric``.

    Args:
        meta_keys (Sequence[str]): Keys copied into the meta information where they exist. Default:
            ``META_KEYS``.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        # The parent deep-copies the meta information: of a film in no time, but for each film.
        super().__init__(meta_keys=())
        self.packed_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack one film."""
        packed = super().transform(results)
        sample = packed['data_samples']
        for key in self.packed_keys:
            if key in results:
                sample.set_field(results[key], key, field_type='metainfo')
        if 'gt_prob_map' in results:
            target = torch.from_numpy(results['gt_prob_map'])
            sample.gt_prob_map = PixelData(
                prob_map=target if target.ndim == 3 else target[None],
                valid=torch.from_numpy(results['valid_map'])[None],
            )
        return packed

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.packed_keys})'
