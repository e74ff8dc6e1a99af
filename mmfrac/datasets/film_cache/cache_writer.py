# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The film cache of a config: which films at which size, decoded once and written."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from mmcv.image import rescale_size
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import Resize
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tqdm import tqdm

from mmfrac.datasets.film_cache.cached_file import (
    CachedFileError,
    CachedImage,
    content_checksum,
    source_state,
    write_entry,
)
from mmfrac.datasets.film_cache.store import (
    FilmCache,
    FilmCacheError,
    NotCachedError,
    settings_name,
    settings_of,
)
from mmfrac.datasets.transforms.cached_radiograph import cached_head, check_steps
from mmfrac.utils.config import film_sets, is_cxr_dataset
from mmfrac.utils.errors import RadiographError
from mmfrac.utils.io import remove_temporary_files
from mmfrac.utils.processes import FilePool, crash_text

SPLITS = ('train', 'val', 'test')


@dataclass
class ImageSet:
    """Films that the same steps make into planes.

    Attributes:
        cache (FilmCache): Where the planes belong.
        steps (tuple): LoadRadiograph and Resize.
        images (dict[str, tuple[int, int]]): (width, height) in px of each film, by its path.
    """

    cache: FilmCache
    steps: tuple[BaseTransform, Resize]
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def most_bytes(self) -> int:
        """Size on disk at most: films that are not resampled may need half of what is counted."""
        return sum(self._bytes(size) for size in self.sizes.values())

    def _bytes(self, size: tuple[int, int]) -> int:
        resize = self.steps[1]
        new = rescale_size(size, resize.scale) if resize.keep_ratio else resize.scale
        # 16-bit codes where no pixel is resampled, float32 elsewhere
        return new[0] * new[1] * (2 if tuple(new) == tuple(size) else 4)


