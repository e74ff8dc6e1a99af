# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A trained model as one file, ``NAME.mmfrac``, that loads without executing anything.

It is a ZIP file without compression: ``manifest.json`` says all about the model and has the checksums
of the rest, ``config.yaml`` is the resolved config as plain data, ``weights/0.pth`` and so on are the
members' checkpoints, ``README.md`` and ``card.html`` the model card. Nothing of it is unpacked under a
name that it chooses.
"""

import hashlib
import io
import json
import math
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from mmengine.config import Config

from mmfrac.apis.inferencer import FracInferencer, pipeline_steps
from mmfrac.deployment.card import render_card
from mmfrac.deployment.results import ResultLine, is_number
from mmfrac.engine.runner.checkpoints import load_checkpoint_bytes, load_checkpoint_file
from mmfrac.engine.runner.ensemble import (
    ensemble_checkpoint,
    ensemble_config,
    predicting_model,
    predicting_weights,
    weights_sha256,
)
from mmfrac.evaluation.functional.calibration import apply_temperature
from mmfrac.evaluation.functional.froc import FrocCurve
from mmfrac.evaluation.offline.estimates import Estimate
from mmfrac.evaluation.offline.ground_truth import read_ground_truth
from mmfrac.evaluation.offline.summary import ModelSummary, Summary
from mmfrac.utils.config import load_config, type_name
from mmfrac.utils.device import PRECISIONS
from mmfrac.utils.environment import installed_versions
from mmfrac.utils.errors import one_line
from mmfrac.utils.io import ZIP_ERRORS, atomic_path, check_not_an_input, check_output
from mmfrac.utils.plain_config import PlainLoader, yaml_fault

FORMAT, VERSION = 'mmfrac package', 1
SUFFIX = '.mmfrac'
RESEARCH_ONLY = 'Research use only. Not a medical device.'
# of update_package
_KEPT: Any = object()
_MANIFEST, _CONFIG, _README, _CARD = 'manifest.json', 'config.yaml', 'README.md', 'card.html'
_TEXTS = (_CONFIG, _README, _CARD)
# bytes of a part that is text, at most
_LARGEST = {_MANIFEST: 2**22, _CONFIG: 2**18, _README: 2**22, _CARD: 2**22}
_MOST_MEMBERS = 64

PathLike = str | os.PathLike


class PackageError(ValueError):
    """A file that is no package of a model, or a damaged one; the message says what is wrong."""


@dataclass(frozen=True)
class PackagePoint:
    """A threshold of image scores and boxes in a package, and what it was chosen for.

    Args:
        name (str): Of the point.
        threshold (float): A score that is at least this is reported; > 0.
        chosen_for (str): E.g. 'fppi=0.1' or 'sensitivity=0.8'. Defaults to ''.
        achieved (Mapping): Rates where it was chosen (``validation``) and elsewhere (``test``), as
            ``froc.py`` reports them. Defaults to none.

    Raises:
        ValueError: If the threshold is not finite and positive.
    """

    name: str
    threshold: float
    chosen_for: str = ''
    achieved: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_number(self.threshold) or not self.threshold > 0:
            raise ValueError(
                f'threshold of operating point {self.name!r} is {self.threshold!r}, a number > 0 is '
                'wanted'
            )
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f'an operating point has a name, got {self.name!r}')
        if not isinstance(self.chosen_for, str) or not isinstance(self.achieved, Mapping):
            raise ValueError(
                f'of operating point {self.name!r} chosen_for is no text, or achieved no rates'
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(
            name=self.name,
            threshold=self.threshold,
            chosen_for=self.chosen_for,
            achieved=dict(self.achieved),
        )


@dataclass(frozen=True, eq=False)
class ModelPackage:
    """What a package holds, checked.

    Attributes:
        name (str): Of the model.
        classes (tuple[str, ...]): What its boxes are.
        config (Config): That of the detector, or of the ensemble of its members, that predicts.
        weights (tuple[dict, ...]): Checkpoint of each member, with ``state_dict``.
        precision (str): 'auto', 'fp32', 'bf16' or 'fp16'.
        operating_points (tuple[PackagePoint, ...]): The first is the one that is used unless another
            is named.
        temperature (float | None): Of the calibrated probability.
        limits (str): What it must not be used for.
        manifest (dict): All that is said of it.
        sha256 (str): Of the whole file.
        path (str): The file.
    """

    name: str
    classes: tuple[str, ...]
    config: Config
    weights: tuple[dict, ...]
    precision: str
    operating_points: tuple[PackagePoint, ...]
    temperature: float | None
    limits: str
    manifest: dict
    sha256: str
    path: str

    @property
    def identity(self) -> dict[str, str]:
        """Name and checksum, as results name them."""
        return dict(name=self.name, sha256=self.sha256)

    def operating_point(self, name: str | None = None) -> PackagePoint | None:
        """An operating point by its name, or by what it was chosen for.

        Args:
            name (str, optional): Defaults to None, the first one.

        Returns:
            PackagePoint | None: None if none is named and there is none.

        Raises:
            ValueError: If there is no such point.
        """
        if name is None:
            return self.operating_points[0] if self.operating_points else None
        for point in self.operating_points:
            if name in (point.name, point.chosen_for):
                return point
        known = ', '.join(point.name for point in self.operating_points) or 'none'
        raise ValueError(f'package {self.name} has no operating point {name!r}; it has: {known}')

    def probability(self, score: float) -> float | None:
        """Calibrated probability of an image score; None without a temperature."""
        if self.temperature is None:
            return None
        return float(apply_temperature(np.float64(score), self.temperature))

    def result(
        self,
        prediction: Mapping[str, Any],
        precision: str,
        point: PackagePoint | None = None,
        **facts: Any,
    ) -> ResultLine:
        """The result of an image that the model was asked about.

        Args:
            prediction (Mapping): Of ``FracInferencer``: ``score``, ``boxes``, ``scores``, ``map_scale``.
            precision (str): In which it was computed.
            point (PackagePoint, optional): For the flag. Defaults to None.
            **facts: Other fields of the result, e.g. ``image``, ``width``, ``height``, ``view``.

        Returns:
            ResultLine: The result.
        """
        score = prediction['score']
        return ResultLine(
            model=self.identity,
            precision=precision,
            scored=True,
            score=score,
            probability=self.probability(score),
            flag=None if point is None else score >= point.threshold,
            operating_point=None
            if point is None
            else dict(name=point.name, threshold=point.threshold),
            boxes=prediction['boxes'],
            scores=prediction['scores'],
            map_scale=prediction['map_scale'],
            **facts,
        )


def write_package(
    path: PathLike,
    config: PathLike | Config,
    checkpoints: Sequence[PathLike],
    *,
    name: str,
    operating_points: Sequence[PackagePoint] = (),
    temperature: float | None = None,
    metrics: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    licence: str = '',
    limits: str = RESEARCH_ONLY,
    about: Mapping[str, str] | None = None,
    precision: str = 'auto',
    half: bool = False,
) -> ModelPackage:
    """Write a package.

    Of the config the model and the test pipeline go into it, of a checkpoint the weights that predict
    (of a teacher-student model the student); no path of this machine does.

    Args:
        path (str or PathLike): File to write, ``NAME.mmfrac``.
        config (str, PathLike or Config): What the checkpoints were trained with.
        checkpoints (Sequence[str or PathLike]): One, or those of the members of an ensemble.
        name (str): Of the model.
        operating_points (Sequence[PackagePoint]): Chosen on validation images. Defaults to none.
        temperature (float, optional): Likewise. Defaults to None.
        metrics (Mapping, optional): By name: a number, or ``value``, ``low`` and ``high``. Defaults to
            none.
        training (Mapping, optional): Summary of the training data, see ``training_summary``, and of the
            training. Defaults to none.
        licence (str): Of the weights. Defaults to ''.
        limits (str): What the model must not be used for; ``RESEARCH_ONLY`` stands before it where it
            does not say so itself. Defaults to ``RESEARCH_ONLY``.
        about (Mapping, optional): Further texts of the card, see ``card.TEXTS``. Defaults to none.
        precision (str): In which it predicts. Defaults to 'auto'.
        half (bool): Whether weights are stored in float16, half the size. Defaults to False.

    Returns:
        ModelPackage: As ``read_package`` reads it.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If a checkpoint is that of another model, or the config needs code that mmfrac does
            not bring along.
    """
    if Path(path).suffix != SUFFIX:
        raise ValueError(f'{path} is no name of a package: it must end with {SUFFIX}')
    if not checkpoints:
        raise ValueError(f'no checkpoint for package {path}')
    for checkpoint in checkpoints:
        check_not_an_input(path, checkpoint)
    check_output(path, 'package', rb'PK\x03\x04')
    if 'research use only' not in limits.lower():
        limits = f'{RESEARCH_ONLY} {limits}'
    cfg = config if isinstance(config, Config) else load_config(config)
    loaded = [load_checkpoint_file(one, map_location='cpu') for one in checkpoints]
    plain = _plain_config(cfg, len(loaded))
    is_semi = type_name(cfg.model) == 'SemiProbMapDetector' or len(loaded) > 1
    weights = [_member(one, is_semi, half) for one in loaded]
    manifest: dict[str, Any] = dict(
        format=FORMAT,
        version=VERSION,
        name=name,
        created=datetime.now(timezone.utc).strftime('%Y-%m-%d'),
        classes=_classes(cfg, loaded[0]),
        limits=limits,
        licence=licence,
        precision=precision,
        operating_points=[point.as_dict() for point in operating_points],
        temperature=temperature,
        metrics=dict(metrics or {}),
        training=dict(training or {}),
        about=dict(about or {}),
        model=_model_summary(plain),
        preprocessing=_preprocessing(plain),
        members=[
            dict(
                file=f'weights/{index}.pth',
                checkpoint=Path(name_of_file).name,
                parameters=sum(value.numel() for value in held['state_dict'].values()),
                # before they are halved
                weights=weights_sha256(one),
                **{key: held['meta'][key] for key in ('epoch', 'iter') if key in held['meta']},
            )
            for index, (name_of_file, one, held) in enumerate(zip(checkpoints, loaded, weights))
        ],
        versions=installed_versions(),
    )
    parts = {_CONFIG: yaml.dump(plain, sort_keys=False, allow_unicode=True).encode()}
    for member, held in zip(manifest['members'], weights):
        content = io.BytesIO()
        torch.save(held, content)
        parts[member['file']] = content.getvalue()
    _write(path, manifest, parts, try_it=True)
    return read_package(path)


def update_package(
    path: PathLike,
    *,
    operating_points: Sequence[PackagePoint] = _KEPT,
    temperature: float | None = _KEPT,
    metrics: Mapping[str, Any] = _KEPT,
    evaluation: Mapping[str, Any] = _KEPT,
    curve: Mapping[str, Any] = _KEPT,
    precision: str = _KEPT,
) -> ModelPackage:
    """Write what was measured into a package that is there; its card follows.

    Args:
        path (str or PathLike): The package; it is replaced as a whole.
        operating_points (Sequence[PackagePoint]): In the place of those that it has. What is not
            given stays.
        temperature (float | None): Likewise; None: it has none any more.
        metrics (Mapping): Likewise.
        evaluation (Mapping): How they were measured: ``definitions``, numbers of images.
        curve (Mapping): False positives an image and sensitivity at the thresholds of
            ``curve_thresholds``.
        precision (str): In which it predicts.

    Returns:
        ModelPackage: As it is then.

    Raises:
        PackageError: If it is none.
    """
    package, parts = _read(path)
    manifest = dict(package.manifest)
    if operating_points is not _KEPT:
        manifest['operating_points'] = [point.as_dict() for point in operating_points]
    measured: dict[str, Any] = dict(
        temperature=temperature,
        metrics=metrics,
        evaluation=evaluation,
        curve=curve,
        precision=precision,
    )
    manifest |= {key: value for key, value in measured.items() if value is not _KEPT}
    written_anew = (_MANIFEST, _README, _CARD)
    _write(path, manifest, {key: parts[key] for key in parts if key not in written_anew})
    return read_package(path)


def write_evaluation(
    path: PathLike, summary: Summary, report: Callable[[str], Any] = print
) -> ModelPackage:
    """Write the thresholds, temperature and metrics of an evaluation into a package.

    Args:
        path (str or PathLike): The package.
        summary (Summary): Of one model; thresholds and temperature chosen on validation images.
        report (Callable): Gets a sentence where nothing tells whether the predictions are of the weights
            of the package. Defaults to ``print``.

    Returns:
        ModelPackage: As it is then.

    Raises:
        PackageError: If it is none.
        ValueError: If several models were evaluated, there were no validation images, no threshold
            reaches a target, the images were predicted with other weights than those of the package,
            or in another precision than it predicts in. One of 'auto' gets theirs, which its thresholds
            belong to.
    """
    if len(summary.models) != 1:
        raise ValueError(
            f'a package is of one model, {len(summary.models)} were evaluated: name one as NAME=PATH'
        )
    if summary.chosen_on != 'validation':
        raise ValueError(
            'operating points of a package are chosen on validation images: name them with --val'
        )
    (model,) = summary.models.values()
    package = read_package(path)
    precision = _precision_of_evaluation(package, model.precisions)
    unsaid = _check_weights(package, model)
    points = []
    for point in model.points:
        if not 0 < point.threshold < math.inf:
            raise ValueError(
                f'no threshold reaches {point.target} on the validation images: choose another target'
            )
        achieved = dict(
            validation={key: _finite(value) for key, value in point.on_own.items()},
            test={key: _estimate(value) for key, value in point.achieved.items()},
        )
        points.append(PackagePoint(str(point.target), point.threshold, str(point.target), achieved))
    images = model.results.images
    evaluation = dict(
        test_images=len(images),
        test_patients=len({image.patient for image in images}),
        test_lesions=int(model.curve.num_lesions),
        definitions={
            key: ', '.join(map(str, value)) if isinstance(value, tuple) else value
            for key, value in summary.definitions.as_dict().items()
        },
    )
    if unsaid:
        report(unsaid)
    return update_package(
        path,
        operating_points=points,
        curve=_curve(model.curve, curve_thresholds(points)),
        temperature=model.temperature,
        metrics={key: _estimate(value) for key, value in model.metrics.items()},
        evaluation=evaluation,
        precision=precision,
    )


def _check_weights(package: ModelPackage, model: ModelSummary) -> str:
    """Raise where predictions are of other weights than a package's; what is not known, or ''."""
    own, may_be_halved = _weights_of(package)
    where = f'package {package.name} ({package.path})'
    unsaid = [part for part, found in model.weights.items() if not found]
    others = {
        part: found for part, found in model.weights.items() if found and sorted(found) != own
    }
    for part, found in others.items():
        if not may_be_halved:
            raise ValueError(
                f'the {part} predictions are of other weights ({_short(found)}) than those of {where}, '
                f'{_short(own)}: thresholds and metrics of one model say nothing of another; name the '
                'package of this model, or test the checkpoint that was packaged'
            )
    if unsaid or others:
        silent = f'the {" and ".join(unsaid)} predictions do' if unsaid else 'its manifest does'
        return (
            f'whether the predictions are of the model of {where} could not be checked: {silent} not '
            'say what the weights were'
        )
    return ''


