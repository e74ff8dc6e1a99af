# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Damaged DICOM files sent to the page: each is refused or scored, and nothing else happens.

``python -m tests.fuzz.page --count 1000`` prints what became of them. It is no kind of ``tests.fuzz``:
one server gets all inputs, as it would from a broken device.
"""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mmfrac.deployment.package import package_inferencer
from mmfrac.deployment.page.app import create_app
from mmfrac.deployment.page.guard import hosts_of
from mmfrac.deployment.page.scoring import PageScorer
from mmfrac.deployment.page.uploads import UploadLimits
from tests.deployment.page.frames import read_frames
from tests.deployment.page.serving import serving
from tests.deployment.tiny_package import tiny_package
from tests.fuzz import dicom
from tests.fuzz.engine import make_input
from tests.fuzz.node import everything, facts_of_process, print_outcome

# of this checkout, which no answer tells; nor what errors look like that nobody foresaw
_UNTOLD = (os.fspath(Path(__file__).resolve().parents[2]).encode(), b'Traceback', b'Doe^Jane')


class PageOutcome(NamedTuple):
    """What became of the inputs.

    Attributes:
        answers (Counter): By HTTP status.
        images (Counter): 'scored', 'left out' or 'error', of those that were taken.
        reasons (Counter): Why images were not scored.
        threads, files, megabytes (tuple): Of the process, after a tenth of the inputs and in the end.
        strays (list): Files that are there besides the inputs.
        told (list): Numbers of the inputs whose answers tell what they should not.
        answers_still (bool): Whether it scores a sound image in the end.
    """

    answers: Counter
    images: Counter
    reasons: Counter
    threads: tuple[int, int]
    files: tuple[int, int]
    megabytes: tuple[int, int]
    strays: list[str]
    told: list[int]
    answers_still: bool


def run_page(count: int, seed: int, folder: Path) -> PageOutcome:
    """Send damaged files to a page.

    Args:
        count (int): Files.
        seed (int): Of the damage.
        folder (Path): Empty; for the inputs, and everything temporary of this process.

    Returns:
        PageOutcome: What became of them.
    """
    import httpx

    (folder / 'seeds').mkdir()
    seeds = dicom.seeds(folder / 'seeds')
    package = tiny_package(folder)
    scorer = PageScorer(package, package_inferencer(package, 'cpu', 'fp32'))
    limits = UploadLimits(request_bytes=2**24, image_bytes=2**23, images=20, seconds=30)
    before = everything(folder)
    answers: Counter = Counter()
    images: Counter = Counter()
    reasons: Counter = Counter()
    told, facts = [], []

    def send(url: str, content: bytes) -> httpx.Response:
        files = [('files', ('image.dcm', content))]
        return client.post(f'{url}/api/images', files=files)

    app = create_app(scorer, limits, hosts_of('127.0.0.1'))
    # one client: each makes an SSL context of its own, whose memory would count
    with httpx.Client(timeout=120) as client, serving(app) as url:
        for index in range(count):
            content, _ = make_input(dicom.KIND, seeds, seed, index)
            answer = send(url, content)
            answers[answer.status_code] += 1
            if any(text in answer.content for text in _UNTOLD):
                told.append(index)
            for frame in read_frames(answer.content) if answer.status_code == 200 else ():
                result = frame.result
                kind = 'error' if result.error else 'left out'
                images['scored' if result.scored else kind] += 1
                if result.reason:
                    reasons[result.reason.partition(' (')[0]] += 1
            if index in (count // 10, count - 1):
                facts.append(facts_of_process())
        (frame,) = read_frames(send(url, seeds[0].read_bytes()).content)
    strays = sorted(everything(folder) - before)
    first, last = facts[0], facts[-1]
    return PageOutcome(
        answers,
        images,
        reasons,
        *((one, other) for one, other in zip(first, last)),
        strays,
        told,
        frame.result.scored,
    )


if __name__ == '__main__':
    print_outcome(run_page, __doc__)
