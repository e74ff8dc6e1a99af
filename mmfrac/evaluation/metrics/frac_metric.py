# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC and AUROC as an MMEngine metric, for prob maps and for boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import MessageHub

from mmfrac.datasets.labels import ignored, lesions
from mmfrac.evaluation.definitions import METRIC_DEFAULTS, Definitions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.trimming import RecordStore, check_max_fppi, trim_cut_records
from mmfrac.evaluation.metrics.files import write_metrics, write_records
from mmfrac.evaluation.metrics.samples import prediction_of_sample, read_field
from mmfrac.evaluation.offline.image_prediction import ImagePrediction
from mmfrac.utils.io import check_output


def boxes_of(instances: Sequence[dict]) -> list:
    """Boxes (xyxy) of instances."""
    return [instance['bbox'] for instance in instances]


def distinct(results: Sequence[dict]) -> list[dict]:
    """Results with one an image, the first of each, in their order."""
    first: dict[str, dict] = {}
    for result in results:
        first.setdefault(result['img_path'], result)
    return list(first.values())


@METRICS.register_module()
class FracMetric(BaseMetric):
    """AUROC, FROC score and recall at given FPPI (paper section 3, Table 1).

    Each data sample needs the metainfo ``img_path`` (or ``img_id``), ``label``, ``regions`` and
    ``instances``. With the prob map ``pred_prob_map`` it also needs ``map_scale``, the image pixels
    per map cell (sx, sy). Without one its ``pred_instances`` are evaluated under the same rules, so
    that any detector can be compared. Boxes with ``ignore_flag`` set are no lesions, and what is
    detected in them is no false positive. The image score is ``pred_score``, else the maximum of the
    map or of the boxes; with ``source='boxes'`` always the highest score of the boxes. What is not
    measured is not read.

    Args:
        source (str): 'prob_map', 'boxes', or 'auto': the map where there is one, else the boxes.
            Defaults to 'auto'.
        connectivity (int): Neighbours of a map cell, 8 or 4. Defaults to 8.
        denominator (str): See :func:`mmfrac.evaluation.froc.froc_curve`. Defaults to 'all'.
        crossing (str): See :func:`mmfrac.evaluation.froc.recall_at`. Defaults to 'first'.
        interpolation (str): See :func:`mmfrac.evaluation.froc.recall_at`. Defaults to 'linear'.
        targets (Sequence[float]): FPPI values of the FROC score. Defaults to (.1, .2, .3, .4, .5).
        recall_fppi (Sequence[float]): FPPI values of 'Recall@...'. Defaults to (.1,).
        out_file (str, optional): JSON file for the metrics, the options and the curve. Defaults to None.
        records_file (str, optional): JSON file for the records of the images, see
            :func:`mmfrac.evaluation.metrics.files.write_records`. Defaults to None.
        records_max_fppi (float): FPPI up to which these are exact; at least up to the highest that the
            metrics ask for, and with ``crossing='best'`` without an end. Defaults to 2.
        max_fppi (float, optional): FPPI up to which the curve is kept, and so gathered between ranks;
            what is reported does not change. Only with ``crossing='first'``. Defaults to None, all.
        collect_device (str): 'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names in the log. Defaults to None, 'frac'.
        collect_dir (str, optional): Shared folder for collecting on the CPU. Defaults to None.

    Attributes:
        definitions (Definitions): What the options say.
        curve (FrocCurve | None): Curve of the last evaluation, on the main rank.

    Raises:
        ValueError: If an option is out of range.
    """

    default_prefix = 'frac'

    def __init__(
        self,
        source: str = METRIC_DEFAULTS.source,
        connectivity: int = METRIC_DEFAULTS.connectivity,
        denominator: str = METRIC_DEFAULTS.denominator,
        crossing: str = METRIC_DEFAULTS.crossing,
        interpolation: str = METRIC_DEFAULTS.interpolation,
        targets: Sequence[float] = METRIC_DEFAULTS.targets,
        recall_fppi: Sequence[float] = METRIC_DEFAULTS.recall_fppi,
        out_file: str | None = None,
        records_file: str | None = None,
        records_max_fppi: float = 2.0,
        max_fppi: float | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.definitions = Definitions(
            source=source,
            connectivity=connectivity,
            denominator=denominator,
            crossing=crossing,
            interpolation=interpolation,
            targets=targets,
            recall_fppi=recall_fppi,
        )
        # now, not after the evaluation
        if out_file:
            check_output(out_file, 'metrics file', rb'\{\s*"metrics":')
        if records_file:
            check_output(records_file, 'records file', rb'\{\s*"format_version":')
        self.out_file = out_file
        self.records_file = records_file
        self.records_max_fppi = records_max_fppi
        needed = [self.definitions.highest_fppi, *([records_max_fppi] if records_file else [])]
        self.max_fppi = check_max_fppi(max_fppi, needed, crossing)
        self.curve: froc.FrocCurve | None = None
        self._store = RecordStore()

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one result an image: its label, image score and record; never its map.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Predictions, as MMEngine's ``Evaluator`` passes them.

        Raises:
            ValueError: If a key is missing, or a prediction or box of an image is malformed.
        """
        for sample in data_samples:
            img_path = str(sample.get('img_path') or read_field(sample, 'img_id', '?'))
            label = int(read_field(sample, 'label', img_path))
            if label not in (-1, 0, 1):
                raise ValueError(f'label of film {img_path} must be 1, 0 or -1, got {label}')
            regions = bool(read_field(sample, 'regions', img_path))
            instances = read_field(sample, 'instances', img_path) if regions else []
            prediction = self._prediction(sample, img_path)
            record = prediction.record(
                boxes_of(lesions(instances)),
                boxes_of(ignored(instances)),
                self.definitions.connectivity,
                img_path,
            )
            score = prediction.image_score
            if not np.isfinite(score):
                raise ValueError(f'image score of film {img_path} must be finite, got {score}')
            result: dict[str, Any] = dict(
                img_path=img_path,
                img_id=str(sample.get('img_id', img_path)),
                patient_id=str(sample.get('patient_id', img_path)),
                label=label,
                regions=regions,
                score=score,
                record=record if regions else None,
            )
            if regions and self.max_fppi is not None:
                result['record'], result['rest'] = self._store.cut(record)
            self.results.append(result)

    def evaluate(self, size: int) -> dict:
        """Gather the records of all ranks, trimmed to ``max_fppi``, and compute the metrics.

        Args:
            size (int): Images of the data set.

        Returns:
            dict: Metrics by name with prefix.
        """
        if self.max_fppi is not None:
            measured = [result for result in distinct(self.results) if result['regions']]
            trimmed = trim_cut_records(
                [result['record'] for result in measured],
                [result['rest'] for result in measured],
                self._store,
                size,
                self.max_fppi,
                self.definitions.denominator,
            )
            for result, record in zip(measured, trimmed):
                result['record'] = record
            for result in self.results:
                result.pop('rest', None)
            self._store.clear()
        return super().evaluate(size)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Metrics of all images; keeps the curve in ``self.curve``.

        Args:
            results (list): Results of all ranks; an image that came twice counts once.

        Returns:
            dict[str, float]: 'AUROC', 'FROC' and a 'Recall@...' for each ``recall_fppi``.
        """
        for result in results:
            # where the results have not come through ``evaluate``
            if (rest := result.pop('rest', None)) is not None:
                result['record'] = self._store.join(result['record'], rest)
        metrics, self.curve = self.calculate(results, self.definitions)
        if self.max_fppi is not None:
            self.curve = froc.curve_until(self.curve, self.max_fppi)
        if self.out_file:
            hub = MessageHub.get_current_instance()
            write_metrics(
                self.out_file,
                metrics,
                self.curve,
                self.definitions,
                self.max_fppi,
                hub.runtime_info.get('precision'),
            )
        if self.records_file:
            images = [_image_result(result) for result in distinct(results)]
            write_records(self.records_file, images, self.definitions, self.records_max_fppi)
        return metrics

    @staticmethod
    def calculate(
        results: Sequence[dict], definitions: Definitions
    ) -> tuple[dict[str, float], froc.FrocCurve]:
        """Metrics and curve of a list of results, see :func:`mmfrac.evaluation.froc.figures`.

        Args:
            results (Sequence[dict]): As of :meth:`process`. Images with label -1 are left out of AUROC,
                images without ``regions`` out of FROC. Of several results of one image the first
                counts.
            definitions (Definitions): How they are counted.

        Returns:
            tuple[dict[str, float], FrocCurve]: Metrics by name, and the FROC curve.
        """
        found, curve = froc.figures(
            [_image_result(result) for result in distinct(results)], definitions
        )
        return {name: float(value) for name, value in found.items()}, curve

    def _prediction(self, sample: dict, img_path: str) -> ImagePrediction:
        source = self.definitions.source
        if source == 'prob_map':
            read_field(sample, 'pred_prob_map', img_path)
        has_map = source != 'boxes' and 'pred_prob_map' in sample
        read_field(sample, 'map_scale' if has_map else 'pred_instances', img_path)
        unused = {'pred_instances'} if has_map else {'pred_prob_map', 'map_scale'}
        if source == 'boxes':
            unused.add('pred_score')
        used = {key: value for key, value in sample.items() if key not in unused}
        return prediction_of_sample(used | dict(img_path=img_path))


def _image_result(result: dict) -> froc.ImageResult:
    return froc.ImageResult(
        img_id=result.get('img_id', result['img_path']),
        patient_id=result.get('patient_id', result['img_path']),
        label=result['label'],
        score=result['score'],
        record=result['record'] if result['regions'] else None,
    )
