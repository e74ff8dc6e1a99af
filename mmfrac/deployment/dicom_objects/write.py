# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Objects of all images of a file of results."""

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom

from mmfrac.datasets.radiographs.dicom import values_unsaid
from mmfrac.deployment.archive_inputs import ServerError, entry_of, file_of
from mmfrac.deployment.dicom_objects.identity import check_threshold
from mmfrac.deployment.dicom_objects.make import KINDS, make_objects
from mmfrac.deployment.package import ModelPackage, read_package
from mmfrac.deployment.results import ResultLine, read_results
from mmfrac.deployment.scorer import PackageScorer
from mmfrac.evaluation.offline.image_prediction import ImagePrediction
from mmfrac.evaluation.offline.map_folder import MapFolder, read_prediction
from mmfrac.utils.io import OutputFolder, write_bytes, written_files

# by how much scores of one model differ in two precisions: in bf16 by 0.1 in the logit, and what is
# stored in it by half of its last digit
_LOGITS, _ROUNDING = 0.3, 0.004
# of single images where the precision of the maps is known to be another
_LOGITS_OF_OTHERS = 0.6

# what an object says of its model and, by kind, of its image
_REFERENCES = dict(
    sc='SourceImageSequence',
    gsps='ReferencedSeriesSequence',
    sr='CurrentRequestedProcedureEvidenceSequence',
    seg='ReferencedSeriesSequence',
)


class Written(NamedTuple):
    """What was written.

    Attributes:
        counts (Counter): Objects by kind.
        left_out (Counter): Objects that there are none of, by reason.
        errors (dict[str, str]): Images whose objects cannot be made, and why.
        notes (list[str]): What else is to be known of them.
    """

    counts: Counter
    left_out: Counter
    errors: dict[str, str]
    notes: list[str]


def write_objects(
    results: str | os.PathLike,
    out: str | os.PathLike,
    images: str | os.PathLike | None = None,
    maps: str | os.PathLike | None = None,
    kinds: Sequence[str] = KINDS,
    threshold: float | None = None,
    package: str | os.PathLike | None = None,
) -> Written:
    """Write the objects of all scored images.

    Objects of the same image, model and kind as new ones that an earlier run wrote to the folder, at
    another threshold or with or without a prob map, are removed: they would contradict the new ones. So
    are segmentations of another threshold where the prob map reaches the new one nowhere.

    Args:
        results (str or PathLike): ``results.jsonl``.
        out (str or PathLike): Folder; its files are named by kind and UID.
        images (str or PathLike, optional): Where relative paths of the results begin. Defaults to None,
            here.
        maps (str or PathLike, optional): Folder of prob maps, as ``MapFolder`` reads it. Defaults to
            None.
        kinds (Sequence[str]): See ``make_objects``. Defaults to all.
        threshold (float, optional): See ``make_objects``. Defaults to None.
        package (str or PathLike, optional): The model of the results, which computes the maps that
            ``maps`` has not. Defaults to None.

    Returns:
        Written: Counts and errors.

    Raises:
        FileNotFoundError: If there are no results, or no maps in their folder.
        ValueError: If a line is no result, or a file is there that mmfrac did not write; if the package
            is that of another model, or most of the maps are, or the threshold is not in (0, 1].
        ServerError: If a DICOMweb server that images lie on does not answer.
    """
    check_threshold(threshold)
    written = Written(Counter(), Counter(), {}, [])
    map_of = _Maps(results, maps, package, written.notes)
    folder = OutputFolder(out)
    # kinds that are known anew, by model and UID of the image; names of their objects at the threshold
    renewed: dict[tuple[str, str], set[str]] = {}
    kept: set[str] = set()
    # image, score and number of boxes by UID, which files are named by
    first_of: dict[str, tuple[str, float | None, int]] = {}
    for result in read_results(results):
        if not result.scored:
            written.left_out[f'image not scored: {result.reason}'] += len(set(kinds))
            continue
        uid = result.sop_instance_uid
        if uid is not None and uid in first_of:
            error = _fault_of_copy(result, *first_of[uid])
            if error:
                written.errors[result.image] = error
            else:
                written.left_out['copy of an image that has them'] += len(set(kinds))
            continue
        map_of.check(result)
        path = ''
        try:
            with file_of(entry_of(result.image, images or '')) as path:
                prob_map, precision = map_of(result, path)
                made = make_objects(
                    result, path, prob_map, kinds, threshold, precision, map_of.max_per_img
                )
        except ServerError:
            # of no image: the others would say the same
            raise
        except (OSError, ValueError) as error:
            text = str(error)
            # of a copy nobody knows the path
            written.errors[result.image] = text.replace(path, result.image) if path else text
            continue
        for one in made.objects:
            write_bytes(folder.path(one.file_name), one.content)
            written.counts[one.kind] += 1
        for kind, reason in made.left_out.items():
            written.left_out[f'{kind}: {reason}'] += 1
        # also that no cell of a map reaches the threshold
        nothing = set() if prob_map is None else {'seg'} & set(made.left_out)
        known = renewed.setdefault((made.serial_number, made.image_uid), set())
        known |= nothing.union(one.kind for one in made.objects)
        kept |= made.file_names
        if uid is not None:
            first_of[uid] = result.image, result.score, len(result.boxes)
    stale = _stale(folder.folder, renewed, kept)
    folder.remove(stale)
    if stale:
        written.notes.append(
            f'{len(stale)} objects of the same images, model and kinds at another threshold, or with or '
            f'without prob map, which an earlier run wrote to {folder.folder}, are removed'
        )
    return written


