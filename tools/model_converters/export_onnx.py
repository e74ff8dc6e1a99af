# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Write the model of a package as ONNX, with a runtime that needs no torch, mmcv and mmdet.

The folder runs by itself: python FOLDER IMAGE ... prints a line of JSON an image. Before it is written
its prob maps are compared with those of torch.
"""

import argparse

from mmfrac.apis.inferencer import list_images
from mmfrac.deployment.onnx.export import export_onnx
from mmfrac.deployment.onnx.quantize import add_int8
from mmfrac.deployment.package import package_inferencer, read_package
from mmfrac.utils.errors import plain_errors

EXAMPLE = """example:
  python tools/model_converters/export_onnx.py ours.mmfrac ours_onnx
  python ours_onnx image.dcm images/ > results.jsonl"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('package', help='NAME.mmfrac, which mmfrac package writes')
    parser.add_argument('out', help='folder to write')
    parser.add_argument(
        '--dynamic',
        action='store_true',
        help='a graph for inputs of any size; default: of the size that the test pipeline gives all '
        'images, which is faster',
    )
    parser.add_argument(
        '--int8',
        metavar='FOLDER',
        help='add a graph in int8, calibrated on these images; measure it before it is used',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    package = read_package(args.package)
    detector = export_onnx(
        package_inferencer(package, 'cpu', 'fp32'),
        args.out,
        package.name,
        limits=package.limits,
        classes=package.classes,
        sha256=package.sha256,
        operating_points=[point.as_dict() for point in package.operating_points],
        temperature=package.temperature,
        dynamic=args.dynamic,
    )
    print(f'differs from torch by {detector.about["largest_difference"]:.1g} at most')
    if args.int8:
        images = [image for image in list_images(args.int8) if isinstance(image, str)]
        add_int8(args.out, images)
        print(f'int8: calibrated on {len(images)} images')
    print(f'written: {args.out}')


if __name__ == '__main__':
    with plain_errors():
        main()
