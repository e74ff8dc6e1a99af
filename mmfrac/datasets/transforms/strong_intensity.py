# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from mmfrac.datasets.transforms.intensity import IntensityJitter


@TRANSFORMS.register_module()
class StrongIntensity(IntensityJitter):
    """The strong view of consistency training: ``IntensityJitter``, local contrast, blur and noise.

    What FixMatch and mmdet's SoftTeacher do to colour images, in the terms of a radiograph. Geometry is
    left to other steps, which record it. Exact zeros are padding and stay 0.

    Required Keys: img. Modified Keys: img.

    Args:
        noise (float): Highest standard deviation of Gaussian noise, in grey values of [0, 1]; drawn
            uniformly. Defaults to 0.05.
        blur (float): Highest standard deviation of a Gaussian blur in px; drawn uniformly. Defaults to
            1.5.
        clahe (float): Highest clip limit of local contrast equalisation (CLAHE, 8 x 8 tiles); drawn
            uniformly from 1 on. Defaults to 3.
        strong_prob (float): Probability of each of the three. Defaults to 0.5.
        jitter: Options of ``IntensityJitter``; ``gamma`` defaults to 0.3.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        noise: float = 0.05,
        blur: float = 1.5,
        clahe: float = 3.0,
        strong_prob: float = 0.5,
        gamma: float = 0.3,
        **jitter: float,
    ) -> None:
        super().__init__(gamma=gamma, **jitter)
        given = dict(noise=(noise, 0), blur=(blur, 0), clahe=(clahe, 1))
        for name, (value, lowest) in given.items():
            if not lowest <= value < np.inf:
                raise ValueError(f'StrongIntensity: {name} must be >= {lowest}, got {value!r}')
        if not 0 <= strong_prob <= 1:
            raise ValueError(
                f'StrongIntensity: strong_prob must lie in [0, 1], got {strong_prob!r}'
            )
        self.noise = noise
        self.blur = blur
        self.clahe = clahe
        self.strong_prob = strong_prob

    @cache_randomness
    def _draw_strong(self) -> tuple[float, float, float]:
        chosen = np.random.rand(3) < self.strong_prob
        highest = np.array([self.clahe - 1, self.blur, self.noise])
        clip, blur, noise = np.random.rand(3) * highest * chosen
        return float(clip), float(blur), float(noise)

    def transform(self, results: dict) -> dict:
        """Change the image.

        Args:
            results (dict): With ``img`` (h, w) or (h, w, c) of equal planes, float in [0, 1].

        Returns:
            dict: ``results``.

        Raises:
            ValueError: If ``img`` is not float.
        """
        results = super().transform(results)
        clip, blur, noise = self._draw_strong()
        if not (clip or blur or noise):
            return results
        img = results['img']
        plane = img if img.ndim == 2 else img[..., 0]
        film = plane != 0
        changed: np.ndarray = np.ascontiguousarray(plane, dtype=np.float32)
        if clip:
            levels = np.rint(changed * 65535).astype(np.uint16)
            equalised = cv2.createCLAHE(1 + clip, (8, 8)).apply(levels)
            changed = equalised.astype(np.float32) / 65535
        if blur:
            changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), blur))
        if noise:
            changed = changed + noise * np.random.standard_normal(changed.shape).astype(np.float32)
        changed = np.clip(changed, 0, 1) * film
        if img.ndim == 3:
            changed = np.repeat(changed[..., None], img.shape[2], axis=2)
        results['img'] = changed.astype(img.dtype, copy=False)
        return results

    def __repr__(self) -> str:
        return (
            f'{super().__repr__()[:-1]}, noise={self.noise}, blur={self.blur}, clahe={self.clahe}, '
            f'strong_prob={self.strong_prob})'
        )
