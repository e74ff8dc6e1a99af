# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS


def jitter_intensity(
    img: np.ndarray, shift: float, factor: float, exponent: float = 1.0
) -> np.ndarray:
    """``clip(factor * (img ** exponent - mean) + mean + shift, 0, 1)``, in place.

    Exact zeros are padding (of Pad, or what a rotation turned in): they stay 0 and are not part of
    the mean.

    Args:
        img (np.ndarray): Plane (h, w) or (h, w, c), float in [0, 1].
        shift (float): Added brightness.
        factor (float): Contrast about the film's mean; 1 keeps it.
        exponent (float): Gamma; 1 keeps it. Default: 1.0.

    Returns:
        np.ndarray: ``img``.
    """
    film = img != 0
    count = np.count_nonzero(film)
    if count == 0:
        return img
    if exponent != 1:
        np.power(img, img.dtype.type(exponent), out=img)
    mean = float(img.sum(dtype=np.float64)) / count
    img *= img.dtype.type(factor)
    img += img.dtype.type(mean * (1 - factor) + shift)
    np.clip(img, 0, 1, out=img)
    img *= film
    return img


@TRANSFORMS.register_module()
class IntensityJitter(BaseTransform):
    """Random intensity and contrast of a film (paper, section 2.4).

    ``img`` is changed in place where it is writeable. May run before or after Pad: exact zeros stay
    0.

    Required Keys: img. Modified Keys: img.

    Args:
        brightness (float): Shift, uniform in [-brightness, brightness]. Default: 0.1.
        contrast (float): Factor about the film's mean, uniform in [1 - contrast, 1 + contrast].
            Default: 0.2.
        gamma (float): Exponent ``exp(u)``, u uniform in [-gamma, gamma]; 0 is off. Default: 0.
        prob (float): Probability of any change. Default: 1.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        brightness: float = 0.1,
        contrast: float = 0.2,
        gamma: float = 0.0,
        prob: float = 1.0,
    ) -> None:
        limits = dict(brightness=1.0, contrast=1.0, gamma=np.inf, prob=1.0)
        given = dict(brightness=brightness, contrast=contrast, gamma=gamma, prob=prob)
        for name, value in given.items():
            if not 0 <= value <= limits[name]:
                raise ValueError(
                    f'IntensityJitter: {name} must lie in [0, {limits[name]:g}], got {value!r}'
                )
        self.brightness = brightness
        self.contrast = contrast
        self.gamma = gamma
        self.prob = prob

    @cache_randomness
    def _draw(self) -> tuple[float, float, float] | None:
        if np.random.rand() >= self.prob:
            return None
        shift = np.random.uniform(-self.brightness, self.brightness)
        factor = np.random.uniform(1 - self.contrast, 1 + self.contrast)
        return shift, factor, float(np.exp(np.random.uniform(-self.gamma, self.gamma)))

    def transform(self, results: dict) -> dict:
        """Jitter the film.

        Args:
            results (dict): With ``img`` (h, w) or (h, w, c), float in [0, 1].

        Returns:
            dict: ``results``.

        Raises:
            ValueError: If ``img`` is not float.
        """
        img = results['img']
        if not np.issubdtype(img.dtype, np.floating):
            raise ValueError(
                f'IntensityJitter expects the float film of LoadRadiograph, got {img.dtype}'
            )
        drawn = self._draw()
        if drawn is not None:
            img = img if img.flags.writeable else img.copy()
            results['img'] = jitter_intensity(img, *drawn)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, '
            f'gamma={self.gamma}, prob={self.prob})'
        )
