# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Seconds and memory of everything that grows with the number of images, up to a million."""

import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.dataset import DefaultSampler
from torch.utils.data import ConcatDataset

from mmfrac.datasets import CXRDataset, MultiSourceBatchSampler
from mmfrac.engine.costs.model_costs import peak_memory_bytes
from mmfrac.engine.hooks.dynamic_sharpening_hook import quantile_over_images
from mmfrac.evaluation import FracMetric
from mmfrac.evaluation.definitions import Definitions
from mmfrac.evaluation.functional.bootstrap import bootstrap_figures, interval, patient_weights
from mmfrac.evaluation.functional.froc import ImageResult
from mmfrac.models import DynamicSharpening
from mmfrac.preparation.checks import check_data
from mmfrac.preparation.splits.folds import write_folds

from .figure import Figure
from .simulation import simulate

# what grows as n has the exponent 1; sorting and caches add a little
GOAL_EXPONENT = 1.15
GOAL_GIB = 8.0
_GIB = 2**30

# seconds of what is measured; what comes before them prepares it
Part = Callable[[Path, int, int], float]


def measure(
    repeats: int = 1,
    images: Sequence[int] = (10**4, 10**5, 10**6),
    replicates: int = 2000,
    apart: bool = True,
) -> Iterator[Figure]:
    """Every part at every size, each in a process of its own, so that its peak of memory is its own.

    Args:
        repeats (int): Runs, of which the fastest counts. Defaults to 1.
        images (Sequence[int]): Sizes, ascending. Defaults to ten thousand to a million.
        replicates (int): Of the bootstrap. Defaults to 2000.
        apart (bool): Whether parts run in processes of their own. Defaults to True.

    Yields:
        Figure: Seconds and most memory of each part and size; then the exponent of its growth from the
        last but one to the last size.
    """
    found: dict[tuple[str, int], tuple[float, int]] = {}
    for number in images:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_annotations(folder / 'annotations/train.json', number)
            (folder / 'images').mkdir()
            for part in PARTS:
                runs = [_run(part, folder, number, replicates, apart) for _ in range(repeats)]
                seconds, peak = min(run[0] for run in runs), max(run[1] for run in runs)
                found[part, number] = seconds, peak
                is_metric = part in ('metric', 'intervals')
                goal = GOAL_GIB if is_metric else math.inf
                case = f'{number} images: {part}'
                yield Figure('scale', case, seconds, 's', 0, math.inf)
                yield Figure('scale', f'{case}, most memory', peak / _GIB, 'GiB', 0, goal)
    if len(images) < 2:
        return
    first, last = images[-2:]
    for part in PARTS:
        # what a process holds before it begins is no growth
        seconds = found[part, last][0] / max(found[part, first][0], 1e-9)
        exponent = math.log(max(seconds, 1e-9)) / math.log(last / first)
        case = f'{part}: exponent of its seconds, {first} to {last} images'
        yield Figure('scale', case, exponent, '', -math.inf, GOAL_EXPONENT)


def _run(part: str, folder: Path, images: int, replicates: int, apart: bool) -> tuple[float, int]:
    if not apart:
        return run_part(part, folder, images, replicates)
    print(f'  {images} images: {part}', file=sys.stderr)
    # spawned: a forked process would begin with the memory of this one
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(run_part, part, folder, images, replicates).result()


def run_part(part: str, folder: Path, images: int, replicates: int) -> tuple[float, int]:
    """Run a part.

    Args:
        part (str): Of ``PARTS``.
        folder (Path): With ``annotations/train.json`` and an empty ``images/``.
        images (int): Images in it.
        replicates (int): Of the bootstrap.

    Returns:
        tuple[float, int]: Seconds, and the most bytes that this process has held.
    """
    seconds = PARTS[part](folder, images, replicates)
    return seconds, peak_memory_bytes()


def write_annotations(file: Path, images: int) -> None:
    """Write an annotation file: a quarter P_hos with a box each, a quarter P_pub, the rest negative.

    Args:
        file (Path): JSON file; its folder is made.
        images (int): Images, two of each patient.
    """
    file.parent.mkdir()
    entries, boxes = [], []
    for index in range(images):
        kind = index // 2 % 4
        entries.append(
            dict(
                id=index + 1,
                file_name=f'{index:07d}.png',
                width=2048,
                height=2048,
                label=int(kind < 2),
                regions=kind != 1,
                source='hospital' if kind == 0 else 'public',
                patient_id=f'p{index // 2}',
            )
        )
        if kind == 0:
            boxes.append(
                dict(
                    id=len(boxes) + 1,
                    image_id=index + 1,
                    category_id=1,
                    bbox=[100 + index % 900, 200, 60, 40],
                    area=2400,
                    iscrowd=0,
                )
            )
    content = dict(images=entries, annotations=boxes, categories=[dict(id=1, name='fracture')])
    file.write_text(json.dumps(content))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# ---- parts -----------------------------------------------------------------------------------------


