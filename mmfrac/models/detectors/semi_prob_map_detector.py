# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Teacher-student training of a prob map detector."""

import math
from collections.abc import Sequence

import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import ModuleList as MMModuleList
from torch import Tensor

from mmfrac.models.losses.cell_loss import reduce_cells
from mmfrac.models.postprocess import image_scores
from mmfrac.models.pseudo_labels.uncertain_cells import uncertain_cells
from mmfrac.models.state_dicts import STUDENT, AdaptedWeights
from mmfrac.models.teachers.base import call_event


def consistency_weight(epoch: int, ramp_up_epochs: int) -> float:
    r"""Weight of L_semi while it ramps up (Temporal Ensembling [9], Mean Teacher [10]).

    .. math:: w(t) = \exp(-5 (1 - \min(t, T) / T)^2)

    Args:
        epoch (int): ``t``, semi-supervised epochs so far; 0 in the first.
        ramp_up_epochs (int): ``T``; 0 for no ramp.

    Returns:
        float: In (0, 1]; 1 from epoch ``T`` on.

    Raises:
        ValueError: When an epoch is negative.
    """
    if epoch < 0 or ramp_up_epochs < 0:
        raise ValueError(f'epochs must be >= 0, got {epoch} and {ramp_up_epochs}')
    if epoch >= ramp_up_epochs:
        return 1.0
    return math.exp(-5 * (1 - epoch / ramp_up_epochs) ** 2)


MultiBranchInputs = dict[str, Tensor]

MultiBranchSamples = dict[str, SampleList]


