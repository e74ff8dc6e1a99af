# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training step, inference and metrics in each precision and memory format, against fp32 in NCHW."""

import copy
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmfrac.engine.runner.batch_norms import fold_batch_norms
from mmfrac.engine.runner.compiled import compile_networks
from mmfrac.engine.runner.launch import fill_device_options
from mmfrac.utils.config import fill_stride, load_config, set_data_root
from mmfrac.utils.device import check_compiler, keep_freed_memory

from .figure import Figure
from .networks import Network
from .pairing import Comparison, compare

CONFIGS = ('frac_sup.py', 'phantom/frac_sup_phantom.py')
METRICS = ('AUROC', 'FROC', 'Recall@0.1')
_NO_GOAL = (float('-inf'), float('inf'))
# what lower precision may change of a metric
_CHANGE = 1e-3


class Way(NamedTuple):
    """How a network computes.

    Args:
        precision (str): 'fp32' or 'bf16'.
        channels_last (bool): Whether in NHWC.
        folded (bool): Whether batch norms are folded, in inference alone. Defaults to False.
        compiled (bool): Whether torch compiled it, of which inference alone is measured. Defaults to
            False.
    """

    precision: str
    channels_last: bool
    folded: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        layout = 'NHWC' if self.channels_last else 'NCHW'
        return f'{self.precision} {layout}' + ' folded' * self.folded + ' compiled' * self.compiled


BASE = Way('fp32', False)
WAYS = (
    Way('fp32', True),
    Way('bf16', False),
    Way('bf16', True),
    Way('fp32', True, folded=True),
    Way('bf16', True, folded=True),
    Way('fp32', True, folded=True, compiled=True),
    Way('bf16', True, folded=True, compiled=True),
)


def measure(
    repeats: int = 5,
    sizes: Sequence[int] = (512, 1024),
    images: int = 1,
    configs: Sequence[str] = CONFIGS,
    device: str | None = None,
    trained: tuple[str, str] | None = None,
    data_root: str | None = None,
) -> Iterator[Comparison | Figure]:
    """How much faster than fp32 in NCHW each way is, how much it changes the maps, and the metrics.

    Args:
        repeats (int): Pairs a case. Defaults to 5.
        sizes (Sequence[int]): Edges of the network input in px. Defaults to (512, 1024).
        images (int): Images of a batch. Defaults to 1.
        configs (Sequence[str]): Supervised prob map detectors. Defaults to R-50 and the small net.
        device (str, optional): 'cpu' or 'cuda'. Defaults to what there is.
        trained (tuple[str, str], optional): Config and checkpoint of a model whose metrics are compared,
            alone. Defaults to None, networks with random weights, which have no metrics.
        data_root (str, optional): Folder of that model's test images. Defaults to None, the config's.

    Yields:
        Comparison or Figure: Ratios of a step and of an inference; largest change of a probability;
        cosine between the first gradient and that of fp32; seconds before the first image of a compiled
        network. Of a trained model each metric and its change.
    """
    if trained is not None:
        yield from _metrics(*trained, data_root)
        return
    # as train.py
    keep_freed_memory()
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    ways = [way for way in WAYS if not way.compiled or _can_compile(device)]
    for config in configs:
        for size in sizes:
            base = Network(config, size, images, device, channels_last=BASE.channels_last)
            whole, whole_gradient = _maps(base), base.gradient()
            for way in ways:
                network = Network(config, size, images, device, way.precision, way.channels_last)
                if way.folded:
                    network.model.eval()
                    fold_batch_norms(network.model)
                if way.compiled:
                    compile_networks(network.model, device)
                case = f'{config} {size} px {way}'
                start = time.perf_counter()
                maps = _maps(network)
                if way.compiled:
                    seconds = time.perf_counter() - start
                    yield Figure('precision', f'first image {case}', seconds, 's', *_NO_GOAL)
                calls = {'inference': (network.predict, base.predict)}
                if not way.folded:
                    cosine = float(
                        torch.cosine_similarity(
                            network.gradient().double(), whole_gradient.double(), dim=0
                        )
                    )
                    yield Figure('precision', f'gradient {case}', cosine, 'cosine', *_NO_GOAL)
                    calls['step'] = (network.step, base.step)
                for kind, (mine, its) in calls.items():
                    yield compare(
                        'precision', f'{kind} {case}', mine, its, repeats, 0.0, at_least=True
                    )
                change = max(float((some - one).abs().max()) for some, one in zip(maps, whole))
                yield Figure('precision', f'change {case}', change, 'prob', *_NO_GOAL)


def _maps(network: Network) -> list[torch.Tensor]:
    return [copy.deepcopy(sample.pred_prob_map.data).float() for sample in network.predict()]


def _can_compile(device: str) -> bool:
    try:
        check_compiler(torch.device(device))
    except ValueError as error:
        print(f'compiled networks are left out: {error}')
        return False
    return True


def _metrics(config: str, checkpoint: str, data_root: str | None) -> Iterator[Figure]:
    cfg = load_config(config)
    if data_root:
        set_data_root(cfg._cfg_dict, data_root)
    fill_stride(cfg)
    fill_device_options(cfg)
    cfg.load_from = os.path.abspath(checkpoint)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    ways = [way for way in WAYS if not way.compiled or _can_compile(device)]
    whole: dict[str, float] = {}
    # one folder for all, as a process has one visualizer
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        for way in (BASE, *ways):
            values = _tested(copy.deepcopy(cfg), way)
            whole = whole or values
            for name, value in values.items():
                yield Figure('precision', f'{name} {way}', value, '', *_NO_GOAL)
                if way != BASE:
                    change = value - whole[name]
                    yield Figure(
                        'precision', f'change of {name} {way}', change, '', -_CHANGE, _CHANGE
                    )


def _tested(cfg: Config, way: Way) -> dict[str, float]:
    cfg.log_level = 'WARNING'
    cfg.experiment_name = f'{way}'.replace(' ', '_')
    cfg.test_cfg = dict(
        type='PrecisionTestLoop',
        precision=way.precision,
        fold_bn=way.folded,
        compile=way.compiled,
    )
    runner = Runner.from_cfg(cfg)
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    runner.model.to(memory_format=layout)
    metrics = runner.test()
    return {
        name: float(value)
        for name in METRICS
        for key, value in metrics.items()
        if key.rpartition('/')[2] == name
    }
