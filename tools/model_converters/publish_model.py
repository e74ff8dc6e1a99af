# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Write a trained model with its card: the detector's weights, metrics, log, command, checksum.

With --table: print the table of the models that come along instead.
"""

import argparse
from pathlib import Path

from mmfrac.apis.model_zoo import model_table, write_model
from mmfrac.engine.runner.run_log import logged_keys, read_scalars
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/train.py configs/phantom/frac_ssl_phantom.py
  python tools/model_converters/publish_model.py configs/models/frac_ssl_phantom \\
      --config mmfrac::phantom/frac_ssl_phantom.py --work-dir work_dirs/frac_ssl_phantom \\
      --checkpoint work_dirs/frac_ssl_phantom/epoch_14.pth \\
      --metrics frac_ssl.json --command 'python tools/train.py configs/phantom/frac_ssl_phantom.py' \\
      --data 'phantom of tools/quickstart.sh' --limits 'Knows phantoms only: not for patients.'"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--table', action='store_true', help='print the table of all models')
    parser.add_argument('folder', nargs='?', help='folder to write')
    names = ('config', 'checkpoint', 'metrics', 'command', 'data', 'limits')
    for name in names:
        parser.add_argument(f'--{name}', help='see mmfrac.apis.model_zoo.write_model')
    parser.add_argument('--work-dir', help='of the training, for its log')
    args = parser.parse_args()
    missing = [f'--{name}' for name in names if getattr(args, name) is None]
    if not args.table and (args.folder is None or missing):
        parser.error(f'a folder and {", ".join(missing)} are needed')
    return args


def validation_log(work_dir: Path) -> list[dict]:
    """Metrics on validation images, one dict an epoch."""
    values = read_scalars(work_dir, logged_keys(work_dir, ('frac/',)))
    epochs = sorted({epoch for of_key in values.values() for epoch in of_key})
    return [
        dict(epoch=epoch)
        | {key.split('/')[-1]: of[epoch] for key, of in values.items() if epoch in of}
        for epoch in epochs
    ]


def main() -> None:
    args = parse_args()
    if args.table:
        print(model_table())
        return
    log = validation_log(Path(args.work_dir)) if args.work_dir else ()
    model = write_model(
        args.folder,
        args.config,
        args.checkpoint,
        args.metrics,
        command=args.command,
        data=args.data,
        limits=args.limits,
        log=log,
    )
    print(f'written: {model.weights.parent}')


if __name__ == '__main__':
    with plain_errors():
        main()
