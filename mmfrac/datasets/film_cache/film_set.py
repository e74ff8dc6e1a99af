# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Which films a config reads, and at which size."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmcv.image import rescale_size
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import Resize
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.datasets.film_cache.settings import settings_name, settings_of
from mmfrac.datasets.film_cache.store import FilmCache
from mmfrac.datasets.transforms.cached_radiograph import cached_head, check_steps
from mmfrac.utils.config import film_sets, is_cxr_dataset

SPLITS = ('train', 'val', 'test')


@dataclass
class FilmSet:
    """Films that the same steps make into planes.

    Attributes:
        cache (FilmCache): Where the planes belong.
        steps (tuple): LoadRadiograph and Resize.
        films (dict[str, tuple[int, int]]): (width, height) in px of each film, by its path.
    """

    cache: FilmCache
    steps: tuple[BaseTransform, Resize]
    films: dict[str, tuple[int, int]] = field(default_factory=dict)

    def most_bytes(self) -> int:
        """Size on disk at most: films that are not resampled may need half of what is counted."""
        return sum(self._bytes(size) for size in self.films.values())

    def _bytes(self, size: tuple[int, int]) -> int:
        resize = self.steps[1]
        new = rescale_size(size, resize.scale) if resize.keep_ratio else resize.scale
        # 16-bit codes where no pixel is resampled, float32 elsewhere
        return new[0] * new[1] * (2 if tuple(new) == tuple(size) else 4)


def films_of_config(
    cfg: Config, folder: str | os.PathLike, splits: Sequence[str] = SPLITS
) -> list[FilmSet]:
    """Films that the data sets of a config read.

    Args:
        cfg (Config): Of a training run.
        folder (str or os.PathLike): Folder of the cache.
        splits (Sequence[str]): Whose data loaders count. Defaults to 'train', 'val', 'test'.

    Returns:
        list[FilmSet]: One for each kind of LoadRadiograph and Resize.

    Raises:
        ValueError: If a pipeline cannot read from a cache, or there is no data set.
        FileNotFoundError, AnnotationError: As the data sets raise them.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    sets: dict[str, FilmSet] = {}
    for split in splits:
        for node in film_sets(cfg.get(f'{split}_dataloader')):
            if not is_cxr_dataset(node):
                continue
            dataset = DATASETS.build({**node, 'film_cache': None})
            head = dataset.pipeline.transforms[: cached_head(node['pipeline'])]
            steps = check_steps(head)
            settings = settings_of(*steps)
            films = sets.setdefault(
                settings_name(settings), FilmSet(FilmCache(folder, settings), steps)
            ).films
            for index in range(len(dataset)):
                info = dataset.get_data_info(index)
                films[info['img_path']] = (info['width'], info['height'])
    if not sets:
        raise ValueError(f'no CXRDataset in the data loaders of {", ".join(splits)}')
    return list(sets.values())
