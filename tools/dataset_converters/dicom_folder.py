# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Convert a folder of DICOM files, with or without a table of labels, to mmfrac's COCO JSON."""

import argparse

from mmfrac.preparation.converters.arguments import (
    add_columns,
    add_decoding,
    add_labels,
    add_stretching,
    add_views,
    columns_of,
    options_of,
)
from mmfrac.preparation.dicom_folder import FolderOptions, convert_dicom_folder
from mmfrac.preparation.dicom_folder.convert import (
    MODALITIES,
    NAMES,
    PATIENT_IDS,
    UNKNOWN_VIEWS,
)
from mmfrac.preparation.dicom_folder.exposures import REASONS
from mmfrac.utils.errors import plain_errors
from mmfrac.utils.text import printable

EXAMPLE = """example:
  python tools/dataset_converters/dicom_folder.py data/hospital/images \\
      data/hospital/annotations/train.json --table labels.csv --verify

No name, date or description of a header is copied, and no path: films are named by links that tell
nothing. A map for you alone says which path each stands for. Patient and study ids are keyed hashes; the
key is made at the first use in ~/.config/mmfrac/patient.key and is to be kept secret, as is the map. The
same key gives the same ids, so that train and test sets converted one after the other can be compared.
Of several images of one exposure one is taken."""
LISTED = 20


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='searched with the folders below it')
    parser.add_argument('out', help='COCO JSON to write')
    parser.add_argument(
        '--table',
        metavar='CSV',
        help='label and one of path, SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID, '
        'AccessionNumber; optional: x1, y1, x2, y2 (px), site, width and height (px) of the copy that '
        'boxes were drawn on, patient_id. Without: label -1',
    )
    add_columns(parser)
    parser.add_argument('--encoding', default='utf-8', help='encoding of the table (%(default)s)')
    films = parser.add_argument_group('films')
    add_views(parser, 'PA, AP')
    films.add_argument(
        '--unknown-views',
        choices=UNKNOWN_VIEWS,
        default='keep',
        help='films whose header does not tell the view (%(default)s)',
    )
    films.add_argument(
        '--modalities',
        nargs='+',
        default=list(MODALITIES),
        metavar='CODE',
        help=f'to keep, besides films without one ({" ".join(MODALITIES)})',
    )
    films.add_argument(
        '--body-parts',
        nargs='+',
        metavar='CODE',
        help='to keep, besides films without one whose descriptions name no other part, e.g. CHEST '
        'RIBS, or all (parts of the chest)',
    )
    films.add_argument(
        '--keep',
        nargs='+',
        choices=list(REASONS),
        default=[],
        help='images that are kept beside the one that is taken of their exposure, or of any kind that '
        'is never taken',
    )
    add_stretching(films)
    add_decoding(films)
    films.add_argument(
        '--left-out', metavar='CSV', help='list every file that is left out, with the reason'
    )
    add_labels(parser, 'hospital')
    patients = parser.add_argument_group('patients')
    patients.add_argument(
        '--patient-ids',
        choices=PATIENT_IDS,
        default='pseudonym',
        help='keyed hash, or PatientID itself for films that were de-identified (%(default)s)',
    )
    patients.add_argument('--key-file', metavar='FILE', help='key of the hash')
    patients.add_argument(
        '--links',
        metavar='FOLDER',
        help='link to the films here, under names that tell nothing (OUT_images beside OUT.json)',
    )
    patients.add_argument(
        '--map',
        metavar='CSV',
        help='which path each of these names stands for, for you alone (originals/ beside the key)',
    )
    patients.add_argument(
        '--names',
        choices=NAMES,
        default='neutral',
        help='original: name the paths, for folders that were de-identified; those that hold the name '
        'or date of birth of their patient are left out (%(default)s)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    folder_options = FolderOptions(
        patient_ids=args.patient_ids,
        key_file=args.key_file,
        unknown_views=args.unknown_views,
        modalities=args.modalities,
        body_parts=args.body_parts,
        keep=args.keep,
        names=args.names,
        links=args.links,
        map_file=args.map,
        columns=columns_of(args),
        left_out_file=args.left_out,
    )
    summary, left_out = convert_dicom_folder(
        args.folder, args.out, args.table, options_of(args), folder_options
    )
    print(summary)
    for file, reason, detail in left_out[:LISTED]:
        print(printable(f'left out: {file}: {reason}' + (f' ({detail})' if detail else '')))
    if len(left_out) > LISTED:
        print(f'... and {len(left_out) - LISTED} more DICOM files; --left-out CSV lists them all')
    if args.left_out:
        print(f'wrote {args.left_out}')


if __name__ == '__main__':
    with plain_errors():
        main()
