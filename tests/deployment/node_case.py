# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A node with a model that is none, an archive that is a folder, and whoever sends images."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.node import NodeOptions
from mmfrac.deployment.results import ResultLine, Scored
from mmfrac.utils.io import write_bytes
from tests.deployment.dicom_objects.variants import MODEL, make_image

QUICK = NodeOptions(host='127.0.0.1', port=0, quiet=0.0, least_free=0, kinds=('sr',), timeout=20.0)


def score(paths: Sequence[str]) -> list[Scored]:
    """Results whose score is the mean of the image; laterals are left out."""
    found = []
    for path in paths:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        facts: dict[str, Any] = dict(
            image=path, model=MODEL, sop_instance_uid=str(ds.SOPInstanceUID)
        )
        if ds.get('ViewPosition') == 'LL':
            found.append(Scored(ResultLine(**facts, reason='view lateral')))
            continue
        plane = read_radiograph(path, [])
        height, width = plane.shape
        value = float(plane.mean())
        result = ResultLine(
            **facts,
            width=width,
            height=height,
            scored=True,
            score=value,
            boxes=[[1.0, 2.0, 9.0, 12.0]],
            scores=[value],
            map_scale=[1.0, 1.0],
        )
        found.append(Scored(result, np.full(plane.shape, value, np.float32)))
    return found


class FolderArchive:
    """Keeps an object under its UID, as archives do, and a line for each that arrives."""

    name = 'folder'

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def send(self, paths: Sequence[Path]) -> list[str]:
        for path in paths:
            uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
            write_bytes(self.folder / f'{uid}.dcm', path.read_bytes())
            with open(self.folder / 'arrived', 'a') as file:
                file.write(f'{uid}\n')
        return [''] * len(paths)

    def objects(self) -> list[Dataset]:
        return [pydicom.dcmread(path) for path in sorted(self.folder.glob('*.dcm'))]


def images(folder: Path, count: int, study: str = '1.2.3.6', **header: Any) -> list[Path]:
    """Images of one study."""
    paths = []
    for index in range(count):
        made = make_image(
            folder,
            'CR',
            SOPInstanceUID=f'{study}.7.{index}',
            StudyInstanceUID=study,
            **dict(PixelSpacing=None) | header,
        )
        paths.append(made.rename(folder / f'{study}_{index}.dcm'))
    return paths


def associate(
    port: int,
    title: str = 'SENDER',
    called: str = 'MMFRAC',
    classes: Sequence[str] = (),
    syntax: str = ExplicitVRLittleEndian,
):
    """An association to a node."""
    from pynetdicom import AE

    ae = AE(title)
    for one in classes or ('1.2.840.10008.5.1.4.1.1.1',):
        ae.add_requested_context(one, syntax)
    ae.add_requested_context('1.2.840.10008.1.1')
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
    return ae.associate('127.0.0.1', port, ae_title=called)


def send(port: int, paths: Sequence[Path]) -> list[int | None]:
    """Send images; statuses of the answers, None where there is none."""
    association = associate(port)
    if not association.is_established:
        return [None] * len(paths)
    answers: list[int | None] = []
    for path in paths:
        try:
            answer = association.send_c_store(str(path))
            answers.append(answer.Status if 'Status' in answer else None)
        except RuntimeError:
            answers.append(None)
    association.release()
    return answers


def wait_for(done: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, 'it does not come to an end'
        time.sleep(0.02)
