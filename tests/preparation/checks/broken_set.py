# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A data set with one of each fault, drawn with the tiny films' means."""

import json
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SHAPE = (96, 80)


def chest(seed: int) -> np.ndarray:
    """A film that looks like a chest in outline: dark corners and lungs, bright middle and belly."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / np.array(SHAPE)[:, None, None]
    film = 0.35 + 0.45 * y**2 + 0.25 * np.exp(-(((x - 0.5) / 0.12) ** 2))
    for centre in (0.3, 0.7):
        film -= 0.35 * np.exp(-(((x - centre) / 0.12) ** 2) - ((y - 0.4) / 0.2) ** 2)
    film -= 0.5 * (y < 0.2) * (np.abs(x - 0.5) > 0.2)
    film += np.random.default_rng(seed).normal(0, 0.02, SHAPE)
    return np.rint(film.clip(0, 1) * 255).astype(np.uint8)


class BrokenSet:
    """Films and splits, written by ``write``; every method adds one fault or a sound film."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / 'images').mkdir(parents=True)
        (root / 'annotations').mkdir()
        self.splits: dict[str, dict] = {}
        self.seed = 0

    def film(self, split: str, name: str, label: int = 0, boxes=(), pixels=None, **fields) -> dict:
        """Add a film and, unless ``pixels`` is False, its file."""
        self.seed += 1
        content = self.splits.setdefault(
            split, dict(images=[], annotations=[], categories=[dict(id=1, name='fracture')])
        )
        image = dict(
            id=len(content['images']) + 1,
            file_name=name,
            width=SHAPE[1],
            height=SHAPE[0],
            label=label,
            regions=label == 0 or bool(boxes),
            source='s',
            patient_id=f'{split}-{self.seed}',
        )
        content['images'].append(image | fields)
        for box in boxes:
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=image['id'],
                    category_id=1,
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=0,
                )
            )
        if pixels is not False:
            path = self.root / 'images' / name
            cv2.imwrite(str(path), chest(self.seed) if pixels is None else pixels)
        return image

    def write(self) -> Path:
        """Write the splits."""
        for split, content in self.splits.items():
            (self.root / 'annotations' / f'{split}.json').write_text(json.dumps(content))
        return self.root


def sound_set(root: Path) -> BrokenSet:
    """Two splits with two films each, nothing wrong with them."""
    data = BrokenSet(root)
    for split in ('train', 'val'):
        data.film(split, f'{split}_a.png', 1, [[30, 40, 12, 10]])
        data.film(split, f'{split}_b.png')
    return data


def broken_set(root: Path) -> tuple[Path, dict[str, int]]:
    """A data set with faults, and how often each check must find one."""
    data = sound_set(root)
    data.film('train', 'gone.png', pixels=False)
    data.film('train', 'cut.png')
    cut = root / 'images' / 'cut.png'
    cut.write_bytes(cut.read_bytes()[:700])
    data.film('train', 'text.png', pixels=False)
    (root / 'images' / 'text.png').write_text('<html>not found</html>')
    data.film('train', 'empty.dcm', pixels=False)
    (root / 'images' / 'empty.dcm').write_bytes(b'')
    huge = pydicom.Dataset()
    huge.file_meta = FileMetaDataset()
    huge.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    huge.SOPInstanceUID = generate_uid()
    huge.SOPClassUID, huge.Rows, huge.Columns = generate_uid(), 65535, 65535
    huge.save_as(root / 'images' / 'huge.dcm', enforce_file_format=True)
    data.film('train', 'huge.dcm', pixels=False)
    data.film('train', 'small.png', pixels=chest(77)[:50])
    data.film('train', 'inverted.png', pixels=255 - chest(78))
    data.film('train', 'blank.png', pixels=np.full(SHAPE, 90, np.uint8))
    data.film('train', 'outside.png', 1, [[70, 40, 30, 10]])
    data.film('train', 'thin.png', 1, [[30, 40, 1, 10]])
    data.film('train', 'large.png', 1, [[5, 5, 60, 60], [30, 40, 9, 9], [30, 40, 9, 9]])
    data.film('train', 'healthy.png', 0, [[30, 40, 9, 9]])
    data.film('train', 'boxless.png', 1, regions=True)
    data.film('train', 'one.png', pixels=chest(79))
    data.film('train', 'two.png', pixels=chest(79))
    data.film('train', 'three.png', pixels=chest(80))
    data.film('val', 'four.tif', 1, pixels=chest(80))
    data.film('val', 'train_b.png', pixels=False)
    data.film('train', 'p_a.png', patient_id='p')
    data.film('val', 'p_b.png', patient_id='p')
    data.film('train', 'twice.png', id=2)
    data.film('val', 'odd.png', label=7)
    data.film('test', 'test_a.png', 1, [[30, 40, 12, 10]])
    expected = dict(
        missing_film=1,
        unreadable_film=4,
        wrong_size=1,
        inverted=1,
        blank_film=1,
        box=1,
        odd_box=3,
        label=2,
        same_pixels=1,
        shared_pixels=1,
        label_conflict=1,
        shared_film=1,
        shared_patient=1,
        duplicate_id=1,
        field=1,
        one_class=1,
    )
    return data.write(), expected
