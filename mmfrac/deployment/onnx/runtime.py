# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""An exported detector at work, with onnxruntime, numpy, OpenCV and pydicom alone."""

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmfrac.datasets.radiographs.read import is_image, read_radiograph
from mmfrac.deployment.onnx.preprocess import Prepared, prepare
from mmfrac.deployment.results import ResultError, ResultLine
from mmfrac.deployment.selection import UNREADABLE, VIEWS, ImageFacts, Selection
from mmfrac.utils.errors import one_line
from mmfrac.utils.prob_map import apply_temperature, component_boxes, sigmoid, whole_cells
from mmfrac.utils.text import printable
from mmfrac.utils.walk import files_below

DESCRIPTION = 'model.json'
FORMAT = 'mmfrac onnx 1'
_FIELDS = (
    *('format', 'name', 'limits', 'sha256', 'graphs', 'classes', 'preprocessing', 'stride'),
    *('member_scores', 'image_score', 'component_thr', 'max_per_img', 'operating_points'),
    *('temperature', 'largest_difference'),
)


class MapPrediction(NamedTuple):
    """What a detector found on an image.

    Attributes:
        score (float): Image score.
        boxes (np.ndarray): ``(n, 4)`` xyxy, px of the image.
        scores (np.ndarray): ``(n,)``.
        prob_map (np.ndarray): ``(h, w)`` in [0, 1], the image's own area.
        map_scale (tuple[float, float]): px of the image a cell, in x and y.
    """

    score: float
    boxes: np.ndarray
    scores: np.ndarray
    prob_map: np.ndarray
    map_scale: tuple[float, float]


class _Read(NamedTuple):
    """An image that was read, or why not.

    Attributes:
        facts (ImageFacts): What its header says, with the reason not to score it.
        error (str, optional): Why it cannot be read.
        prepared (tuple, optional): Its height and width, and what the network gets.
    """

    facts: ImageFacts
    error: str | None = None
    prepared: tuple[tuple[int, int], Prepared] | None = None


