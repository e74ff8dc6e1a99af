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
# of an image; noise and contrast go beyond the [0, 1] of a film, values of 8 bits far
LOWEST, HIGHEST = -1.0, 2.0


@TRANSFORMS.register_module()
class PackProbMapInputs(PackDetInputs):
    """``PackDetInputs`` plus the prob map target and what the metric needs.

    ``gt_prob_map`` and ``valid_map`` of ``ProbMapTarget`` become the ``PixelData``
    ``data_sample.gt_prob_map`` with fields ``prob_map`` ``(c, h, w)`` uint8 (c = 1) and ``valid``
    ``(1, h, w)`` bool; ``label``, ``regions``, ``instances`` (boxes in film px) and the geometry go
    into the meta information, so any mmdet detector packed with this transform can be evaluated by
    ``FracMetric``.

    Where a target was made, ``img`` is float, about [0, 1], as ``LoadRadiograph`` gives it.

    Args:
        meta_keys (Sequence[str]): Keys copied into the meta information where they exist. Default:
            ``META_KEYS``.
    """

    def __init__(self, meta_keys: Sequence[str] = META_KEYS) -> None:
        # The parent deep-copies the meta information: of a film in no time, but for each film.
        super().__init__(meta_keys=())
        self.packed_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack one film.

        Args:
            results (dict): See ``PackDetInputs``; with ``gt_prob_map`` and ``valid_map`` where a target
                was made.

        Returns:
            dict: ``inputs`` ``(c, h, w)`` and ``data_samples``.

        Raises:
            ValueError: If a target was made, and ``img`` is not float, or its values lie far outside
                [0, 1].
        """
        packed = super().transform(results)
        sample = packed['data_samples']
        for key in self.packed_keys:
            if key in results:
                sample.set_field(results[key], key, field_type='metainfo')
        if 'gt_prob_map' in results:
            if 'inputs' in packed:
                _check_values(packed['inputs'], results.get('img_path', 'film'))
            target = torch.from_numpy(results['gt_prob_map'])
            sample.gt_prob_map = PixelData(
                prob_map=target if target.ndim == 3 else target[None],
                valid=torch.from_numpy(results['valid_map'])[None],
            )
        return packed

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.packed_keys})'


def _check_values(inputs: torch.Tensor, film: str) -> None:
    found = str(inputs.dtype).removeprefix('torch.')
    if inputs.is_floating_point():
        # 0.1 ms for 1024 x 1024
        low, high = (float(value) for value in inputs.aminmax())
        if low >= LOWEST and high <= HIGHEST:
            return
        found = f'values from {low:g} to {high:g}'
    raise ValueError(
        f'{film}: PackProbMapInputs got an image of {found}, films are float in [0, 1]: load them with '
        'LoadRadiograph, set border and fill values (img_border_value, pad_val) to 0, and leave '
        'normalising to model.data_preprocessor'
    )
