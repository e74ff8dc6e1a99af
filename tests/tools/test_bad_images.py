# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A folder of a thousand images, 20 of every kind of bad ones, through the tools that read images."""

import json
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.apis.test_inferencer import write_dicom
from tests.tools.tiny_run import ROOT, TRAIN, start, succeed, write_config

NUM_IMAGES, NUM_BAD = 1000, 20


def png(plane: np.ndarray) -> bytes:
    return cv2.imencode('.png', plane)[1].tobytes()


def huge_png() -> bytes:
    head = b'IHDR' + struct.pack('>2L5B', 60_000, 60_000, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>L', 13) + head + struct.pack('>L', zlib.crc32(head))


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def bad_images(plane: np.ndarray, folder: Path) -> dict[str, bytes | None]:
    """Contents of each kind; None stands for a pipe."""
    write_dicom(folder / 'sound', plane)
    dicom = (folder / 'sound').read_bytes()
    (folder / 'sound').unlink()
    jpeg = cv2.imencode('.jpg', (plane // 256).astype(np.uint8))[1].tobytes()
    tiff = cv2.imencode('.tif', plane)[1].tobytes()
    return {
        'cut.png': png(plane)[:-900],
        'flipped.png': flipped(png(plane)),
        'huge.png': huge_png(),
        'cut.jpg': jpeg[: len(jpeg) // 2],
        'cut.tif': tiff[: len(tiff) // 2],
        'cut.dcm': dicom[:-500],
        'no_pixels.dcm': dicom[: dicom.index(b'\xe0\x7f\x10\x00')],
        'unknown_colours.dcm': dicom.replace(b'MONOCHROME2', b'POLYCHROME2'),
        'zeros.dcm': dicom[:400] + bytes(len(dicom) - 400),
        'empty.png': b'',
        'text.png': b'no image at all',
        'pipe.png': None,
    }


@pytest.fixture(scope='module')
def data_root(tiny_data, tmp_path_factory):
    """As ``tiny_data`` with more training images, and those that are bad."""
    root = tmp_path_factory.mktemp('bad')
    (root / 'images').mkdir()
    (root / 'annotations').mkdir()
    rng = np.random.default_rng(1)
    plane = rng.integers(0, 2**16, (64, 48)).astype(np.uint16)
    bad = [
        (f'bad_{number:02d}_{kind}', content)
        for kind, content in bad_images(plane, root).items()
        for number in range(NUM_BAD)
    ]
    for name, content in bad:
        path = root / 'images' / name
        if content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(content)
    for split in ('train', 'val', 'test'):
        data = json.loads((tiny_data / f'annotations/{split}.json').read_text())
        for image in data['images']:
            (root / 'images' / image['file_name']).write_bytes(
                (tiny_data / 'images' / image['file_name']).read_bytes()
            )
        if split == 'train':
            good = [f'good_{number:03d}.png' for number in range(NUM_IMAGES - len(bad) - 25)]
            for name in good:
                noise = rng.integers(0, 2**16, (64, 48)).astype(np.uint16)
                (root / 'images' / name).write_bytes(png(noise))
            for name in [*good, *(name for name, _ in bad)]:
                one = dict(id=len(data['images']) + 1, file_name=name, width=48, height=64)
                data['images'].append(one | dict(label=0, patient_id=name, source='hospital'))
        (root / 'annotations' / f'{split}.json').write_text(json.dumps(data))
    assert len(list((root / 'images').iterdir())) == NUM_IMAGES
    return root, {name for name, _ in bad}


# config lines: every pipeline of the training skips what it cannot read
SKIP = """
def skip(value):
    if isinstance(value, dict):
        if value.get('type') == 'LoadRadiograph':
            value['on_error'] = 'skip'
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            skip(one)


skip(_base_.train_dataloader)
train_dataloader['batch_sampler']['epoch_length'] = 60
"""


@pytest.fixture(scope='module')
def trained(data_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    config = write_config(folder, data_root[0], SKIP)
    done = succeed(TRAIN, config, '--work-dir', folder / 'run', cwd=folder)
    return config, folder / 'run/epoch_2.pth', done


@pytest.mark.slow
def test_training_skips_and_names_them(data_root, trained):
    said = trained[2].stdout + trained[2].stderr
    named = [name for name in data_root[1] if name in said]
    assert len(named) > 20 and trained[1].is_file()


@pytest.mark.slow
def test_all_good_ones_are_predicted_and_all_bad_ones_named(data_root, trained, tmp_path):
    root, bad = data_root
    config, checkpoint, _ = trained
    model = ['--config', config, '--checkpoint', checkpoint, '--no-overlays']
    arguments = [root / 'images', *model, '--out-dir', tmp_path / 'found']
    done = start(ROOT / 'tools/infer.py', *arguments, cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr[-2000:]
    found = json.loads((tmp_path / 'found/predictions.json').read_text())
    predicted = {Path(one['film']).name for one in found['predictions']}
    wrong = {Path(one['film']).name for one in found['errors']}
    assert wrong == bad and len(predicted) == NUM_IMAGES - len(bad) and not predicted & bad


@pytest.mark.slow
def test_check_data_names_all_bad_ones(data_root, tmp_path):
    root, bad = data_root
    done = start(ROOT / 'tools/check_data.py', root, '--json', tmp_path / 'r.json', cwd=tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr[-2000:]
    report = (tmp_path / 'r.json').read_text()
    assert not [name for name in bad if name not in report]