def _weights_of(package: ModelPackage) -> tuple[list[str], bool]:
    """SHA-256 of the weights of a package, as ``weights_sha256`` gives them, sorted.

    And whether they may be those of weights that were halved: packages of before do not say.
    """
    found: list[str] = []
    may_be_halved = False
    for member, held in zip(package.manifest['members'], package.weights):
        told = member.get('weights')
        if not isinstance(told, list) or not told:
            told = weights_sha256(held)
            kinds = {getattr(one, 'dtype', None) for one in held['state_dict'].values()}
            may_be_halved |= torch.half in kinds
        found += map(str, told)
    return sorted(found), may_be_halved


def _short(sums: Sequence[str]) -> str:
    return ', '.join(f'SHA-256 {one[:8]}' for one in sums)


def _precision_of_evaluation(package: ModelPackage, precisions: Sequence[str]) -> str:
    """In which a package is to predict that gets thresholds of images of these precisions."""
    if not precisions:
        return package.precision
    own = precisions[0] if package.precision == 'auto' else package.precision
    if set(precisions) != {own}:
        raise ValueError(
            f'the images were predicted in {" and ".join(precisions)}, package {package.name} predicts '
            f'in {package.precision}: test all of them anew with --precision {own}'
        )
    return own


def curve_thresholds(points: Sequence[PackagePoint]) -> list[float]:
    """Thresholds at which the rates of a package are known: 0.01 to 0.99, and those of its points."""
    steps = {step / 100 for step in range(1, 100)}
    return sorted(steps | {float(point.threshold) for point in points if point.threshold <= 1})


