# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.

import logging
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmfrac.datasets.labels import ignored, labels_of_info, lesions
from mmfrac.datasets.radiographs.read import IMAGE_SUFFIXES, read_radiograph
from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.postprocess import component_options, components
from mmfrac.utils.io import OutputFolder, write_image
from mmfrac.visualization.overlay import draw_overlay


class ImageNames:
    """Names for what is written about films: the film's own, without suffix, each given once."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}

    def name(self, img_path: str) -> str:
        """Name of a film; a second film of the same file name gets a number.

        Args:
            img_path (str): Path or name of the film.

        Returns:
            str: Always the same for the same film.
        """
        path = PurePath(img_path)
        base = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
        name, number = base, 1
        while self._paths.setdefault(name, img_path) != img_path:
            number += 1
            name = f'{base}_{number}'
        return name


@HOOKS.register_module()
class ProbMapVisualizationHook(Hook):
    """Draws films with their prob map, lesions and found components while they are evaluated.

    The place of mmdet's ``DetVisualizationHook`` in ``default_hooks.visualization``, which would draw a
    prob map as class ids. ``tools/test.py --show-dir`` and ``--show`` switch it on. Overlays go to the
    visualizer's back ends and, in testing, to ``test_out_dir``. Works for box detectors too, then
    without a map. Of a map as many components are drawn as the model's ``max_per_img`` keeps. Only
    rank 0 draws, from the films that it evaluates. A film that cannot be read again is left out.

    Args:
        draw (bool): Whether anything is drawn. Defaults to False.
        interval (int): Every how many films (by position) one may be drawn. Defaults to 1.
        max_films (int, optional): Films an evaluation; films with fractures are preferred, the first
            others fill up at the end. None: all. Defaults to 16.
        score_thr (float): Operating threshold at which components are cut and lesions counted as hit.
            Defaults to 0.2.
        size (int, optional): Longest side of an overlay in px; None: that of the film. Defaults to
            1024.
        show (bool): Whether overlays are shown in a window. Defaults to False.
        wait_time (float): Seconds a window stays open; 0: until a key is pressed. Defaults to 0.
        test_out_dir (str, optional): Folder of ``<film>.png``; a relative one is below
            ``work_dir/timestamp``. Defaults to None.

    Raises:
        ValueError: When ``interval`` or ``max_films`` is not positive.
    """

    def __init__(
        self,
        draw: bool = False,
        interval: int = 1,
        max_films: int | None = 16,
        score_thr: float = 0.2,
        size: int | None = 1024,
        show: bool = False,
        wait_time: float = 0.0,
        test_out_dir: str | None = None,
    ) -> None:
        if interval < 1:
            raise ValueError(f'interval must be a positive number of films, got {interval}')
        if max_films is not None and max_films < 1:
            raise ValueError(f'max_films must be positive, or None for all, got {max_films}')
        self.draw = draw
        self.interval = interval
        self.max_films = max_films
        self.score_thr = score_thr
        self.size = size
        self.show = show
        self.wait_time = wait_time
        self.test_out_dir = test_out_dir
        self._names = ImageNames()
        self._warned = False
        self._reset()

    def before_val_epoch(self, runner: Runner) -> None:
        """Start an evaluation."""
        self._reset()

    def before_test_epoch(self, runner: Runner) -> None:
        """Start an evaluation."""
        self._reset()

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Draw the fracture films of a batch, keep the others back."""
        self._draw_some(runner, outputs or (), 'val')

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Draw the fracture films of a batch, keep the others back."""
        self._draw_some(runner, outputs or (), 'test')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Fill up with films without fracture."""
        self._fill_up(runner, 'val')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Fill up with films without fracture."""
        self._fill_up(runner, 'test')

    def _reset(self) -> None:
        self._position = 0
        self._drawn = 0
        self._kept_back: list[DetDataSample] = []

    @property
    def _has_room(self) -> bool:
        return self.max_films is None or self._drawn < self.max_films

    def _draw_some(self, runner: Runner, outputs: Sequence[DetDataSample], mode: str) -> None:
        if not self.draw or not is_main_process():
            return
        for sample in outputs:
            position, self._position = self._position, self._position + 1
            if position % self.interval or not self._has_room:
                continue
            if self.max_films is None or _has_fracture(sample):
                self._draw_image(runner, sample, mode)
            elif self._drawn + len(self._kept_back) < self.max_films:
                self._kept_back.append(sample)

    def _fill_up(self, runner: Runner, mode: str) -> None:
        for sample in self._kept_back:
            if self._has_room:
                self._draw_image(runner, sample, mode)
        self._kept_back = []

    def _draw_image(self, runner: Runner, sample: DetDataSample, mode: str) -> None:
        try:
            image = read_radiograph(sample.img_path)
        except (OSError, ValueError) as error:
            if not self._warned:
                self._warned = True
                print_log(
                    f'no overlay of a film that cannot be read again (said once): {error}',
                    logger='current',
                    level=logging.WARNING,
                )
            return
        max_per_img = component_options(unwrapped_model(runner))['max_per_img']
        overlay = overlay_of_sample(image, sample, self.score_thr, self.size, max_per_img)
        self._drawn += 1
        name = self._names.name(sample.img_path)
        if mode == 'test' and self.test_out_dir is not None:
            folder = Path(runner.work_dir) / runner.timestamp / self.test_out_dir
            write_image(OutputFolder(folder).path(f'{name}.png'), overlay)
        in_training = not (runner._train_loop is None or isinstance(runner._train_loop, dict))
        step = runner.epoch if in_training else 0
        runner.visualizer.add_image(f'{mode}_{name}', overlay, step=step)
        if self.show:
            runner.visualizer.show(overlay, win_name=name, wait_time=self.wait_time)


def overlay_of_sample(
    image: np.ndarray,
    sample: DetDataSample,
    score_thr: float = 0.2,
    size: int | None = 1024,
    max_per_img: int = 100,
) -> np.ndarray:
    """Overlay of one evaluated film.

    Args:
        image (np.ndarray): Film ``(h, w)``, float in [0, 1].
        sample (DetDataSample): With ``pred_prob_map`` and the meta key ``map_scale``, or with
            ``pred_instances`` in film px. The meta key ``instances`` holds the annotated boxes; lesions
            are known where it is there and ``regions`` is not false.
        score_thr (float): Operating threshold; a map is cut there. Defaults to 0.2.
        size (int, optional): Longest side of the overlay in px; None: that of the film. Defaults to
            1024.
        max_per_img (int): Components of the map that are drawn, highest score first. Defaults to 100.

    Returns:
        np.ndarray: ``(H, W, 3)`` uint8 RGB.
    """
    prob_map = scale = None
    instances = sample.get('pred_instances')
    if 'pred_prob_map' in sample:
        prob_map, scale = sample.pred_prob_map.data, sample.map_scale
        instances = components(prob_map[0], scale, image.shape, score_thr, max_per_img)
    boxes = ignore_boxes = None
    if 'instances' in sample:
        ignore_boxes = _boxes(ignored(sample.instances))
        if labels_of_info(sample.metainfo).regions:
            boxes = _boxes(lesions(sample.instances))
    return draw_overlay(image, prob_map, scale, boxes, instances, size, score_thr, ignore_boxes)


def _boxes(instances: Sequence[dict]) -> np.ndarray:
    return np.asarray([one['bbox'] for one in instances], np.float64).reshape(-1, 4)


def _has_fracture(sample: DetDataSample) -> bool:
    return (
        sample.metainfo.get('label', -1) == 1
        or len(lesions(sample.metainfo.get('instances', ()))) > 0
    )
