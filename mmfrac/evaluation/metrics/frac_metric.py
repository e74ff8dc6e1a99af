# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""FROC and AUROC as an MMEngine metric, for prob maps and for boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from numpy.typing import ArrayLike

from mmfrac.datasets.labels import lesions
from mmfrac.evaluation.functional import froc
from mmfrac.evaluation.functional.trimming import RecordTails, check_max_fppi, trim_cut_records
from mmfrac.evaluation.metrics.files import FilmResult, write_metrics, write_records


def as_numpy(data: Any) -> np.ndarray:
    """A tensor or array as a NumPy array; bfloat16, which NumPy lacks, becomes float32."""
    if not isinstance(data, torch.Tensor):
        return np.asarray(data)
    data = data.detach().cpu()
    return (data.float() if data.dtype == torch.bfloat16 else data).numpy()


def read_field(sample: dict, key: str, film: str) -> Any:
    """A field of a data sample; a ``ValueError`` that says how to get it where it is missing."""
    if key in sample:
        return sample[key]
    mend = (
        'the model has to predict it'
        if key.startswith('pred_')
        else "add it to meta_keys of the packing transform (or to the model's own predictions)"
    )
    raise ValueError(f'data sample of film {film} has no {key!r}: {mend}')


def lesion_boxes(instances: Sequence[dict]) -> list:
    """Boxes of a film that are lesions, without ignored ones."""
    return [lesion['bbox'] for lesion in lesions(instances)]


def distinct(results: Sequence[dict]) -> list[dict]:
    """Results with one a film, the first of each, in their order."""
    films: dict[str, dict] = {}
    for result in results:
        films.setdefault(result['film'], result)
    return list(films.values())


_SOURCES = ('auto', 'prob_map', 'boxes')


