# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.models import SemiBaseDetector
from mmdet.models.utils import rename_loss_dict, reweight_loss_dict
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.dist import all_gather_object
from mmengine.structures import InstanceData
from torch import Tensor

from mmfrac.models.detectors.burn_in import burn_in_length
from mmfrac.models.pseudo_labels.score_mixture import mode_threshold


@MODELS.register_module()
class ConsistentTeacher(SemiBaseDetector):
    """Consistent-Teacher: mean teacher of a dense detector, with a threshold that follows its scores.

    Wang et al., CVPR 2023, arXiv 2209.01589, section 3; its other two parts are ``FAM3DHead`` and
    ``AdaptiveSampleAssigner``. In each step the teacher finds boxes in the weak view. Of each film the
    ``round(sum of scores) + 1`` best are candidates, as in the authors' code, and their scores go into
    a bank of the latest ones of their class. A mixture of two Gaussians is fitted to the bank
    (``mode_threshold``), and from the candidates above the threshold the student learns in the strong
    view.

    ``MeanTeacherHook`` or ``RampedMeanTeacherHook`` moves the teacher. The bank is saved with the
    checkpoint and is one of all ranks (that of the authors' code is one a rank).

    Args:
        detector (dict): Student and teacher, a single-stage detector of mmdet.
        semi_train_cfg (dict, optional): ``sup_weight`` (default 1); ``unsup_weight`` (2);
            ``burn_in_epochs``, epochs without pseudo boxes (0), or ``'all'``; ``background_weight``, the
            weight of pseudo boxes is multiplied by it where fewer than half of the films have any
            (0.01); ``initial_score_thr``, score of a candidate at least (0.05); ``num_scores``, size of
            the bank (100); ``min_scores``, scores below which the threshold is 0 (4);
            ``min_pseudo_bbox_wh``, smallest box in px of the student's view ((0.01, 0.01)). Defaults to
            None.
        semi_test_cfg (dict, optional): ``predict_on``, 'teacher' or 'student'. Defaults to the teacher.
        data_preprocessor (dict, optional): ``SemiDataPreprocessor``. Defaults to None.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Attributes:
        score_bank (Tensor): ``(num_classes, num_scores)``, the newest first, 0 where there is none yet.

    Raises:
        ValueError: When ``semi_train_cfg`` has an unknown option or one out of its range, or the
            detector has no dense head.
    """

    score_bank: Tensor

    def __init__(
        self,
        detector: ConfigType,
        semi_train_cfg: OptConfigType = None,
        semi_test_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            detector=detector,
            semi_train_cfg=_checked(semi_train_cfg or {}),
            semi_test_cfg=semi_test_cfg or {},
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        head = getattr(self.student, 'bbox_head', None)
        if head is None:
            raise ValueError(
                'the detector of ConsistentTeacher is a single-stage one of mmdet with a bbox_head, got '
                f'{type(self.student).__name__}'
            )
        bank = torch.zeros(head.num_classes, self.semi_train_cfg['num_scores'])
        self.register_buffer('score_bank', bank)
        self._epoch: int | None = None

    @property
    def burn_in_epochs(self) -> float:
        """Epochs without pseudo boxes before semi-supervised training; infinity for ``'all'``."""
        return burn_in_length(self.semi_train_cfg['burn_in_epochs'])

    @property
    def is_semi_supervised(self) -> bool:
        """Whether there are pseudo boxes in the current epoch; a ``ValueError`` where nobody told it."""
        if not self.burn_in_epochs:
            return True
        if self._epoch is None:
            raise ValueError(
                'ConsistentTeacher was not told the epoch, without which it knows no burn-in: add '
                'SemiEpochHook to the config, as configs/_base_/default_runtime.py has it (in a loop of '
                'your own call set_epoch)'
            )
        return self._epoch >= self.burn_in_epochs

    def set_epoch(self, epoch: int) -> None:
        """Tell the model the epoch, counted from 0 (called by ``SemiEpochHook``)."""
        self._epoch = epoch

    def loss(
        self,
        multi_batch_inputs: dict[str, Tensor],
        multi_batch_data_samples: dict[str, SampleList],
    ) -> dict[str, Tensor]:
        """Losses of a multi-branch batch.

        Args:
            multi_batch_inputs (dict[str, Tensor]): ``(N_b, C, H, W)`` of the branches ``sup``,
                ``unsup_teacher`` and ``unsup_student``; in burn-in of ``sup`` alone.
            multi_batch_data_samples (dict[str, list[DetDataSample]]): Their data samples.

        Returns:
            dict[str, Tensor]: The head's losses with ``sup_`` and ``unsup_`` before their names, and the
            monitors ``pseudo_thr`` (mean threshold of the candidates) and ``pseudo_boxes`` (a film).

        Raises:
            ValueError: When nobody told the model the epoch.
        """
        if self.is_semi_supervised:
            return super().loss(multi_batch_inputs, multi_batch_data_samples)
        return self.loss_by_gt_instances(multi_batch_inputs['sup'], multi_batch_data_samples['sup'])

    @torch.no_grad()
    def get_pseudo_instances(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> tuple[SampleList, dict]:
        """Pseudo boxes of the weak view.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): Their data samples.

        Returns:
            tuple[list[DetDataSample], dict]: The same data samples with ``gt_instances`` in px of the
            film, and ``threshold``, the mean of the candidates.
        """
        samples, info = super().get_pseudo_instances(batch_inputs, batch_data_samples)
        lowest = self.semi_train_cfg['initial_score_thr']
        for sample in samples:
            sample.gt_instances = likely_instances(sample.gt_instances, lowest)
        thresholds = self.note([sample.gt_instances for sample in samples])
        for sample, threshold in zip(samples, thresholds):
            sample.gt_instances = sample.gt_instances[sample.gt_instances.scores > threshold]
        every = torch.cat(thresholds)
        info['threshold'] = every.mean() if len(every) else every.new_zeros(())
        return samples, info

    @torch.no_grad()
    def note(self, candidates: Sequence[InstanceData]) -> list[Tensor]:
        """Put scores into the bank, and read the thresholds off it.

        Args:
            candidates (Sequence[InstanceData]): ``scores`` and ``labels`` of each film.

        Returns:
            list[Tensor]: Threshold of the class of each candidate, by film.
        """
        scores = torch.cat([one.scores for one in candidates])
        labels = torch.cat([one.labels for one in candidates])
        own = torch.stack([scores.float(), labels.float()]).cpu().double().numpy()
        noted, classes = np.concatenate(all_gather_object(own), axis=1)
        bank = self.score_bank.cpu().double().numpy()
        thresholds = np.zeros(len(bank))
        for label in np.unique(classes).astype(int):
            latest = np.concatenate([noted[classes == label], bank[label]])[: bank.shape[1]]
            bank[label] = latest
            found = mode_threshold(latest[latest > 0].tolist(), self.semi_train_cfg['min_scores'])
            thresholds[label] = found or 0.0
        self.score_bank.copy_(torch.from_numpy(bank))
        of_class = torch.from_numpy(thresholds).to(scores)
        return [of_class[one.labels] for one in candidates]

    def loss_by_pseudo_instances(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        batch_info: dict | None = None,
    ) -> dict[str, Tensor]:
        """Losses of the strong view.

        Args:
            batch_inputs (Tensor): ``(N, C, H, W)``.
            batch_data_samples (list[DetDataSample]): Their data samples with pseudo boxes.
            batch_info (dict, optional): Of ``get_pseudo_instances``. Defaults to None.

        Returns:
            dict[str, Tensor]: As of ``loss``.
        """
        losses = self.student.loss(batch_inputs, batch_data_samples)
        counts = [len(sample.gt_instances) for sample in batch_data_samples]
        weight = self.semi_train_cfg['unsup_weight']
        if sum(count > 0 for count in counts) < len(counts) / 2:
            weight *= self.semi_train_cfg['background_weight']
        found = rename_loss_dict('unsup_', reweight_loss_dict(losses, weight))
        found['pseudo_boxes'] = batch_inputs.new_tensor(sum(counts) / len(counts))
        if batch_info:
            found['pseudo_thr'] = batch_info['threshold']
        return found


def likely_instances(instances: InstanceData, lowest: float) -> InstanceData:
    """As many of the best boxes as the scores let expect, and one more.

    Args:
        instances (InstanceData): Of one film, with ``scores``.
        lowest (float): Boxes of this score and below are left out at first.

    Returns:
        InstanceData: ``round(sum of scores) + 1`` boxes or fewer, the best first.
    """
    instances = instances[instances.scores > lowest]
    order = instances.scores.argsort(descending=True)
    expected = int(instances.scores.sum() + 0.5)
    return instances[order[: expected + 1]]


def _checked(given: ConfigType) -> dict:
    """All options, with ``ValueError`` where one is unknown or out of its range."""
    options: dict[str, Any] = {
        'sup_weight': 1.0,
        'unsup_weight': 2.0,
        'burn_in_epochs': 0,
        'background_weight': 0.01,
        'initial_score_thr': 0.05,
        'num_scores': 100,
        'min_scores': 4,
        'min_pseudo_bbox_wh': (1e-2, 1e-2),
    }
    unknown = set(given) - set(options)
    if unknown:
        raise ValueError(
            f'semi_train_cfg of ConsistentTeacher has no option {sorted(unknown)}; it takes '
            f'{sorted(options)}'
        )
    options.update(given)
    burn_in_length(options['burn_in_epochs'])
    for name in ('sup_weight', 'unsup_weight', 'background_weight'):
        if not options[name] >= 0:
            raise ValueError(f'{name} must be >= 0, got {options[name]}')
    if not 0 <= options['initial_score_thr'] < 1:
        raise ValueError(
            f'initial_score_thr must lie in [0, 1), got {options["initial_score_thr"]}'
        )
    if not 2 <= options['min_scores'] <= options['num_scores']:
        raise ValueError(
            'min_scores must lie between 2 and num_scores, got '
            f'{options["min_scores"]} and {options["num_scores"]}'
        )
    return options
