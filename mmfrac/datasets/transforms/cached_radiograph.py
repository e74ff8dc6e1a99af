# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import logging
import os
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations, Resize
from mmdet.registry import TRANSFORMS
from mmengine.logging import print_log

from mmfrac.datasets.film_cache.cached_file import CachedImage
from mmfrac.datasets.film_cache.store import FilmCache, NotCachedError, settings_of
from mmfrac.datasets.transforms.load_radiograph import LoadRadiograph, check_size
from mmfrac.utils.config import type_name
from mmfrac.utils.text import is_told, printable_line


@TRANSFORMS.register_module()
class CachedRadiograph(BaseTransform):
    """The first steps of a pipeline, up to Resize, with the pixels from the film cache.

    ``results`` come out as the steps themselves would leave them, bit for bit. A film that is not in
    the cache, or whose source has changed since, see ``FilmCache.open``, is decoded; it is counted, and
    the 1st, 10th, 100th ... is warned of. ``tools/cache_films.py`` writes the cache.

    Required Keys: those of the steps. Added Keys: those of the steps.

    Args:
        folder (str): Folder of the cache.
        steps (Sequence[dict or BaseTransform]): LoadRadiograph, then LoadAnnotations if need be, then
            mmdet's Resize with a fixed scale.

    Attributes:
        missed (dict[str, str]): File and reason of every film decoded. Each worker process has its
            own.

    Raises:
        FileNotFoundError: If the folder has no films of these steps.
        ValueError: If the steps are not the ones named.
    """

    def __init__(self, folder: str, steps: Sequence) -> None:
        self.steps = [TRANSFORMS.build(s) if isinstance(s, dict) else s for s in steps]
        load, resize = check_steps(self.steps)
        self.load, self.between, self.resize = load, self.steps[1:-1], resize
        self.folder = os.fspath(folder)
        self.cache = FilmCache(self.folder, settings_of(load, resize))
        self.cache.require()
        self.resized = ResizedAlready(
            scale=resize.scale,
            keep_ratio=resize.keep_ratio,
            clip_object_border=resize.clip_object_border,
            backend=resize.backend,
            interpolation=resize.interpolation,
        )
        self.missed: dict[str, str] = {}

    @property
    def on_error(self) -> str:
        """What an unreadable film does, see LoadRadiograph."""
        return self.load.on_error

    def transform(self, results: dict) -> dict | None:
        """Run the steps.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict or None: See the steps; None if the film was skipped.
        """
        try:
            film = self.cache.read(results['img_path'])
        except NotCachedError as error:
            self._count(results['img_path'], str(error))
            return self._decoded(results)
        check_size(results, film.ori_shape)
        results['img_shape'] = results['ori_shape'] = film.ori_shape
        for step in self.between:
            results = step(results)
        results['img'] = self._channels(film)
        return self.resized(results)

    def _decoded(self, results: dict) -> dict | None:
        decoded: dict | None = results
        for step in self.steps:
            decoded = step(decoded)
            if decoded is None:
                return None
        return decoded

    def _channels(self, film: CachedImage) -> np.ndarray:
        if self.load.channels == 1:
            return film.image
        return np.repeat(film.image[..., None], self.load.channels, axis=2)

    def _count(self, film: str, reason: str) -> None:
        if film in self.missed:
            return
        self.missed[film] = reason
        count = len(self.missed)
        if is_told(count):
            print_log(
                f"film '{printable_line(film)}' is decoded: {reason} ({count} such films in this "
                'process); tools/cache_films.py brings the cache up to date',
                logger='current',
                level=logging.WARNING,
            )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(folder={self.folder!r}, steps={self.steps})'


class ResizedAlready(Resize):
    """mmdet's Resize for an ``img`` that has its final size: all that it does but the resizing."""

    def _resize_img(self, results: dict) -> None:
        height, width = results['ori_shape']
        new_height, new_width = results['img'].shape[:2]
        results['img_shape'] = (new_height, new_width)
        results['scale_factor'] = (new_width / width, new_height / height)
        results['keep_ratio'] = self.keep_ratio


def check_steps(steps: Sequence[BaseTransform]) -> tuple[LoadRadiograph, Resize]:
    """First and last of the steps that the cache can stand in for.

    Args:
        steps (Sequence[BaseTransform]): Built transforms.

    Returns:
        tuple: LoadRadiograph and Resize.

    Raises:
        ValueError: If they are not LoadRadiograph, [LoadAnnotations,] Resize.
    """
    names = [type(step).__name__ for step in steps]
    fits = (
        len(steps) > 1
        and type(steps[0]) is LoadRadiograph
        and type(steps[-1]) is Resize
        and all(type(step) is LoadAnnotations for step in steps[1:-1])
    )
    if not fits:
        raise ValueError(
            'the film cache stands in for LoadRadiograph, LoadAnnotations and Resize at the head of a '
            f'pipeline, got {", ".join(names) or "nothing"}'
        )
    return steps[0], steps[-1]


def cached_head(pipeline: Sequence[dict]) -> int:
    """Number of the first steps of a pipeline that the cache can stand in for.

    Args:
        pipeline (Sequence[dict]): Configs of the steps.

    Returns:
        int: Up to and with Resize.

    Raises:
        ValueError: If the pipeline does not begin with LoadRadiograph, [LoadAnnotations,] Resize.
    """
    names = [str(type_name(step)) for step in pipeline]
    end = names.index('Resize') + 1 if 'Resize' in names else 0
    if not end or names[0] != 'LoadRadiograph' or set(names[1 : end - 1]) - {'LoadAnnotations'}:
        raise ValueError(
            'a pipeline that reads a film cache must begin with LoadRadiograph, LoadAnnotations where '
            f'it is wanted, Resize with a fixed scale; this one is {", ".join(names)}'
        )
    return end


def cached_pipeline(pipeline: Sequence[dict], folder: str) -> list[dict]:
    """A pipeline that reads its films from the cache.

    Args:
        pipeline (Sequence[dict]): Configs of the steps.
        folder (str): Folder of the cache.

    Returns:
        list[dict]: The same with ``CachedRadiograph`` in the place of the first steps.

    Raises:
        ValueError: See ``cached_head``.
    """
    end = cached_head(pipeline)
    head = dict(type='CachedRadiograph', folder=folder, steps=list(pipeline[:end]))
    return [head, *pipeline[end:]]