def _fault_of_copy(result: ResultLine, first: str, score: float | None, count: int) -> str:
    """What is wrong with a result of the UID of a first one; '' if it is that of a copy of the image."""
    # of another batch it may differ in its last digits
    is_near = math.isclose(score or 0, result.score or 0, abs_tol=1e-3)
    if is_near and count == len(result.boxes):
        return ''
    return (
        f"it has the SOPInstanceUID of '{first}' and other findings: an archive would take "
        'the objects of both for the same; give it one of its own, and score it anew'
    )


class _Maps:
    """Prob maps of results: those of a folder, else computed by the model, where there is one.

    Args:
        results (str or PathLike): ``results.jsonl``.
        folder (str or PathLike, optional): Of maps.
        package (str or PathLike, optional): The model.
        notes (list[str]): Gets what is to be known of them.

    Attributes:
        max_per_img (int): Components of a map that are findings: as of the model, 100 without one.

    Raises:
        FileNotFoundError: If there are no maps in the folder, or no package.
        ValueError: If most of the maps are of another model.
    """

    def __init__(
        self,
        results: str | os.PathLike,
        folder: str | os.PathLike | None,
        package: str | os.PathLike | None,
        notes: list[str],
    ) -> None:
        self._results, self._notes = results, notes
        saved = None if folder is None else MapFolder(folder)
        self._files = {} if saved is None else {name: path for path, name in saved.images()}
        self._precision = None if saved is None else saved.run.get('precision')
        _check_maps(results, self._files, self._precision)
        self._model = None if package is None else read_package(package)
        self._scorer: PackageScorer | None = None
        self.max_per_img = 100

    def check(self, result: ResultLine) -> None:
        """Load the model, where there is one.

        Raises:
            ValueError: If the result is that of another.
        """
        model = self._model
        if model is None:
            return
        if result.model['sha256'] != model.sha256:
            raise ValueError(
                f'{os.fspath(self._results)} is of the model {result.model["name"]} '
                f'({result.model["sha256"][:8]}), {model.path} is another '
                f'({model.sha256[:8]})'
            )
        if self._scorer is None:
            self._scorer = _scorer(model, result.precision, self._notes)
            self.max_per_img = self._scorer.inferencer.component_options['max_per_img']

    def __call__(self, result: ResultLine, path: str) -> tuple[np.ndarray | None, str | None]:
        """Prob map of an image and the precision that it was computed in; None where nothing tells.

        Args:
            result (ResultLine): What was found.
            path (str): File of the image.

        Raises:
            ValueError: If the map is of another model, or cannot be computed.
        """
        file = self._files.get(result.image)
        if file is not None:
            prediction = read_prediction(file, result.image)
            difference = _difference(result, prediction, self._precision)
            if difference:
                raise ValueError(
                    f'{file}: {difference}: the map is of another model, or was predicted otherwise'
                )
            return prediction.prob_map, self._precision
        if self._scorer is not None:
            return self._scorer.prob_map(path), self._scorer.inferencer.precision
        return None, None


