# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How many films of what a split holds."""

from collections import Counter
from collections.abc import Mapping

from .merging import film_facts
from .subsets import SUBSETS

COLUMNS = ('films', 'positives', *SUBSETS, 'boxes', 'patients')


def count_split(data: Mapping) -> dict[str, int]:
    """Counts of one split.

    Args:
        data (Mapping): COCO dict in the format of the README.

    Returns:
        dict[str, int]: ``films``, ``positives`` (label 1), films of each subset, ``boxes``,
            ``patients``.
    """
    facts = film_facts(data['images'], data['annotations'])
    subsets = Counter(fact.subset for fact in facts)
    return dict(
        films=len(facts),
        positives=sum(fact.label == 1 for fact in facts),
        **{name: subsets[name] for name in SUBSETS},
        boxes=len(data['annotations']),
        patients=len({fact.patient for fact in facts}),
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