def _curve(curve: FrocCurve, thresholds: Sequence[float]) -> dict[str, Any]:
    # of the last threshold that is not below
    rows = np.searchsorted(-curve.thresholds, -np.asarray(thresholds), side='right') - 1
    return dict(
        thresholds=list(thresholds),
        fppi=[_finite(value) for value in curve.fppi[rows]],
        sensitivity=[_finite(value) for value in curve.recall[rows]],
        images=int(curve.num_images),
        lesions=int(curve.num_lesions),
    )


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    ends = dict(value=estimate.value, low=estimate.low, high=estimate.high)
    return {key: _finite(value) for key, value in ends.items()}


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def training_summary(ann_file: PathLike, categories: Sequence[str] = ('fracture',)) -> dict:
    """What a card says of the images of a training; no name of an image or a patient.

    Args:
        ann_file (str or PathLike): COCO JSON of the training images.
        categories (Sequence[str]): Whose boxes are lesions. Defaults to ('fracture',).

    Returns:
        dict: Numbers of images, patients and lesions, and of images by label, source, sex and site.
    """
    images = read_ground_truth(os.fspath(ann_file), list(categories)).images
    kinds = Counter(
        'unknown'
        if image.label < 0
        else 'without fracture'
        if image.label == 0
        else 'with fracture and boxes'
        if image.regions
        else 'with fracture, label only'
        for image in images
    )
    ages = [age for image in images if isinstance(age := image.fields.get('age'), (int, float))]
    found: dict[str, Any] = dict(
        images=len(images),
        patients=len({image.patient for image in images}),
        lesions=sum(len(image.boxes) for image in images),
        images_by_label=dict(kinds.most_common()),
        images_by_source=dict(Counter(image.source for image in images).most_common()),
        lesions_by_site=dict(Counter(s for image in images for s in image.sites).most_common()),
    )
    sexes = Counter(str(image.fields['sex']) for image in images if image.fields.get('sex'))
    if sexes:
        found['images_by_sex'] = dict(sexes.most_common())
    if ages:
        found['age'] = f'{np.median(ages):g} ({min(ages):g} to {max(ages):g}), {len(ages)} images'
    return found


