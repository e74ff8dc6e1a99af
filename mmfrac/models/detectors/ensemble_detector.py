# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.structures import PixelData
from torch import Tensor, nn

from mmfrac.models.data_preprocessor import check_batch
from mmfrac.models.merged_scores import merged_score, score_is_map_maximum
from mmfrac.models.postprocess import components, prediction_options

_IMAGE_SCORES = ('maximum', 'mean')


@MODELS.register_module()
class EnsembleDetector(BaseDetector):
    """Several prob map detectors as one: the mean of their maps.

    It predicts only; ``mmfrac.engine.runner.ensemble`` makes its config and its checkpoint from
    those of the detectors.

    Args:
        detectors (Sequence[dict]): Models whose ``predict`` gives prob maps of one size.
        image_score (str | None): 'maximum' of the mean map, or 'mean' of the detectors' image scores,
            for detectors whose score is not the maximum of their map; None: as the detectors say by
            ``image_score_is_map_maximum``, see ``score_is_map_maximum``. Defaults to 'maximum'.
        test_cfg (dict, optional): ``component_thr`` and ``max_per_img`` as of ``ProbMapDetector``.
            Defaults to None.
        data_preprocessor (dict, optional): The detectors' own are not used. Defaults to None.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Attributes:
        image_score_is_map_maximum (bool | None): Whether ``image_score`` is 'maximum', or all detectors
            say so where it is None; None where one of them says neither.
        low_precision (bool): Whether predictions may be computed in bf16 or fp16: where those of all
            its detectors may.

    Raises:
        ValueError: When there is no detector, or ``image_score`` is neither.
    """

    def __init__(
        self,
        detectors: Sequence[ConfigType],
        image_score: str | None = 'maximum',
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.data_preprocessor.register_forward_pre_hook(check_batch)
        if not detectors:
            raise ValueError('an ensemble needs one detector at least')
        if image_score not in (*_IMAGE_SCORES, None):
            raise ValueError(
                f'image_score must be one of {_IMAGE_SCORES} or None, got {image_score!r}'
            )
        self.detectors: Any = nn.ModuleList([MODELS.build(detector) for detector in detectors])
        self.low_precision = all(getattr(one, 'low_precision', False) for one in self.detectors)
        self.image_score = image_score
        self.image_score_is_map_maximum: bool | None = image_score == 'maximum'
        if image_score is None:
            self.image_score_is_map_maximum = score_is_map_maximum(list(self.detectors))
        self.test_cfg = prediction_options(test_cfg, type(self).__name__)

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> SampleList:
        """Mean maps, their image scores and boxes.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): Films in the un-augmented view.

        Returns:
            list[DetDataSample]: As of ``ProbMapDetector.predict``.
        """
        return self.combine(self.predict_members(batch_inputs, batch_data_samples))

    def predict_members(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> list[SampleList]:
        """Predictions of each detector, on data samples of its own.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): Films in the un-augmented view.

        Returns:
            list[list[DetDataSample]]: By detector, then film.
        """
        return [
            detector.predict(batch_inputs, [sample.new() for sample in batch_data_samples])
            for detector in self.detectors
        ]

    def combine(self, members: Sequence[SampleList]) -> SampleList:
        """One prediction of several.

        Args:
            members (Sequence[list[DetDataSample]]): By detector, then film.

        Returns:
            list[DetDataSample]: ``pred_prob_map``, the mean over the detectors, ``pred_score``,
            ``pred_instances`` and ``map_scale`` of each film.

        Raises:
            ValueError: When a detector gives no prob map, or one of another size or scale.
        """
        return [self._combine(list(samples)) for samples in zip(*members)]

    def _combine(self, samples: list[DetDataSample]) -> DetDataSample:
        name = samples[0].metainfo.get('img_path', '?')
        if any('pred_prob_map' not in sample for sample in samples):
            raise ValueError(f'no ensemble of film {name}: a detector predicts no prob map')
        maps = [sample.pred_prob_map.data for sample in samples]
        scale = samples[0].map_scale
        if any(one.shape != maps[0].shape for one in maps) or any(
            sample.map_scale != scale for sample in samples
        ):
            raise ValueError(
                f'no ensemble of film {name}: its maps are {[tuple(one.shape) for one in maps]} cells '
                f'of {[sample.map_scale for sample in samples]} px'
            )
        mean = torch.stack(maps).mean(dim=0)
        combined = samples[0].new()
        combined.pred_prob_map = PixelData(data=mean)
        scores = [sample.pred_score for sample in samples]
        combined.pred_score = merged_score(mean, maps, scores, self.image_score_is_map_maximum)
        shape = samples[0].ori_shape
        combined.pred_instances = components(mean[0], scale, shape, **self.test_cfg)
        return combined

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None
    ) -> tuple[Tensor, ...]:
        return tuple(
            detector._forward(batch_inputs, batch_data_samples) for detector in self.detectors
        )

    def extract_feat(self, batch_inputs: Tensor) -> tuple:
        """Features of each detector."""
        return tuple(detector.extract_feat(batch_inputs) for detector in self.detectors)

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """An ensemble is not trained: its detectors are, each by itself.

        Raises:
            ValueError: Always.
        """
        raise ValueError('an EnsembleDetector is not trained; train its detectors')
