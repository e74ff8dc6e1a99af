# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Time mmfrac beside the bare way to do the same, and measure its statistics and memory, with goals."""

import argparse
from dataclasses import asdict
from pathlib import Path

from benchmarks import (
    bootstrap,
    cache,
    coverage,
    detectors,
    expected,
    froc,
    loader,
    memory,
    onnx,
    precision,
    scale,
    step,
    streaming,
)
from benchmarks.figure import Figure
from benchmarks.machine import machine, machine_line
from benchmarks.pairing import Comparison

from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import check_output, write_json

EXAMPLE = """sections:
  froc    exact FROC record of a prob map, against 100 thresholds with OpenCV (speed)
  step    supervised and semi-supervised train_step, against a bare PyTorch loop (cost)
  loader  DICOM films through the test pipeline, against pydicom and cv2.resize (speed)
  cache   films of the film cache through the test pipeline, against decoding JPEG 2000 (speed)
  bootstrap  intervals of 2,000 replicates of 400 films (seconds)
  coverage   how often intervals of simulated films cover the truth (share)
  streaming  evaluation of 32,184 films of 256 x 256 cells (memory, bytes gathered)
  detectors  step and inference of frac_sup.py beside box detectors at 1024 px (speed)
  precision  step and inference in fp32 and bf16, NCHW and NHWC, batch norms folded, compiled (speed);
             with --trained the metrics of a model in each
  memory     step and inference on a CPU that keeps freed memory, against one that does not (speed)
  onnx       an image by an exported detector, against eager torch (speed)
  expected   what a step of frac_ssl.py should take here, and what holds it up (seconds)
  scale      10,000 to 1,000,000 images: annotations, sampling, metric, folds (seconds, memory)

'all' leaves detectors, precision, memory, onnx, expected and scale out, which take an hour on two cores.

example:
  python tools/analysis_tools/benchmark.py all --out benchmark.json
  python tools/analysis_tools/benchmark.py step --repeats 40
  python tools/analysis_tools/benchmark.py loader --films FOLDER
  python tools/analysis_tools/benchmark.py precision --images 4
  python tools/analysis_tools/benchmark.py precision --trained CONFIG CHECKPOINT --data-root FOLDER"""
SECTIONS = {
    'froc': froc,
    'step': step,
    'loader': loader,
    'cache': cache,
    'bootstrap': bootstrap,
    'coverage': coverage,
    'streaming': streaming,
    'detectors': detectors,
    'precision': precision,
    'memory': memory,
    'onnx': onnx,
    'expected': expected,
    'scale': scale,
}
# of 'all'
_LONG = ('detectors', 'precision', 'memory', 'onnx', 'expected', 'scale')
# that time a batch of any size
_BATCHES = ('detectors', 'precision', 'memory')
USUAL = [name for name in SECTIONS if name not in _LONG]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'section', nargs='?', default='all', choices=[*SECTIONS, 'all'], help='default: all'
    )
    parser.add_argument(
        '--repeats',
        type=int,
        help='pairs a case, default: froc 5, step 15, loader 36, cache 12; runs, default: bootstrap 5, '
        'streaming 1, scale 1; data sets, default: coverage 1000; pairs of detectors and '
        'precision and memory: 5, of onnx: 9; timings of expected: 3',
    )
    parser.add_argument(
        '--films', help='folder of DICOM films (*.dcm) for the loader section, default: made up'
    )
    parser.add_argument(
        '--trained',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='model whose test metrics the precision section compares in place of times',
    )
    parser.add_argument(
        '--images',
        type=int,
        help='images of a batch in the sections detectors and precision (default: 1) and memory '
        '(default: 12)',
    )
    parser.add_argument('--data-root', help="folder of that model's films, default: the config's")
    parser.add_argument('--out', type=Path, help='JSON file of the figures')
    args = parser.parse_args()
    if args.trained and args.section != 'precision':
        parser.error('--trained is of the precision section')
    if args.trained and args.repeats is not None:
        parser.error('--trained tests once in each way, without --repeats')
    if args.images is not None and (args.section not in _BATCHES or args.trained):
        parser.error(f'--images is of the sections {", ".join(_BATCHES)}, without --trained')
    if args.images is not None and args.images < 1:
        parser.error(f'--images must be at least 1, got {args.images}')
    if args.data_root and not args.trained:
        parser.error('--data-root is that of --trained')
    return args


def print_row(row: Comparison | Figure) -> None:
    if isinstance(row, Figure):
        goal = f'{row.low:g} to {row.high:g}' if row.high < float('inf') else 'none'
        is_met = '' if goal == 'none' else f'  {"met" if row.is_met else "missed"}'
        print(f'{row.section:10}{row.case:66}{row.value:12.4g} {row.unit:6}  goal {goal}{is_met}')
        return
    goal = f'{">=" if row.at_least else "<="} {row.goal:.2f}'
    print(
        f'{row.section:8}{row.case:50}{row.ours_ms:10.2f}{row.bare_ms:10.2f}{row.ratio:8.2f}'
        f'{goal:>10}  {"met" if row.is_met else "missed"}',
        flush=True,
    )


def main() -> None:
    args = parse_args()
    if args.out:
        check_output(args.out, 'result of a benchmark', rb'\[(?:\s*\{\s*"section": |\])')
    options = {} if args.repeats is None else {'repeats': args.repeats}
    if args.images is not None:
        options['images'] = args.images
    rows: list[Comparison | Figure] = []
    print(machine_line())
    for name in USUAL if args.section == 'all' else [args.section]:
        if name in ('froc', 'step', 'loader', 'cache', 'detectors', 'precision', 'memory', 'onnx'):
            print(f'{"section":8}{"case":50}{"ours ms":>10}{"bare ms":>10}{"ratio":>8}{"goal":>10}')
        given = {'folder': args.films} if name == 'loader' and args.films else {}
        if args.trained:
            given = {'trained': tuple(args.trained), 'data_root': args.data_root}
        for row in SECTIONS[name].measure(**options, **given):
            print_row(row)
            rows.append(row)
    if args.out:
        figures = [{**asdict(row), 'met': row.is_met, **machine()} for row in rows]
        write_json(args.out, figures, indent=2, end='\n')
        print(f'written: {args.out}')


if __name__ == '__main__':
    with plain_errors():
        main()
