# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Predictions to disk while a model is evaluated."""

import os
from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmengine.dist import barrier, is_main_process
from mmengine.evaluator import BaseMetric

from mmfrac.evaluation.metrics.frac_metric import as_numpy
from mmfrac.evaluation.offline.image_prediction import ImagePrediction, PredictionError, no_boxes
from mmfrac.evaluation.offline.map_folder import MapFolderWriter


@METRICS.register_module()
class SavePredictions(BaseMetric):
    """Writes the prob map, image score and boxes of every image, one file an image.

    What ``tools/test.py --out FOLDER`` adds to the evaluator; ``tools/analysis_tools/froc.py`` reads it.
    Every rank writes its own images as they come, nothing is gathered, and the folder appears whole when
    all are done. Reports no metric.

    Args:
        out_dir (str or PathLike): Folder to write; earlier predictions in it are replaced. On several
            machines it has to be a shared one.
        run (dict, optional): Where the predictions come from, for ``run.json``. Defaults to None.
        collect_device (str): 'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix (str, optional): Not used. Defaults to None.

    Raises:
        ValueError: If the folder holds anything but earlier predictions.
    """

    default_prefix = 'saved'

    def __init__(
        self,
        out_dir: str | os.PathLike,
        run: dict[str, Any] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.run = dict(run or {})
        self.writer = MapFolderWriter(out_dir)
        if is_main_process():
            self.writer.start()
        # no rank may write before the leftovers of an earlier run are gone
        barrier()

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the images of a batch.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Predictions, as MMEngine's ``Evaluator`` passes them.

        Raises:
            PredictionError: If a prediction is malformed or not finite.
        """
        for sample in data_samples:
            prediction = prediction_of_sample(sample, (self.dataset_meta or {}).get('classes', ()))
            faults = prediction.faults()
            if faults:
                raise PredictionError(f'of film {prediction.img_path}', faults)
            self.writer.write(prediction)
            self.results.append(prediction.img_path)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Give the folder its name; called on the main rank when all have written.

        Args:
            results (list): Images.

        Returns:
            dict[str, float]: Empty.
        """
        self.writer.finish(dict(self.run, num_films=len(set(results))))
        return {}


def prediction_of_sample(sample: dict, classes: Sequence[str] = ()) -> ImagePrediction:
    """Prediction of a data sample as a dict: its map or its boxes, in px of the image.

    Args:
        sample (dict): With ``img_path``, and ``pred_prob_map`` with ``map_scale``, or
            ``pred_instances``.
        classes (Sequence[str]): Names of the categories, by the labels of the boxes. Defaults to none,
            they are not named.

    Returns:
        ImagePrediction: Unchecked.
    """
    boxes, scores = no_boxes()
    box_classes = None
    if 'pred_instances' in sample:
        found = sample['pred_instances']
        boxes, scores = as_numpy(found['bboxes']), as_numpy(found['scores'])
        if 'labels' in found and classes:
            box_classes = tuple(classes[index] for index in as_numpy(found['labels']).tolist())
    prob_map = scale = None
    if 'pred_prob_map' in sample:
        prob_map = as_numpy(sample['pred_prob_map']['data'])[0]
        scale_x, scale_y = sample['map_scale']
        scale = (float(scale_x), float(scale_y))
    score = sample.get('pred_score')
    return ImagePrediction(
        img_path=str(sample['img_path']),
        boxes=boxes.reshape(-1, 4),
        box_scores=scores,
        score=None if score is None else float(score),
        prob_map=prob_map,
        map_scale=scale,
        box_classes=box_classes,
    )