def load(folder: Path, images: int, replicates: int) -> float:
    """Reading and checking the annotations, without looking for the files."""

    def call() -> None:
        data = CXRDataset(
            data_root=str(folder),
            ann_file='annotations/train.json',
            data_prefix=dict(img='images/'),
            check_files=False,
            pipeline=[],
        )
        assert len(data) == images

    return _timed(call)


def sampling(folder: Path, images: int, replicates: int) -> float:
    """Batches of a whole epoch, of three sources."""
    sources = ConcatDataset([range(images // 4), range(images // 2), range(images // 4)])
    sampler = DefaultSampler(sources, shuffle=True)
    batches = MultiSourceBatchSampler(sampler, batch_size=8, source_ratio=[1, 1, 2])

    def call() -> None:
        assert sum(map(len, batches)) == 8 * len(batches)

    return _timed(call)


def first_m(folder: Path, images: int, replicates: int) -> float:
    """The median of the scores of all images, noted in batches of eight."""
    step = DynamicSharpening()
    for start in range(0, images, 8):
        samples = [
            DetDataSample(metainfo=dict(img_path=f'{index:07d}.png'))
            for index in range(start, min(start + 8, images))
        ]
        step.note_scores(torch.rand(len(samples), 1, 2, 2), samples)

    def call() -> None:
        m = quantile_over_images([step.pop_scores()], step.quantile)
        assert m is not None
        step.set_m(m)

    return _timed(call)


def metric(folder: Path, images: int, replicates: int) -> float:
    """Gathering the records of all images and computing the metric."""
    rng = np.random.default_rng(0)
    frac = FracMetric(max_fppi=8.0)
    for index in range(images):
        has_lesion = index // 2 % 4 == 0
        corners = rng.uniform(0, 900, (4, 2))
        boxes = torch.from_numpy(np.hstack([corners, corners + 60]))
        sample = dict(
            img_path=f'{index:07d}.png',
            img_id=index,
            patient_id=f'p{index // 2}',
            label=int(has_lesion),
            regions=True,
            instances=[dict(bbox=[100.0, 100.0, 200.0, 200.0])] * has_lesion,
            pred_instances=dict(bboxes=boxes, scores=torch.from_numpy(rng.random(4))),
        )
        frac.process(None, [sample])
    return _timed(lambda: frac.evaluate(images))


def intervals(folder: Path, images: int, replicates: int) -> float:
    """95 % intervals of all metrics, drawn by patient."""
    films = simulate(np.random.default_rng(0), max(4, images // 2))
    results = [
        ImageResult(index, patient, label, score, record)
        for index, (patient, label, score, record) in enumerate(
            zip(
                films.patients.tolist(), films.labels.tolist(), films.scores.tolist(), films.records
            )
        )
    ]

    def call() -> None:
        weights = patient_weights(films.patients, replicates)
        for values in bootstrap_figures(results, weights, Definitions()).values():
            interval(values)

    return _timed(call)


def split_folds(folder: Path, images: int, replicates: int) -> float:
    """A hold-out set and five folds, written."""
    with tempfile.TemporaryDirectory() as name:
        file = folder / 'annotations/train.json'
        return _timed(lambda: write_folds([file], Path(name) / 'folds', hold_out=0.1))


def check(folder: Path, images: int, replicates: int) -> float:
    """``tools/check_data.py --no-decode`` of the annotations, without looking for the files."""

    def call() -> None:
        report, _ = check_data(
            folder,
            ['annotations/train.json'],
            image_folder='no_images',
            decode=False,
            workers=0,
            progress=False,
        )
        assert report.splits['train'].films == images

    return _timed(call)


PARTS: dict[str, Part] = {
    'load': load,
    'sample an epoch': sampling,
    'first m': first_m,
    'metric': metric,
    'intervals': intervals,
    'split_folds': split_folds,
    'check_data': check,
}
