# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Objects of all images of a file of results."""

import math
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mmfrac.deployment.archive_inputs import ServerError, entry_of, file_of
from mmfrac.deployment.dicom_objects.make import KINDS, make_objects
from mmfrac.deployment.package import ModelPackage, read_package
from mmfrac.deployment.results import read_results
from mmfrac.deployment.scorer import PackageScorer
from mmfrac.evaluation.offline.map_folder import MapFolder, read_prediction
from mmfrac.utils.io import OutputFolder, write_bytes


class Written(NamedTuple):
    """What was written.

    Attributes:
        counts (Counter): Objects by kind.
        left_out (Counter): Objects that there are none of, by reason.
        errors (dict[str, str]): Images whose objects cannot be made, and why.
    """

    counts: Counter
    left_out: Counter
    errors: dict[str, str]


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
            is that of another model.
        ServerError: If a DICOMweb server that images lie on does not answer.
    """
    files = {} if maps is None else {name: path for path, name in MapFolder(maps).images()}
    model = None if package is None else read_package(package)
    scorer: PackageScorer | None = None
    folder = OutputFolder(out)
    written = Written(Counter(), Counter(), {})
    # image, score and number of boxes by UID, which files are named by
    first_of: dict[str, tuple[str, float | None, int]] = {}
    for result in read_results(results):
        if not result.scored:
            written.left_out[f'image not scored: {result.reason}'] += len(set(kinds))
            continue
        uid = result.sop_instance_uid
        if uid is not None and uid in first_of:
            first, score, count = first_of[uid]
            # of another batch it may differ in its last digits
            is_near = math.isclose(score or 0, result.score or 0, abs_tol=1e-3)
            if is_near and count == len(result.boxes):
                written.left_out['copy of an image that has them'] += len(set(kinds))
            else:
                written.errors[result.image] = (
                    f"it has the SOPInstanceUID of '{first}' and other findings: an archive would take "
                    'the objects of both for the same; give it one of its own, and score it anew'
                )
            continue
        found = files.get(result.image)
        if model is not None and result.model['sha256'] != model.sha256:
            raise ValueError(
                f'{os.fspath(results)} is of the model {result.model["name"]} '
                f'({result.model["sha256"][:8]}), {model.path} is another '
                f'({model.sha256[:8]})'
            )
        if model is not None and scorer is None:
            scorer = _scorer(model, result.precision)
        path = ''
        try:
            with file_of(entry_of(result.image, images or '')) as path:
                prob_map = None
                if found is not None:
                    prob_map = read_prediction(found, result.image).prob_map
                elif scorer is not None:
                    prob_map = scorer.prob_map(path)
                made = make_objects(result, path, prob_map, kinds, threshold)
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
        if uid is not None:
            first_of[uid] = result.image, result.score, len(result.boxes)
    return written


def _scorer(model: ModelPackage, precision: str) -> PackageScorer:
    """A scorer that computes as the results say, or as it can where it cannot."""
    try:
        return PackageScorer(model, precision=precision)
    except ValueError:
        # int8 of an exported detector, fp16 without a GPU
        return PackageScorer(model)
