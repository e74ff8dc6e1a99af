# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Damaged DICOM files sent to a DICOM node: each is refused or scored, and nothing else happens.

``python -m tests.fuzz.node --count 1000`` prints what became of them. It is no kind of ``tests.fuzz``:
one node gets all inputs, as it would from a broken device.
"""

import argparse
import io
import logging
import os
import re
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pydicom
from pydicom.uid import UID, ExplicitVRLittleEndian

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.node import DicomNode
from mmfrac.deployment.results import ResultLine
from mmfrac.deployment.scorer import Scored
from mmfrac.deployment.selection import UNREADABLE, Selection
from mmfrac.utils.errors import RadiographError
from tests.deployment.dicom_objects.variants import MODEL
from tests.deployment.node_case import QUICK, FolderArchive, associate, wait_for
from tests.fuzz import dicom
from tests.fuzz.engine import make_input

_STUDY, _NUMBER = '1.2.826.0.1.3680043.8.498', b'.7.1000000'


class NodeOutcome(NamedTuple):
    """What became of the inputs.

    Attributes:
        answers (Counter): By status of the answer; 'none' where the node ended the association.
        images (dict): Images of the node by state.
        reasons (dict): Why images were not scored.
        threads, files, megabytes (tuple): Of the process, after a tenth of the inputs and in the end.
        strays (list): Files that are there besides those of the node, the archive and the inputs.
        answers_still (bool): Whether it takes and scores a sound image in the end.
    """

    answers: Counter
    images: dict
    reasons: dict
    threads: tuple[int, int]
    files: tuple[int, int]
    megabytes: tuple[int, int]
    strays: list[str]
    answers_still: bool


def score(paths: Sequence[str]) -> list[Scored]:
    """What a packaged model does, without its network."""
    found = []
    for path in paths:
        facts = Selection(everything=True).facts(path)
        try:
            if facts.reason:
                raise RadiographError(facts.reason)
            plane = read_radiograph(path, [])
        except RadiographError:
            facts = facts._replace(reason=facts.reason or UNREADABLE)
            found.append(Scored(ResultLine(path, MODEL, reason=facts.reason, **facts.fields())))
            continue
        height, width = plane.shape
        facts = facts._replace(width=width, height=height)
        result = ResultLine(path, MODEL, scored=True, score=float(plane.mean()), **facts.fields())
        found.append(Scored(result))
    return found


def run_node(count: int, seed: int, folder: Path) -> NodeOutcome:
    """Send damaged files to a node.

    Args:
        count (int): Files.
        seed (int): Of the damage.
        folder (Path): Empty; for the node, its archive and the inputs.

    Returns:
        NodeOutcome: What became of them.
    """
    (folder / 'seeds').mkdir()
    seeds = dicom.seeds(folder / 'seeds')
    for path in seeds:
        _give_uids(path)
    archive = FolderArchive(folder / 'archive')
    before = everything(folder)
    answers: Counter = Counter()
    facts: list[tuple[int, int, int]] = []
    with DicomNode(folder / 'node', score, archive, replace(QUICK, timeout=5.0)) as node:
        for index in range(count):
            content, source = make_input(dicom.KIND, seeds, seed, index)
            # each is an image of its own
            content = content.replace(_NUMBER, b'.7.%d' % (2 * 10**6 + index))
            answers[_send(node.port, content, source)] += 1
            if index in (count // 10, count - 1):
                wait_for(lambda: _is_idle(node))
                facts.append(facts_of_process())
        scored = node.queue.counts()['images'].get('scored', 0)
        sound = seeds[0].read_bytes().replace(_NUMBER, b'.7.3000000')
        status = _send(node.port, sound, seeds[0])
        wait_for(lambda: _is_idle(node))
        counts = node.queue.counts()
        answers_still = status == '0x0000' and counts['images'].get('scored', 0) == scored + 1
        reasons = node.queue.reasons()
        answers_still = answers_still and bool(node.health()['ok'])
    strays = [
        name
        for name in everything(folder) - before
        if not name.startswith(('node/queue.sqlite', 'archive/', 'node/.lock'))
    ]
    first, last = facts[0], facts[-1]
    return NodeOutcome(
        answers,
        counts['images'],
        reasons,
        *((one, other) for one, other in zip(first, last)),
        sorted(strays),
        answers_still,
    )


def _send(port: int, content: bytes, source: Path) -> str:
    """Send bytes as an object, as they are; the status of the answer."""
    from pynetdicom.dimse_primitives import C_STORE

    meta = pydicom.dcmread(source, stop_before_pixels=True, specific_tags=['SOPClassUID']).file_meta
    syntax = UID(meta.TransferSyntaxUID)
    data = _data_set(content)
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        syntax = ExplicitVRLittleEndian
    association = associate(port, classes=[meta.MediaStorageSOPClassUID], syntax=syntax)
    if not association.is_established:
        return 'no association'
    try:
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID = meta.MediaStorageSOPClassUID
        request.AffectedSOPInstanceUID = _announced(data, meta)
        request.Priority = 2
        request.DataSet = data
        (context,) = [
            one
            for one in association.accepted_contexts
            if one.abstract_syntax == meta.MediaStorageSOPClassUID
        ]
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, context.context_id)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        return 'none' if answer is None else f'0x{answer.Status:04X}'
    finally:
        association.release() if association.is_established else association.abort()


def _data_set(content: bytes) -> Any:
    """Bytes of a file behind its meta information, where it can be found."""
    from pydicom.filereader import _read_file_meta_info, read_preamble

    file = io.BytesIO(content)
    try:
        read_preamble(file, force=True)
        _read_file_meta_info(file)
    except Exception:  # damaged: all of it then
        file.seek(0)
    return io.BytesIO(file.read())


def _announced(data: Any, meta: Any) -> str:
    """The UID that the bytes hold, as a device would announce it; else that of the sound file."""
    found = re.search(rf'{re.escape(_STUDY)}\.7\.\d{{7}}'.encode(), data.getvalue())
    return found[0].decode() if found else str(meta.MediaStorageSOPInstanceUID)


def _give_uids(path: Path) -> None:
    ds = pydicom.dcmread(path)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = _STUDY + _NUMBER.decode()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f'{_STUDY}.8', f'{_STUDY}.9'
    ds.PatientName, ds.PatientID = 'Doe^Jane', '7'
    ds.save_as(path)


def _is_idle(node: DicomNode) -> bool:
    return not any('waiting' in states for states in node.queue.counts().values())


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


def facts_of_process() -> tuple[int, int, int]:
    process = psutil.Process()
    return threading.active_count(), process.num_fds(), process.memory_info().rss // 2**20


def print_outcome(run: Callable[[int, int, Path], Any], description: str | None) -> None:
    """The command line of a module like this one: ``run`` with a folder that is removed after it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    folder = Path(tempfile.mkdtemp())
    tempfile.tempdir = os.environ['TMPDIR'] = str(folder)
    try:
        for name, value in run(args.count, args.seed, folder)._asdict().items():
            print(f'{name}: {dict(value) if isinstance(value, Counter) else value}')
    finally:
        shutil.rmtree(folder)


if __name__ == '__main__':
    print_outcome(run_node, __doc__)
