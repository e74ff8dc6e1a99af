# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Teacher-student training of a prob map detector."""

import inspect
import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.model import ModuleList as MMModuleList
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmfrac.models.batch_augments.mix_up import MixUp
from mmfrac.models.data_preprocessor import normalisation_of
from mmfrac.models.detectors.burn_in import burn_in_length
from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.models.heads.image_head import ImageHead
from mmfrac.models.heads.prob_map_head import check_same_cells
from mmfrac.models.losses.cell_loss import reduce_cells
from mmfrac.models.postprocess import image_scores
from mmfrac.models.pseudo_labels.warp import homography_of
from mmfrac.models.state_dicts import STUDENT, AdaptedWeights
from mmfrac.models.target_maps import stack_labels, stack_valid
from mmfrac.models.teachers.base import build_teacher
from mmfrac.utils.device import host_buffer_names, to_device
from mmfrac.utils.events import check_events


def consistency_weight(epoch: float, ramp_up_epochs: int) -> float:
    r"""Weight of L_semi while it ramps up (Temporal Ensembling [9], Mean Teacher [10]).

    .. math:: w(t) = \exp(-5 (1 - \min(t, T) / T)^2)

    Args:
        epoch (float): ``t``, semi-supervised epochs so far; 0 in the first.
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

HOOKS = (
    "default_hooks = dict(semi_epoch=dict(type='SemiEpochHook'), teacher=dict(type='TeacherHook'), "
    "dynamic_sharpening=dict(type='DynamicSharpeningHook'))"
)


@MODELS.register_module()
class SemiProbMapDetector(AdaptedWeights, BaseDetector):
    """Teacher-student training of a prob map detector (paper, section 2.2 and Fig. 2).

    ``L = L_sup + L_semi``: L_sup on the images of branch ``sup``; L_semi between the student's map of
    branch ``unsup_student`` and the pseudo map, which is the teacher's map of the same images in
    branch ``unsup_teacher`` after the pseudo-label pipeline. Both student branches go through the
    network in one pass.

    ``loss`` has four parts, each a method that a subclass can replace: ``loss_by_gt``,
    ``get_teacher_maps``, ``project_pseudo_maps`` and ``loss_by_pseudo_maps``.

    A checkpoint of the plain detector (supervised pre-training) loads into the student.

    Args:
        detector (dict): The student, a ``ProbMapDetector``.
        teacher (dict): How the teacher map is formed, a ``BaseTeacher``. Defaults to
            ``dict(type='PiTeacher')``.
        pseudo_pipeline (Sequence[dict]): Steps from teacher map to pseudo map. Each is called with
            ``(pseudo_map, weight, teacher_samples, student_samples)`` and returns
            ``(pseudo_map, weight)``; ``weight`` ``(N, 1, h, w)`` is that of each cell in L_semi, 0
            leaves it out. A step that brings both into the student's view has
            ``moves_to_student = True``; ``attach(student)`` of one that has it is called when the model
            is built, ``forget()`` before a training that is not resumed, ``note_targets(targets)`` with
            those of each L_sup. Defaults to ``DynamicSharpening``, then ``WarpToStudent``.
        semi_loss (dict | Sequence[dict]): L_semi, or several whose sum it is, each with its
            ``loss_weight``; one of image labels (``MILLoss``) may stand beside others. ``attach`` and
            ``forget`` are called as those of steps. Defaults to ``dict(type='KLDLoss')``.
        batch_augments (Sequence[dict]): Change the images of a semi-supervised step and their targets
            together, one after the other, e.g. ``dict(type='MixUp')`` or
            ``dict(type='EraseBackground')``. Defaults to none.
        semi_train_cfg (dict, optional): ``burn_in_epochs`` (epochs of L_sup alone, default 0;
            ``'all'``: however many there are), ``sup_weight`` and ``unsup_weight`` (default 1),
            ``ramp_up_epochs`` (semi-supervised epochs in which ``unsup_weight`` grows, see
            ``consistency_weight``; default 0, none).
        data_preprocessor (dict, optional): ``SemiDataPreprocessor``; the detector's own, for its use
            alone and in ensembles, must say the same. Defaults to None.
        init_cfg (dict, optional): Initialisation. Defaults to None.

    Attributes:
        training_only (tuple[str, ...]): Prefixes of the tensors that prediction does not need.
        image_score_is_map_maximum (bool): True: ``pred_score`` is the maximum of the map.
        low_precision (bool): True: its predictions may be computed in bf16 or fp16.

    Raises:
        TypeError: When the teacher is no ``BaseTeacher``, ``batch_augments`` no list, or a method of a
            step or loss is named almost as one that would be called.
        ValueError: When ``semi_train_cfg`` has an unknown option or another ``burn_in_epochs``, there is
            no ``semi_loss``, a step takes other arguments, both a step and a loss weigh fracture cells,
            or the two preprocessors normalise differently.
    """

    training_only: tuple[str, ...] = ('teacher.', 'pseudo_pipeline.')
    image_score_is_map_maximum = True
    low_precision = True

    def __init__(
        self,
        detector: ConfigType,
        teacher: ConfigType = dict(type='PiTeacher'),
        pseudo_pipeline: Sequence[ConfigType] = (
            dict(type='DynamicSharpening'),
            dict(type='WarpToStudent'),
        ),
        semi_loss: ConfigType | Sequence[ConfigType] = dict(type='KLDLoss'),
        batch_augments: Sequence[ConfigType] = (),
        semi_train_cfg: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.student = MODELS.build(detector)
        check_normalisation(self.data_preprocessor, self.student.data_preprocessor)
        self.teacher = build_teacher(teacher)
        self.pseudo_pipeline = MMModuleList([MODELS.build(step) for step in pseudo_pipeline])
        for step in self.pseudo_pipeline:
            check_step(step)
        losses = [semi_loss] if isinstance(semi_loss, dict) else list(semi_loss)
        if not losses:
            raise ValueError('semi_loss must be a loss or a list of at least one')
        self.semi_losses = MMModuleList([MODELS.build(loss) for loss in losses])
        if isinstance(batch_augments, dict):
            raise TypeError(f'batch_augments of SemiProbMapDetector is a list: [{batch_augments}]')
        self.batch_augments = MMModuleList([MODELS.build(augment) for augment in batch_augments])
        mixes = any(isinstance(augment, MixUp) for augment in self.batch_augments)
        self._has_image_head = isinstance(getattr(self.student, 'image_head', None), ImageHead)
        if mixes and (self._has_image_head or any(map(_is_of_images, self.semi_losses))):
            raise ValueError(
                'a semi_loss of image labels and an image_head cannot be had with MixUp: a mixed image '
                'has two labels'
            )
        if self._has_image_head:
            of_student = (f'{STUDENT}{prefix}' for prefix in self.student.training_only)
            self.training_only = (*self.training_only, *of_student)
        self.teacher.attach(self.student)
        for part in (*self.pseudo_pipeline, *self.semi_losses):
            check_events_of(part)
            if hasattr(part, 'attach'):
                part.attach(self.student)
        check_one_weight(self.pseudo_pipeline, self.semi_losses)
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
        burn_in_length(self.semi_train_cfg['burn_in_epochs'])
        self._epoch: int | None = None
        self._is_started = False
        # all ranks count alike, and NCCL takes nothing from the host
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
            self, host_buffer_names(self)
        )

    @property
    def burn_in_epochs(self) -> float:
        """Epochs of L_sup alone before semi-supervised training; infinity where it never begins."""
        return burn_in_length(self.semi_train_cfg['burn_in_epochs'])

    @property
    def epoch(self) -> int:
        """The epoch, counted from 0; a ``ValueError`` where nobody told it."""
        if self._epoch is None:
            raise ValueError(
                'SemiProbMapDetector was not told the epoch, without which it knows neither burn-in nor '
                f'the weight of L_semi: add {HOOKS} to the config, as '
                'configs/_base_/default_runtime.py has them (in a loop of your own call set_epoch)'
            )
        return self._epoch

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
        """Tell the model the epoch, counted from 0 (called by ``SemiEpochHook``)."""
        self._epoch = epoch

    def start_teacher(self) -> None:
        """Start the teacher when all weights are loaded (called by ``TeacherHook``)."""
        self.teacher.start(self.student)
        self._is_started = True

    def forget_training(self) -> None:
        """Have steps and losses forget what ``load_from`` may have brought of another training.

        Called by ``TeacherHook`` before a training that is not resumed.
        """
        for part in (*self.pseudo_pipeline, *self.semi_losses):
            if hasattr(part, 'forget'):
                part.forget()

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Pyramid levels of the student."""
        return self.student.extract_feat(batch_inputs)

    def loss(
        self, multi_batch_inputs: MultiBranchInputs, multi_batch_data_samples: MultiBranchSamples
    ) -> dict[str, Tensor]:
        """Losses of a multi-branch batch.

        Args:
            multi_batch_inputs (dict[str, Tensor]): ``(N_b, C, H, W)`` a branch; a branch without images
                is missing.
            multi_batch_data_samples (dict[str, list[DetDataSample]]): Their data samples.

        Returns:
            dict[str, Tensor]: Of ``loss_by_gt`` and ``loss_by_pseudo_maps``, ``loss_image`` of all
            images where the detector has an ``image_head``, with the monitors ``semi_weight`` (that of
            L_semi in this epoch, 0 for a batch whose cells all have the weight 0), ``teacher_score``
            (mean image score of the teacher) and ``pseudo_positive`` (fraction of valid cells above 0.5
            in the pseudo maps).

        Raises:
            ValueError: When a burn-in batch has no supervised image, or nobody told the model the epoch
                or started its teacher.
        """
        inputs, samples = multi_batch_inputs, multi_batch_data_samples
        with_sup = 'sup' in inputs
        with_semi = self.is_semi_supervised and 'unsup_student' in inputs
        if not self._is_started:
            raise ValueError(
                f'nobody started {type(self.teacher).__name__}, the teacher, or would tell it of steps: '
                f'add {HOOKS} to the config, as configs/_base_/default_runtime.py has them '
                '(in a loop of your own call start_teacher, and teacher.after_step after each step)'
            )
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
            for step in self.pseudo_pipeline:
                if hasattr(step, 'note_targets'):
                    step.note_targets(targets['sup'])
        if with_semi:
            teacher_samples, student_samples = samples['unsup_teacher'], samples['unsup_student']
            teacher_map, pseudo_map, weight = self.pseudo_maps(
                inputs['unsup_teacher'], teacher_samples, student_samples
            )
            valid = stack_valid(student_samples)
            check_same_cells(valid, pseudo_map, self.student.prob_map_head.stride)
            has_target = weight.flatten(1).any()
            targets['unsup_student'] = dict(target=pseudo_map, valid=valid, weight=weight)
            if any(map(_is_of_images, self.semi_losses)):
                targets['unsup_student']['labels'] = stack_labels(student_samples, valid.device)
            for augment in self.batch_augments:
                views, targets = augment(views, targets)
        maps, image_logits = self._branch_logits([views[name] for name in branches])
        logits = dict(zip(branches, maps))
        losses: dict[str, Tensor] = {}
        if with_sup:
            losses.update(self.loss_by_gt(logits['sup'], targets['sup']))
        if with_semi:
            semi = self.loss_by_pseudo_maps(logits['unsup_student'], targets['unsup_student'])
            losses.update(semi)
            losses['semi_weight'] = self.semi_weight * has_target.to(losses['loss_semi'])
            losses['teacher_score'] = image_scores(teacher_map, teacher_samples).mean()
            losses['pseudo_positive'] = ((pseudo_map > 0.5) & valid).sum() / valid.sum()
        if image_logits is not None:
            images = [sample for name in branches for sample in samples[name]]
            labels = stack_labels(images, image_logits.device)
            losses.update(self.student.image_head.loss(image_logits, labels))
        return losses

    def loss_by_gt(self, logits: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_sup of the images whose mask is known.

        Args:
            logits (Tensor): ``(N, 1, h, w)`` of the student.
            targets (dict[str, Tensor]): Of ``ProbMapHead.targets``, perhaps mixed.

        Returns:
            dict[str, Tensor]: ``loss_sup``.
        """
        sup = self.student.prob_map_head.loss_by_targets(logits, targets)
        return dict(loss_sup=self.semi_train_cfg['sup_weight'] * sup['loss_sup'])

    def get_teacher_maps(self, inputs: Tensor, samples: SampleList) -> tuple[Tensor, Tensor | None]:
        """Teacher maps of a batch, without gradient.

        Args:
            inputs (Tensor): ``(N, C, H, W)`` un-augmented view.
            samples (list[DetDataSample]): Its images.

        Returns:
            tuple[Tensor, Tensor | None]: Prob maps ``(N, 1, h, w)`` in [0, 1], and which images have a
            target, ``(N,)`` bool; None: all.
        """
        return self.teacher(self.student, inputs, samples), self.teacher.known(samples)

    def project_pseudo_maps(
        self, teacher_map: Tensor, teacher_samples: SampleList, student_samples: SampleList
    ) -> tuple[Tensor, Tensor]:
        """From teacher maps to pseudo maps in the student's view, by the pseudo-label pipeline.

        Args:
            teacher_map (Tensor): ``(N, 1, h, w)`` in [0, 1].
            teacher_samples (list[DetDataSample]): Images in the teacher's view.
            student_samples (list[DetDataSample]): The same images in the student's view.

        Returns:
            tuple[Tensor, Tensor]: Pseudo maps in [0, 1] and the weight of their cells in L_semi, both
            ``(N, 1, h', w')``.

        Raises:
            ValueError: When a step returns something else, or none moves the maps into a student's view
                that is another one than the teacher's.
        """
        pseudo_map, weight = teacher_map, torch.ones_like(teacher_map)
        for step in self.pseudo_pipeline:
            result = step(pseudo_map, weight, teacher_samples, student_samples)
            pseudo_map, weight = check_result(step, result)
        if not any(getattr(step, 'moves_to_student', False) for step in self.pseudo_pipeline):
            check_same_view(teacher_samples, student_samples)
        return pseudo_map, weight

    @torch.no_grad()
    def pseudo_maps(
        self, teacher_inputs: Tensor, teacher_samples: SampleList, student_samples: SampleList
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Teacher maps, pseudo maps and weights of a batch, without gradient.

        Args:
            teacher_inputs (Tensor): ``(N, C, H, W)`` un-augmented view.
            teacher_samples (list[DetDataSample]): Its images.
            student_samples (list[DetDataSample]): The same images in the student's view.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Teacher prob maps in the teacher's view; pseudo maps in the
            student's view; weights of their cells in L_semi, 0 in images without a target. All
            ``(N, 1, h, w)``.
        """
        teacher_map, known = self.get_teacher_maps(teacher_inputs, teacher_samples)
        pseudo_map, weight = self.project_pseudo_maps(teacher_map, teacher_samples, student_samples)
        if known is not None:
            known = to_device(known, weight.device)
            weight = weight.masked_fill(~known.view(-1, 1, 1, 1), 0)
        # autocast keeps the low-precision weights of the teacher's pass, and older torch gives them,
        # which have no gradient, to the student's pass too
        torch.clear_autocast_cache()
        return teacher_map, pseudo_map, weight

    def loss_by_pseudo_maps(self, logits: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """L_semi of the images whose mask is not known.

        Args:
            logits (Tensor): ``(N, 1, h, w)`` of the student.
            targets (dict[str, Tensor]): ``target`` (pseudo map), ``weight``, both ``(N, 1, h, w)``, and
                ``valid`` ``(N, 1, h, w)`` bool, the cells that count (``stack_valid``); perhaps mixed.
                For a loss of image labels (``MILLoss``) ``labels`` ``(N,)`` int64, too.

        Returns:
            dict[str, Tensor]: ``loss_semi``, the sum of all, ``semi_term_0`` and so on, where there are
            several, each as it enters the sum, and the monitor ``teacher_student_gap``, mean absolute
            difference of student and pseudo map.
        """
        pseudo_map, valid = targets['target'], targets['valid']
        check_same_cells(pseudo_map, logits, self.student.prob_map_head.stride)
        weight = targets['weight'].masked_fill(~valid, 0)
        terms = [
            loss(logits, valid, targets['labels'])
            if _is_of_images(loss)
            else loss(logits, pseudo_map, weight)
            for loss in self.semi_losses
        ]
        losses = dict(loss_semi=self.semi_weight * sum(terms[1:], terms[0]))
        if len(terms) > 1:
            for index, term in enumerate(terms):
                losses[f'semi_term_{index}'] = (self.semi_weight * term).detach()
        gap = (logits.detach().float().sigmoid() - pseudo_map).abs()
        losses['teacher_student_gap'] = reduce_cells(gap, valid, 'mean')
        return losses

    def _branch_logits(self, inputs: list[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
        """Logits of the maps, a batch a branch, and those of all images, None without image head."""
        if len({batch.shape[1:] for batch in inputs}) == 1:
            maps, of_images = self._logits(torch.cat(inputs))
            return maps.split([len(batch) for batch in inputs]), of_images
        logits = [self._logits(batch) for batch in inputs]
        of_batches = [of_images for _, of_images in logits if of_images is not None]
        return [maps for maps, _ in logits], torch.cat(of_batches) if of_batches else None

    def _logits(self, batch_inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self._has_image_head:
            return self.student.logits(batch_inputs), None
        feats = self.student.extract_feat(batch_inputs)
        return self.student.prob_map_head(feats), self.student.image_head(feats)

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


def _is_of_images(loss: nn.Module) -> bool:
    return getattr(loss, 'of_images', False)


def check_normalisation(whole: nn.Module, detector: nn.Module) -> None:
    """Raise a ``ValueError`` where a model and its detector would see different images."""
    outer, inner = normalisation_of(whole), normalisation_of(detector)
    if outer is not None and inner is not None and outer != inner:
        raise ValueError(
            f'model.data_preprocessor.data_preprocessor has {outer}, model.detector.data_preprocessor '
            f'{inner}: the first trains, the second predicts in ensembles and packages. Change both, or '
            'take set_backbone of mmfrac.utils.config'
        )


def check_step(step: nn.Module) -> None:
    """Raise a ``ValueError`` unless a step of the pseudo-label pipeline takes its arguments."""
    try:
        inspect.signature(step.forward).bind(
            'pseudo_map', 'weight', 'teacher_samples', 'student_samples'
        )
    except TypeError as error:
        raise ValueError(
            f'{type(step).__name__} is no step of a pseudo-label pipeline ({error}): its forward takes '
            '(pseudo_map, weight, teacher_samples, student_samples) and returns (pseudo_map, weight)'
        ) from None


def check_one_weight(steps: Iterable[nn.Module], losses: Iterable[nn.Module]) -> None:
    """Raise a ``ValueError`` where both a step and a loss weigh fracture cells.

    Args:
        steps (Iterable[nn.Module]): Of the pseudo-label pipeline. One that gives fracture cells another
            weight than the rest has ``weighs_fracture_cells = True``.
        losses (Iterable[nn.Module]): As ``steps``.
    """
    weighing = [
        [type(part).__name__ for part in parts if getattr(part, 'weighs_fracture_cells', False)]
        for parts in (steps, losses)
    ]
    if all(weighing):
        (step, *_), (loss, *_) = weighing
        raise ValueError(
            f'alpha_r would weigh the fracture cells of L_semi twice, in {step} of pseudo_pipeline and '
            f'in {loss} of semi_loss: give one of them alpha_r=1'
        )


class _Told:
    """What a step or a loss may have to be told."""

    def attach(self, student: ProbMapDetector) -> None: ...

    def forget(self) -> None: ...

    def note_targets(self, targets: dict[str, Tensor]) -> None: ...


def check_events_of(part: nn.Module) -> None:
    """Raise a ``TypeError`` where a step or loss would not be told what it wants to be."""
    events = {name: getattr(_Told, name) for name in ('attach', 'forget', 'note_targets')}
    for cls in type(part).__mro__:
        if issubclass(cls, nn.Module) and cls is not nn.Module:
            check_events(cls, events)


def check_result(step: nn.Module, result: object) -> tuple[Tensor, Tensor]:
    """``result`` of a step, or a ``ValueError`` when it is not a map and a weight of one shape."""
    what = f'a {type(result).__name__}'
    if isinstance(result, tuple) and len(result) == 2 and all(torch.is_tensor(x) for x in result):
        pseudo_map, weight = result
        if pseudo_map.shape == weight.shape and weight.is_floating_point():
            return pseudo_map, weight
        what = f'shapes {tuple(pseudo_map.shape)} and {tuple(weight.shape)} ({weight.dtype})'
    raise ValueError(
        f'{type(step).__name__} must return (pseudo_map, weight), floating-point tensors of one shape '
        f'(N, 1, h, w), got {what}'
    )


def check_same_view(teacher_samples: SampleList, student_samples: SampleList) -> None:
    """Raise a ``ValueError`` where a student's view is another one than the teacher's."""
    for teacher, student in zip(teacher_samples, student_samples):
        if not np.allclose(homography_of(teacher), homography_of(student)):
            raise ValueError(
                f'{student.metainfo.get("img_path")}: the student sees another view than the teacher, '
                "and no step of pseudo_pipeline moves the maps there: add dict(type='WarpToStudent'), "
                'or say moves_to_student = True in your own step that does'
            )
