# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Write a trained model as one file, or show one: weights, config, operating points, model card.

With --config and --checkpoint a package is written; several checkpoints are the members of an ensemble.
tools/analysis_tools/froc.py --package puts operating points, temperature and metrics into it. Without
them the package is checked, and what it says of itself is shown. Nothing of it is ever executed.
"""

import argparse
from pathlib import Path

from mmfrac.apis.model_zoo import limits_of
from mmfrac.deployment.card import TEXTS, card_sections, render_card
from mmfrac.deployment.package import (
    RESEARCH_ONLY,
    ModelPackage,
    read_package,
    training_summary,
    write_package,
)
from mmfrac.utils.cli import add_precision_argument
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import OutputFolder, write_text
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/model_converters/package_model.py ours.mmfrac \\
      --config mmfrac::phantom/frac_ssl_phantom.py \\
      --checkpoint work_dirs/frac_ssl_phantom/epoch_14.pth --name ours --licence CC-BY-4.0 \\
      --train-annotations data/phantom/annotations/train.json
  python tools/model_converters/package_model.py ours.mmfrac --card card"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('package', help='the file, NAME.mmfrac')
    parser.add_argument('--config', help='config that the checkpoints were trained with')
    parser.add_argument('--checkpoint', nargs='+', help='checkpoint, or those of an ensemble')
    parser.add_argument('--name', help='of the model, default: that of the file')
    parser.add_argument('--licence', default='', help='of the weights')
    parser.add_argument(
        '--limits',
        help='what the model must not be used for, default: that it is for research only, and what '
        'weights that come along say of themselves; copies of their file are known, weights that were '
        'saved anew are not: give it for these',
    )
    parser.add_argument(
        '--train-annotations', help='COCO JSON of the training images, for the card'
    )
    parser.add_argument(
        '--category', action='append', help='category whose boxes are lesions, default fracture'
    )
    parser.add_argument(
        '--training',
        nargs='+',
        default=[],
        metavar='KEY=TEXT',
        help='what else is to be said of the training, e.g. epochs=14',
    )
    parser.add_argument(
        '--about',
        nargs='+',
        default=[],
        metavar='KEY=TEXT',
        help=f'texts of the card, keys: {", ".join(TEXTS)}',
    )
    parser.add_argument('--half', action='store_true', help='store the weights in float16')
    add_precision_argument(parser)
    parser.add_argument('--card', help='folder that gets the card, README.md and card.html')
    args = parser.parse_args()
    if bool(args.config) != bool(args.checkpoint):
        parser.error('--config and --checkpoint belong together')
    for option in ('training', 'about'):
        pairs = [text.partition('=') for text in getattr(args, option)]
        if not all(separator for _, separator, _ in pairs):
            parser.error(f'--{option} takes KEY=TEXT, got {" ".join(getattr(args, option))}')
        setattr(args, option, {key: text for key, _, text in pairs})
    unknown = sorted(set(args.about) - set(TEXTS))
    if unknown:
        parser.error(f'--about knows no {unknown}; it knows {sorted(TEXTS)}')
    return args


def main() -> None:
    args = parse_args()
    if args.config:
        training = dict(args.training)
        if args.train_annotations:
            training['images'] = training_summary(
                args.train_annotations, args.category or ['fracture']
            )
        known = ''
        if args.limits is None:
            known = ' '.join(dict.fromkeys(filter(None, map(limits_of, args.checkpoint))))
        package = write_package(
            args.package,
            args.config,
            args.checkpoint,
            name=args.name or Path(args.package).stem,
            training=training,
            licence=args.licence,
            limits=(known or RESEARCH_ONLY) if args.limits is None else args.limits,
            about=({'limitations': known} if known else {}) | args.about,
            precision=args.precision,
            half=args.half,
        )
        print(printable(f'written: {args.package}'))
    else:
        package = read_package(args.package)
        show(package)
    print(f'SHA-256 {package.sha256}')
    if args.card:
        output = OutputFolder(args.card)
        # made anew: the one in the file is text of whoever wrote it
        for name, text in zip(('README.md', 'card.html'), render_card(package.manifest)):
            write_text(output.path(name), text)
            print(printable(f'written: {Path(args.card) / name}'))


def show(package: ModelPackage) -> None:
    print(printable(f'{package.name}: {package.limits}'))
    for section in card_sections(package.manifest):
        print(f'\n{section.title}')
        for key, value in section.rows:
            print(printable(f'  {key}: {value}'))
        for table in section.tables:
            for row in table.rows:
                print(printable('  ' + '  '.join(row)))
    print()


if __name__ == '__main__':
    with plain_errors():
        main()
