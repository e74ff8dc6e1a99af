# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.datasets.transforms import Pad
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadRadiograph(Pad):
    """mmdet's Pad, but a film that has the size already stays where it is.

    Pad copies it, which takes as long as resizing it. The results are the same.

    Args:
        See ``mmcv.transforms.Pad``.
    """

    def _pad_img(self, results: dict) -> None:
        img = results['img']
        if self.size is None or img.shape[:2] != tuple(self.size[::-1]):
            super()._pad_img(results)
            return
        results['pad_shape'] = img.shape
        results['pad_fixed_size'] = self.size
        results['pad_size_divisor'] = self.size_divisor
        results['img_shape'] = img.shape[:2]