def images_of_config(
    cfg: Config, folder: str | os.PathLike, splits: Sequence[str] = SPLITS
) -> list[ImageSet]:
    """Films that the data sets of a config read.

    Args:
        cfg (Config): Of a training run.
        folder (str or os.PathLike): Folder of the cache.
        splits (Sequence[str]): Whose data loaders count. Defaults to 'train', 'val', 'test'.

    Returns:
        list[ImageSet]: One for each kind of LoadRadiograph and Resize.

    Raises:
        ValueError: If a pipeline cannot read from a cache, or there is no data set.
        FileNotFoundError, AnnotationError: As the data sets raise them.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    sets: dict[str, ImageSet] = {}
    for split in splits:
        for node in film_sets(cfg.get(f'{split}_dataloader')):
            if not is_cxr_dataset(node):
                continue
            dataset = DATASETS.build({**node, 'film_cache': None})
            head = dataset.pipeline.transforms[: cached_head(node['pipeline'])]
            steps = check_steps(head)
            settings = settings_of(*steps)
            sizes = sets.setdefault(
                settings_name(settings), ImageSet(FilmCache(folder, settings), steps)
            ).sizes
            for index in range(len(dataset)):
                info = dataset.get_data_info(index)
                sizes[info['img_path']] = (info['width'], info['height'])
    if not sets:
        raise ValueError(f'no CXRDataset in the data loaders of {", ".join(splits)}')
    return list(sets.values())


# A temporary file this old (s) belongs to no living writer.
_ABANDONED = 24 * 3600

# name of the outcome, bytes written, problem
_Outcome = tuple[str, int, str]

_Work = Callable[[str], _Outcome]


@dataclass
class CacheReport:
    """What became of the films.

    Attributes:
        counts (Counter): Films by outcome: 'written', 'kept' of ``fill_cache``; 'sound',
            'identical' of ``check_cache``; 'failed' of both.
        bytes_written (int): By ``fill_cache``.
        problems (list[str]): One line for each film that failed.
    """

    counts: Counter = field(default_factory=Counter)
    bytes_written: int = 0
    problems: list[str] = field(default_factory=list)


def fill_cache(images: ImageSet, workers: int = 0, progress: bool = True) -> CacheReport:
    """Write every film that is not in the cache or has changed since.

    May be stopped and started again at any point, and run several times at once: a film is there
    whole or not at all. A film that cannot be read or crashes its decoder is reported, and the others
    are written.

    Args:
        images (ImageSet): The films.
        workers (int): Processes; 0: this one. Defaults to 0.
        progress (bool): Show a bar. Defaults to True.

    Returns:
        CacheReport: The outcome.

    Raises:
        FilmCacheError: If the cache cannot be written to, e.g. if the disk is full.
        ValueError: If ``workers`` is negative.
    """
    images.cache.make()
    _remove_leftovers(images.cache.image_dir)
    return _for_each(partial(_fill, images), list(images.sizes), workers, progress, 'cache')


def check_cache(
    images: ImageSet, decode: int = 16, workers: int = 0, progress: bool = True
) -> CacheReport:
    """Read every file of the cache, and decode some films anew to compare them bit for bit.

    Args:
        images (ImageSet): The films.
        decode (int): How many films are decoded, spread evenly. Defaults to 16.
        workers (int): Processes; 0: this one. Defaults to 0.
        progress (bool): Show a bar. Defaults to True.

    Returns:
        CacheReport: The outcome.

    Raises:
        FileNotFoundError: If there is no cache of these films.
        ValueError: If ``workers`` is negative.
    """
    images.cache.require()
    paths = list(images.sizes)
    indices = np.linspace(0, len(paths) - 1, min(max(decode, 0), len(paths))).astype(int)
    decoded = {paths[index] for index in indices}
    return _for_each(partial(_check, images, decoded), paths, workers, progress, 'check')


def resized_image(images: ImageSet, path: str) -> CachedImage:
    """Decode and resize a film with the steps of its pipeline.

    Args:
        images (ImageSet): Whose steps.
        path (str): Source film.

    Returns:
        CachedImage: Plane (h, w) float32.

    Raises:
        FileNotFoundError, RadiographError: As LoadRadiograph raises them.
    """
    # before it is read: a film that changes meanwhile is noticed later
    state = source_state(path)
    content = 0
    with contextlib.suppress(OSError):  # LoadRadiograph says it better
        content = content_checksum(path)
    load, resize = images.steps
    results = load(dict(img_path=path))
    ori_shape = results['ori_shape']
    image = resize(results)['img']
    return CachedImage(image if image.ndim == 2 else image[..., 0], ori_shape, state, content)


def _remove_leftovers(folder: str) -> None:
    """Remove the temporary files of writers that were killed a day ago or earlier.

    Args:
        folder (str): Of the films.
    """
    remove_temporary_files(folder, _ABANDONED)


def _fill(images: ImageSet, path: str) -> _Outcome:
    try:
        outcome, image = 'kept', _moved_image(images.cache, path)
    except (NotCachedError, CachedFileError, FileNotFoundError):
        try:
            outcome, image = 'written', resized_image(images, path)
        except (FileNotFoundError, RadiographError) as error:
            return 'failed', 0, str(error)
    if image is None:
        return outcome, 0, ''
    try:
        return outcome, write_entry(images.cache.path_of(path), image), ''
    except OSError as error:
        raise FilmCacheError(
            f'cannot write to the film cache {images.cache.folder}: {error}; what was written stays, '
            'run the command again to go on'
        ) from error


def _moved_image(cache: FilmCache, path: str) -> CachedImage | None:
    """A cached film whose source was moved or copied, with its new state; None if it was not.

    Written anew like this, nobody has to compare the bytes of the source from then on.

    Raises:
        NotCachedError, CachedFileError, FileNotFoundError: If it has to be decoded.
    """
    file, state = cache.open(path), source_state(path)
    if file.content is None or state == file.source:
        return None
    return file.read()._replace(source=state)


def _check(images: ImageSet, decoded: set[str], path: str) -> _Outcome:
    start = f"film '{path}': "
    try:
        file = images.cache.open(path)
        if not file.is_sound():
            return (
                'failed',
                0,
                start + 'its file in the cache is damaged (the checksum does not fit)',
            )
        if path not in decoded:
            return 'sound', 0, ''
        image = resized_image(images, path).image
    except (NotCachedError, FileNotFoundError, RadiographError) as error:
        return 'failed', 0, start + str(error)
    cached = file.read().image
    if image.shape == cached.shape and image.tobytes() == cached.tobytes():
        return 'identical', 0, ''
    return 'failed', 0, start + 'decoded anew it is another plane than in the cache'


def _for_each(
    work: _Work, paths: Sequence[str], workers: int, progress: bool, title: str
) -> CacheReport:
    report = CacheReport()
    # Forked processes have the work, with all its films, without it being sent to them.
    with FilePool(work, workers, _crashed) as pool:
        outcomes = tqdm(
            pool.map(paths),
            total=len(paths),
            desc=title,
            unit='film',
            disable=not progress,
            mininterval=0.2 if sys.stderr.isatty() else 15.0,
        )
        for name, size, problem in outcomes:
            report.counts[name] += 1
            report.bytes_written += size
            if problem:
                report.problems.append(problem)
    return report


def _crashed(path: str) -> _Outcome:
    return 'failed', 0, crash_text(path)
