# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a metric reads of data samples, and of its own results."""

from collections.abc import Sequence
from typing import Any


def read_field(sample: dict, key: str, film: str) -> Any:
    """A field of a data sample; a ``ValueError`` that says how to get it where it is missing."""
    if key in sample:
        return sample[key]
    mend = (
        'the model has to predict it'
        if key.startswith('pred_')
        else "add it to meta_keys of the packing transform (or to the model's own predictions)"
    )
    raise ValueError(f'data sample of film {film} has no {key!r}: {mend}')


def lesion_boxes(instances: Sequence[dict]) -> list:
    """Boxes of a film that are lesions, without ignored ones."""
    return [box['bbox'] for box in instances if not box.get('ignore_flag')]


def distinct(results: Sequence[dict]) -> list[dict]:
    """Results with one a film, the first of each, in their order."""
    films: dict[str, dict] = {}
    for result in results:
        films.setdefault(result['film'], result)
    return list(films.values())
