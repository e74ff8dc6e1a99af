# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC, AUROC and their intervals from saved predictions of one or several models on the same films.

Predictions are a folder of prob maps or boxes (tools/test.py --out FOLDER), COCO results of any detector
(.json) or a table (.csv: film,x1,y1,x2,y2,score). Writes tables, curves and an HTML report.
"""

import argparse
import shlex
import sys
from pathlib import Path

from tqdm import tqdm

from mmfrac.evaluation.definitions import CHOICES, Definitions
from mmfrac.evaluation.functional.operating_point import Target
from mmfrac.evaluation.offline.estimates import image_parts
from mmfrac.evaluation.offline.ground_truth import read_ground_truth
from mmfrac.evaluation.offline.model_results import ModelResults, evaluate_predictions
from mmfrac.evaluation.offline.predictions import (
    SavedPredictions,
    check_same_model,
    open_predictions,
)
from mmfrac.evaluation.offline.summary import IMAGE_FIELDS, summarise
from mmfrac.evaluation.report import ReportInputs, write_report
from mmfrac.evaluation.report.tables import as_text
from mmfrac.utils.environment import installed_versions
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.io import OutputFolder
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/test.py configs/phantom/frac_ssl_phantom.py CHECKPOINT --out predictions/ours
  python tools/analysis_tools/froc.py data/phantom/annotations/test.json ours=predictions/ours \\
      retinanet=results.bbox.json --data-root data/phantom --out report
  python tools/analysis_tools/froc.py TEST.json ours=predictions/test --val VAL.json \\
      ours=predictions/val --target fppi=0.1 sensitivity=0.9 --out report --package ours.mmfrac"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='COCO JSON of the films')
    parser.add_argument('predictions', nargs='+', metavar='NAME=PATH', help='of each model')
    parser.add_argument('--out', type=Path, default=Path('froc_report'), help='default froc_report')
    parser.add_argument(
        '--val',
        nargs='+',
        metavar=('VAL.json', 'NAME=PATH'),
        help='annotations and predictions of validation films, to choose thresholds and temperature on',
    )
    parser.add_argument(
        '--target',
        nargs='+',
        default=['fppi=0.1', 'fppi=0.5'],
        help='operating points, fppi=NUMBER or sensitivity=NUMBER, default: fppi=0.1 fppi=0.5',
    )
    parser.add_argument(
        '--package',
        metavar='FILE',
        help='package (mmfrac package) of the one model, which gets the operating points and the '
        'temperature chosen on the validation films, and the metrics; that of other weights is refused',
    )
    parser.add_argument('--data-root', type=Path, help='folder of images/, for overlays of films')
    parser.add_argument(
        '--category',
        action='append',
        metavar='NAME',
        help='category whose boxes are lesions, default fracture; given several times they are measured '
        'together, as a config with these classes measures them',
    )
    parser.add_argument(
        '--groups',
        nargs='*',
        help=f'fields of the films to part by, default {", ".join(IMAGE_FIELDS)} where there are any',
    )
    parser.add_argument('--overlays', type=int, default=6, help='films of each kind, default 6')
    parser.add_argument('--max-fppi', type=float, default=1.0, help='end of the axis, default 1')
    parser.add_argument('--no-html', action='store_true', help='write no report.html')
    add_definitions(parser.add_argument_group('definitions, named in every output'))
    return parser.parse_args()


def add_definitions(group) -> None:
    usual = Definitions()
    for name, value in usual.as_dict().items():
        flag = '--' + name.replace('_', '-')
        if name in CHOICES:
            group.add_argument(flag, type=type(value), choices=CHOICES[name], default=value)
        elif isinstance(value, tuple):
            group.add_argument(flag, type=float, nargs='+', default=list(value), metavar='FPPI')
        else:
            group.add_argument(flag, type=type(value), default=value, help=f'default {value}')


def main() -> None:
    args = parse_args()
    definitions = Definitions(**{name: getattr(args, name) for name in Definitions().as_dict()})
    categories = args.category or ['fracture']
    targets = [Target.parse(text) for text in args.target]
    if not 0 < args.max_fppi < float('inf'):
        raise ValueError(f'--max-fppi is a number above 0, got {args.max_fppi}')
    if args.overlays < 0:
        raise ValueError(f'--overlays is a number of films from 0 on, got {args.overlays}')
    # before the films are evaluated
    if args.package and not args.val:
        raise ValueError(
            'operating points of a package are chosen on validation images: name them with --val'
        )
    OutputFolder(args.out).check(['froc.json'])
    saved, results = evaluate(args.annotations, args.predictions, categories, definitions)
    validation = None
    if args.val:
        chosen_on, validation = evaluate(args.val[0], args.val[1:], categories, definitions)
        for name in set(saved).intersection(chosen_on):
            check_same_model(name, saved[name], chosen_on[name])
    fields = check_fields(args.groups, results)
    summary = summarise(results, definitions, targets, validation, fields, max(8.0, args.max_fppi))
    print(printable(as_text(summary)))
    inputs = ReportInputs(
        args.annotations,
        saved,
        args.data_root / 'images' if args.data_root else None,
        shlex.join(['python', *sys.argv]),
        installed_versions(),
    )
    written = write_report(
        args.out, summary, inputs, args.max_fppi, args.overlays, not args.no_html
    )
    for path in written:
        print(printable(f'written: {path}'))
    if args.package:
        # it is no part of an evaluation alone
        from mmfrac.deployment.package import write_evaluation

        package = write_evaluation(
            args.package,
            summary,
            lambda text: print(printable(f'note: {text}'), file=sys.stderr),
        )
        print(printable(f'written: {args.package}, now SHA-256 {package.sha256}'))


def check_fields(fields: list[str] | None, results: dict[str, ModelResults]) -> list[str]:
    if fields is None:
        return list(IMAGE_FIELDS)
    images = next(iter(results.values())).images
    absent = [name for name in fields if image_parts(images, name) is None]
    if absent:
        known = sorted({'source', *(name for image in images for name in image.fields)})
        raise ValueError(
            f'--groups: no film has {", ".join(map(repr, absent))}; their fields are {", ".join(known)}'
        )
    return fields


def evaluate(
    annotations: str, named: list[str], categories: list[str], definitions: Definitions
) -> tuple[dict[str, SavedPredictions], dict[str, ModelResults]]:
    truth = read_ground_truth(annotations, categories)
    paths = {}
    for text in named:
        name, separator, path = text.partition('=')
        if not separator or not name or name in paths:
            raise ValueError(f'predictions are given as NAME=PATH, each name once, got {text!r}')
        paths[name] = path
    saved = {name: open_predictions(path, truth) for name, path in paths.items()}
    for name, predictions in saved.items():
        if predictions.num_silent:
            silent = f'no box on {predictions.num_silent} of {len(truth.images)} films'
            print(printable(f'{name}: {silent}'))
        if predictions.num_repeated:
            repeated = f'{predictions.num_repeated} boxes left out, a film, box and score again'
            print(printable(f'{name}: {repeated}'))
    results = {
        name: evaluate_predictions(
            truth,
            predictions,
            definitions,
            lambda images, name=name: tqdm(images, desc=printable(name), unit='film'),
        )
        for name, predictions in saved.items()
    }
    for name, found in results.items():
        for note in found.notes:
            print(printable(f'{name}: {note}'))
    for name, predictions in saved.items():
        for category, number in predictions.others.items():
            print(printable(f'{name}: {number} boxes of category {category} left out'))
    return saved, results


if __name__ == '__main__':
    with plain_errors():
        main()
