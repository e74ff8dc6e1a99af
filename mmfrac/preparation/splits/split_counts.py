# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How many films of what a split holds."""

from collections import Counter
from collections.abc import Mapping

from mmfrac.datasets.film_labels import labels_of_films
from mmfrac.datasets.subsets import SUBSETS

COLUMNS = ('films', 'positives', *SUBSETS, 'boxes', 'patients')


def count_split(data: Mapping) -> dict[str, int]:
    """Counts of one split.

    Args:
        data (Mapping): COCO dict in the format of the README.

    Returns:
        dict[str, int]: ``films``, ``positives`` (label 1), films of each subset, ``boxes``,
            ``patients``.
    """
    films = labels_of_films(data['images'], data['annotations'])
    subsets = Counter(film.subset for film in films)
    return dict(
        films=len(films),
        positives=sum(film.label == 1 for film in films),
        **{name: subsets[name] for name in SUBSETS},
        boxes=len(data['annotations']),
        patients=len({film.patient for film in films}),
    )


def split_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A line for each split.

    Args:
        counts (Mapping): Name of the split to its counts.

    Returns:
        str: The table.
    """
    wide = max(len(name) for name in ['split', *counts])
    lines = [f'{"split":{wide}}' + ''.join(f'{column:>10}' for column in COLUMNS)]
    for name, row in counts.items():
        lines.append(f'{name:{wide}}' + ''.join(f'{row[column]:10d}' for column in COLUMNS))
    return '\n'.join(lines)
