# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A small annotation file and predictions of it in every form."""

import csv
import json
from pathlib import Path

import numpy as np

from mmfrac.evaluation.offline.image_prediction import ImagePrediction
from mmfrac.evaluation.offline.map_folder import MapFolderWriter

# name, label, regions, source, patient, sex, age, boxes (xyxy) with sites; films of 40 x 32 px
FILMS = [
    ('a/1.png', 1, True, 'hospital', 'p1', 'F', 70, [([8, 8, 24, 24], 'rib')]),
    ('a/2.png', 1, True, 'hospital', 'p1', 'F', 71, [([4, 4, 12, 12], 'clavicle')]),
    ('b/1.png', 0, True, 'hospital', 'p2', 'M', 30, []),
    ('b/2.png', 0, True, 'public', 'p3', 'M', None, []),
    ('b/3.png', 1, False, 'public', 'p4', None, 55, []),
]


def write_truth(path: Path) -> Path:
    """The films above as COCO JSON."""
    images, annotations = [], []
    for index, (name, label, regions, source, patient, sex, age, boxes) in enumerate(FILMS):
        image = dict(id=index + 1, file_name=name, width=40, height=32, label=label)
        image |= dict(regions=regions, source=source, patient_id=patient)
        image |= {key: value for key, value in (('sex', sex), ('age', age)) if value is not None}
        images.append(image)
        for (x1, y1, x2, y2), site in boxes:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=1,
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=(x2 - x1) * (y2 - y1),
                    iscrowd=0,
                    site=site,
                )
            )
    categories = [dict(id=1, name='fracture'), dict(id=7, name='nodule')]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return path


def prob_maps(seed: int = 0) -> dict[str, np.ndarray]:
    """A map of 8 x 10 cells of 4 px of every film, higher where its boxes are."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, *_, boxes in FILMS:
        prob_map = (rng.random((8, 10)) ** 4).astype(np.float32)
        for (x1, y1, x2, y2), _ in boxes:
            prob_map[(y1 + y2) // 8, (x1 + x2) // 8] = rng.uniform(0.7, 1)
        found[name] = prob_map
    return found


def write_maps(folder: Path, maps: dict[str, np.ndarray], **changes) -> Path:
    """A folder of predictions; ``changes`` replace fields of every film's."""
    writer = MapFolderWriter(folder)
    writer.start()
    for name, prob_map in maps.items():
        fields = dict(
            img_path=f'/elsewhere/images/{name}',
            boxes=np.zeros((0, 4)),
            box_scores=np.zeros(0),
            score=float(prob_map.max()),
            prob_map=prob_map,
            map_scale=(4.0, 4.0),
        )
        writer.write(ImagePrediction(**(fields | changes)))
    return writer.finish(dict(config='tiny.py', checkpoint='tiny.pth', seed=3))


# film index, box, score; the fourth film has none
BOXES = [
    (0, [10, 10, 20, 20], 0.75),
    (0, [0, 0, 4, 4], 0.5),
    (1, [30, 20, 38, 30], 0.625),
    (2, [1, 1, 9, 9], 0.25),
    (4, [1, 1, 9, 9], 0.875),
]


def write_coco(path: Path) -> Path:
    """The boxes as COCO results, and one of another category."""
    rows = [
        dict(
            image_id=film + 1,
            category_id=1,
            bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
            score=score,
        )
        for film, box, score in BOXES
    ]
    rows.append(dict(image_id=4, category_id=7, bbox=[0, 0, 9, 9], score=0.99))
    path.write_text(json.dumps(rows))
    return path


def write_table(path: Path, extra: tuple = ()) -> Path:
    """The boxes as CSV."""
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['film', 'x1', 'y1', 'x2', 'y2', 'score'])
        for film, box, score in BOXES:
            writer.writerow([FILMS[film][0], *box, score])
        writer.writerows(extra)
    return path
