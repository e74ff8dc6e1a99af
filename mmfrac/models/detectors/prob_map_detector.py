# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor

from mmfrac.models.backbones.planes import takes_grey, with_planes
from mmfrac.models.channels_last import use_channels_last
from mmfrac.models.data_preprocessor import check_batch
from mmfrac.models.heads.image_head import ImageHead
from mmfrac.models.postprocess import add_prediction, prediction_options
from mmfrac.models.state_dicts import StudentWeights
from mmfrac.models.target_maps import stack_labels


@MODELS.register_module()
class ProbMapDetector(StudentWeights, BaseDetector):
    """Detector whose output is a prob map: backbone, neck, ``ProbMapHead``.

    A checkpoint of teacher-student training loads as its student.

    Args:
        backbone (dict): E.g. mmdet's ``ResNet``.
        neck (dict): E.g. mmdet's ``FPN``.
        prob_map_head (dict): ``ProbMapHead``.
        image_head (dict, optional): ``ImageHead``, which learns the labels of images beside the map, in
            training alone. Defaults to None.
        test_cfg (dict, optional): ``component_thr`` (prob at which the map is cut into boxes, default
            0.2), ``max_per_img`` (boxes a film, default 100). Defaults to None.
        data_preprocessor (dict, optional): ``DetDataPreprocessor``. Defaults to None.
        channels_last (bool): Keep weights and features in torch's ``channels_last`` memory format:
            the same values up to rounding, and faster, in low precision above all. Defaults to True.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Attributes:
        training_only (tuple[str, ...]): Prefixes of the tensors that prediction does not need.
        image_score_is_map_maximum (bool): True: ``pred_score`` is the maximum of the map.
        low_precision (bool): True: its predictions may be computed in bf16 or fp16.

    Raises:
        TypeError: When ``image_head`` is no ``ImageHead``.
        ValueError: When ``test_cfg`` has an unknown option.
    """

    training_only: tuple[str, ...] = ()
    image_score_is_map_maximum = True
    low_precision = True

    def __init__(
        self,
        backbone: ConfigType,
        neck: ConfigType,
        prob_map_head: ConfigType,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        channels_last: bool = True,
        init_cfg: OptMultiConfig = None,
        image_head: OptConfigType = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.prob_map_head = MODELS.build(prob_map_head)
        self.image_head = None if image_head is None else MODELS.build(image_head)
        if self.image_head is not None:
            if not isinstance(self.image_head, ImageHead):
                raise TypeError(
                    f'image_head of ProbMapDetector is a {type(self.image_head).__name__}, which nobody '
                    'would train: inherit ImageHead'
                )
            self.training_only = ('image_head.',)
        self.data_preprocessor.register_forward_pre_hook(check_batch)
        self.test_cfg = prediction_options(test_cfg, type(self).__name__)
        self._takes_grey = takes_grey(self.backbone)
        if channels_last:
            use_channels_last(self)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Pyramid levels of a batch; a grey plane is given to all channels of the backbone.

        Args:
            batch_inputs (Tensor): ``(N, 1, H, W)`` or ``(N, 3, H, W)``.

        Returns:
            tuple[Tensor, ...]: Levels ``(N, C, H_i, W_i)``, finest first.

        Raises:
            ValueError: When the finest level has another stride than the head was told.
        """
        feats = self.neck(self.backbone(with_planes(batch_inputs, self._takes_grey)))
        stride = self.prob_map_head.featmap_stride
        (rows, columns), (height, width) = feats[0].shape[-2:], batch_inputs.shape[-2:]
        if rows * stride != height or columns * stride != width:
            raise ValueError(
                f'the finest level of the neck has {rows} x {columns} cells for an input of '
                f'{height} x {width} px, and prob_map_head.featmap_stride={stride} would be '
                f'{height / stride:g} x {width / stride:g}: set it to the stride of that level'
            )
        return feats

    def logits(self, batch_inputs: Tensor) -> Tensor:
        """Logits ``(N, 1, h, w)`` of the prob map."""
        return self.prob_map_head(self.extract_feat(batch_inputs))

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """L_sup of a batch.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): With ``gt_prob_map``.

        Returns:
            dict[str, Tensor]: ``loss_sup``, and ``loss_image`` of an image head.
        """
        feats = self.extract_feat(batch_inputs)
        losses = self.prob_map_head.loss(feats, batch_data_samples)
        if isinstance(self.image_head, ImageHead):
            image_logits = self.image_head(feats)
            labels = stack_labels(batch_data_samples, image_logits.device)
            losses.update(self.image_head.loss(image_logits, labels))
        return losses

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Prob maps, image scores and boxes of a batch.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): Films in the un-augmented view.
            rescale (bool): Boxes and ``map_scale`` in film px, else in input px. Defaults to True.

        Returns:
            list[DetDataSample]: With ``pred_prob_map`` (``PixelData``, ``data`` ``(1, h, w)``, the
            film's own area), ``pred_score`` (its maximum), ``pred_instances`` (components of the map at
            ``component_thr`` with their maxima as scores) and the meta key ``map_scale`` = (px per cell
            in x, in y).
        """
        feats = self.extract_feat(batch_inputs)
        prob_maps = self.prob_map_head.predict(feats, batch_data_samples)
        stride = self.prob_map_head.stride
        for sample, prob_map in zip(batch_data_samples, prob_maps):
            add_prediction(sample, prob_map, prob_map.amax(), stride, self.test_cfg, rescale)
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None) -> Tensor:
        return self.logits(batch_inputs)