@METRICS.register_module()
class FracMetric(BaseMetric):
    """AUROC, FROC score and recall at given FPPI (paper section 3, Table 1).

    Each data sample needs the metainfo ``img_path`` (or ``img_id``), ``label``, ``regions`` and
    ``instances``. With the prob map ``pred_prob_map`` it also needs ``map_scale``, the film pixels
    per map cell (sx, sy). Without one its ``pred_instances`` are evaluated under the same rules, so
    that any detector can be compared. Boxes with ``ignore_flag`` set are no lesions.

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
        records_file (str, optional): JSON file for the records of the films, see
            :func:`mmfrac.evaluation.metrics.files.write_records`. Defaults to None.
        records_max_fppi (float): FPPI up to which these are exact. Defaults to 2.
        max_fppi (float, optional): FPPI up to which the curve is kept, and so gathered between ranks;
            what is reported does not change. Only with ``crossing='first'``. Defaults to None, all.
        collect_device (str): 'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names in the log. Defaults to None, 'frac'.
        collect_dir (str, optional): Shared folder for collecting on the CPU. Defaults to None.

    Attributes:
        curve (FrocCurve | None): Curve of the last evaluation, on the main rank.

    Raises:
        ValueError: If an option is out of range.
    """

    default_prefix = 'frac'

    def __init__(
        self,
        source: str = 'auto',
        connectivity: int = 8,
        denominator: str = 'all',
        crossing: str = 'first',
        interpolation: str = 'linear',
        targets: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
        recall_fppi: Sequence[float] = (0.1,),
        out_file: str | None = None,
        records_file: str | None = None,
        records_max_fppi: float = 2.0,
        max_fppi: float | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if source not in _SOURCES:
            raise ValueError(f'source must be one of {_SOURCES}, got {source!r}')
        if connectivity not in (4, 8):
            raise ValueError(f'connectivity must be 4 or 8, got {connectivity!r}')
        froc.check_option('denominator', denominator)
        froc.check_option('crossing', crossing)
        froc.check_option('interpolation', interpolation)
        self.source = source
        self.connectivity = connectivity
        self.denominator = denominator
        self.crossing = crossing
        self.interpolation = interpolation
        self.targets = tuple(froc.check_fppi(targets, many=True).tolist())
        self.recall_fppi = tuple(froc.check_fppi(recall_fppi, many=True).tolist())
        self.out_file = out_file
        self.records_file = records_file
        self.records_max_fppi = records_max_fppi
        needed = [*self.targets, *self.recall_fppi, *([records_max_fppi] if records_file else [])]
        self.max_fppi = check_max_fppi(max_fppi, needed, crossing)
        self.curve: froc.FrocCurve | None = None
        self._tails = RecordTails()

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append one result a film: its label, image score and record; never its map.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Predictions, as MMEngine's ``Evaluator`` passes them.

        Raises:
            ValueError: If a key is missing, or a prediction or box of a film is malformed.
        """
        for sample in data_samples:
            film = str(sample.get('img_path') or read_field(sample, 'img_id', '?'))
            label = int(read_field(sample, 'label', film))
            if label not in (-1, 0, 1):
                raise ValueError(f'label of film {film} must be 1, 0 or -1, got {label}')
            regions = bool(read_field(sample, 'regions', film))
            lesions = lesion_boxes(read_field(sample, 'instances', film)) if regions else []
            uses_map = self.source == 'prob_map' or (
                self.source == 'auto' and 'pred_prob_map' in sample
            )
            if uses_map:
                record = self._map_record(sample, film, lesions)
                score = float(sample.get('pred_score', record.image_score))
            else:
                record = self._box_record(sample, film, lesions)
                score = record.image_score
            if not np.isfinite(score):
                raise ValueError(f'image score of film {film} must be finite, got {score}')
            result: dict[str, Any] = dict(
                film=film,
                film_id=str(sample.get('img_id', film)),
                patient=str(sample.get('patient_id', film)),
                label=label,
                regions=regions,
                score=score,
                record=record if regions else None,
            )
            if regions and self.max_fppi is not None:
                result['record'], result['tail'] = self._tails.cut(record)
            self.results.append(result)

    def evaluate(self, size: int) -> dict:
        """Gather the records of all ranks, trimmed to ``max_fppi``, and compute the metrics.

        Args:
            size (int): Films of the data set.

        Returns:
            dict: Metrics by name with prefix.
        """
        if self.max_fppi is not None:
            films = [result for result in distinct(self.results) if result['regions']]
            trimmed = trim_cut_records(
                [film['record'] for film in films],
                [film['tail'] for film in films],
                self._tails,
                size,
                self.max_fppi,
                self.denominator,
            )
            for film, record in zip(films, trimmed):
                film['record'] = record
            for result in self.results:
                result.pop('tail', None)
            self._tails.clear()
        return super().evaluate(size)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Metrics of all films; keeps the curve in ``self.curve``.

        Args:
            results (list): Results of all ranks; a film that came twice counts once.

        Returns:
            dict[str, float]: 'AUROC', 'FROC' and a 'Recall@...' for each ``recall_fppi``.
        """
        options: dict[str, Any] = dict(
            denominator=self.denominator,
            crossing=self.crossing,
            interpolation=self.interpolation,
            targets=self.targets,
            recall_fppi=self.recall_fppi,
        )
        for result in results:
            # where the results have not come through ``evaluate``
            if (tail := result.pop('tail', None)) is not None:
                result['record'] = self._tails.join(result['record'], tail)
        metrics, self.curve = self.calculate(results, **options)
        if self.max_fppi is not None:
            self.curve = froc.curve_until(self.curve, self.max_fppi)
        if self.out_file:
            options['connectivity'] = self.connectivity
            write_metrics(self.out_file, metrics, self.curve, options)
        if self.records_file:
            names = ('film_id', 'patient', 'label', 'score', 'record')
            films = [FilmResult(*(film[name] for name in names)) for film in distinct(results)]
            write_records(self.records_file, films, self.records_max_fppi)
        return metrics

    @staticmethod
    def calculate(
        results: Sequence[dict],
        denominator: str = 'all',
        crossing: str = 'first',
        interpolation: str = 'linear',
        targets: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5),
        recall_fppi: Sequence[float] = (0.1,),
    ) -> tuple[dict[str, float], froc.FrocCurve]:
        """Metrics and curve of a list of results; the options are those of the class.

        Args:
            results (Sequence[dict]): Dicts of ``film``, ``label``, ``regions``, ``score`` and
                ``record``. Films with label -1 are left out of AUROC, films without ``regions``
                out of FROC. Of several results of one film the first counts.
            denominator (str): Defaults to 'all'.
            crossing (str): Defaults to 'first'.
            interpolation (str): Defaults to 'linear'.
            targets (Sequence[float]): Defaults to (.1, .2, .3, .4, .5).
            recall_fppi (Sequence[float]): Defaults to (.1,).

        Returns:
            tuple[dict[str, float], FrocCurve]: Metrics by name, and the FROC curve.
        """
        films = distinct(results)
        curve = froc.froc_curve([f['record'] for f in films if f['regions']], denominator)
        recalls = froc.recall_at(curve, recall_fppi, crossing, interpolation)
        metrics = {
            'AUROC': froc.auroc([f['label'] for f in films], [f['score'] for f in films]),
            'FROC': float(froc.froc_score(curve, targets, crossing, interpolation)),
        }
        for fppi, recall in zip(recall_fppi, recalls):
            metrics[f'Recall@{fppi:g}'] = float(recall)
        return metrics, curve

    def _map_record(self, sample: dict, film: str, lesions: ArrayLike) -> froc.ImageRecord:
        prob_map = as_numpy(read_field(sample, 'pred_prob_map', film)['data'])
        if prob_map.ndim != 3 or len(prob_map) != 1:
            raise ValueError(f'prob map of film {film} must be (1, h, w), got {prob_map.shape}')
        scale = read_field(sample, 'map_scale', film)
        return froc.image_record(prob_map[0], lesions, scale, self.connectivity, name=film)

    def _box_record(self, sample: dict, film: str, lesions: ArrayLike) -> froc.ImageRecord:
        boxes = read_field(sample, 'pred_instances', film)
        return froc.box_record(
            as_numpy(boxes['bboxes']), as_numpy(boxes['scores']), lesions, name=film
        )
