# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What training reads, one step of the pipeline at a time, as pictures."""

import copy
import random
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose, RandomApply, RandomChoice
from mmdet.datasets.transforms import MultiBranch
from mmdet.datasets.transforms.wrappers import RandomOrder
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import Compose as DatasetCompose
from mmengine.registry import init_default_scope

from mmfrac.datasets.labels import ignored, labels_of_info, lesions
from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.utils.geometry import box_corners, project
from mmfrac.utils.io import OutputFolder, write_image
from mmfrac.visualization.overlay import GT_GREEN, IGNORED_GREY, Canvas, contact_sheet, grey_picture
from mmfrac.visualization.prob_map_visualization_hook import ImageNames

# One step each: which of theirs are run is drawn when they are.
_AT_RANDOM = (RandomApply, RandomChoice, RandomOrder)


class Step(NamedTuple):
    """What a film is after one step.

    Attributes:
        branch (str): Of ``MultiBranch``; '' before it.
        name (str): Class of the transform.
        results (dict, optional): As the transform left them; the next step may change them. None: the
            transform left the film out.
    """

    branch: str
    name: str
    results: dict | None


def pipeline_steps(transforms: Sequence[Callable], info: dict) -> Iterator[Step]:
    """Run a pipeline on a film; ``Compose`` and the branches of ``MultiBranch`` are entered.

    What is drawn at random is drawn in the same order as in training. ``MultiBranch`` is the last step:
    whatever follows it is not run.

    Args:
        transforms (Sequence[Callable]): ``dataset.pipeline.transforms``.
        info (dict): Of ``dataset.get_data_info``; changed.

    Yields:
        Step: After each transform.
    """
    yield from _steps(transforms, info, '')


def _steps(
    transforms: Sequence[Callable], results: dict | None, branch: str
) -> Generator[Step, None, dict | None]:
    for transform in transforms:
        if results is None:
            break
        if isinstance(transform, MultiBranch):
            for name, pipeline in transform.branch_pipelines.items():
                inner = copy.deepcopy(results)
                yield from _steps(pipeline.transforms, inner, f'{branch}/{name}'.lstrip('/'))
            return None
        if isinstance(transform, (Compose, DatasetCompose)) and not isinstance(
            transform, _AT_RANDOM
        ):
            results = yield from _steps(transform.transforms, results, branch)
            continue
        results = transform(results)
        yield Step(branch, type(transform).__name__, results)
    return results


_BOX_YELLOW = (255, 210, 40)

_TARGET_ORANGE = (255, 120, 0)

_OUTSIDE_BLUE = (40, 110, 255)

_TARGET_ALPHA = 0.45

_OUTSIDE_ALPHA = 0.3


@dataclass
class ImageState:
    """What there is to see of a film.

    Attributes:
        image (np.ndarray): (h, w), float in [0, 1].
        outlines (list[np.ndarray]): Lesions, moved along with the film: (n, 2) xy each, px of the
            plane.
        ignored (list[np.ndarray]): What is to be ignored, likewise.
        boxes (np.ndarray): MMDetection's ``gt_bboxes``, (n, 4) xyxy, px of the plane.
        target (np.ndarray, optional): Cells of the prob map target, (h', w') uint8.
        valid (np.ndarray, optional): Cells that lie on the film, (h', w') bool.
    """

    image: np.ndarray
    outlines: list[np.ndarray] = field(default_factory=list)
    ignored: list[np.ndarray] = field(default_factory=list)
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    target: np.ndarray | None = None
    valid: np.ndarray | None = None


def image_state(results: dict) -> ImageState | None:
    """State of a film from what a transform returned.

    Args:
        results (dict): With ``img``, or packed with ``inputs`` and ``data_samples``.

    Returns:
        ImageState or None: None before the film is loaded.
    """
    if 'inputs' in results:
        sample = results['data_samples']
        image = results['inputs'].numpy().transpose(1, 2, 0)
        info: Any = sample.metainfo
        boxes = sample.gt_instances.get('bboxes') if 'gt_instances' in sample else None
        target = valid = None
        if 'gt_prob_map' in sample:
            target = sample.gt_prob_map.prob_map.numpy()[0]
            valid = sample.gt_prob_map.valid.numpy()[0]
    elif 'img' in results:
        image, info, boxes = results['img'], results, results.get('gt_bboxes')
        target, valid = results.get('gt_prob_map'), results.get('valid_map')
    else:
        return None
    homography = info.get('homography_matrix')
    moved = np.eye(3) if homography is None else homography
    found, left_out = (
        [
            project(outline, moved)
            for instance in choose(info.get('instances', ()))
            for outline in _outlines(instance)
        ]
        for choose in (lesions, ignored)
    )
    return ImageState(_unit_image(image), found, left_out, _box_array(boxes), target, valid)