def read_package(path: PathLike) -> ModelPackage:
    """Read a package; nothing that it holds is run.

    Args:
        path (str or PathLike): ``NAME.mmfrac``.

    Returns:
        ModelPackage: Its parts, each with the checksum that the manifest names.

    Raises:
        FileNotFoundError: If there is no such file.
        PackageError: If it is no package, a damaged one, or asks for code.
    """
    return _read(path)[0]


def package_inferencer(
    package: ModelPackage, device: str | None = None, precision: str | None = None
) -> FracInferencer:
    """The model of a package, ready to predict.

    Args:
        package (ModelPackage): See ``read_package``.
        device (str, optional): E.g. 'cuda:0'. Defaults to None, what there is.
        precision (str, optional): See ``FracInferencer``. Defaults to None, that of the package.

    Returns:
        FracInferencer: The inferencer.

    Raises:
        ValueError: If the device cannot have the precision.
    """
    whole = package.weights[0]
    if len(package.weights) > 1:
        whole = ensemble_checkpoint(package.weights)
    return FracInferencer(package.config, whole, device, precision or package.precision)


def _plain_config(cfg: Config, num_members: int) -> dict:
    """What of a config predicts, as plain data."""
    steps = pipeline_steps(cfg)
    if num_members > 1:
        model = ensemble_config(cfg, num_members).model
    else:
        model = predicting_model(cfg.model)
        if 'data_preprocessor' not in model:
            whole = cfg.model.get('data_preprocessor') or {}
            model.data_preprocessor = whole.get('data_preprocessor', whole)
    kept = Config(
        dict(
            default_scope=cfg.get('default_scope', 'mmdet'),
            model=model,
            test_dataloader=dict(dataset=dict(type='CXRDataset', pipeline=steps)),
        )
    )
    plain = kept.to_dict()
    _drop_pretrained(plain)
    # a list that stands in two places would be an anchor of YAML
    return _copied(plain)


