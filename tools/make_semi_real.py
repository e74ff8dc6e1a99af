# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Put synthetic rib fractures into your own films without fractures: a set to measure on."""

import argparse
import os

# one thread a process: the films are spread over processes (read when numpy is imported)
for variable in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(variable, '1')

from mmfrac.datasets.labels import similar_patients_note  # noqa: E402
from mmfrac.preparation.semi_real import (  # noqa: E402
    Recipe,
    Shares,
    draw_contact_sheet,
    negatives_of_annotations,
    negatives_of_folder,
    write_semi_real,
)
from mmfrac.utils.errors import plain_errors  # noqa: E402
from mmfrac.utils.text import printable  # noqa: E402

EXAMPLE = r"""example:
  python tools/make_semi_real.py FOLDER/images data/semi_real \
      --annotations FOLDER/annotations/train.json --contact-sheet work_dirs/semi_real.png
  python tools/make_semi_real.py nih/images data/semi_real --patient-pattern '(\d{8})_\d{3}' --link
  python tools/make_semi_real.py nih/images data/semi_real --patients nih/negatives.csv \
      --columns 'Image Index' 'Patient ID' --difficulty 0.6"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', help='folder of the films (DICOM, PNG, TIFF, JPEG); only read')
    parser.add_argument('out', help='folder of the set')
    whose = parser.add_argument_group('films and patients, one of')
    which = whose.add_mutually_exclusive_group(required=True)
    which.add_argument('--annotations', metavar='JSON', help='its films with label 0 are used')
    which.add_argument(
        '--patients', metavar='CSV', help='the films named in it are used; see --columns'
    )
    which.add_argument(
        '--patient-pattern',
        metavar='REGEX',
        help="all films are used; the pattern's first group is the patient in the film's path",
    )
    whose.add_argument(
        '--columns',
        nargs=2,
        metavar=('FILM', 'PATIENT'),
        default=['file_name', 'patient_id'],
        help='columns of --patients (file_name, patient_id)',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the set (%(default)s)')
    parser.add_argument(
        '--difficulty', type=float, default=0.3, help='0 obvious to 1 subtle (%(default)s)'
    )
    parser.add_argument(
        '--fractures',
        type=int,
        nargs=2,
        metavar=('FEWEST', 'MOST'),
        default=[1, 3],
        help='of a film that gets some (1 3)',
    )
    shares = Shares()
    parser.add_argument(
        '--splits',
        type=float,
        nargs=3,
        metavar=('TRAIN', 'VAL', 'TEST'),
        default=shares.splits,
        help='shares of the patients (%(default)s)',
    )
    parser.add_argument(
        '--hospital',
        type=float,
        default=shares.hospital,
        help="share of the training patients whose films have boxes, source 'hospital'; the others "
        "are 'public', label only (%(default)s)",
    )
    parser.add_argument(
        '--positive',
        type=float,
        nargs=2,
        metavar=('HOSPITAL', 'PUBLIC'),
        default=(shares.hospital_positive, shares.public_positive),
        help='shares of the films that get fractures (%(default)s); val and test are hospital',
    )
    parser.add_argument(
        '--allow-outside',
        action='store_true',
        help='take file names of the annotations that are absolute or lead out of the image folder',
    )
    parser.add_argument('--workers', type=int, default=2, help='processes (%(default)s)')
    parser.add_argument(
        '--link', action='store_true', help='link films that stay as they are, do not copy them'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a set of other settings or films'
    )
    parser.add_argument(
        '--contact-sheet', metavar='FILE', help='picture of fractures before and after'
    )
    parser.add_argument(
        '--contact-number', type=int, default=24, help='most fractures on it (%(default)s)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    shares = Shares(tuple(args.splits), args.hospital, *args.positive)
    recipe = Recipe(args.seed, args.difficulty, tuple(args.fractures), shares, args.link)
    if args.annotations:
        films, left_out = negatives_of_annotations(
            args.annotations, args.images, args.allow_outside
        )
    else:
        films, left_out = negatives_of_folder(
            args.images, args.patients, tuple(args.columns), args.patient_pattern
        )
    print(f'{len(films)} films without fracture of {len({f.patient_id for f in films})} patients')
    for note in similar_patients_note(film.patient_id for film in films):
        print(f'note: {printable(note)}')
    summary = write_semi_real(
        films, args.out, recipe, args.workers, args.overwrite, left_out=left_out
    )
    print(summary)
    print(printable(f'wrote {args.out}'))
    if args.contact_sheet:
        shown = draw_contact_sheet(args.out, films, args.contact_sheet, args.contact_number)
        print(f'wrote {args.contact_sheet}: {shown} fractures, before and after')


if __name__ == '__main__':
    with plain_errors():
        main()
