# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Find fractures on films: predictions.json, and an overlay of every film.

Films that cannot be read are listed at the end, and the exit code is then 1.
"""

import argparse
import sys

from mmfrac.apis import FracInferencer
from mmfrac.apis.model_zoo import limits_of
from mmfrac.utils.cli import add_compile_argument, add_precision_argument
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable, printable_line

EXAMPLE = """example:
  python tools/infer.py films/ case.dcm --config configs/phantom/frac_ssl_phantom.py \\
      --checkpoint work_dirs/frac_ssl_phantom/epoch_14.pth --out-dir found"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('films', nargs='+', help='DICOM, PNG, TIFF, JPEG files or folders of them')
    parser.add_argument(
        '--config', required=True, help='config that the checkpoint was trained with'
    )
    parser.add_argument('--checkpoint', required=True, help='checkpoint file')
    parser.add_argument('--out-dir', required=True, help='folder for what is found')
    parser.add_argument('--device', help='e.g. cuda:0 or cpu, default: what there is')
    parser.add_argument('--batch-size', type=int, default=1, help='films a forward pass, default 1')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.2,
        help='threshold of the overlays, in [0, 1], default 0.2',
    )
    add_precision_argument(parser)
    add_compile_argument(parser)
    parser.add_argument('--save-maps', action='store_true', help='write the prob maps as .npz')
    parser.add_argument('--no-overlays', action='store_true', help='write no overlays')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    inferencer = FracInferencer(
        args.config, args.checkpoint, args.device, args.precision, args.compile
    )
    results = inferencer(
        args.films,
        batch_size=args.batch_size,
        out_dir=args.out_dir,
        no_save_vis=args.no_overlays,
        save_maps=args.save_maps,
        pred_score_thr=args.score_thr,
        show_progress=True,
    )
    if limits := limits_of(args.checkpoint):
        print(f'note: {printable(limits)}', file=sys.stderr)
    for prediction in results['predictions']:
        name = printable_line(prediction['film'])
        print(f'{prediction["score"]:.4f}  {len(prediction["boxes"])}  {name}')
    for error in results['errors']:
        what = f'{error["film"]}: {error["error"]}'
        print(f'not read: {printable_line(what)}', file=sys.stderr)
    print(printable(f'written: {args.out_dir}'))
    return 1 if results['errors'] else 0


if __name__ == '__main__':
    with plain_errors():
        sys.exit(main())
