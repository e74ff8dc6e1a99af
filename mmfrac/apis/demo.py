# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Three phantom images, marked with the weights that come along."""

import os
from pathlib import Path

import numpy as np

from mmfrac.apis.inferencer import FracInferencer
from mmfrac.apis.model_zoo import MODELS_FOLDER, read_model
from mmfrac.preparation.phantom import render_image, write_dicom
from mmfrac.preparation.phantom.dicom_file import FULL_SCALE
from mmfrac.utils.io import OutputFolder, write_image, write_json
from mmfrac.visualization import contact_sheet, draw_overlay

MODEL = 'frac_ssl_phantom'
SIZE, DIFFICULTY = 256, 0.05
_FRACTURES = (2, 1, 0)
# far from the patients of phantom data sets, which begin at a million times their seed
_FIRST_PATIENT = 10**12


def run_demo(out_dir: str | os.PathLike, seed: int = 0) -> list[str]:
    """Draw phantom images, find their fractures, and write what was found.

    Args:
        out_dir (str or PathLike): Gets ``images/*.dcm``, ``vis/*.png``, ``demo.json`` and ``demo.png``.
        seed (int): Chooses the phantoms. Defaults to 0.

    Returns:
        list[str]: Lines to print: a score and the number of findings an image, and what was written.

    Raises:
        ValueError: If the weights are not those of their card.
    """
    folder = Path(out_dir)
    model = read_model(MODELS_FOLDER / MODEL)
    paths, phantoms = [], []
    for index, count in enumerate(_FRACTURES):
        patient = _FIRST_PATIENT + len(_FRACTURES) * seed + index
        phantom = render_image(patient, 0, SIZE, count, DIFFICULTY)
        path = folder / 'images' / f'phantom_{index + 1}.dcm'
        path.parent.mkdir(parents=True, exist_ok=True)
        write_dicom(path, phantom.image, f'phantom{index + 1}', phantom.pixel_mm)
        paths.append(path)
        phantoms.append(phantom)
    infer = FracInferencer(model.config, model.weights, 'cpu')
    results = infer(
        paths, batch_size=len(paths), out_dir=folder, no_save_pred=True, return_vis=True
    )
    pictures, titles = [], []
    for index, (phantom, overlay) in enumerate(zip(phantoms, results['visualization']), 1):
        plane = phantom.image.astype(np.float32) / FULL_SCALE
        # as findings of its own, so that none of its fractures is marked as missed
        there = dict(bboxes=phantom.boxes, scores=np.ones(len(phantom.boxes)))
        picture = draw_overlay(
            plane, gt_boxes=phantom.boxes, instances=there, size=max(overlay.shape)
        )
        pictures += [picture, overlay]
        titles += [
            f'phantom {index}: what is there',
            'what was found (phantoms only: not for patients)',
        ]
    output = OutputFolder(folder)
    write_image(output.path('demo.png'), contact_sheet(pictures, 2, titles))
    truth = [dict(boxes=one.boxes.tolist(), sites=one.sites) for one in phantoms]
    write_json(
        output.path('demo.json'),
        dict(limits=model.limits, model=MODEL, truth=truth, predictions=results['predictions']),
    )
    lines = [
        f'{Path(one["film"]).name}: score {one["score"]:.3f}, {len(one["boxes"])} found, '
        f'{len(phantom.boxes)} there'
        for one, phantom in zip(results['predictions'], phantoms)
    ]
    return [*lines, f'{model.limits}', f'picture: {folder / "demo.png"}']