@MODELS.register_module()
class SemiProbMapDetector(AdaptedWeights, BaseDetector):
    """Teacher-student training of a prob map detector (paper, section 2.2 and Fig. 2).

    ``L = L_sup + L_semi``: L_sup on the films of branch ``sup``; L_semi between the student's map of
    branch ``unsup_student`` and the pseudo map, which is the teacher's map of the same films in branch
    ``unsup_teacher`` after the pseudo-label pipeline. Both student branches go through the network in
    one pass.

    A checkpoint of the plain detector (supervised pre-training) loads into the student.

    Args:
        detector (dict): The student, a ``ProbMapDetector``.
        teacher (dict): How the teacher map is formed. Defaults to ``dict(type='PiTeacher')``.
        pseudo_pipeline (Sequence[dict]): Steps from teacher map to pseudo map. Each is called with
            ``(pseudo_map, teacher_samples, student_samples)``; it may leave cells out of L_semi, see
            ``uncertain_cells``. Defaults to ``DynamicSharpening``, then
            ``WarpToStudent``.
        semi_loss (dict): L_semi. Defaults to ``dict(type='KLDLoss')``.
        mix_up (dict, optional): Mixes the films of a semi-supervised step and their targets, e.g.
            ``dict(type='MixUp')``. Defaults to None.
        semi_train_cfg (dict, optional): ``burn_in_epochs`` (epochs of L_sup alone, default 0),
            ``sup_weight`` and ``unsup_weight`` (default 1), ``ramp_up_epochs`` (semi-supervised epochs
            in which ``unsup_weight`` grows, see ``consistency_weight``; default 0, none).
        data_preprocessor (dict, optional): ``SemiDataPreprocessor``. Defaults to None.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Attributes:
        training_only (tuple[str, ...]): Prefixes of the tensors that prediction does not need.

    Raises:
        ValueError: When ``semi_train_cfg`` has an unknown option.
    """

    training_only = ('teacher.', 'pseudo_pipeline.')

    def __init__(
        self,
        detector: ConfigType,
        teacher: ConfigType = dict(type='PiTeacher'),
        pseudo_pipeline: Sequence[ConfigType] = (
            dict(type='DynamicSharpening'),
            dict(type='WarpToStudent'),
        ),
        semi_loss: ConfigType = dict(type='KLDLoss'),
        mix_up: OptConfigType = None,
        semi_train_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.student = MODELS.build(detector)
        self.teacher = MODELS.build(teacher)
        self.pseudo_pipeline = MMModuleList([MODELS.build(step) for step in pseudo_pipeline])
        self.semi_loss = MODELS.build(semi_loss)
        self.mix_up = None if mix_up is None else MODELS.build(mix_up)
        call_event(self.teacher, 'attach', self.student)
        defaults = {
            'burn_in_epochs': 0,
            'sup_weight': 1.0,
            'unsup_weight': 1.0,
            'ramp_up_epochs': 0,
        }
        unknown = set(semi_train_cfg or {}) - set(defaults)
        if unknown:
            raise ValueError(
                f'semi_train_cfg has no option {sorted(unknown)}; it takes {sorted(defaults)}'
            )
        self.semi_train_cfg = {**defaults, **(semi_train_cfg or {})}
        self.epoch = self.burn_in_epochs

    @property
    def burn_in_epochs(self) -> int:
        """Epochs of L_sup alone before semi-supervised training."""
        return self.semi_train_cfg['burn_in_epochs']

    @property
    def is_semi_supervised(self) -> bool:
        """Whether L_semi is in force in the current epoch."""
        return self.epoch >= self.burn_in_epochs

    @property
    def semi_weight(self) -> float:
        """Weight of L_semi in the current epoch."""
        ramp = consistency_weight(
            max(0, self.epoch - self.burn_in_epochs), self.semi_train_cfg['ramp_up_epochs']
        )
        return ramp * self.semi_train_cfg['unsup_weight']

    def set_epoch(self, epoch: int) -> None:
        """Tell the model the epoch (called by ``SemiEpochHook``)."""
        self.epoch = epoch

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Pyramid levels of the student."""
        return self.student.extract_feat(batch_inputs)

    def loss(
        self, multi_batch_inputs: MultiBranchInputs, multi_batch_data_samples: MultiBranchSamples
    ) -> dict[str, Tensor]:
        """Losses of a multi-branch batch.

        Args:
            multi_batch_inputs (dict[str, Tensor]): ``(N_b, C, H, W)`` a branch; a branch without films
                is missing.
            multi_batch_data_samples (dict[str, list[DetDataSample]]): Their data samples.

        Returns:
            dict[str, Tensor]: ``loss_sup``, ``loss_semi`` and the monitors ``semi_weight`` (of L_semi),
            ``teacher_score`` (mean image score of the teacher), ``pseudo_positive`` (fraction of valid
            cells above 0.5 in the pseudo maps) and ``teacher_student_gap`` (mean absolute difference
            of student and pseudo map).

        Raises:
            ValueError: When a burn-in batch has no supervised film.
        """
        inputs, samples = multi_batch_inputs, multi_batch_data_samples
        with_sup = 'sup' in inputs
        with_semi = self.is_semi_supervised and 'unsup_student' in inputs
        branches = ['sup'] * with_sup + ['unsup_student'] * with_semi
        if not branches:
            raise ValueError(
                f'a batch with branches {sorted(inputs)} in burn-in epoch {self.epoch}: nothing to '
                'train on; MultiSourceBatchSampler with SemiEpochHook leaves the unsupervised '
                'source out of burn-in batches'
            )
        views = {name: inputs[name] for name in branches}
        targets: dict[str, dict[str, Tensor]] = {}
        if with_sup:
            targets['sup'] = self.student.prob_map_head.targets(samples['sup'])
        if with_semi:
            teacher_samples, student_samples = samples['unsup_teacher'], samples['unsup_student']
            teacher_map, pseudo_map = self.pseudo_maps(
                inputs['unsup_teacher'], teacher_samples, student_samples
            )
            valid = torch.stack([sample.gt_prob_map.valid for sample in student_samples])
            known = self._known(teacher_samples, valid)
            counted = valid & known
            uncertain = uncertain_cells(
                self.pseudo_pipeline, teacher_map, teacher_samples, student_samples
            )
            if uncertain is not None:
                counted = counted & ~uncertain
            targets['unsup_student'] = dict(target=pseudo_map, valid=counted)
            if self.mix_up is not None:
                views, targets = self.mix_up(views, targets)
        logits = dict(zip(branches, self._branch_logits([views[name] for name in branches])))
        losses: dict[str, Tensor] = {}
        if with_sup:
            sup = self.student.prob_map_head.loss_by_targets(logits['sup'], targets['sup'])
            losses['loss_sup'] = self.semi_train_cfg['sup_weight'] * sup['loss_sup']
        if with_semi:
            target, counted = (targets['unsup_student'][name] for name in ('target', 'valid'))
            semi = self.semi_loss(logits['unsup_student'], target, counted)
            losses['loss_semi'] = self.semi_weight * semi
            losses['semi_weight'] = self.semi_weight * known.any().to(semi)
            losses['teacher_score'] = image_scores(teacher_map, teacher_samples).mean()
            losses['pseudo_positive'] = ((pseudo_map > 0.5) & valid).sum() / valid.sum()
            student_map = logits['unsup_student'].detach().float().sigmoid()
            gap = (student_map - target).abs()
            losses['teacher_student_gap'] = reduce_cells(gap, valid, 'mean')
        return losses

    @torch.no_grad()
    def pseudo_maps(
        self, teacher_inputs: Tensor, teacher_samples: SampleList, student_samples: SampleList
    ) -> tuple[Tensor, Tensor]:
        """Teacher maps and pseudo maps of a batch, without gradient.

        Args:
            teacher_inputs (Tensor): ``(N, C, H, W)`` un-augmented view.
            teacher_samples (list[DetDataSample]): Its films.
            student_samples (list[DetDataSample]): The same films in the student's view.

        Returns:
            tuple[Tensor, Tensor]: Teacher prob maps in the teacher's view, pseudo maps in the
            student's view, both ``(N, 1, h, w)`` in [0, 1].
        """
        teacher_map = self.teacher(self.student, teacher_inputs, teacher_samples)
        pseudo_map = teacher_map
        for step in self.pseudo_pipeline:
            pseudo_map = step(pseudo_map, teacher_samples, student_samples)
        # autocast keeps the low-precision weights of the teacher's pass, and older torch gives them,
        # which have no gradient, to the student's pass too
        torch.clear_autocast_cache()
        return teacher_map, pseudo_map

    def _known(self, samples: SampleList, valid: Tensor) -> Tensor:
        """Films ``(N, 1, 1, 1)`` for which the teacher has a target."""
        known = call_event(self.teacher, 'known', samples)
        if known is None:
            known = valid.new_ones(len(samples))
        return known.view(-1, 1, 1, 1)

    def _branch_logits(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        if len({batch.shape[1:] for batch in inputs}) == 1:
            sizes = [len(batch) for batch in inputs]
            return self.student.logits(torch.cat(inputs)).split(sizes)
        return [self.student.logits(batch) for batch in inputs]

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> SampleList:
        """Predictions of the student, see ``ProbMapDetector.predict``."""
        return self.student.predict(batch_inputs, batch_data_samples)

    def _forward(self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None) -> Tensor:
        return self.student.logits(batch_inputs)

    def adapt_state_dict(self, state_dict: dict) -> dict:
        """Give the keys of a plain detector's checkpoint the student's prefix.

        Args:
            state_dict (dict): Of this model or of a plain ``ProbMapDetector``.

        Returns:
            dict: The same values under this model's names.
        """
        if any(key.startswith(STUDENT) for key in state_dict):
            return state_dict
        return {
            key if key.startswith('data_preprocessor.') else f'{STUDENT}{key}': value
            for key, value in state_dict.items()
        }
