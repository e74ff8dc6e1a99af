# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A DICOM node: takes studies by C-STORE, scores them when complete, sends the findings back.

Its queue is on disk: a node that is killed goes on where it was. Logs and the health page name no
patient. Research use only.
"""

import argparse
import logging
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from mmfrac.deployment.object_kinds import OBJECT_KINDS
from mmfrac.utils.cli import add_precision_argument
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable

if TYPE_CHECKING:
    from mmfrac.deployment.scorer import PackageScorer

EXAMPLE = """example:
  python tools/deployment/listen.py frac.mmfrac --folder node \\
      --send-to ARCHIVE@archive.local:4242 --callers ARCHIVE
  python tools/deployment/listen.py frac.mmfrac --folder node \\
      --send-to http://archive.local:8042/dicom-web"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('package', help='packaged model, as mmfrac package writes it')
    parser.add_argument('--folder', required=True, help='folder of the queue')
    parser.add_argument(
        '--send-to', required=True, help='AE_TITLE@host:port, or http://host:port/dicom-web'
    )
    parser.add_argument('--ae-title', default='MMFRAC', help='AE title of the node, default MMFRAC')
    parser.add_argument('--host', default='', help='address that it listens at, default all')
    parser.add_argument('--port', type=int, default=11112, help='default 11112')
    parser.add_argument(
        '--callers', nargs='+', default=[], help='AE titles that may send, default everybody'
    )
    parser.add_argument(
        '--quiet',
        type=float,
        default=30.0,
        help='seconds without a new image after which a study is complete, default 30',
    )
    parser.add_argument(
        '--kinds',
        nargs='+',
        choices=OBJECT_KINDS,
        default=list(OBJECT_KINDS),
        help='objects that are sent, default all',
    )
    parser.add_argument('--operating-point', help='of the package, default its first')
    parser.add_argument('--views', nargs='+', help='views that are scored, default frontal ones')
    parser.add_argument('--device', help='e.g. cuda:0 or cpu, default: what there is')
    add_precision_argument(parser)
    parser.add_argument(
        '--batch-size', type=int, default=4, help='images a forward pass, default 4'
    )
    parser.add_argument('--max-image-mb', type=float, default=256, help='default 256')
    parser.add_argument('--max-queue-gb', type=float, default=32, help='default 32')
    parser.add_argument('--min-free-gb', type=float, default=1, help='left on the disk, default 1')
    parser.add_argument('--health-host', default='127.0.0.1', help='default 127.0.0.1')
    parser.add_argument('--health-port', type=int, default=8104, help='default 8104')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    from mmfrac.deployment.destinations import destination_of
    from mmfrac.deployment.health_page import health_app, serving
    from mmfrac.deployment.node import DicomNode, NodeOptions
    from mmfrac.deployment.package import read_package
    from mmfrac.deployment.scorer import PackageScorer
    from mmfrac.deployment.selection import Selection

    logging.basicConfig(
        level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s', stream=sys.stderr
    )
    destination = destination_of(args.send_to, args.ae_title)
    package = read_package(args.package)
    scorer = PackageScorer(
        package,
        Selection(views=args.views) if args.views else None,
        args.operating_point,
        args.device,
        args.precision if args.precision != 'auto' else None,
        args.batch_size,
    )
    options = NodeOptions(
        ae_title=args.ae_title,
        host=args.host,
        port=args.port,
        callers=tuple(args.callers),
        quiet=args.quiet,
        most_bytes_an_image=round(args.max_image_mb * 2**20),
        most_bytes=round(args.max_queue_gb * 2**30),
        least_free=round(args.min_free_gb * 2**30),
        kinds=tuple(args.kinds),
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as stack:
        node = stack.enter_context(
            DicomNode(args.folder, scorer, destination, options, findings_depend_on(scorer))
        )
        port = stack.enter_context(
            serving(health_app(node.health), args.health_host, args.health_port)
        )
        print(printable(f'{package.name}: {package.limits}'))
        print(f'DICOM: {args.ae_title} at port {node.port}, findings to {destination.name}')
        print(f'health: http://{args.health_host}:{port}/', flush=True)
        ended.wait()
    print('stopped; what waits goes on at the next start')
    return 0


def findings_depend_on(scorer: 'PackageScorer') -> dict[str, str]:
    from mmfrac.engine.runner.ensemble import weights_sha256

    weights, point = scorer.package.weights, scorer.point
    # not on the checksum of the file, which other metrics in its card change
    return dict(
        weights=' '.join(one for held in weights for one in weights_sha256(held)),
        operating_point='none' if point is None else point.name,
        threshold='none' if point is None else str(point.threshold),
        precision=scorer.inferencer.precision,
    )


if __name__ == '__main__':
    with plain_errors():
        sys.exit(main())