def _copied(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copied(value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)([_copied(value) for value in node])
    return node


def _drop_pretrained(node: Any) -> None:
    """Take out where weights came from before the training: those of the package are complete."""
    if isinstance(node, dict):
        init = node.get('init_cfg')
        steps = init if isinstance(init, (list, tuple)) else [init]
        if any(isinstance(step, dict) and step.get('checkpoint') for step in steps):
            node['init_cfg'] = None
        if node.get('pretrained'):
            node['pretrained'] = False if node['pretrained'] is True else None
        for value in node.values():
            _drop_pretrained(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _drop_pretrained(value)


def _weights_elsewhere(node: Any) -> str:
    """What of a config would have a model read or download weights when it is built; '' if nothing."""
    if isinstance(node, dict):
        # of timm, whose names of models may be addresses, too
        for key in ('checkpoint', 'checkpoint_path', 'pretrained', 'pretrained_cfg'):
            if node.get(key):
                return f'{key} {node[key]!r}'
        if ':' in str(node.get('model_name', '')):
            return f'model_name {node["model_name"]!r}'
    values = node.values() if isinstance(node, dict) else node
    inner = map(_weights_elsewhere, values) if isinstance(node, (dict, list, tuple)) else ()
    return next(filter(None, inner), '')


def _member(checkpoint: dict, is_part: bool, half: bool) -> dict:
    """Weights of a checkpoint that predict, and what is known of them."""
    if is_part:
        state_dict = predicting_weights(checkpoint)
    else:
        whole = checkpoint.get('state_dict', checkpoint)
        state_dict = {key.removeprefix('module.'): value for key, value in whole.items()}
    if half:
        state_dict = {key: _halved(key, value) for key, value in state_dict.items()}
    meta = checkpoint.get('meta', {})
    wanted = ('epoch', 'iter', 'mmengine_version')
    kept = {key: meta[key] for key in wanted if isinstance(meta.get(key), (int, str))}
    # a view of a larger storage would take the whole of it along
    return dict(
        state_dict={key: value.detach().clone() for key, value in state_dict.items()}, meta=kept
    )


def _halved(key: str, value: torch.Tensor) -> torch.Tensor:
    if not value.is_floating_point():
        return value
    halved = value.half()
    if not halved.isfinite().all():
        raise ValueError(
            f'{key} of the checkpoint has values that no float16 holds: leave --half out'
        )
    return halved


def _classes(cfg: Config, checkpoint: dict) -> list[str]:
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    dataset = cfg.test_dataloader.dataset
    while 'metainfo' not in dataset and 'dataset' in dataset:
        dataset = dataset.dataset
    found = meta.get('classes') or dataset.get('metainfo', {}).get('classes') or ('fracture',)
    return [found] if isinstance(found, str) else [str(one) for one in found]


def _model_summary(plain: dict) -> dict[str, Any]:
    model = plain['model']
    one = model['detectors'][0] if model.get('detectors') else model
    found: dict[str, Any] = dict(
        detector=type_name(one), members=len(model.get('detectors') or [one])
    )
    for part in ('backbone', 'neck'):
        if isinstance(one.get(part), dict):
            depth = one[part].get('depth')
            found[part] = f'{type_name(one[part])}-{depth}' if depth else type_name(one[part])
    return found


def _preprocessing(plain: dict) -> list[str]:
    steps = plain['test_dataloader']['dataset']['pipeline']
    shown = []
    for step in steps:
        options = {key: value for key, value in step.items() if key != 'type'}
        listed = ', '.join(f'{key}={value!r}' for key, value in options.items())
        shown.append(f'{type_name(step)}({listed})')
    preprocessor = plain['model'].get('data_preprocessor') or {}
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    return [*shown, f'normalised with mean {mean}, std {std}'] if mean is not None else shown


def _write(
    path: PathLike, manifest: dict, parts: Mapping[str, bytes], try_it: bool = False
) -> None:
    manifest = dict(manifest, sha256=_sums(parts))
    markdown, page = render_card(manifest)
    card = {_README: markdown.encode(), _CARD: page.encode()}
    manifest['sha256'] |= _sums(card)
    parts = {**parts, **card}
    content = json.dumps(manifest, indent=1, allow_nan=False).encode()
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, 'x', zipfile.ZIP_STORED) as archive:
            for key, value in {_MANIFEST: content, **parts}.items():
                # equal parts give an equal file
                archive.writestr(zipfile.ZipInfo(key, (1980, 1, 1, 0, 0, 0)), value)
        # what cannot be read back, or does not predict, is not written
        package = _read(temporary)[0]
        if try_it:
            package_inferencer(package, 'cpu', 'fp32')


def _sums(parts: Mapping[str, bytes]) -> dict[str, str]:
    return {key: hashlib.sha256(value).hexdigest() for key, value in parts.items()}


def _read(path: PathLike) -> tuple[ModelPackage, dict[str, bytes]]:
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'no package {path}; mmfrac package writes one')
    try:
        with open(path, 'rb') as file:
            sha256 = _sum(file)
            size = file.tell()
            file.seek(0)
            with zipfile.ZipFile(file) as archive:
                parts = _parts(archive, size)
    except PackageError as error:
        raise PackageError(f'{path} is refused: {error}') from None
    except ZIP_ERRORS as error:
        raise PackageError(f'{path} is no package of a model, or damaged: {error}') from error
    try:
        return _package(path, parts, sha256), parts
    except ValueError as error:
        raise PackageError(f'{path} is refused: {error}') from error


