# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Training step and inference in each precision and memory format, against fp32 in NCHW."""

import copy
from collections.abc import Iterator, Sequence

import torch

from mmfrac.engine.runner.batch_norms import fold_batch_norms

from .figure import Figure
from .networks import Network
from .pairing import Comparison, compare

CONFIGS = ('frac_sup.py', 'phantom/frac_sup_phantom.py')
# precision, whether in channels_last, whether batch norms are folded (inference alone)
WAYS = (
    ('fp32', True, False),
    ('bf16', False, False),
    ('bf16', True, False),
    ('fp32', True, True),
    ('bf16', True, True),
)


def measure(
    repeats: int = 5,
    sizes: Sequence[int] = (512, 1024),
    images: int = 1,
    configs: Sequence[str] = CONFIGS,
    device: str | None = None,
) -> Iterator[Comparison | Figure]:
    """How much faster than fp32 in NCHW each way is, and how much it changes the maps.

    Args:
        repeats (int): Pairs a case. Defaults to 5.
        sizes (Sequence[int]): Edges of the network input in px. Defaults to (512, 1024).
        images (int): Images of a batch. Defaults to 1.
        configs (Sequence[str]): Supervised prob map detectors. Defaults to R-50 and the small net.
        device (str, optional): 'cpu' or 'cuda'. Defaults to what there is.

    Yields:
        Comparison or Figure: Ratios of a step and of an inference; largest change of a probability.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    for config in configs:
        for size in sizes:
            base = Network(config, size, images, device, channels_last=False)
            whole = _maps(base)
            for precision, channels_last, folded in WAYS:
                network = Network(config, size, images, device, precision, channels_last)
                if folded:
                    network.model.eval()
                    fold_batch_norms(network.model)
                change = max(
                    float((some - others).abs().max())
                    for some, others in zip(_maps(network), whole)
                )
                layout = 'NHWC' if channels_last else 'NCHW'
                case = f'{config} {size} px {precision} {layout}{" folded" * folded}'
                calls = {'inference': (network.predict, base.predict)}
                if not folded:
                    calls['step'] = (network.step, base.step)
                for kind, (mine, its) in calls.items():
                    yield compare(
                        'precision', f'{kind} {case}', mine, its, repeats, 0.0, at_least=True
                    )
                yield Figure('precision', f'change {case}', change, 'prob', 0.0, float('inf'))


def _maps(network: Network) -> list[torch.Tensor]:
    return [copy.deepcopy(sample.pred_prob_map.data).float() for sample in network.predict()]
