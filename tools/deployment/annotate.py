# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings to Label Studio, CVAT or COCO, the most uncertain images first, and corrections back.

export: images with what a model found on them, as pre-annotations. import: the corrected file as
mmfrac's annotations, each image with who corrected what. Research use only.
"""

import argparse

from mmfrac.deployment.annotation import (
    TOOLS,
    export_annotations,
    import_annotations,
    most_uncertain_first,
    read_found,
)
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/deployment/annotate.py export found/results.jsonl --to label-studio \\
      --out-dir round1 --number 100 \\
      --root data/hospital/images
  python tools/deployment/annotate.py import corrected.json --export round1 \\
      --base data/hospital/annotations/train.json \\
      --out data/hospital/annotations/train1.json"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(dest='kind', required=True)
    out = kinds.add_parser('export', help='write images and findings for an annotation tool')
    out.add_argument('results', help='results.jsonl, or predictions.json of mmfrac infer')
    out.add_argument('--to', choices=TOOLS, required=True, help='the tool')
    out.add_argument('--out-dir', required=True, help='folder to write')
    out.add_argument('--number', type=int, help='images, default all that were scored')
    out.add_argument(
        '--min-score', type=float, default=0.2, help='of a box, in [0, 1], default 0.2'
    )
    out.add_argument('--root', default='', help='folder that file names begin at')
    out.add_argument('--category', default='fracture', help='what the boxes are')
    out.add_argument('--url', default='/data/local-files/?d=', help='before names in Label Studio')
    out.add_argument('--no-pictures', action='store_true', help='write no PNG files')
    back = kinds.add_parser('import', help='take over what was corrected')
    back.add_argument('file', help='JSON of Label Studio, XML of CVAT, or COCO')
    back.add_argument('--export', required=True, help='folder that export wrote')
    back.add_argument('--out', required=True, help='COCO JSON to write')
    back.add_argument('--base', help='annotations that the images belong to')
    back.add_argument('--annotator', help='who, where the file does not tell')
    back.add_argument(
        '--reviewed-all',
        action='store_true',
        help='all images of the file were looked at: of CVAT and COCO, those whose boxes are exactly as '
        'exported are taken over, too',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.kind == 'import':
        counts = import_annotations(
            args.file, args.export, args.out, args.base, args.annotator, args.reviewed_all
        )
        boxes = ', '.join(f'{counts[key]} {key}' for key in ('kept', 'moved', 'added', 'removed'))
        print(f'{counts["images"]} images corrected; boxes: {boxes}')
        if counts['empty']:
            print(f'{counts["empty"]} boxes without an area (clicks) are left out')
        if counts['as exported']:
            print(
                f'{counts["as exported"]} images are exactly as exported and not taken over: nothing '
                'says that somebody looked at them; --reviewed-all takes them over'
            )
        if counts['clicks']:
            print(f'{counts["clicks"]} images with clicks alone stay as they were')
        if counts['disputed']:
            print(
                f'{counts["disputed"]} images with a fracture by one annotator and none by another: the '
                'last one counts'
            )
        if counts['to positive'] or counts['to negative']:
            print(
                f'labels: {counts["to positive"]} images had label 0 and have 1 now, '
                f'{counts["to negative"]} had 1 and have 0 now'
            )
        print(printable(f'written: {args.out}'))
        return
    found = most_uncertain_first(read_found(args.results), args.number)
    path = export_annotations(
        found,
        args.out_dir,
        args.to,
        args.root,
        args.min_score,
        args.category,
        not args.no_pictures,
        args.url,
    )
    print(
        f'{len(found)} images, uncertainty {found[0].uncertainty:.3f} to {found[-1].uncertainty:.3f}'
    )
    print(printable(f'written: {path}'))


if __name__ == '__main__':
    with plain_errors():
        main()
