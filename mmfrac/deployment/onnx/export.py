# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Write a detector as ONNX, with what runs it, and see that it predicts what it did before."""

import hashlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.datasets.transforms import PackDetInputs, Resize
from mmdet.models.data_preprocessors import DetDataPreprocessor, MultiBranchDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.dataset import Compose
from torch import Tensor, nn

from mmfrac.apis.inferencer import FracInferencer
from mmfrac.datasets.transforms import PackProbMapInputs, PadRadiograph
from mmfrac.deployment.onnx.carried import carried_files
from mmfrac.deployment.onnx.runtime import DESCRIPTION, FORMAT, OnnxDetector
from mmfrac.deployment.package import RESEARCH_ONLY
from mmfrac.models.detectors.cam_classifier import CAMClassifier
from mmfrac.models.detectors.ensemble_detector import EnsembleDetector
from mmfrac.models.detectors.prob_map_detector import ProbMapDetector
from mmfrac.utils.environment import installed_versions
from mmfrac.utils.io import OutputFolder, write_bytes

# of prob maps, image scores and scores of boxes
TOLERANCE = 1e-4
# px of made-up images, width and height: larger and smaller than inputs, of both forms, odd
_TRIED = ((331, 402), (402, 331), (64, 64), (93, 41))
_GRAPH = 'model.onnx'


class ExportError(ValueError):
    """A detector that has no form as ONNX, or another one there than here."""


class _Source(NamedTuple):
    """What is exported.

    Attributes:
        members (list[nn.Module]): Detectors with ``logits``.
        image_score (str): 'maximum' of the mean map, or 'mean' of the members' scores.
        member_scores (str): 'maximum' of a map, or 'mean_logit' of its cells.
        test_cfg (dict): ``component_thr`` and ``max_per_img``.
        stride (int): px of the input a cell.
        preprocessing (dict): See ``preprocess.prepare``.
    """

    members: list[Any]
    image_score: str
    member_scores: str
    test_cfg: Mapping[str, Any]
    stride: int
    preprocessing: dict[str, Any]


