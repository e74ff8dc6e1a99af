# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""An annotation file from disk or another back end."""

import json
import os
from typing import Any

from mmengine.fileio import get_local_path

from mmfrac.utils.annotation_error import AnnotationError

_HOW_TO_SET = (
    'set data_root in the config or on the command line (--data-root FOLDER); '
    '`python tools/make_phantom.py FOLDER` makes phantom films'
)


def check_folders(data_root: str | None, image_folder: str, ann_file: str) -> None:
    """Raise a FileNotFoundError that says what is missing and how to set it.

    Args:
        data_root (str, optional): Root of the data set.
        image_folder (str): Where the film names start.
        ann_file (str): Annotation file.

    Raises:
        FileNotFoundError: If one of them is missing.
    """
    for what, path in (('data_root', data_root), ('image folder', image_folder)):
        if path and not os.path.isdir(path):
            raise FileNotFoundError(f"CXRDataset: no {what} '{path}': {_HOW_TO_SET}")
    if not os.path.isfile(ann_file):
        raise FileNotFoundError(
            f"CXRDataset: no annotation file '{ann_file}' (data_root '{data_root}'): {_HOW_TO_SET}"
        )


def read_annotations(ann_file: str, backend_args: dict | None = None) -> Any:
    """Parse an annotation file.

    Args:
        ann_file (str): Path or URL of a JSON file.
        backend_args (dict, optional): MMEngine file back end. Default: None, local.

    Returns:
        Any: What the JSON holds, unchecked.

    Raises:
        AnnotationError: If it is not JSON.
    """
    with get_local_path(ann_file, backend_args=backend_args) as path:
        try:
            # of bytes JSON tells UTF-8, also with a byte-order mark, from UTF-16
            with open(path, 'rb') as file:
                return json.load(file)
        except (ValueError, RecursionError) as error:
            raise AnnotationError(f'{ann_file} is not JSON: {error}') from error
