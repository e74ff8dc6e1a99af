# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Serve a page that shows what a packaged model finds on images that are dropped on it.

It listens on this machine alone unless told otherwise, and knows no users and no encryption: put a proxy
that does before it where others are to reach it. Nothing that is sent is kept.
"""

import argparse

from mmfrac.deployment.package import package_inferencer, read_package
from mmfrac.deployment.page.guard import hosts_of
from mmfrac.deployment.page.scoring import PageScorer
from mmfrac.deployment.page.uploads import UploadLimits
from mmfrac.deployment.selection import Selection
from mmfrac.utils.cli import add_precision_argument
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/deployment/serve.py ours.mmfrac
  then open http://127.0.0.1:8000"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('package', help='NAME.mmfrac, which mmfrac package writes')
    parser.add_argument(
        '--host', default='127.0.0.1', help='address to listen on, default 127.0.0.1'
    )
    parser.add_argument('--port', type=int, default=8000, help='default 8000')
    parser.add_argument(
        '--name',
        action='append',
        default=[],
        help='name under which a proxy or another machine asks for the page',
    )
    parser.add_argument('--device', help='e.g. cuda:0 or cpu, default: what there is')
    add_precision_argument(parser)
    parser.add_argument('--operating-point', help='the page begins with, default the first')
    parser.add_argument(
        '--everything',
        action='store_true',
        help='score lateral views and other parts of the body, too',
    )
    parser.add_argument(
        '--max-upload', type=int, default=512, help='MiB of one request, default 512'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmfrac.deployment.page.app import create_app

    try:
        import uvicorn
    except ImportError as error:
        raise ImportError(
            "the page needs uvicorn: pip install '.[deploy]' in a checkout"
        ) from error
    package = read_package(args.package)
    precision = None if args.precision == 'auto' else args.precision
    inferencer = package_inferencer(package, args.device, precision)
    selection = Selection(everything=args.everything)
    limits = UploadLimits(request_bytes=args.max_upload * 2**20)
    scorer = PageScorer(package, inferencer, selection, args.operating_point)
    app = create_app(scorer, limits, hosts_of(args.host, args.name))
    print(printable(f'{package.name}: {package.limits}'))
    print(f'http://{args.host}:{args.port}', flush=True)
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        log_level='warning',
        access_log=False,
        server_header=False,
        # of a request that never ends
        timeout_keep_alive=5,
        h11_max_incomplete_event_size=2**16,
    )


if __name__ == '__main__':
    with plain_errors():
        main()
