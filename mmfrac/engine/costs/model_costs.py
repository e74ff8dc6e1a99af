# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Parameters, operations, seconds and memory of a model."""

import copy
import math
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from torch import nn

from mmfrac.engine.costs.step_timer_hook import StepTimerHook, now
from mmfrac.engine.runner.unwrap import unwrapped_model
from mmfrac.models.detectors.burn_in import ALL, burn_in_length
from mmfrac.utils.config import fill_stride, film_sets, load_config, merge_options, set_data_root


def predicting_network(model: Any) -> Any:
    """Network of a model that predicts: the student of ``SemiProbMapDetector``, what ``semi_test_cfg``
    names of a mmdet ``SemiBaseDetector`` (its teacher, unless said otherwise), any other model itself.
    """
    test_cfg = getattr(model, 'semi_test_cfg', None)
    name = 'student' if test_cfg is None else test_cfg.get('predict_on', 'teacher')
    return getattr(model, name, model)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters; one that is shared counts once, buffers do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def count_operations(model: Any, batch: dict[str, Any]) -> tuple[float, list[int]]:
    """Operations of one film up to the raw output of its network, post-processing excluded.

    Counted by mmengine on the traced network: a multiplication with its addition is one operation;
    operators that it does not know (RoIAlign, NMS, activations) count nothing.

    Args:
        model (nn.Module): Any mmdet detector.
        batch (dict): Of one film, as the test loader gives it.

    Returns:
        tuple[float, list[int]]: 1e9 operations, and the network's input ``[C, H, W]``.
    """
    model.eval()
    data = model.data_preprocessor(batch, False)
    network = predicting_network(model)
    # two-stage detectors need the film's geometry to propose boxes
    network.forward = partial(network.forward, data_samples=data['data_samples'])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            counted = get_model_complexity_info(
                network, inputs=data['inputs'], show_table=False, show_arch=False
            )
    finally:
        del network.forward
    return counted['flops'] / 1e9, list(data['inputs'].shape[1:])


# steps and films that are not timed: caches, allocators and numba warm up in them
WARM_UP = 2

# so that what a method does once over all its films costs nothing here
MAX_IMAGES = 64


@dataclass(frozen=True)
class ModelCosts:
    """Costs of one config, with the settings that they depend on.

    Attributes:
        config (str): File of the config.
        params (int): Parameters of the network that predicts: of teacher and student the one.
        train_params (int): Parameters of the whole model in training.
        gflops (float): 1e9 operations of that network for one film, see ``count_operations``.
        train_step_seconds (float): Median time of a training step, see ``StepTimerHook``.
        film_seconds (float): Median time of predicting one film, post-processing included, loading
            excluded.
        peak_memory_bytes (int): Most memory held in training and prediction: on a GPU what torch had
            allocated there, else the resident memory of the whole process.
        batch_size (int): Films of a training step.
        input_shape (list[int]): ``[C, H, W]`` of a film in the network.
        device (str): 'cpu' or 'cuda'.
        threads (int): Threads of torch.
    """

    config: str
    params: int
    train_params: int
    gflops: float
    train_step_seconds: float
    film_seconds: float
    peak_memory_bytes: int
    batch_size: int
    input_shape: list[int]
    device: str
    threads: int


def measure_all(
    configs: Iterable[str | os.PathLike],
    data_root: str | None = None,
    cfg_options: dict | None = None,
    steps: int = 10,
) -> Iterator[ModelCosts]:
    """Measure configs one after the other, each in a process of its own, see ``measure``.

    Args:
        configs (Iterable[str]): Config files.
        data_root (str, optional): As of ``measure``. Defaults to None.
        cfg_options (dict, optional): As of ``measure``. Defaults to None.
        steps (int): As of ``measure``. Defaults to 10.

    Yields:
        ModelCosts: In the order of ``configs``.
    """
    # spawned: a forked process would begin with the memory of this one
    context = multiprocessing.get_context('spawn')
    for config in configs:
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            yield pool.submit(measure, config, data_root, cfg_options, steps).result()


