# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a step of a config should take on this machine, and what holds it up."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import torch
from mmcv.transforms import Compose
from mmdet.registry import TRANSFORMS
from mmengine.registry import init_default_scope

from mmfrac.evaluation.functional.froc import image_record
from mmfrac.utils.config import load_config

from .figure import Figure
from .froc import smooth
from .loader import write_set
from .networks import CONFIGS, Network


def measure(
    repeats: int = 3,
    config: str = 'frac_ssl.py',
    part: int = 4,
    film: int = 2048,
    device: str | None = None,
) -> Iterator[Figure]:
    """Seconds of a step and of an image in validation, from a small part of each.

    The network is timed with two images of a ``part`` of the config's edge and taken times what the step
    has more of cells, which is right to some 10 % from 256 px on; the loader with one uncompressed
    12-bit film; the metric with one smooth map. The last line says which of them is waited for.

    Args:
        repeats (int): Timings, of which the least counts. Defaults to 3.
        config (str): Below configs/. Defaults to 'frac_ssl.py'.
        part (int): Defaults to 4.
        film (int): Edge of a film in px. Defaults to 2048.
        device (str, optional): 'cpu' or 'cuda'. Defaults to what there is.

    Yields:
        Figure: Seconds; none has a goal.
    """
    init_default_scope('mmdet')
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    cfg = load_config(CONFIGS / config)
    edge, loader = cfg.img_scale[0], cfg.train_dataloader
    images, workers = loader.batch_size, max(1, min(loader.num_workers, os.cpu_count() or 1))
    network = Network(config, edge // part, 2, device)
    more = part**2 * images / 2
    step = more * _seconds(network.step, repeats, device)
    inference = part**2 / 2 * _seconds(network.predict, repeats, device)
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder), film, 1)
        info = dict(img_path=f'{folder}/images/film_0.dcm', img_id=0, label=0, regions=True)
        pipeline = Compose([TRANSFORMS.build(one) for one in cfg.test_pipeline])
        threads = cv2.getNumThreads()
        # as in the workers
        cv2.setNumThreads(0)
        load = _seconds(lambda: pipeline(dict(info, instances=[])), repeats)
        cv2.setNumThreads(threads)
    prob_map = smooth(edge // 4)
    metric = _seconds(lambda: image_record(prob_map, []), repeats)
    # on a CPU without cores to spare the workers take their time from the network
    waits = load * images / workers
    whole = max(step, waits) if device == 'cuda' else step + load * images / (os.cpu_count() or 1)
    figures = {
        f'network, step of {images} x {edge} px': step,
        f'loader, {images} films of {film} px by {workers} workers': waits,
        f'step of {config}': whole,
        f'validation, network, an image of {edge} px': inference,
        f'validation, metric, an image of {edge} px': metric,
    }
    for case, value in figures.items():
        yield Figure('expected', case, value, 's', 0.0, float('inf'))
    print(verdict(config, whole, dict(network=step, loader=waits)))


def verdict(config: str, seconds: float, parts: dict[str, float]) -> str:
    """The sentence about a step.

    Args:
        config (str): Its config.
        seconds (float): Of the step.
        parts (dict[str, float]): Seconds of each part.
    """
    slowest = max(parts, key=lambda name: parts[name])
    others = ', '.join(f'{name} {value:.2g} s' for name, value in parts.items() if name != slowest)
    return (
        f'A step of {config} should take {seconds:.2g} s on this machine; the {slowest} '
        f'({parts[slowest]:.2g} s) holds it up ({others}).'
    )


def _seconds(call: Callable[[], object], repeats: int, device: str = 'cpu') -> float:
    def timed() -> float:
        start = time.perf_counter()
        call()
        if device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - start

    timed()
    return min(timed() for _ in range(repeats))
