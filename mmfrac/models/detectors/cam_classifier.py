# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor, nn

from mmfrac.models.backbones.planes import takes_grey, with_planes
from mmfrac.models.channels_last import use_channels_last
from mmfrac.models.data_preprocessor import check_batch
from mmfrac.models.heads.prob_map_head import image_cells
from mmfrac.models.postprocess import add_prediction, prediction_options
from mmfrac.models.state_dicts import StudentWeights
from mmfrac.models.target_maps import stack_valid
from mmfrac.utils.device import to_device


@MODELS.register_module()
class CAMClassifier(StudentWeights, BaseDetector):
    r"""Image classifier whose class activation map is the prob map (CheXNet [17] with CAM [18]).

    .. math:: \text{map}(x, y) = \sigma(w \cdot f(x, y) + b), \qquad
              \text{score} = \sigma(w \cdot \overline{f} + b)

    ``f`` is the last stage of the backbone and :math:`\overline{f}` its average over the film's own area
    (a linear layer after global average pooling is the average of the same layer on every cell). It
    learns from labels alone, of all films whose label is known; boxes are not used, but that cells which
    ignored boxes fill count in no loss, so that the average in training is without them. The map is not
    upsampled: its stride is that of the last stage. ``pred_score``, which is what ``FracMetric`` takes
    for AUROC, is the image score above, not the maximum of the map. Of a checkpoint of a
    ``SemiProbMapDetector`` or ``ProbMapDetector`` the backbone loads.

    Args:
        backbone (dict): E.g. mmdet's ``ResNet``; its last output is used.
        in_channels (int): Channels of that output. Defaults to 2048.
        stride (int): Input px per cell of that output. Defaults to 32.
        test_cfg (dict, optional): As of ``ProbMapDetector``. Defaults to None.
        data_preprocessor (dict, optional): ``DetDataPreprocessor``. Defaults to None.
        channels_last (bool): As of ``ProbMapDetector``. Defaults to True.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Attributes:
        low_precision (bool): True: its predictions may be computed in bf16 or fp16.
        image_score_is_map_maximum (bool): False: an ensemble averages the image scores, and so do the
            views of test-time augmentation.
    """

    image_score_is_map_maximum = False
    low_precision = True

    def __init__(
        self,
        backbone: ConfigType,
        in_channels: int = 2048,
        stride: int = 32,
        test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        channels_last: bool = True,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.data_preprocessor.register_forward_pre_hook(check_batch)
        self.backbone = MODELS.build(backbone)
        self._takes_grey = takes_grey(self.backbone)
        self.cam_head = nn.Conv2d(in_channels, 1, 1)
        self.stride = stride
        self.test_cfg = prediction_options(test_cfg, type(self).__name__)
        if channels_last:
            use_channels_last(self)

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Stages of the backbone; a grey plane is given to all of its channels.

        Args:
            batch_inputs (Tensor): ``(N, 1, H, W)`` or ``(N, 3, H, W)``.

        Returns:
            tuple[Tensor, ...]: ``(N, C_i, H_i, W_i)``, the last stage last.
        """
        return self.backbone(with_planes(batch_inputs, self._takes_grey))

    def logits(self, batch_inputs: Tensor) -> Tensor:
        """Logits ``(N, 1, h, w)`` of the class activation map."""
        return self.cam_head(self.extract_feat(batch_inputs)[-1])

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Binary cross-entropy of the films' labels.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): With ``label`` (1, 0; -1 does not count) and
                ``gt_prob_map.valid``.

        Returns:
            dict[str, Tensor]: ``loss_image``.
        """
        logits = self.logits(batch_inputs)
        valid = stack_valid(batch_data_samples)
        valid = F.adaptive_max_pool2d(valid.float(), logits.shape[-2:])
        labels = torch.tensor([sample.label for sample in batch_data_samples])
        labels = to_device(labels, logits.device)
        is_known = (labels >= 0).float()
        with torch.autocast(logits.device.type, enabled=False):
            image_logits = (logits.float() * valid).flatten(1).sum(1) / valid.flatten(1).sum(
                1
            ).clamp(min=1)
            losses = F.binary_cross_entropy_with_logits(
                image_logits, labels.clamp(min=0).float(), weight=is_known, reduction='sum'
            )
        return dict(loss_image=losses / is_known.sum().clamp(min=1))

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Class activation maps, image scores and boxes of a batch.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): Films in the un-augmented view.
            rescale (bool): Boxes and ``map_scale`` in film px, else in input px. Defaults to True.

        Returns:
            list[DetDataSample]: See ``add_prediction``.
        """
        # to the host at once, not image by image
        for sample, logits in zip(batch_data_samples, self.logits(batch_inputs).float().cpu()):
            rows, columns = image_cells(sample, self.stride)
            cells = logits[:, :rows, :columns]
            score = cells.mean().sigmoid()
            add_prediction(sample, cells.sigmoid(), score, self.stride, self.test_cfg, rescale)
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None) -> Tensor:
        return self.logits(batch_inputs)
