# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A hold-out set and folds (paper, section 2.4), by patient and stratified; arrays in, arrays out."""

import warnings
from collections.abc import Sequence

import numpy as np

HOLD_OUT = -1


def hold_out_and_folds(
    patients: Sequence[str],
    strata: Sequence[str],
    labels: Sequence[int],
    num_folds: int = 5,
    hold_out: int | float = 344,
    seed: int = 0,
) -> np.ndarray:
    """Where each film is tested or validated.

    Args:
        patients (Sequence[str]): (n,) patient of each film; a patient is never parted.
        strata (Sequence[str]): (n,) what is to be as frequent everywhere, e.g. label and source.
        labels (Sequence[int]): (n,) image-level labels; every part has films with 1 and with 0.
        num_folds (int): Defaults to 5, validation shares of 20 %.
        hold_out (int or float): Films of the hold-out set; below 1: their share; 0: none. Patients are
            not parted, so where they have several films the number is met nearly. Defaults to 344.
        seed (int): The same seed gives the same split. Defaults to 0.

    Returns:
        np.ndarray: (n,) int64, ``HOLD_OUT`` or the fold whose validation set the film is in.

    Raises:
        ValueError: If an option is out of range, or there are too few patients.
    """
    if num_folds < 2:
        raise ValueError(f'cross-validation needs at least 2 folds, got {num_folds}')
    groups = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1].ravel()
    classes = np.unique(np.asarray(strata, dtype=str), return_inverse=True)[1].ravel()
    truth = np.asarray(labels)
    wanted = hold_out_films(hold_out, len(groups))
    _check_patients(groups, truth, num_folds + (wanted > 0))
    place = np.full(len(groups), HOLD_OUT, np.int64)
    rest = np.arange(len(groups))
    if wanted:
        rest = np.flatnonzero(~choose_hold_out(groups, classes, wanted, seed)[groups])
        _check_patients(groups[rest], truth[rest], num_folds, f' after a hold-out of {wanted}')
    place[rest] = stratified_group_folds(groups[rest], classes[rest], num_folds, seed)
    parts = [HOLD_OUT] * (wanted > 0) + list(range(num_folds))
    for part in parts:
        present = set(truth[place == part])
        if not {0, 1} <= present:
            name = 'the hold-out set' if part == HOLD_OUT else f'fold {part}'
            raise ValueError(
                f'{name} got {np.count_nonzero(place == part)} films, not both with and without '
                'fracture, so it has no AUROC: take fewer folds, another hold-out or another seed'
            )
    return place


def hold_out_films(hold_out: int | float, num_films: int) -> int:
    """Number of hold-out films of a number or a share.

    Args:
        hold_out (int or float): Films, or a share below 1.
        num_films (int): Films there are.

    Returns:
        int: Films.

    Raises:
        ValueError: If it is negative, no number of films, or nothing would be left.
    """
    if hold_out < 0 or (hold_out >= 1 and hold_out != int(hold_out)):
        raise ValueError(f'a hold-out is a number of films or a share below 1, got {hold_out}')
    wanted = int(hold_out) if hold_out >= 1 else round(hold_out * num_films)
    if wanted >= num_films:
        raise ValueError(
            f'a hold-out of {wanted} leaves nothing of {num_films} films: give a smaller number, a '
            'share (--holdout 0.1) or none (--holdout 0)'
        )
    return wanted


def choose_hold_out(groups: np.ndarray, classes: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Random patients whose films come nearest to the wanted number of each class.

    Scikit-learn's splitters make equal parts and do not meet a number of films. The patients are offered
    in random order, and taken when all their films are still missing; what is missing in the end is
    filled up by those who bring the classes nearer to their numbers.

    Args:
        groups (np.ndarray): (n,) patient of each film, 0 to g - 1.
        classes (np.ndarray): (n,) class of each film, 0 to c - 1.
        wanted (int): Films; each class gets its share by largest remainder.
        seed (int): Of the order in which the patients are offered.

    Returns:
        np.ndarray: (g,) bool, whether a patient is chosen.
    """
    counts = np.zeros((groups.max() + 1, classes.max() + 1), np.int64)
    np.add.at(counts, (groups, classes), 1)
    share = counts.sum(axis=0) * wanted / counts.sum()
    missing = np.floor(share).astype(np.int64)
    missing[np.argsort(missing - share, kind='stable')[: wanted - missing.sum()]] += 1
    order = np.random.default_rng(seed).permutation(len(counts))
    chosen = np.zeros(len(counts), bool)
    for exact in (True, False):
        for patient in order[~chosen[order]]:
            films = counts[patient]
            if exact:
                fits = (films <= missing).all()
            else:  # nearer in squared distance: |missing - films|^2 < |missing|^2
                nearer = films @ films < 2 * (films @ missing)
                fits = nearer and films.sum() <= missing.sum()
            if fits:
                chosen[patient] = True
                missing = missing - films
    return chosen


def stratified_group_folds(
    groups: np.ndarray, classes: np.ndarray, num_folds: int, seed: int
) -> np.ndarray:
    """Scikit-learn's ``StratifiedGroupKFold``, shuffled.

    Args:
        groups (np.ndarray): (n,) patient of each film.
        classes (np.ndarray): (n,) class of each film.
        num_folds (int): Folds.
        seed (int): Of the shuffle.

    Returns:
        np.ndarray: (n,) fold in whose validation set the film is.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fold_of = np.zeros(len(groups), np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # of a class with fewer films than folds, which a rare source may well have
        warnings.filterwarnings('ignore', 'The least populated class', UserWarning)
        for fold, (_, held) in enumerate(splitter.split(groups, classes, groups)):
            fold_of[held] = fold
    return fold_of


def _check_patients(groups: np.ndarray, truth: np.ndarray, parts: int, when: str = '') -> None:
    for label, what in ((1, 'with fracture'), (0, 'without fracture')):
        found = len(np.unique(groups[truth == label]))
        if found < parts:
            raise ValueError(
                f'too few patients{when}: {found} have a film {what}, and {parts} parts '
                '(folds and hold-out) each need one; take fewer folds or no hold-out (--holdout 0)'
            )