def draw_state(state: ImageState, size: int | None = None) -> np.ndarray:
    """Draw a film's state.

    Lesions are green, what is ignored grey, ``gt_bboxes`` dashed yellow, target cells orange, cells off
    the film blue.

    Args:
        state (ImageState): What to draw.
        size (int, optional): Longest side of the picture, px. Defaults to that of the film.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    zoom = 1.0 if size is None else size / max(state.image.shape)
    picture = np.repeat(grey_picture(state.image, zoom)[..., None], 3, axis=2)
    if state.valid is not None:
        picture = _tinted(picture, ~state.valid, _OUTSIDE_BLUE, _OUTSIDE_ALPHA)
    if state.target is not None:
        picture = _tinted(picture, state.target > 0, _TARGET_ORANGE, _TARGET_ALPHA)
    canvas = Canvas(picture, zoom)
    for box in state.boxes:
        canvas.box(box, _BOX_YELLOW, width=1, dashed=True)
    for outline in state.outlines:
        canvas.polygon(outline, GT_GREEN, width=1)
    for outline in state.ignored:
        canvas.polygon(outline, IGNORED_GREY, width=1)
    return canvas.picture()


def _outlines(instance: dict) -> list[np.ndarray]:
    corners = [box_corners(np.asarray(instance['bbox']))]
    polygons = [np.reshape(points, (-1, 2)) for points in instance.get('polygon', ())]
    return corners + polygons


def _unit_image(pixels: np.ndarray) -> np.ndarray:
    """(h, w) or (h, w, c) of any scale to (h, w) in [0, 1]."""
    image = pixels if pixels.ndim == 2 else pixels[..., 0]
    if image.dtype == np.uint8:
        return image / np.float32(255)
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return image
    # normalised for a network of another toolbox
    return (image - low) / max(high - low, 1e-6)


def _box_array(boxes: Any) -> np.ndarray:
    if boxes is None:
        return np.zeros((0, 4))
    values = getattr(boxes, 'tensor', boxes)
    return np.asarray(values, np.float64).reshape(-1, 4)


def _tinted(
    picture: np.ndarray, cells: np.ndarray, colour: tuple[int, int, int], alpha: float
) -> np.ndarray:
    height, width = picture.shape[:2]
    where = cv2.resize(cells.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    mixed = (1 - alpha) * picture + alpha * np.array(colour)
    return np.where(where[..., None] > 0, mixed, picture).round().astype(np.uint8)


MODES = ('pipeline', 'transformed', 'original', 'concat')

PHASES = ('train', 'val', 'test')

_CELLS_A_SHEET = 24

COLUMNS = 6


@dataclass
class Browsed:
    """What was looked at.

    Attributes:
        images (list[Path]): A picture each.
        sheets (list[Path]): Contact sheets.
        unreadable (list[str]): A line for each film that could not be read.
    """

    images: list[Path] = field(default_factory=list)
    sheets: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass
class _BrowsedImage:
    """Pictures of one film.

    Attributes:
        title (str): Its name and what is known of it.
        rows (list[list[tuple[str, np.ndarray]]]): Titles and pictures (H, W, 3) uint8 RGB; what comes
            before the branches, then a row for each branch.
        original (np.ndarray): The film as it lies in its file.
    """

    title: str
    original: np.ndarray
    rows: list[list[tuple[str, np.ndarray]]] = field(default_factory=list)

    @property
    def last(self) -> list[tuple[str, np.ndarray]]:
        """The last picture of each branch, or of the pipeline where it has none."""
        ends = [row[-1] for row in self.rows if row]
        return ends[1:] if len(ends) > 1 else ends

    def cells(self, mode: str) -> list[tuple[str, np.ndarray]]:
        """Titles and pictures of a mode; in a contact sheet 'pipeline' is the same as 'transformed'."""
        cells = [(self.title, self.original)] if mode in ('original', 'concat') else []
        if mode != 'original':
            cells += [(f'{self.title}  {title.partition(":")[0]}', p) for title, p in self.last]
        return cells

    def picture(self, mode: str) -> np.ndarray:
        """One picture (H, W, 3), uint8 RGB."""
        if mode != 'pipeline':
            return _sheet(self.cells(mode))
        columns = min(COLUMNS, max(map(len, self.rows)))
        blank = ('', np.zeros((1, 1, 3), np.uint8))
        cells = [cell for row in self.rows for cell in [*row, *[blank] * (-len(row) % columns)]]
        return _sheet([(f'{self.title}  {cells[0][0]}', cells[0][1]), *cells[1:]], columns)


def browse_dataset(
    cfg: Config,
    out_dir: str | Path,
    phase: str = 'train',
    mode: str = 'pipeline',
    number: int = 20,
    size: int = 384,
    seed: int = 0,
    show: Callable[[np.ndarray, str], Any] | None = None,
) -> Browsed:
    """Write a picture of each film chosen, and contact sheets of them all.

    Films are chosen evenly over the data sets of a ``ConcatDataset`` and, in each of them, over
    P_hos, N, P_pub and U.

    Args:
        cfg (Config): With ``<phase>_dataloader.dataset``.
        out_dir (str or Path): Folder of the pictures; it is made.
        phase (str): 'train', 'val' or 'test'. Defaults to 'train'.
        mode (str): 'pipeline': a film after every step, a row for each branch. 'transformed': as the
            network gets it. 'original': as it lies in its file. 'concat': the last two side by side.
            Defaults to 'pipeline'.
        number (int): Films. Defaults to 20.
        size (int): Longest side of a film in the pictures, px. Defaults to 384.
        seed (int): Of what the pipeline draws at random; a film's does not depend on the others.
            Defaults to 0.
        show (Callable, optional): Is given each picture and its name. Defaults to none.

    Returns:
        Browsed: What was written, and which films could not be read.

    Raises:
        ValueError: If an option has none of its values, the config has no such data set, or the folder
            holds a file of a name to be written that mmfrac did not write.
    """
    for value, valid, name in ((mode, MODES, 'mode'), (phase, PHASES, 'phase')):
        if value not in valid:
            raise ValueError(f'{name} must be one of {valid}, got {value!r}')
    if number < 1 or size < 16:
        raise ValueError(f'number={number}, size={size}: needed are at least 1 film and 16 px')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    loader = cfg.get(f'{phase}_dataloader')
    if not loader:
        raise ValueError(f'the config has no {phase}_dataloader')
    datasets = single_datasets(DATASETS.build(loader.dataset))
    output, names = OutputFolder(out_dir), ImageNames()
    browsed = Browsed()
    cells: list[tuple[str, np.ndarray]] = []
    for dataset, index in spread_images(datasets, number):
        _seed(seed + index)
        info = dataset.get_data_info(index)
        try:
            image = _browse_image(dataset, info, size)
        except (OSError, ValueError) as error:
            browsed.unreadable.append(f'{info["img_path"]}: {error}')
            continue
        name = names.name(info['img_path'])
        picture = image.picture(mode)
        browsed.images.append(output.path(f'{name}.png'))
        write_image(browsed.images[-1], picture)
        if show is not None:
            show(picture, name)
        cells += image.cells(mode)
        if len(cells) >= _CELLS_A_SHEET:
            _write_sheet(browsed, output, names, cells)
            cells = []
    if cells:
        _write_sheet(browsed, output, names, cells)
    return browsed


def single_datasets(dataset: Any) -> list[Any]:
    """Data sets with a pipeline that a data set is made of: wrappers are opened.

    Args:
        dataset (Any): Of MMDetection, MMEngine or mmfrac.

    Returns:
        list: Each once.
    """
    found: list[Any] = []
    for inner in getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]:
        if inner is not None:
            found += [one for one in single_datasets(inner) if all(one is not f for f in found)]
    return found or [dataset]


def spread_images(datasets: Sequence[Any], number: int) -> Iterator[tuple[Any, int]]:
    """Films spread over data sets and subsets: from each in turn, evenly spaced.

    Args:
        datasets (Sequence): With ``get_data_info``.
        number (int): Films wanted; fewer where there are fewer.

    Yields:
        tuple: Data set and index.
    """
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for position, dataset in enumerate(datasets):
        for index in range(len(dataset)):
            groups[position, _subset(dataset.get_data_info(index))].append(index)
    shares = dict.fromkeys(groups, 0)
    room = min(number, sum(map(len, groups.values())))
    while sum(shares.values()) < room:
        for key, members in groups.items():
            if shares[key] < len(members) and sum(shares.values()) < room:
                shares[key] += 1
    for key, members in groups.items():
        if shares[key]:
            positions = np.linspace(0, len(members) - 1, shares[key]).round().astype(int)
            for where in positions.tolist():
                yield datasets[key[0]], members[where]


def _subset(info: dict) -> str:
    return labels_of_info(info).subset


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _browse_image(dataset: Any, info: dict, size: int) -> _BrowsedImage:
    subset = _subset(info)
    title = f'{Path(info["img_path"]).name}  {subset}'
    lying = dict(img=read_radiograph(info['img_path']), instances=info.get('instances', ()))
    state = image_state(lying)
    assert state is not None
    image = _BrowsedImage(title, draw_state(state, size))
    wide, high = state.image.shape[1], state.image.shape[0]
    image.rows.append([(f'{wide} x {high}', image.original)])
    branch = ''
    for step in pipeline_steps(dataset.pipeline.transforms, info):
        if step.branch != branch:
            branch = step.branch
            image.rows.append([])
        name = f'{branch}: {step.name}' if branch else step.name
        if step.results is None:
            image.rows[-1].append((f'{name}  left out', np.zeros((size, size, 3), np.uint8)))
            continue
        state = image_state(step.results)
        if state is not None:
            wide, high = state.image.shape[1], state.image.shape[0]
            image.rows[-1].append((f'{name}  {wide} x {high}', draw_state(state, size)))
    return image


def _sheet(cells: Sequence[tuple[str, np.ndarray]], columns: int = COLUMNS) -> np.ndarray:
    return contact_sheet([picture for _, picture in cells], columns, [title for title, _ in cells])


def _write_sheet(
    browsed: Browsed,
    output: OutputFolder,
    names: ImageNames,
    cells: Sequence[tuple[str, np.ndarray]],
) -> None:
    path = output.path(f'{names.name(f"sheet_{len(browsed.sheets)}")}.png')
    write_image(path, _sheet(cells))
    browsed.sheets.append(path)
