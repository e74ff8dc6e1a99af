# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import mmfrac  # noqa: F401  before mmdet, which asks for operators of mmcv that may not be there

# isort: split
from mmengine.logging import MessageHub, MMLogger
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

# many small tests, in several processes
torch.set_num_threads(1)

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--slow', action='store_true', help='run the tests that are marked slow, too')


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out, unless asked for by ``--slow`` or by name."""
    if config.getoption('--slow') or any('::' in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker('slow')]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker('slow')]


@pytest.fixture(scope='session')
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope='session', autouse=True)
def quick_config_text() -> Iterator[None]:
    """Leave the text of configs as it is: mmengine has yapf format it at every start and checkpoint,
    which takes longer than the training of these tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **options: (text, True))
        yield


@pytest.fixture(autouse=True)
def no_history_of_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each run a message hub of its own: MMEngine hands two runs of a process that start within one
    second the same one, and the second goes on from the best score of the first.
    """
    build = Runner.build_message_hub

    def build_message_hub(self, config=None):
        MessageHub._instance_dict.clear()
        return build(self, config)

    monkeypatch.setattr(Runner, 'build_message_hub', build_message_hub)


@pytest.fixture(autouse=True)
def no_writer_of_another_test() -> Iterator[None]:
    """Forget visualizers and loggers: MMEngine hands the next run of a process the ones of the run
    before, which write to the folder of a test that is over.
    """
    yield
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
            handler.close()
    MMLogger._instance_dict.clear()


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Folder of real films; the tests that use it are skipped where there is none."""
    default = REPOSITORY.parent / 'shared' / 'data'
    folder = Path(os.environ.get('MMFRAC_SHARED_DATA', default))
    if not (folder / 'real_cxr').is_dir():
        pytest.skip('no real films: set MMFRAC_SHARED_DATA to a folder that holds real_cxr/')
    return folder


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory) -> Path:
    """A data root with 64 x 48 films: 4 P_hos, 6 N, 5 P_pub to train, 5 to validate and to test.

    ``train_truth.json`` has the boxes of the P_pub films too.
    """
    root = tmp_path_factory.mktemp('tiny')
    (root / 'images').mkdir()
    (root / 'annotations').mkdir()
    rng = np.random.default_rng(0)
    kinds = dict(
        train=[(1, True)] * 4 + [(0, True)] * 6 + [(1, False)] * 5,
        val=[(1, True)] * 2 + [(0, True)] * 3,
        test=[(1, True)] * 2 + [(0, True)] * 3,
    )
    for split, films in kinds.items():
        images, annotations, hidden = [], [], []
        for index, (label, regions) in enumerate(films):
            name = f'{split}_{index}.png'
            film = rng.integers(60, 120, (64, 48)).astype(np.uint16) * 200
            if label:
                x, y = int(rng.integers(4, 30)), int(rng.integers(4, 44))
                film[y : y + 12, x : x + 12] += 30000
                (annotations if regions else hidden).append(
                    dict(
                        id=index + 1,
                        image_id=index + 1,
                        category_id=1,
                        bbox=[x, y, 12, 12],
                        area=144,
                        iscrowd=0,
                        site='rib',
                    )
                )
            cv2.imwrite(str(root / 'images' / name), film)
            images.append(
                dict(
                    id=index + 1,
                    file_name=name,
                    width=48,
                    height=64,
                    label=label,
                    regions=regions,
                    source='hospital' if regions else 'public',
                    patient_id=f'{split}{index}',
                )
            )
        content = dict(
            images=images, annotations=annotations, categories=[dict(id=1, name='fracture')]
        )
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))
        if hidden:
            content['annotations'] = [*annotations, *hidden]
            (root / 'annotations' / f'{split}_truth.json').write_text(json.dumps(content))
    return root