def _sum(file: Any) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _parts(archive: zipfile.ZipFile, size: int) -> dict[str, bytes]:
    members = archive.infolist()
    names = [member.filename for member in members]
    weights = [f'weights/{index}.pth' for index in range(_MOST_MEMBERS)]
    unknown = sorted(set(names) - {_MANIFEST, *_TEXTS, *weights})
    if unknown:
        raise PackageError(f'it holds {unknown[0]!r}, which is no part of a package')
    if len(set(names)) < len(names):
        raise PackageError('it holds two parts of one name')
    missing = sorted({_MANIFEST, *_TEXTS, weights[0]} - set(names))
    if missing:
        raise PackageError(f'it is no package of a model: {missing[0]} is missing')
    for member in members:
        if member.flag_bits & 1 or member.compress_type != zipfile.ZIP_STORED:
            raise PackageError(f'{member.filename} is compressed or encrypted, no part of one is')
        if member.file_size > _LARGEST.get(member.filename, size):
            raise PackageError(f'{member.filename} has {member.file_size} bytes')
    if sum(member.file_size for member in members) > size:
        raise PackageError('its parts are larger than the file')
    return {name: archive.read(name) for name in names}


def _package(path: str, parts: Mapping[str, bytes], sha256: str) -> ModelPackage:
    try:
        manifest = json.loads(parts[_MANIFEST])
    except (ValueError, RecursionError) as error:
        raise PackageError(f'its {_MANIFEST} is no JSON ({error})') from error
    _check_manifest(manifest)
    sums = _sums({name: part for name, part in parts.items() if name != _MANIFEST})
    if set(sums) != set(manifest['sha256']):
        raise PackageError('its manifest names other parts than it has')
    for name, found in sums.items():
        if found != manifest['sha256'][name]:
            raise PackageError(f'{name} has another SHA-256 than its manifest says')
    files = [member['file'] for member in manifest['members']]
    if files != [f'weights/{index}.pth' for index in range(len(files))] or set(files) != {
        name for name in parts if name.endswith('.pth')
    }:
        raise PackageError('its manifest names other members than it has')
    return ModelPackage(
        name=manifest['name'],
        classes=tuple(manifest['classes']),
        config=_config(parts[_CONFIG]),
        weights=tuple(load_checkpoint_bytes(parts[file], file, 'cpu') for file in files),
        precision=manifest['precision'],
        operating_points=tuple(PackagePoint(**one) for one in manifest['operating_points']),
        temperature=manifest.get('temperature'),
        limits=manifest['limits'],
        manifest=manifest,
        sha256=sha256,
        path=path,
    )


