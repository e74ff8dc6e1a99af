# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""An exported detector in whole numbers of 8 bits."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.onnx.export import description, graph_entry
from mmfrac.deployment.onnx.preprocess import prepare
from mmfrac.deployment.onnx.runtime import DESCRIPTION, OnnxDetector
from mmfrac.utils.io import OutputFolder, write_bytes

_GRAPH = 'model_int8.onnx'


def add_int8(folder: str | os.PathLike, images: Sequence[str | os.PathLike]) -> OnnxDetector:
    """Add a graph in int8 to an exported detector.

    The backbones' convolutions but the first are; neck and head, of which the scores come, stay in fp32.
    Weights have a scale a channel; features have one a tensor, from images that should be like those of
    the test, and be none of them. The maps change: measure the metric on validation images before it is
    used.

    Args:
        folder (str or PathLike): What ``export_onnx`` wrote.
        images (Sequence[str or PathLike]): Image files, some dozens.

    Returns:
        OnnxDetector: The same in int8.

    Raises:
        ValueError: If there is no image, or one cannot be read.
        ImportError: If onnx is not installed.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError(
            "the quantizer is not installed: pip install '.[onnx]' in a checkout"
        ) from error
    if not images:
        raise ValueError('int8 needs images to be calibrated on, got none')
    about = dict(OnnxDetector(folder).about)

    class Reader(CalibrationDataReader):
        """Gives one image at a time."""

        def __init__(self) -> None:
            self._inputs = _inputs(images, about['preprocessing'])

        def get_next(self) -> Any:
            inputs = next(self._inputs, None)
            return None if inputs is None else dict(image=inputs)

    with tempfile.TemporaryDirectory() as trial:
        prepared, quantized = Path(trial) / 'prepared.onnx', Path(trial) / _GRAPH
        quant_pre_process(Path(folder) / about['graphs']['fp32']['file'], prepared)
        graph = onnx.load(prepared).graph
        quantize_static(
            prepared,
            quantized,
            Reader(),
            op_types_to_quantize=['Conv'],
            nodes_to_quantize=_quantized(graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        content = quantized.read_bytes()
    about['graphs'] = about['graphs'] | dict(int8=graph_entry(_GRAPH, content))
    output = OutputFolder(folder)
    write_bytes(output.path(_GRAPH), content)
    write_bytes(output.path(DESCRIPTION), description(about))
    return OnnxDetector(folder, 'int8')


def _quantized(graph: Any) -> list[str]:
    """Convolutions of the backbones, but for the first of each."""
    chosen: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type == 'Conv':
            # a weight is named by the module that it is of
            member, found, _ = node.input[1].partition('.backbone.')
            if found:
                chosen.setdefault(member, []).append(node.name)
    if not chosen:
        raise ValueError('the graph names no convolutions of a backbone: export it anew')
    return [name for names in chosen.values() for name in names[1:]]


def _inputs(images: Sequence[str | os.PathLike], settings: dict) -> Iterator[np.ndarray]:
    for image in images:
        yield prepare(read_radiograph(image, []), settings).inputs[None]
