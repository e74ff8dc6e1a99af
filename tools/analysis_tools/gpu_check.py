# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether mmfrac runs on this GPU as it should: speed, memory, waiting, the same figures as the CPU.

Nothing is downloaded and no compiled operator of mmcv is needed. What fails is a line of the table; the
rest goes on. Without a GPU it runs as far as it goes; --size 128 --images 2 is enough there.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmarks.machine import machine, machine_line
from benchmarks.networks import CONFIGS, PRECISIONS, Network, focal_loss_without_operators

from mmfrac.engine.hooks.dynamic_sharpening_hook import quantile_over_images
from mmfrac.evaluation import FracMetric
from mmfrac.models.pseudo_labels.sharpening import sharpening_parameters
from mmfrac.utils.errors import one_line, plain_errors
from mmfrac.utils.io import check_output, write_json

EXAMPLE = """example:
  python tools/analysis_tools/gpu_check.py --out gpu_check.json
  python tools/analysis_tools/gpu_check.py --size 128 --images 2 --sections agreement waiting launch"""

OURS, MEMORY = 'frac_ssl.py', 'baselines/temporal_ensembling.py'


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Args:
        section (str): What was looked at.
        case (str): In which way.
        figures (dict): Numbers by name.
        note (str): What is to be said of it. Defaults to ''.
        is_fault (bool): Whether something is wrong. Defaults to False.
    """

    section: str
    case: str
    figures: dict[str, float]
    note: str = ''
    is_fault: bool = False

    def __str__(self) -> str:
        figures = '  '.join(f'{name} {value:.4g}' for name, value in self.figures.items())
        mark = 'FAULT' if self.is_fault else 'ok'
        return f'{mark:6}{self.section:11}{self.case:58}{figures}  {self.note}'.rstrip()


@dataclass(frozen=True)
class Options:
    """What every section needs to know.

    Args:
        device (str): 'cuda' or 'cpu'.
        size (int): Edge of the network input in px.
        images (int): Images of a step.
        steps (int): Steps that are timed.
        ends (float): When all is to be over, on ``time.monotonic``.
    """

    device: str
    size: int
    images: int
    steps: int
    ends: float

    def seconds_left(self) -> float:
        """Until all is to be over."""
        return self.ends - time.monotonic()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--sections',
        nargs='+',
        choices=list(SECTIONS),
        default=list(SECTIONS),
        help='default: all, in this order',
    )
    parser.add_argument('--size', type=int, default=1024, help='edge in px, default 1024')
    parser.add_argument('--images', type=int, default=8, help='images of a step, default 8')
    parser.add_argument('--steps', type=int, default=5, help='steps that are timed, default 5')
    parser.add_argument(
        '--minutes', type=float, default=6, help='what is not begun by then is left out, default 6'
    )
    parser.add_argument('--out', type=Path, help='JSON file of the table')
    return parser.parse_args()


def waited(options: Options) -> float:
    """Seconds on a clock, when the GPU has done what it was given."""
    if options.device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(call: Callable[[], object], options: Options) -> float:
    """Median seconds of a call; two more are not timed."""
    seconds = []
    for _ in range(options.steps + 2):
        began = waited(options)
        call()
        seconds.append(waited(options) - began)
    return statistics.median(seconds[2:])


# ---- sections: each yields a case and what gives its line --------------------------------------------

Cases = Iterator[tuple[str, Callable[[], Line | None]]]


def waiting(options: Options) -> Cases:
    """Whether the host waits for the GPU in a step: PyTorch raises where it does."""
    for config, precision in product((OURS, MEMORY), ('fp32', 'bf16')):
        case = f'{config}, {precision}'

        def line(case=case, config=config, precision=precision) -> Line:
            if options.device != 'cuda':
                return Line('waiting', case, {}, 'not looked at: there is no GPU to wait for')
            with tempfile.TemporaryDirectory() as folder:
                network = Network(
                    config, options.size // 4, options.images, 'cuda', precision, folder=folder
                )
                for _ in range(2):
                    network.start_epoch()
                    network.step()
                network.start_epoch()
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode('error')
                try:
                    network.step()
                finally:
                    torch.cuda.set_sync_debug_mode('default')
            return Line('waiting', case, {}, 'no step waits')

        yield case, line


def agreement(options: Options) -> Cases:
    """Maps, losses, m, t, a and metric beside those of the CPU, in fp32 and on a quarter of the size."""

    def line() -> Line:
        size, images = max(64, options.size // 4 // 32 * 32), min(4, options.images)
        tf32 = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False
        try:
            found = {
                device: outcome(Network(OURS, size, images, device))
                for device in dict.fromkeys(('cpu', options.device))
            }
        finally:
            torch.backends.cudnn.allow_tf32 = tf32
        (maps, wanted), (own_maps, own) = found['cpu'], found[options.device]
        figures = {'largest difference of a map': float(np.abs(maps - own_maps).max())}
        for name, value in wanted.items():
            figures[f'{name} (cpu)'] = value
            figures[f'{name} ({options.device})'] = own[name]
        apart = [
            name
            for name, value in wanted.items()
            if not np.isclose(value, own[name], rtol=1e-2, atol=1e-3, equal_nan=True)
        ]
        is_fault = bool(apart) or figures['largest difference of a map'] > 1e-3
        note = f'differ: {", ".join(apart)}' if apart else 'the same up to rounding'
        if options.device == 'cpu':
            note = 'the CPU alone: there is no GPU'
        return Line('agreement', f'{OURS}, fp32, {size} px', figures, note, is_fault)

    yield OURS, line


def outcome(network: Network) -> tuple[np.ndarray, dict[str, float]]:
    """Maps of the images, then losses of a step, m, t, a and metric.

    Args:
        network (Network): Of a semi-supervised config with ``DynamicSharpening``.

    Returns:
        tuple: ``(N, 1, h, w)`` float32, and the values by name.
    """
    samples = network.predict()
    maps = np.stack([sample.pred_prob_map.data.cpu().float().numpy() for sample in samples])
    metric = FracMetric()
    metric.process(None, [sample.to_dict() for sample in samples])
    values = {f'metric {name}': value for name, value in metric.evaluate(len(samples)).items()}
    sharpening = network.model.pseudo_pipeline[0]
    losses = network.step()
    m = quantile_over_images([sharpening.pop_scores()], sharpening.quantile) or 0.0
    t, a = sharpening_parameters(m)
    values |= {name: float(value.detach()) for name, value in losses.items()}
    return maps, values | dict(m=m, t=t, a=a)


def steps(options: Options) -> Cases:
    """Images a second and peak memory of a training step in every way; compiled ones come last."""
    ways = [
        (config, precision, layout, compiled)
        for compiled, config, precision, layout in product(
            (False, True), (OURS, MEMORY), PRECISIONS, (False, True)
        )
    ]
    compile_seconds = [0.0]
    for config, precision, channels_last, compiled in ways:
        case = (
            f'{config}, {precision}' + ', channels_last' * channels_last + ', compiled' * compiled
        )

        def line(
            case=case,
            config=config,
            precision=precision,
            channels_last=channels_last,
            compiled=compiled,
        ) -> Line | None:
            # a compilation cannot be stopped half way
            if compiled and options.seconds_left() < 1.3 * compile_seconds[0] + 5:
                return None
            if options.device == 'cuda':
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            with tempfile.TemporaryDirectory() as folder:
                network = Network(
                    config,
                    options.size,
                    options.images,
                    options.device,
                    precision,
                    channels_last,
                    compiled,
                    folder,
                )
                began = waited(options)
                for _ in range(2):
                    network.start_epoch()
                    network.step()
                first = waited(options) - began
                if compiled:
                    compile_seconds[0] = max(compile_seconds[0], first)
                figures = {'images/s': options.images / timed(network.step, options)}
            if options.device == 'cuda':
                figures['GiB'] = torch.cuda.max_memory_allocated() / 2**30
            if compiled:
                figures['s before the first steps'] = first
                torch._dynamo.reset()
            return Line('steps', case, figures)

        yield case, line


def detectors(options: Options) -> Cases:
    """Images a second of frac_sup.py beside RetinaNet, in training and inference."""
    networks: dict[str, Callable[[str], Network]] = {
        config: lambda precision, config=config: Network(
            config, options.size, options.images, options.device, precision
        )
        for config in ('frac_sup.py', 'compare/retinanet.py')
    }
    for precision in ('fp32', 'bf16'):

        def line(precision=precision) -> Line:
            figures = {}
            with focal_loss_without_operators():
                for config, make in networks.items():
                    network = make(precision)
                    name = Path(config).stem
                    for kind, call in (('train', network.step), ('infer', network.predict)):
                        figures[f'{name} {kind} images/s'] = options.images / timed(call, options)
                    del network
            for kind in ('train', 'infer'):
                ours, its = (
                    figures[f'{name} {kind} images/s'] for name in ('frac_sup', 'retinanet')
                )
                figures[f'{kind} ratio'] = ours / its
            return Line('detectors', f'frac_sup.py beside RetinaNet, {precision}', figures)

        yield precision, line


def launch(options: Options) -> Cases:
    """A launch of one rank, NCCL where there is a GPU, that is resumed."""

    def line() -> Line:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_data(folder / 'data')
            tool = CONFIGS.parent / 'tools/train.py'
            command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
            command += ['--nproc_per_node', '1', tool, CONFIGS / 'phantom/frac_ssl_phantom.py']
            command += ['--launcher', 'pytorch', '--data-root', folder / 'data']
            command += ['--work-dir', folder / 'run']
            seconds = []
            for epochs, more in ((2, []), (3, ['--resume'])):
                settings = {
                    'train_cfg.max_epochs': epochs,
                    'train_cfg.val_interval': 1,
                    'train_dataloader.batch_size': 4,
                    'train_dataloader.num_workers': 0,
                    'train_dataloader.batch_sampler.epoch_length': 2,
                    'val_dataloader.num_workers': 0,
                    'test_dataloader.num_workers': 0,
                    'model.semi_train_cfg.burn_in_epochs': 1,
                }
                words = [f'{key}={value}' for key, value in settings.items()]
                began = time.perf_counter()
                done = subprocess.run(
                    [str(word) for word in [*command, *more, '--cfg-options', *words]],
                    capture_output=True,
                    text=True,
                    cwd=folder,
                    env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
                    timeout=max(30.0, options.seconds_left()),
                )
                seconds.append(time.perf_counter() - began)
                if done.returncode or not (folder / f'run/epoch_{epochs}.pth').is_file():
                    told = [text for text in done.stderr.splitlines() if 'Error' in text]
                    note = f'{"resume" if more else "training"} failed: {" ".join(told[:1])[:300]}'
                    return Line('launch', 'one rank', {}, note, is_fault=True)
            state = torch.load(folder / 'run/epoch_3.pth', map_location='cpu', weights_only=True)
            figures = dict(zip(('s training', 's resumed'), seconds))
            is_whole = state['meta']['iter'] == 6
            backend = 'nccl' if options.device == 'cuda' else 'gloo'
            note = f'{backend}; {state["meta"]["iter"]} steps of 6'
            return Line('launch', 'one rank, resumed', figures, note, not is_whole)

    yield 'one rank', line


def write_data(folder: Path) -> None:
    """A data root of small images of noise, enough for a training of some steps."""
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir(parents=True)
    (folder / 'annotations').mkdir()
    for split, kinds in dict(train=(4, 4, 4), val=(2, 2, 0), test=(2, 2, 0)).items():
        images, annotations = [], []
        for number, (label, regions) in enumerate(
            [(1, True)] * kinds[0] + [(0, True)] * kinds[1] + [(1, False)] * kinds[2], 1
        ):
            name = f'{split}_{number}.png'
            cv2.imwrite(
                str(folder / 'images' / name), rng.integers(0, 65535, (96, 96)).astype(np.uint16)
            )
            images.append(
                dict(
                    id=number,
                    file_name=name,
                    width=96,
                    height=96,
                    label=label,
                    regions=regions,
                    patient_id=name,
                )
            )
            if label and regions:
                box = [10 + number, 20, 24, 24]
                annotations.append(
                    dict(
                        id=number,
                        image_id=number,
                        category_id=1,
                        bbox=box,
                        area=576,
                        iscrowd=0,
                    )
                )
        content = dict(
            images=images, annotations=annotations, categories=[dict(id=1, name='fracture')]
        )
        write_json(folder / 'annotations' / f'{split}.json', content)


# in the order in which a short time is best spent
SECTIONS: dict[str, Callable[[Options], Cases]] = dict(
    waiting=waiting, agreement=agreement, launch=launch, detectors=detectors, steps=steps
)


def lines(names: list[str], options: Options) -> Iterator[Line]:
    """Lines of the table; a case that fails is a line, too.

    Args:
        names (list[str]): Sections.
        options (Options): What they need to know.

    Yields:
        Line: Each as soon as it is measured.
    """
    for name in names:
        for case, make in SECTIONS[name](options):
            left_out = Line(name, case, {}, 'left out: the time was over')
            if options.seconds_left() <= 0:
                yield left_out
                continue
            try:
                yield make() or left_out
            except (
                Exception
            ) as error:  # whatever a GPU and its libraries raise is what is looked for
                if isinstance(error, torch.OutOfMemoryError):
                    note = 'out of memory: take fewer --images'
                else:
                    note = f'{type(error).__name__}: {one_line(error)[:300]}'
                yield Line(name, case, {}, note, is_fault=True)
            finally:
                if options.device == 'cuda':
                    torch.cuda.empty_cache()


def main() -> None:
    args = parse_args()
    if args.out:
        check_output(args.out, 'result of gpu_check', rb'\{\s*"machine": ')
    if args.size < 64 or args.size % 32 or args.images < 2 or args.steps < 1:
        raise ValueError(
            '--size must be a multiple of 32 from 64 on, --images at least 2 and --steps at least 1, '
            f'got {args.size}, {args.images} and {args.steps}'
        )
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    ends = time.monotonic() + 60 * args.minutes
    options = Options(device, args.size, args.images, args.steps, ends)
    print(machine_line())
    found = []
    for line in lines(args.sections, options):
        print(line, flush=True)
        found.append(asdict(line))
    faults = sum(line['is_fault'] for line in found)
    print(f'{faults} of {len(found)} lines are faults')
    if args.out:
        content = dict(machine=machine(), size=args.size, images=args.images, lines=found)
        write_json(args.out, content, indent=2, end='\n')
        print(f'written: {args.out}')


if __name__ == '__main__':
    with plain_errors():
        main()