def _check_manifest(manifest: Any) -> None:
    if not isinstance(manifest, dict) or manifest.get('format') != FORMAT:
        raise PackageError(f'its manifest is none of a {FORMAT}')
    if manifest.get('version') != VERSION:
        raise PackageError(
            f'it has version {manifest.get("version")!r} of the format, this mmfrac reads {VERSION}'
        )
    wanted = dict(
        name=str,
        classes=list,
        limits=str,
        licence=str,
        precision=str,
        operating_points=list,
        metrics=dict,
        training=dict,
        about=dict,
        members=list,
        sha256=dict,
    )
    for key, kind in wanted.items():
        if not isinstance(manifest.get(key), kind):
            raise PackageError(f'its manifest has no {key}, or one of another type')
    for key, kind in dict(
        model=dict, evaluation=dict, versions=dict, preprocessing=list, curve=dict
    ).items():
        if not isinstance(manifest.get(key, kind()), kind):
            raise PackageError(f'its {key} is of another type')
    if not isinstance(manifest['training'].get('images') or {}, dict):
        raise PackageError('its images of the training are of another type')
    if manifest['precision'] not in PRECISIONS:
        raise PackageError(f'its precision {manifest["precision"]!r} is none of {PRECISIONS}')
    if not manifest['classes'] or not all(isinstance(one, str) for one in manifest['classes']):
        raise PackageError('its classes are no names')
    temperature = manifest.get('temperature')
    if temperature is not None and not (is_number(temperature) and temperature > 0):
        raise PackageError(f'its temperature {temperature!r} is no number > 0')
    if not all(isinstance(one, dict) and 'file' in one for one in manifest['members']):
        raise PackageError('its members name no files')
    fields = {'name', 'threshold', 'chosen_for', 'achieved'}
    for point in manifest['operating_points']:
        if not isinstance(point, dict) or set(point) != fields:
            raise PackageError(f'an operating point is {point!r}, {sorted(fields)} are wanted')
    names = [point['name'] for point in manifest['operating_points']]
    if len(set(map(str, names))) < len(names):
        raise PackageError('two of its operating points have one name')


