# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The operators against mmcv's compiled ones, whose values mmcv_ops_reference.npz holds."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfrac.utils import mmcv_ops
from tests.utils import mmcv_ops_reference as reference

VALUES = dict(np.load(reference.PATH))


@pytest.mark.parametrize('case', reference.nms_inputs(), ids=lambda case: case[0])
def test_nms_keeps_what_mmcv_keeps_in_its_order(case):
    name, boxes, scores, threshold, offset = case
    kept = mmcv_ops.nms(boxes, scores, iou_threshold=threshold, offset=offset)
    assert kept.dtype == torch.int64
    assert kept.tolist() == VALUES[name].tolist()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_nms_against_a_slow_twin(seed, count, threshold):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 6, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 6, (count, 2))], 1).astype(float)
    scores = rng.permutation(count) / 12
    kept = []
    for index in np.argsort(-scores):
        if all(overlap(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    found = mmcv_ops.nms(
        torch.tensor(boxes).float(), torch.tensor(scores).float(), iou_threshold=threshold, offset=0
    )
    assert found.tolist() == kept


def overlap(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return np.float32(width * height) / np.float32(union) if union else 0


@pytest.mark.parametrize('case', reference.roi_inputs(), ids=lambda case: case[0])
def test_roi_align_and_its_gradient_are_those_of_mmcv(case):
    name, cells, rois, options = case
    output, gradient = reference.roi_align(mmcv_ops, cells, rois, options)
    np.testing.assert_allclose(output, VALUES[f'{name}_output'], atol=1e-6)
    np.testing.assert_allclose(gradient, VALUES[f'{name}_gradient'], atol=1e-6)


def test_roi_align_by_hand():
    """One bin of 2 x 2 cells of a ramp, sampled at their centres: the mean of the four."""
    cells = torch.arange(12.0).view(1, 1, 3, 4)
    output = torch.zeros(1, 1, 1, 1)
    options = dict(spatial_scale=0.5, sampling_ratio=0, pool_mode=1, aligned=True)
    mmcv_ops.roi_align_forward(
        cells,
        torch.tensor([[0, 2.0, 2, 6, 6]]),
        output,
        *[torch.zeros(0)] * 2,
        aligned_height=1,
        aligned_width=1,
        **options,
    )
    assert output.item() == (5 + 6 + 9 + 10) / 4


@pytest.mark.parametrize('name', reference.DETECTORS)
def test_detectors_lose_and_find_the_same(name):
    """With whatever operators this environment has: the values were made with compiled ones."""
    found = reference.detector_values(name)
    wanted = {key: value for key, value in VALUES.items() if key.startswith(f'{name}_')}
    assert found.keys() == wanted.keys()
    assert any('loss' in key for key in found) and len(found[f'{name}_boxes_0']) > 0
    for key, value in wanted.items():
        # another CPU rounds its convolutions in another way
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5, err_msg=key)


@pytest.mark.skipif(not mmcv_ops.are_compiled(), reason='mmcv has no compiled operators here')
@pytest.mark.parametrize('name', reference.DETECTORS)
def test_detectors_with_and_without_compiled_operators(name, monkeypatch):
    compiled = reference.detector_values(name)
    for module in ('nms', 'roi_align'):
        module = importlib.import_module(f'mmcv.ops.{module}')
        monkeypatch.setattr(module, 'ext_module', mmcv_ops._StandIn('mmcv._ext'))
    for key, value in reference.detector_values(name).items():
        np.testing.assert_allclose(value, compiled[key], rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.fixture(scope='module')
def without_operators(tmp_path_factory):
    """Run code where mmcv has no ``_ext``, whatever this environment holds."""
    blocker = (
        'import sys, importlib.util as u\n'
        'find = u.find_spec\n'
        'u.find_spec = lambda name, package=None: None if name == "mmcv._ext" else find(name, package)\n'
    )

    def run(code):
        return subprocess.run(
            [sys.executable, '-c', blocker + code],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
        )

    return run


def test_mmdet_imports_and_other_operators_say_how_they_are_built(without_operators):
    run = without_operators(
        'import mmfrac, torch\n'
        'from mmfrac.utils import mmcv_ops\n'
        'assert not mmcv_ops.are_compiled()\n'
        'import mmdet.models\n'
        'from mmengine.utils.dl_utils.misc import mmcv_full_available\n'
        'assert not mmcv_full_available()\n'  # which mmengine asks when it builds a model to train
        'from mmcv.ops import RoIAlign, batched_nms, soft_nms\n'
        'cells = torch.rand(1, 2, 8, 8, requires_grad=True)\n'
        'RoIAlign(2, 0.5)(cells, torch.tensor([[0, 2., 2, 9, 9]])).sum().backward()\n'
        'assert abs(cells.grad.sum() - 8) < 1e-5\n'
        'boxes = torch.tensor([[0, 0, 9, 9.], [0, 0, 9, 8], [0, 0, 9, 9]])\n'
        'found = batched_nms(boxes, torch.tensor([.5, .6, .4]), torch.tensor([0, 0, 1]),\n'
        '                    dict(type="nms", iou_threshold=.5))\n'
        'assert found[1].tolist() == [1, 2]\n'
        'soft_nms(boxes, torch.rand(3))\n'
    )
    assert (
        "NotImplementedError: mmcv's operator 'softnms' needs an mmcv with compiled" in run.stderr
    )
    assert '--with-mmcv-ops' in run.stderr


@pytest.mark.slow
def test_compiled_operators_are_used_as_they_are(without_operators):
    code = (
        'import importlib.util as u, sys, types\n'
        'from mmfrac.utils import mmcv_ops\n'
        'sys.modules["mmcv._ext"] = mine = types.ModuleType("mmcv._ext")\n'
        'mmcv_ops.install()\n'
        'assert sys.modules["mmcv._ext"] is mine and mmcv_ops.are_compiled()\n'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_what_a_module_has_of_itself_is_no_operator():
    stand_in = mmcv_ops._StandIn('mmcv._ext')
    assert Path(stand_in.__file__).is_file()
    with pytest.raises(AttributeError):
        stand_in.__path__  # noqa: B018


def test_other_devices_make_a_detour_with_one_warning(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    mmcv_ops._torchvision.cache_clear()
    with pytest.warns(UserWarning, match=r'run on the CPU.*for cuda.*--with-mmcv-ops'):
        assert not mmcv_ops._torchvision('cuda')
    mmcv_ops._torchvision.cache_clear()
