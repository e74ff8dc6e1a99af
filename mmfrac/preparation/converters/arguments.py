# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Command-line arguments that all converters share."""

import argparse

from mmfrac.preparation.converters.convert_options import (
    BLANK,
    MISSING,
    UNCERTAIN,
    ConvertOptions,
    parse_size,
    parse_views,
)


def converter_parser(
    description: str | None, example: str, table: str, table_help: str, images_help: str
) -> argparse.ArgumentParser:
    """Parser of a converter, with the arguments that all of them take.

    Args:
        description (str, optional): First line of the help.
        example (str): Epilog of the help.
        table (str): Name of the first argument.
        table_help (str): Its help.
        images_help (str): Help of the image folder.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(table, help=table_help)
    parser.add_argument('images', help=images_help)
    parser.add_argument('out', help='COCO JSON to write')
    files = parser.add_argument_group('films')
    files.add_argument(
        '--size',
        default='files',
        metavar='files|table|WxH',
        help="where the films' sizes come from: their headers; the table or the release; or all are "
        'of this size (px). Only with the first need the films be there (%(default)s)',
    )
    files.add_argument(
        '--missing',
        choices=MISSING,
        default='error',
        help='a film that is not in the folder is an error, or left out (%(default)s)',
    )
    files.add_argument(
        '--allow-outside',
        action='store_true',
        help='take images outside of the image folder, by names that are absolute or lead out of it',
    )
    add_stretching(files)
    add_decoding(files)
    add_labels(parser, 'name of the set')
    parser.add_argument('--encoding', default='utf-8', help='encoding of the tables (%(default)s)')
    return parser


def add_stretching(group: argparse._ArgumentGroup) -> None:
    """Add ``--allow-stretched`` to the arguments about films."""
    group.add_argument(
        '--allow-stretched',
        action='store_true',
        help='scale boxes to images whose sides are not those of the table in one proportion',
    )


def add_decoding(group: argparse._ArgumentGroup) -> None:
    """Add ``--verify`` and ``--workers`` to the arguments about films."""
    group.add_argument('--verify', action='store_true', help='decode every film')
    group.add_argument(
        '--workers',
        type=int,
        default=ConvertOptions.workers,
        help='processes that read films (%(default)s)',
    )


def add_labels(parser: argparse.ArgumentParser, source: str) -> None:
    """Add ``--uncertain``, ``--blank`` and ``--source``, whose default is described by ``source``."""
    labels = parser.add_argument_group('labels')
    labels.add_argument(
        '--uncertain',
        choices=UNCERTAIN,
        default='unknown',
        help='what becomes of uncertain labels (-1) (%(default)s)',
    )
    labels.add_argument(
        '--blank',
        choices=BLANK,
        default='unknown',
        help='what becomes of films about whose fractures the set says nothing (%(default)s)',
    )
    labels.add_argument('--source', help=f'source of the films (default: {source})')


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add ``--column``, for tables whose columns have other names."""
    parser.add_argument(
        '--column',
        action='append',
        default=[],
        metavar='NAME=OTHER',
        help='the column NAME is called OTHER here; may be given several times',
    )


def columns_of(args: argparse.Namespace) -> dict[str, str]:
    """Names of the table's columns by the names that we know them by.

    Args:
        args (argparse.Namespace): With ``--column``.

    Raises:
        ValueError: If one is not of the form NAME=OTHER.
    """
    columns = {}
    for pair in args.column:
        name, equals, other = pair.partition('=')
        if not equals or not other:
            raise ValueError(f'--column {pair!r} is not NAME=OTHER, as label=fracture')
        columns[name.strip()] = other.strip()
    return columns


def add_views(parser: argparse.ArgumentParser, frontal: str) -> None:
    """Add ``--views`` for a set whose frontal views are called ``frontal``."""
    parser.add_argument(
        '--views',
        default='frontal',
        metavar='frontal|all|NAME,NAME',
        help=f'views to keep; frontal: {frontal} (%(default)s)',
    )


def add_suffix(parser: argparse.ArgumentParser, release: str) -> None:
    """Add ``--suffix`` for a set whose tables name films without; ``release`` is that of its release."""
    parser.add_argument(
        '--suffix', metavar='.png', help=f'suffix of the films (default: {release}, then any other)'
    )


def options_of(args: argparse.Namespace) -> ConvertOptions:
    """Choices of a command line.

    Args:
        args (argparse.Namespace): Of a :func:`converter_parser`, or of a parser with ``add_labels``,
            ``add_decoding`` and ``--encoding``.

    Raises:
        ValueError: If one does not exist.
    """
    return ConvertOptions(
        uncertain=args.uncertain,
        blank=args.blank,
        views=parse_views(getattr(args, 'views', 'frontal')),
        size=parse_size(getattr(args, 'size', 'files')),
        missing=getattr(args, 'missing', 'error'),
        verify=args.verify,
        workers=args.workers,
        suffix=getattr(args, 'suffix', None),
        source=args.source,
        encoding=args.encoding,
        progress=True,
        allow_outside=getattr(args, 'allow_outside', False),
        allow_stretched=getattr(args, 'allow_stretched', False),
    )
