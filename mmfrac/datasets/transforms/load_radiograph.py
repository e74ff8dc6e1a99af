# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import logging
import os
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.logging import print_log

from mmfrac.datasets.radiographs.read import RadiographError, read_radiograph
from mmfrac.utils.errors import AnnotationError
from mmfrac.utils.text import is_told, printable_line

_POLICIES = ('raise', 'skip')


@TRANSFORMS.register_module()
class LoadRadiograph(BaseTransform):
    """Load a film as float32 in [0, 1], bright bone on dark lung; see :func:`read_radiograph`.

    Required Keys: img_path. Optional Keys: notes (list[str]), to which doubts are added then. Added
    Keys: img, img_shape, ori_shape.

    Args:
        channels (int): 1: ``img`` is the plane (h, w). 3: (h, w, 3), the plane three times, for
            detectors that expect colour. Default: 1.
        on_error (str): What an unreadable film does. 'raise': stop with its RadiographError.
            'skip': warn once, count it, and let the dataset draw another film; for training only,
            ``CXRDataset`` refuses it in test mode. Whatever a film does to its decoder, to crash and
            to hang included, is such an error. A missing file always raises. Default: 'raise'.

    Attributes:
        skipped (dict[str, str]): File and reason of every film skipped. Each worker process has its
            own.
        noted (dict[str, str]): File and doubt of every film that was read, but whose header contradicts
            its pixels or itself; the 1st, 10th, 100th ... is warned of. Each process has its own. None
            of those whose doubts the caller takes as ``notes``.

    Raises:
        ValueError: If an option has none of its values.
    """

    def __init__(self, channels: int = 1, on_error: str = 'raise') -> None:
        if channels not in (1, 3):
            raise ValueError(f'LoadRadiograph: channels must be 1 or 3, got {channels!r}')
        if on_error not in _POLICIES:
            raise ValueError(
                f'LoadRadiograph: on_error must be one of {_POLICIES}, got {on_error!r}'
            )
        self.channels = channels
        self.on_error = on_error
        self.skipped: dict[str, str] = {}
        self.noted: dict[str, str] = {}

    @property
    def num_skipped(self) -> int:
        """Distinct films skipped so far in this process."""
        return len(self.skipped)

    def transform(self, results: dict) -> dict | None:
        """Load the film.

        Args:
            results (dict): With ``img_path`` (str).

        Returns:
            dict or None: ``results`` with ``img``, ``img_shape`` and ``ori_shape`` (h, w); None if
                skipped.

        Raises:
            FileNotFoundError: If the file is missing; a link to nowhere can be skipped.
            RadiographError: If it cannot be read and ``on_error`` is 'raise'.
            AnnotationError: If it has boxes, and another size than they were drawn on.
        """
        path = results['img_path']
        notes: list[str] = results.get('notes', [])
        try:
            plane = read_radiograph(path, notes)
        except (RadiographError, FileNotFoundError) as error:
            # a link to nowhere is a bad film; where there is not even that, the folder may be another
            is_bad = isinstance(error, RadiographError) or os.path.islink(path)
            if self.on_error == 'raise' or not is_bad:
                raise
            if path not in self.skipped:
                self.skipped[path] = str(error)
                print_log(
                    f'film skipped ({self.num_skipped} in this process): {error}',
                    logger='current',
                    level=logging.WARNING,
                )
            return None
        if notes and 'notes' not in results:
            self.note(path, notes)
        check_size(results, plane.shape)
        results['img'] = plane if self.channels == 1 else np.repeat(plane[..., None], 3, axis=2)
        results['img_shape'] = results['ori_shape'] = plane.shape
        return results

    def note(self, path: str, notes: Sequence[str]) -> None:
        """Take down what is doubtful of a film, and warn of the 1st, 10th, 100th ...

        Args:
            path (str): The film.
            notes (Sequence[str]): A sentence each.
        """
        if path in self.noted:
            return
        self.noted[path] = text = '; '.join(notes)
        count = len(self.noted)
        if is_told(count):
            print_log(
                f"film '{printable_line(path)}' is doubtful: {text} ({count} such films in this process)"
                '; of a data set tools/check_data.py lists them all',
                logger='current',
                level=logging.WARNING,
            )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(channels={self.channels}, on_error={self.on_error!r})'


def check_size(results: dict, shape: tuple[int, int]) -> None:
    """Raise an AnnotationError if the boxes of a film were drawn on one of another size.

    Args:
        results (dict): With ``img_path``; ``height``, ``width`` (px) and ``instances`` where there are
            annotations.
        shape (tuple[int, int]): Height and width of the film as it was read, px.
    """
    stated = (results.get('height', shape[0]), results.get('width', shape[1]))
    if results.get('instances') and stated != tuple(shape):
        raise AnnotationError(
            f"film '{results['img_path']}' is {shape[1]} x {shape[0]} px (w x h), but its boxes were "
            f'drawn on {stated[1]} x {stated[0]} px: they would lie elsewhere. Scale the boxes to the '
            'film or use the films that were annotated; tools/check_data.py lists all such films'
        )