class OnnxDetector:
    """A detector that ``mmfrac export-onnx`` wrote.

    >>> detector = OnnxDetector('rib_fractures_onnx')
    >>> detector.predict('image.dcm').score

    Args:
        folder (str or PathLike): What was written.
        precision (str): One of the graphs: 'fp32', or 'int8' where it was exported. Defaults to 'fp32'.
        threads (int): Threads of a CPU; 0: as many as it has cores. Defaults to 0.
        providers (Sequence[str]): Of onnxruntime, the first that there is runs the network. Defaults to
            the CPU.

    Raises:
        FileNotFoundError: If there is no such detector.
        ValueError: If a file of it is another than was written, or there is no such graph.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        precision: str = 'fp32',
        threads: int = 0,
        providers: Sequence[str] = ('CPUExecutionProvider',),
    ) -> None:
        self.about = read_description(folder)
        graphs = self.about['graphs']
        if precision not in graphs:
            raise ValueError(f'{folder} has graphs in {sorted(graphs)}, none in {precision!r}')
        path = Path(folder) / graphs[precision]['file']
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != graphs[precision]['sha256']:
            raise ValueError(f'{path} is not the file that {DESCRIPTION} tells of: export it anew')
        self.precision = precision
        self._session = _session(content, threads, providers)

    def __call__(
        self,
        images: Iterable[str | os.PathLike],
        batch_size: int = 1,
        point: str | None = None,
        selection: Selection | None = None,
    ) -> Iterator[ResultLine]:
        """Results of image files, as they come.

        Args:
            images (Iterable[str or PathLike]): DICOM files; PNG, JPEG and TIFF where there is Pillow.
            batch_size (int): Images a run of the network. Defaults to 1.
            point (str, optional): Name of the operating point of the flags. Defaults to None, the first.
            selection (Selection, optional): Which images are scored. Defaults to None, frontal
                radiographs of the chest and images that say nothing of themselves.

        Yields:
            ResultLine: One a file, in their order; one that was not scored says why.

        Raises:
            ValueError: If there is no such operating point.
        """
        chosen = self.operating_point(point)
        selection = selection or Selection()
        source = iter(images)
        while chunk := [os.fspath(one) for one in islice(source, batch_size)]:
            read = [self._read(path, selection) for path in chunk]
            prepared = [one.prepared for one in read if one.prepared is not None]
            found = iter(self._predict(prepared, None if chosen is None else chosen['threshold']))
            for path, (facts, error, one) in zip(chunk, read):
                if one is None:
                    yield self._left_out(path, facts, error)
                    continue
                try:
                    yield self._result(path, facts, next(found), chosen)
                except ResultError as fault:
                    # NaN of a network on an image that nobody foresaw
                    yield self._left_out(path, facts._replace(reason=UNREADABLE), str(fault))

    def _read(self, path: str, selection: Selection) -> '_Read':
        facts = selection.facts(path)
        if facts.reason:
            return _Read(facts, facts.error(path))
        try:
            notes: list[str] = []
            plane = read_radiograph(path, notes)
            facts = selection.facts_of_pixels(facts, plane.shape, notes)
            if facts.reason:
                return _Read(facts)
            prepared = self._prepared(plane)
        except (OSError, ValueError) as error:
            return _Read(facts._replace(reason=UNREADABLE), str(error))
        except cv2.error as error:
            return _Read(facts._replace(reason=UNREADABLE), one_line(error))
        return _Read(facts, None, prepared)

    def _prepared(self, plane: np.ndarray) -> tuple[tuple[int, int], Prepared]:
        height, width = plane.shape
        return (height, width), prepare(plane, self.about['preprocessing'])

    def predict(self, image: str | os.PathLike | np.ndarray) -> MapPrediction:
        """What is found on one image, with its prob map.

        Args:
            image (str, PathLike or np.ndarray): A file, or a plane ``(h, w)`` float in [0, 1], bright
                bone on dark lung.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read.
        """
        plane = image if isinstance(image, np.ndarray) else read_radiograph(image, [])
        return self.predict_planes([plane])[0]

    def predict_planes(
        self, planes: Sequence[np.ndarray], threshold: float | None = None
    ) -> list[MapPrediction]:
        """What is found on planes.

        Args:
            planes (Sequence[np.ndarray]): ``(h, w)`` float in [0, 1].
            threshold (float, optional): Of flags: where it lies below that of the boxes, it is theirs
                as well. Defaults to None.
        """
        return self._predict([self._prepared(plane) for plane in planes], threshold)

    def _predict(
        self, images: Sequence[tuple[tuple[int, int], Prepared]], threshold: float | None
    ) -> list[MapPrediction]:
        """What is found on prepared images, each with its height and width before."""
        threshold = min(self.about['component_thr'], threshold or math.inf)
        prepared = [one for _, one in images]
        shapes = {one.inputs.shape for one in prepared}
        # images of several sizes go one by one: none is padded for the sake of another
        groups = [prepared] if len(shapes) == 1 else [[one] for one in prepared]
        logits: list[np.ndarray] = []
        for group in groups:
            if group:
                inputs = np.stack([one.inputs for one in group])
                logits += list(self._session.run(None, {'image': inputs})[0])
        return [
            self._prediction(one, shape, made.factors, threshold)
            for one, (shape, made) in zip(logits, images)
        ]

    def operating_point(self, name: str | None) -> dict[str, Any] | None:
        """An operating point by its name; None: the first, or none if there is none."""
        points = self.about['operating_points']
        if name is None:
            return points[0] if points else None
        for point in points:
            if point['name'] == name:
                return point
        known = ', '.join(point['name'] for point in points) or 'none'
        raise ValueError(f'no operating point {name!r}; there are: {known}')

    def _prediction(
        self,
        logits: np.ndarray,
        shape: tuple[int, ...],
        factors: tuple[float, float],
        threshold: float,
    ) -> MapPrediction:
        about, (height, width) = self.about, shape
        stride = about['stride']
        rows = whole_cells(height, factors[1], stride)
        columns = whole_cells(width, factors[0], stride)
        cells = logits[:, :rows, :columns]
        maps = sigmoid(cells)
        prob_map = maps.mean(axis=0, dtype=np.float32)
        if about['image_score'] == 'maximum':
            score = prob_map.max()
        elif about['member_scores'] == 'maximum':
            score = maps.max(axis=(1, 2)).mean()
        else:
            score = sigmoid(cells.mean(axis=(1, 2))).mean()
        scale = (stride / factors[0], stride / factors[1])
        boxes, scores = component_boxes(
            prob_map, scale, (height, width), threshold, about['max_per_img']
        )
        return MapPrediction(float(score), boxes, scores, prob_map, scale)

    def _result(
        self, path: str, facts: ImageFacts, found: MapPrediction, point: dict | None
    ) -> ResultLine:
        temperature = self.about['temperature']
        return ResultLine(
            image=path,
            model=self.identity,
            precision=self.precision,
            scored=True,
            score=found.score,
            probability=float(apply_temperature(found.score, temperature)) if temperature else None,
            flag=found.score >= point['threshold'] if point else None,
            operating_point={key: point[key] for key in ('name', 'threshold')} if point else None,
            boxes=found.boxes.tolist(),
            scores=found.scores.tolist(),
            map_scale=list(found.map_scale),
            **facts.fields(),
        )

    def _left_out(self, path: str, facts: ImageFacts, error: str | None) -> ResultLine:
        return ResultLine(
            image=path,
            model=self.identity,
            precision=self.precision,
            reason=facts.reason,
            error=error,
            **facts.fields(),
        )

    @property
    def identity(self) -> dict[str, str]:
        """Name and checksum of the model, as results name them."""
        return dict(name=self.about['name'], sha256=self.about['sha256'])


def read_description(folder: str | os.PathLike) -> dict[str, Any]:
    """What is said of an exported detector.

    Args:
        folder (str or PathLike): What ``mmfrac export-onnx`` wrote.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is of another version.
    """
    path = Path(folder) / DESCRIPTION
    try:
        about = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'no exported detector in {folder}: it lacks {DESCRIPTION}; mmfrac export-onnx writes one'
        ) from error
    except ValueError as error:
        raise ValueError(f'{path} is no JSON ({error})') from error
    found = about.get('format') if isinstance(about, dict) else None
    if found != FORMAT:
        raise ValueError(f'{path} has format {found!r}, {FORMAT!r} is wanted: export it anew')
    missing = [field for field in _FIELDS if field not in about]
    if missing:
        raise ValueError(f'{path} lacks {missing}: export it anew')
    return about


def find_images(inputs: Iterable[str]) -> Iterator[str]:
    """Image files of files and folders, in the order given, folders sorted by path."""
    for item in inputs:
        if not os.path.isdir(item):
            yield item
            continue
        yield from (str(path) for path in sorted(map(Path, files_below(item))) if is_image(path))


def main(folder: str | os.PathLike, arguments: Sequence[str] | None = None) -> int:
    """Command line of an exported detector: one line of JSON an image, to the standard output.

    Args:
        folder (str or PathLike): The detector.
        arguments (Sequence[str], optional): Defaults to those of the process.

    Returns:
        int: Exit code: 1 if an image could not be read.
    """
    parser = argparse.ArgumentParser(
        description='Find fractures on images: one line of JSON an image. Research use only, not a '
        'medical device.'
    )
    parser.add_argument('images', nargs='+', help='DICOM, PNG, JPEG, TIFF files or folders of them')
    parser.add_argument('--precision', default='fp32', help='fp32, or int8 where it was exported')
    parser.add_argument('--threads', type=int, default=0, help='default: one a core')
    parser.add_argument('--batch-size', type=int, default=1, help='images a run, default 1')
    parser.add_argument(
        '--operating-point', help='name of the one for the flags, default the first'
    )
    parser.add_argument(
        '--views',
        nargs='+',
        choices=VIEWS,
        help='that are scored, default frontal and unknown ones',
    )
    parser.add_argument('--everything', action='store_true', help='score all that can be read')
    args = parser.parse_args(arguments)
    try:
        detector = OnnxDetector(folder, args.precision, args.threads)
        detector.operating_point(args.operating_point)
    except (OSError, ValueError, ImportError) as error:
        parser.error(printable(error))
    print(printable(detector.about['limits']), file=sys.stderr)
    unread = doubtful = 0
    usual = Selection()
    selection = Selection(args.views or usual.views, everything=args.everything)
    images = find_images(args.images)
    for result in detector(images, args.batch_size, args.operating_point, selection):
        print(result.to_json(), flush=True)
        unread += result.error is not None
        doubtful += bool(result.notes)
    if doubtful:
        print(f'{doubtful} are doubtful (field "notes")', file=sys.stderr)
    return 1 if unread else 0


def _session(content: bytes, threads: int, providers: Sequence[str]) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError('onnxruntime is not installed: pip install onnxruntime') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    there = onnxruntime.get_available_providers()
    wanted = [name for name in providers if name in there]
    if not wanted:
        raise ValueError(f'onnxruntime has the providers {there}, none of {list(providers)}')
    return onnxruntime.InferenceSession(content, options, wanted)