class _Network(nn.Module):
    """Logits of all members, ``(N, members, h, w)``."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([member.logits(image) for member in self.members], dim=1)  # type: ignore


def export_onnx(
    inferencer: FracInferencer,
    out_dir: str | os.PathLike,
    name: str,
    *,
    limits: str = RESEARCH_ONLY,
    classes: Sequence[str] = ('fracture',),
    sha256: str | None = None,
    operating_points: Sequence[Mapping[str, Any]] = (),
    temperature: float | None = None,
    dynamic: bool = False,
) -> OnnxDetector:
    """Write a detector of prob maps as ONNX.

    The folder runs by itself (``python FOLDER IMAGE``) with onnxruntime, numpy, OpenCV and pydicom, and
    PNG, JPEG and TIFF with Pillow. Batch norms are folded; the batch may have any size. The detector is
    exported in fp32, whatever the inferencer predicts in, and compared with torch before it is written.

    Args:
        inferencer (FracInferencer): The detector, on the CPU.
        out_dir (str or PathLike): Folder to write; what is there and was not exported stays an error.
        name (str): Of the model.
        limits (str): What it must not be used for. Defaults to research use only.
        classes (Sequence[str]): Of its boxes. Defaults to 'fracture'.
        sha256 (str, optional): Of the package, by which results name it. Defaults to None, that of the
            graph.
        operating_points (Sequence[Mapping]): ``name`` and ``threshold`` and more. Defaults to none.
        temperature (float, optional): Of calibrated probabilities. Defaults to None.
        dynamic (bool): Whether inputs of any size can be run. Defaults to False: where the test pipeline
            gives all images one size it is that, which is faster.

    Returns:
        OnnxDetector: What was written.

    Raises:
        ExportError: If the detector or a step of its pipeline has no form there, or predicts other maps.
        ImportError: If the exporter is not installed.
    """
    source = _source(inferencer)
    size = None if dynamic else _fixed_size(source.preprocessing)
    content = _graph(source, size)
    about: dict[str, Any] = dict(
        format=FORMAT,
        name=name,
        limits=limits,
        classes=list(classes),
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
        graphs=dict(fp32=graph_entry(_GRAPH, content)),
        input_size=None if size is None else list(size),
        preprocessing=source.preprocessing,
        stride=source.stride,
        member_scores=source.member_scores,
        image_score=source.image_score,
        component_thr=float(source.test_cfg['component_thr']),
        max_per_img=int(source.test_cfg['max_per_img']),
        operating_points=[dict(one) for one in operating_points],
        temperature=temperature,
        versions=installed_versions(),
        largest_difference=None,
    )
    with tempfile.TemporaryDirectory() as trial:
        _write(Path(trial), {_GRAPH: content, DESCRIPTION: description(about)})
        about['largest_difference'] = largest_difference(inferencer, OnnxDetector(trial))
    if about['largest_difference'] > TOLERANCE:
        raise ExportError(
            f'the exported detector differs by {about["largest_difference"]:.2g} from the one in torch, '
            f'more than {TOLERANCE:g}: nothing is written'
        )
    texts = carried_files() | {'README.md': _readme(about)}
    files = {path: text.encode() for path, text in texts.items()}
    _write(Path(out_dir), files | {_GRAPH: content, DESCRIPTION: description(about)})
    return OnnxDetector(out_dir)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    output = OutputFolder(folder)
    for path, content in files.items():
        write_bytes(output.path(path), content)


def graph_entry(file: str, content: bytes) -> dict[str, str]:
    """How a description names a graph."""
    return dict(file=file, sha256=hashlib.sha256(content).hexdigest())


def description(about: Mapping[str, Any]) -> bytes:
    """What is said of an exported detector, as its file holds it."""
    return (json.dumps(about, indent=1, allow_nan=False) + '\n').encode()


def largest_difference(inferencer: FracInferencer, detector: OnnxDetector) -> float:
    """Largest difference of prob maps and image scores between torch and onnxruntime.

    Args:
        inferencer (FracInferencer): The detector in torch; it is run in fp32.
        detector (OnnxDetector): The same, exported.

    Returns:
        float: Over made-up images of several sizes.
    """
    rng = np.random.default_rng(0)
    worst = 0.0
    for width, height in _TRIED:
        plane = rng.random((height, width), np.float32)
        expected = in_torch(inferencer, plane)
        found = detector.predict(plane)
        prob_map = expected.pred_prob_map.data[0].numpy()
        if prob_map.shape != found.prob_map.shape:
            return float('inf')
        worst = max(
            worst,
            float(np.abs(prob_map - found.prob_map).max()),
            abs(float(expected.pred_score) - found.score),
        )
    return worst


def in_torch(inferencer: FracInferencer, plane: np.ndarray) -> DetDataSample:
    """What a detector predicts of a plane, in fp32, on the host."""
    before, inferencer.precision = inferencer.precision, 'fp32'
    try:
        return inferencer(plane, return_datasamples=True)['predictions'][0]
    finally:
        inferencer.precision = before


def _source(inferencer: FracInferencer) -> _Source:
    model = inferencer.model
    model = getattr(model, 'student', model)
    members = list(model.detectors) if isinstance(model, EnsembleDetector) else [model]
    members = [getattr(member, 'student', member) for member in members]
    for member in members:
        if type(member) not in (ProbMapDetector, CAMClassifier):
            raise ExportError(
                f'{type(member).__name__} has no form as ONNX here: ProbMapDetector, CAMClassifier and '
                "ensembles of them have (mmdet's box detectors: MMDeploy)"
            )
    kinds = {type(member) for member in members}
    strides = {_stride(member) for member in members}
    if len(kinds) > 1 or len(strides) > 1:
        raise ExportError('an ensemble of several kinds or strides has no form as ONNX here')
    return _Source(
        members=members,
        image_score='maximum' if model.image_score_is_map_maximum else 'mean',
        member_scores='maximum' if members[0].image_score_is_map_maximum else 'mean_logit',
        test_cfg=model.test_cfg,
        stride=strides.pop(),
        preprocessing=_preprocessing(inferencer),
    )


def _stride(member: Any) -> int:
    return int(member.stride if isinstance(member, CAMClassifier) else member.prob_map_head.stride)


def _preprocessing(inferencer: FracInferencer) -> dict[str, Any]:
    """Settings of ``preprocess.prepare`` for a test pipeline."""
    steps = list(_steps(inferencer.prepare))
    kinds = [type(step) for step in steps]
    resize = pad = None
    for step, kind in zip(steps, kinds):
        if kind is Resize and resize is None and pad is None:
            resize = _resize(step)
        elif kind.__name__ in ('Pad', 'PadRadiograph') and pad is None and _is_pad(step):
            pad = _pad(step)
        elif kind not in (PackProbMapInputs, PackDetInputs):
            raise ExportError(
                f'step {kind.__name__} of the test pipeline has no form outside torch: '
                'LoadRadiograph, Resize, Pad and PackProbMapInputs, in this order, have'
            )
    preprocessor = inferencer.model.data_preprocessor
    if isinstance(preprocessor, MultiBranchDataPreprocessor):
        preprocessor = preprocessor.data_preprocessor
    if type(preprocessor) is not DetDataPreprocessor or preprocessor.batch_augments:
        raise ExportError(
            f'data preprocessor {type(preprocessor).__name__} has no form outside torch: '
            "mmdet's DetDataPreprocessor, without batch augmentations, has"
        )
    normalises = preprocessor._enable_normalize
    return dict(
        channels=getattr(inferencer._load_image, 'channels', 1),
        resize=resize,
        pad=pad,
        mean=preprocessor.mean.flatten().tolist() if normalises else None,
        std=preprocessor.std.flatten().tolist() if normalises else None,
        divisor=int(preprocessor.pad_size_divisor),
        value=float(preprocessor.pad_value),
    )


def _steps(transform: Any) -> Iterator[Any]:
    for step in transform.transforms:
        if isinstance(step, Compose):
            yield from _steps(step)
        else:
            yield step


def _resize(step: Any) -> dict[str, Any]:
    if step.scale is None or step.backend != 'cv2':
        raise ExportError('Resize has a form outside torch with a fixed scale and backend cv2')
    return dict(
        scale=[int(side) for side in step.scale],
        keep_ratio=bool(step.keep_ratio),
        interpolation=step.interpolation,
    )


def _is_pad(step: Any) -> bool:
    return type(step) is PadRadiograph or type(step) in PadRadiograph.__mro__


def _pad(step: Any) -> dict[str, Any]:
    if step.padding_mode != 'constant':
        raise ExportError(f'padding_mode {step.padding_mode!r} has no form outside torch')
    value = step.pad_val.get('img', 0)
    if value != 0:
        raise ExportError(f'Pad has a form outside torch with black (0) alone, got {value!r}')
    return dict(
        size=None if step.size is None else [int(side) for side in step.size],
        divisor=step.size_divisor,
        square=bool(step.pad_to_square),
    )


def _fixed_size(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height that the pipeline gives all images; None if it gives them several."""
    resize, pad, divisor = settings['resize'], settings['pad'], settings['divisor']
    size = None
    if pad and pad['size']:
        size = pad['size']
    elif resize and not resize['keep_ratio'] and not (pad and (pad['square'] or pad['divisor'])):
        size = resize['scale']
    if size is None:
        return None
    width, height = (-(-side // divisor) * divisor for side in size)
    return width, height


def _graph(source: _Source, size: tuple[int, int] | None) -> bytes:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "the exporter is not installed: pip install '.[onnx]' in a checkout"
        ) from error
    channels, divisor = source.preprocessing['channels'], source.preprocessing['divisor']
    # the exporter takes a batch of one for a constant
    batch: dict[int, Any] = {0: torch.export.Dim('n', min=1)}
    if size is None:
        rows, columns = torch.export.Dim('rows', min=1), torch.export.Dim('columns', min=1)
        batch |= {2: divisor * rows, 3: divisor * columns}
        side = 4 * divisor
        size = (side + divisor, side)
    image = torch.zeros(2, channels, size[1], size[0])
    network = _Network(source.members).float().eval()
    with warnings.catch_warnings(), _quiet(), torch.no_grad():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            network,
            (image,),
            None,
            dynamo=True,
            dynamic_shapes=(batch,),
            input_names=['image'],
            output_names=['logits'],
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ('onnxscript', 'onnx_ir', 'torch.onnx')]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)


def _readme(about: Mapping[str, Any]) -> str:
    graphs = ', '.join(f'`{one["file"]}` ({key})' for key, one in about['graphs'].items())
    return '\n'.join(
        [
            f'# {about["name"]} as ONNX',
            '',
            f'**{about["limits"]}**',
            '',
            'It needs Python, `pip install onnxruntime numpy opencv-python-headless pydicom`, for PNG,',
            'JPEG and TIFF files `pillow`, for compressed DICOM what pydicom asks for',
            '(`pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`).',
            '',
            '    python FOLDER image.dcm images/ > results.jsonl',
            '',
            'Frontal images of the chest are scored, of others it is said why not (`--views`,',
            '`--everything`).',
            '',
            f'Graph: {graphs}. Differs from torch by {about["largest_difference"]:.1g} at most.',
            '`frac_onnx/` is a copy of those modules of mmfrac that read and prepare an image.',
            '',
        ]
    )