def _stale(folder: Path, renewed: Mapping[tuple[str, str], set[str]], kept: Set[str]) -> list[str]:
    """Names of objects of an earlier run that new ones take the place of."""
    kinds = set().union(*renewed.values())
    stale = []
    for name in written_files(folder) - kept if kinds else ():
        kind = name.split('_')[0]
        if kind not in kinds:
            continue
        serial_number, images = _model_and_images(folder / name, kind)
        if any(kind in renewed.get((serial_number, uid), ()) for uid in images):
            stale.append(name)
    return stale


def _model_and_images(path: Path, kind: str) -> tuple[str, set[str]]:
    """Checksum of the model and SOPInstanceUIDs of the images of an object; none of another file."""
    tags: list = ['DeviceSerialNumber', _REFERENCES[kind]]
    try:
        with values_unsaid():
            ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            named = [one.value for one in ds.iterall() if one.keyword == 'ReferencedSOPInstanceUID']
            return str(ds.DeviceSerialNumber), set(map(str, named))
    except Exception:  # any bytes at all may be there
        return '', set()


def _check_maps(
    results: str | os.PathLike, files: Mapping[str, Path], precision: str | None
) -> None:
    """Raise a ``ValueError`` if most maps say otherwise than the results of their images."""
    if not files:
        return
    compared = differing = 0
    first = ''
    for result in read_results(results):
        if not result.scored or result.image not in files:
            continue
        path = files[result.image]
        try:
            prediction = read_prediction(path, result.image)
        except ValueError:
            # an error of this image alone, when it is its turn
            continue
        compared += 1
        difference = _difference(result, prediction, precision)
        if difference:
            differing += 1
            first = first or f'{path}: {difference}'
    if 2 * differing > compared:
        raise ValueError(
            f'{differing} of {compared} maps differ from {os.fspath(results)}, the first is {first}: '
            'they are of another model, or were predicted otherwise; name the maps of this model, or '
            '--package in their place'
        )


def _difference(result: ResultLine, prediction: ImagePrediction, precision: str | None) -> str:
    """What a map says otherwise than the result of its image; '' if it does not."""
    what, of_map, of_result = _scores(result, prediction)
    is_other = precision not in (None, result.precision)
    if _is_near(of_map, of_result, _LOGITS_OF_OTHERS if is_other else _LOGITS):
        return ''
    return f"{what} is {of_map:.5f}, of the result of '{result.image}' it is {of_result:.5f}"


def _scores(result: ResultLine, prediction: ImagePrediction) -> tuple[str, float, float]:
    """What a map and a result both say, by the map and by the result."""
    assert result.score is not None
    if prediction.score is not None:
        return 'the image score', prediction.score, result.score
    # that of the image need not be the highest of its map
    if prediction.prob_map is not None and prediction.prob_map.size and result.scores:
        highest = float(prediction.prob_map.max())
        return 'the highest value of the map', highest, max(result.scores)
    return '', result.score, result.score


def _is_near(first: float, second: float, tolerance: float) -> bool:
    one, other = (min(max(score, 1e-6), 1 - 1e-6) for score in (first, second))
    logits = math.log(one / (1 - one)) - math.log(other / (1 - other))
    return abs(one - other) <= _ROUNDING or abs(logits) <= tolerance


def _scorer(model: ModelPackage, precision: str, notes: list[str]) -> PackageScorer:
    """A scorer that computes as the results say, or as it can where it cannot, which is noted."""
    try:
        return PackageScorer(model, precision=precision)
    except ValueError:
        # int8 of an exported detector, fp16 without a GPU
        scorer = PackageScorer(model, precision='fp32' if model.precision == precision else None)
        used = scorer.inferencer.precision
        notes.append(
            f'the results are of precision {precision}, which cannot be had here: their prob maps are '
            f'computed in {used}, and the objects say so'
        )
        return scorer