def measure(
    config: str | os.PathLike,
    data_root: str | None = None,
    cfg_options: dict | None = None,
    steps: int = 10,
) -> ModelCosts:
    """Train and use the model of a config for some steps, on the films of its own data sets.

    A semi-supervised model is measured after burn-in. The peak of memory is that of this process since
    it began: measure in a fresh one.

    Args:
        config (str or PathLike): Config file.
        data_root (str, optional): Folder of images/ and annotations/ in place of the config's. Defaults
            to None.
        cfg_options (dict, optional): Settings to override. Defaults to None.
        steps (int): Training steps and films that are timed. Defaults to 10.

    Returns:
        ModelCosts: The costs.

    Raises:
        FileNotFoundError: When there is no such config, or no data.
        ValueError: When ``steps`` is not positive.
    """
    if steps < 1:
        raise ValueError(f'steps must be a positive number of training steps, got {steps}')
    cfg = load_config(config)
    merge_options(cfg, cfg_options or {})
    if data_root:
        set_data_root(cfg._cfg_dict, data_root)
    fill_stride(cfg)
    timer = StepTimerHook()
    with tempfile.TemporaryDirectory() as work_dir:
        runner = Runner.from_cfg(training_config(cfg, work_dir, WARM_UP + steps))
        runner.register_hook(timer)
        runner.train()
    model: nn.Module = unwrapped_model(runner).eval()
    loader = Runner.build_dataloader(dict(cfg.test_dataloader, num_workers=0, batch_size=1))
    batches = [batch for batch, _ in zip(loader, range(WARM_UP + steps))]
    film_seconds = [_prediction_seconds(model, batch) for batch in batches]
    # before the operations are counted: tracing holds memory of its own
    peak = peak_memory_bytes()
    gflops, input_shape = count_operations(model, batches[0])
    return ModelCosts(
        config=os.fspath(config),
        params=count_parameters(predicting_network(model)),
        train_params=count_parameters(model),
        gflops=gflops,
        train_step_seconds=statistics.median(timer.seconds[WARM_UP:]),
        film_seconds=statistics.median(film_seconds[WARM_UP:] or film_seconds[-1:]),
        peak_memory_bytes=peak,
        batch_size=max(timer.num_images),
        input_shape=input_shape,
        device=next(model.parameters()).device.type,
        threads=torch.get_num_threads(),
    )


def training_config(cfg: Config, work_dir: str, steps: int) -> Config:
    """Config that trains for some steps and leaves nothing behind.

    Args:
        cfg (Config): Any training config.
        work_dir (str): Folder for the log.
        steps (int): Training steps.

    Returns:
        Config: A changed copy.
    """
    cfg = copy.deepcopy(cfg)
    import_modules_from_strings(**cfg.get('custom_imports', dict(imports=[])))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    semi = cfg.model.get('semi_train_cfg', {})
    # one whose burn-in fills the run is a supervised one
    epochs = cfg.train_cfg.get('max_epochs', math.inf)
    is_supervised = burn_in_length(semi.get('burn_in_epochs', 0)) >= epochs
    semi['burn_in_epochs'] = ALL if is_supervised else 0
    for dataset in film_sets(cfg.train_dataloader):
        # of fewer films mmengine takes no subset
        if len(DATASETS.build(dataset)) > MAX_IMAGES:
            dataset['indices'] = MAX_IMAGES
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    for part in ('val', 'test'):
        for name in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{part}_{name}'] = None
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps)
    cfg.param_scheduler = None
    cfg.default_hooks.update(
        checkpoint=None,
        semi_epoch=dict(type='SemiEpochHook', allows_iterations=True),
        teacher=dict(type='TeacherHook', allows_untrained=True),
    )
    cfg.log_processor = dict(type='LogProcessor', by_epoch=False)
    cfg.visualizer = dict(type='DetLocalVisualizer')
    cfg.update(work_dir=work_dir, load_from=None, resume=False, log_level='ERROR')
    return cfg


@torch.no_grad()
def _prediction_seconds(model: Any, batch: dict) -> float:
    began = now()
    model.test_step(batch)
    return now() - began


def peak_memory_bytes() -> int:
    """Most memory of this process so far: allocated on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path('/proc/self/status')
    if status.is_file():
        # getrusage would also count the process that started this one
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith('VmHWM:'))
        return int(peak.split()[1]) * 1024
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss if sys.platform == 'darwin' else peak_rss * 1024
