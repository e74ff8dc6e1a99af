# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Predictions to disk while a model is evaluated."""

import os
from collections.abc import Sequence
from typing import Any

from mmdet.registry import METRICS
from mmengine.dist import barrier, is_main_process
from mmengine.evaluator import BaseMetric

from mmfrac.evaluation.metrics.samples import prediction_of_sample
from mmfrac.evaluation.offline.image_prediction import PredictionError
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