def _config(content: bytes) -> Config:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise PackageError(f'its {_CONFIG} is no text') from error
    # MMEngine would read other files, and variables of this process, in their place
    if '{{' in text:
        raise PackageError(f'its {_CONFIG} refers to other files, a resolved one does not')
    fault = _yaml_fault(text)
    if fault:
        raise PackageError(f'its {_CONFIG} {fault}')
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _CONFIG
        file.write_text(text, encoding='utf-8')
        try:
            cfg = load_config(file)
        except ValueError as error:
            raise PackageError(one_line(error).replace(str(file), _CONFIG)) from error
    elsewhere = _weights_elsewhere(cfg.to_dict())
    if elsewhere:
        raise PackageError(f'its {_CONFIG} asks for weights of elsewhere ({elsewhere})')
    return cfg


def _yaml_fault(text: str) -> str:
    """What of a YAML text is not that of a resolved config; '' if nothing."""
    try:
        # first of all, as what is nested deeply takes minutes to be read
        fault = yaml_fault(text)
        if fault:
            return fault
        for event in yaml.parse(text, Loader=PlainLoader):
            if isinstance(event, yaml.AliasEvent):
                return 'has aliases, a resolved one has none'
            # names of models hold it, too: vit_base_patch16_224
            if isinstance(event, yaml.ScalarEvent) and event.value == '_base_':
                return 'refers to other files, a resolved one does not'
        return ''
    except yaml.YAMLError as error:
        return f'is no YAML ({one_line(error)})'
