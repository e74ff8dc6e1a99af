# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The paper's sets of films: P_hos, N, P_pub, and U for films without a label."""

from collections import Counter
from collections.abc import Sequence

SUBSETS = ('P_hos', 'N', 'P_pub', 'U')


def subset_of(label: int, regions: bool) -> str:
    """Which set a film belongs to.

    Args:
        label (int): 1 fracture, 0 none, -1 unknown.
        regions (bool): Whether its boxes are complete.

    Returns:
        str: 'P_hos' (label 1, regions), 'P_pub' (label 1, no regions), 'N' (label 0), 'U' (label
            -1).
    """
    if label == 1:
        return 'P_hos' if regions else 'P_pub'
    return 'N' if label == 0 else 'U'


def names_of(names: str | Sequence[str] | None) -> list[str] | None:
    """One name or several as a list; None stays None."""
    if names is None:
        return None
    return [names] if isinstance(names, str) else list(names)


def subsets_of(subset: str | Sequence[str] | None) -> list[str] | None:
    """As ``names_of``; a ValueError for a name that is no subset."""
    wanted = names_of(subset)
    unknown = sorted(set(wanted or ()) - set(SUBSETS))
    if unknown:
        raise ValueError(f'unknown subset {unknown}, valid are {list(SUBSETS)}')
    return wanted


def select_films(
    infos: Sequence[dict],
    subset: Sequence[str] | None,
    sources: Sequence[str] | None,
    file: str,
) -> list[int]:
    """Places of the films wanted.

    Args:
        infos (Sequence[dict]): Films with ``label``, ``regions`` and ``source``.
        subset (Sequence[str], optional): Subsets to keep; None: all.
        sources (Sequence[str], optional): Sources to keep; None: all.
        file (str): Annotation file, for the message.

    Returns:
        list[int]: Ascending.

    Raises:
        ValueError: If no film has one of the sources, or none is left.
    """
    present = Counter(info['source'] for info in infos)
    unknown = sorted(set(sources or ()) - set(present))
    if unknown:
        raise ValueError(f'no film of source {unknown} in {file}, its sources are {dict(present)}')
    groups = [(info['source'], subset_of(info['label'], info['regions'])) for info in infos]
    kept = [
        index
        for index, (source, group) in enumerate(groups)
        if (sources is None or source in sources) and (subset is None or group in subset)
    ]
    if not kept:
        counts = sorted(Counter(groups).items())
        found = ', '.join(f'{n} {group} of {source}' for (source, group), n in counts)
        raise ValueError(
            f'nothing left of {file} for subset={subset}, sources={sources}; it has '
            f'{found or "no film"}'
        )
    return kept
