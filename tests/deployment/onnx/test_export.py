# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Exported detectors beside torch, in a process without torch and mmfrac."""

import copy
import json
import math
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from mmfrac.apis import FracInferencer
from mmfrac.deployment.onnx.carried import carried_modules
from mmfrac.deployment.onnx.export import ExportError, export_onnx, in_torch
from mmfrac.deployment.onnx.quantize import add_int8
from mmfrac.deployment.onnx.runtime import MapPrediction, OnnxDetector
from mmfrac.deployment.package import PackagePoint, read_package, write_package
from mmfrac.deployment.results import ResultLine
from mmfrac.deployment.selection import Selection
from mmfrac.preparation.phantom import render_image, write_dicom
from mmfrac.utils.prob_map import component_boxes
from tests.datasets.radiographs.test_dicom import make_dicom
from tests.deployment.tiny_package import write_dicom as tiny_dicom
from tests.models.small_model import build, detector_cfg

onnx = pytest.importorskip('onnx', reason='pip install mmfrac[onnx]')
pytest.importorskip('onnxruntime', reason='pip install mmfrac[onnx]')
pytest.importorskip('onnxscript', reason='pip install mmfrac[onnx]')

FIXED = [
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='PadRadiograph', size=(128, 128)),
]
TOOL = Path(__file__).parents[3] / 'tools/model_converters/export_onnx.py'
FREE = [dict(type='Resize', scale=(160, 96), keep_ratio=True)]
# what an exported detector does without
BLOCKED = ('torch', 'mmcv', 'mmengine', 'mmdet', 'mmfrac', 'scipy', 'numba', 'matplotlib', 'onnx')
SCRIPT = """
import runpy, sys
for name in {blocked}:
    sys.modules[name] = None
sys.argv = ['detector', *{arguments}]
runpy.run_path({folder!r}, run_name='__main__')
"""


def config(model, steps=FIXED) -> Config:
    pipeline = [dict(type='LoadRadiograph'), *steps, dict(type='PackProbMapInputs')]
    dataset = dict(type='CXRDataset', pipeline=pipeline)
    return Config(dict(default_scope='mmdet', model=model, test_dataloader=dict(dataset=dataset)))


def inferencer(folder, model, steps=FIXED, seed=0):
    """A detector whose maps vary, also above the threshold of its boxes."""
    built = build(model)
    torch.manual_seed(seed)
    for one in getattr(built, 'detectors', [built]):
        if hasattr(one, 'prob_map_head'):
            torch.nn.init.normal_(one.prob_map_head.logit_conv.weight, std=0.5)
            torch.nn.init.constant_(one.prob_map_head.logit_conv.bias, -1.5)
        for layer in one.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
                torch.nn.init.normal_(layer.running_mean, std=0.1)
    path = Path(folder) / 'best.pth'
    torch.save(dict(state_dict=built.state_dict()), path)
    return FracInferencer(config(model, steps), path, device='cpu')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """DICOM of 8, 10, 12, 14 and 16 bits, of all shapes, and what headers do to grey values."""
    folder = tmp_path_factory.mktemp('images')
    for index, (size, count) in enumerate(((96, 2), (200, 1))):
        phantom = render_image(index, 0, size, count, 0.05)
        write_dicom(folder / f'phantom{index}.dcm', phantom.image, f'p{index}', phantom.pixel_mm)
    rng = np.random.default_rng(0)
    headers = [
        dict(),
        dict(PhotometricInterpretation='MONOCHROME1'),
        dict(WindowCenter=[700, 9], WindowWidth=[900, 9]),
        dict(WindowCenter='1000', WindowWidth='1500', VOILUTFunction='SIGMOID'),
        dict(RescaleSlope='2', RescaleIntercept='-100', PixelPaddingValue=0),
    ]
    shapes = [(128, 128), (301, 97), (64, 251), (20, 33), (1, 40)]
    for index, (header, shape) in enumerate(zip(headers, shapes)):
        for bits, dtype in ((8, np.uint8), (12, np.uint16), (16, np.uint16)):
            smooth = cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), 3)
            smooth = (smooth - smooth.min()) / max(float(np.ptp(smooth)), 1e-3)
            stored = (smooth * (2**bits - 1)).astype(dtype)
            syntax = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)[index % 3]
            make_dicom(folder / f'image_{index}_{bits}.dcm', stored, bits, syntax, **header)
    make_dicom(folder / 'signed', (stored.astype(int) // 2).astype(np.int16), 16)
    cv2.imwrite(str(folder / 'grey.png'), (rng.random((90, 70)) * 65535).astype(np.uint16))
    (folder / 'damaged.dcm').write_bytes((folder / 'phantom0.dcm').read_bytes()[:3000])
    return folder


def run_alone(detector, *arguments, blocked=BLOCKED, cwd):
    """Run an exported detector in a process in which nothing else can be imported."""
    script = SCRIPT.format(
        blocked=blocked, arguments=[str(one) for one in arguments], folder=str(detector)
    )
    # without site-packages' .pth files, which would name a checkout
    return subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def check_equal(inferencer, results, tolerance=1e-4):
    """Each result is that of torch in fp32; returns the number that were scored."""
    inferencer.precision = 'fp32'
    expected = inferencer([one.image for one in results], on_error='report')
    predictions = {one['film']: one for one in expected['predictions']}
    errors = {one['film']: one['error'] for one in expected['errors']}
    assert set(predictions) == {one.image for one in results if one.scored}
    for result in results:
        if not result.scored:
            assert result.image in result.error and result.image in errors
            continue
        one = predictions[result.image]
        assert result.score == pytest.approx(one['score'], abs=tolerance)
        assert result.map_scale == pytest.approx(one['map_scale'])
        np.testing.assert_allclose(result.boxes, one['boxes'], atol=1e-3)
        np.testing.assert_allclose(result.scores, one['scores'], atol=tolerance)
    return len(predictions)


def check_maps(inferencer, detector, planes, tolerance=1e-4):
    """Maps are those of torch; returns the largest difference."""
    worst = 0.0
    for plane in planes:
        expected = in_torch(inferencer, plane).pred_prob_map.data[0].numpy()
        found = detector.predict(plane).prob_map
        assert found.shape == expected.shape
        worst = max(worst, float(np.abs(found - expected).max()))
    assert worst <= tolerance
    return worst


PLANES = [
    np.random.default_rng(index).random(shape, np.float32)
    for index, shape in enumerate(((128, 128), (64, 64), (500, 333), (131, 260), (17, 90)))
]


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """A small detector, and it exported."""
    folder = tmp_path_factory.mktemp('small')
    made = inferencer(folder, detector_cfg())
    points = [dict(name='fppi 0.1', threshold=0.5), dict(name='all', threshold=0.01)]
    export_onnx(made, folder / 'out', 'tiny', operating_points=points, temperature=2.0, sha256='5a')
    return made, folder / 'out'


def test_alone_it_predicts_what_torch_predicts(small, images, tmp_path):
    made, folder = small
    run = run_alone(folder, images, cwd=tmp_path)
    assert run.returncode == 1, run.stderr  # of the damaged one
    assert 'Research use only' in run.stderr
    results = [ResultLine.from_json(line) for line in run.stdout.splitlines()]
    assert len(results) == len(list(images.iterdir()))
    assert check_equal(made, results) == len(results) - 1
    assert any(len(one.boxes) for one in results)
    scored = [one for one in results if one.scored]
    assert len({round(one.score, 3) for one in scored}) > 5
    for one in scored:
        odds = (one.score / (1 - one.score)) ** 0.5
        assert one.probability == pytest.approx(odds / (1 + odds), abs=1e-6)
        assert one.flag == (one.score >= 0.5)
        assert one.model == dict(name='tiny', sha256='5a') and one.precision == 'fp32'


def test_what_is_no_frontal_chest_film_is_left_out(small, tmp_path):
    _, folder = small
    views = dict(PA='PA', LL='lateral')
    paths = [tiny_dicom(tmp_path / f'{view}.dcm', 4, ViewPosition=view) for view in views]
    detector = OnnxDetector(folder)
    for one, view in zip(detector(paths, 2), views.values()):
        assert (one.view, one.sop_instance_uid, one.study_instance_uid) == (
            view,
            '1.2.3.4',
            '1.2.5.2',
        )
        assert one.scored is (view == 'PA') and one.reason == ('' if one.scored else 'view lateral')
        assert one.error is None and (one.width, one.height) == (64, 48)
    assert all(one.scored for one in detector(paths, selection=Selection(everything=True)))
    run = run_alone(folder, *paths, '--views', 'lateral', cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert [json.loads(line)['scored'] for line in run.stdout.splitlines()] == [False, True]
    (gone,) = detector([tmp_path / 'nowhere.dcm'])
    assert gone.reason == 'no such file' and 'nowhere.dcm' in gone.error


def test_doubts_and_an_image_of_one_value(small, tmp_path):
    _, folder = small
    doubtful = tiny_dicom(tmp_path / 'doubtful.dcm', 0, WindowWidth=0)
    blank = tiny_dicom(tmp_path / 'blank.dcm', 1, PixelData=bytes(2 * 48 * 64))
    run = run_alone(folder, doubtful, blank, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert '2 are doubtful' in run.stderr
    first, second = (ResultLine.from_json(line) for line in run.stdout.splitlines())
    assert first.scored and first.notes[0].startswith('its window (center 2048.0, width 0.0)')
    assert not second.scored and second.reason == 'all its pixels have one value'
    assert second.reason in second.notes and (second.width, second.height) == (64, 48)
    (found,) = OnnxDetector(folder)([blank], selection=Selection(everything=True))
    assert found.scored and found.notes


def test_a_network_that_gives_nan_stops_nothing(small, images, monkeypatch):
    _, folder = small
    detector = OnnxDetector(folder)
    nan = MapPrediction(math.nan, np.zeros((0, 4)), np.zeros(0), np.zeros((1, 1)), (1.0, 1.0))
    monkeypatch.setattr(detector, '_predict', lambda prepared, threshold: [nan] * len(prepared))
    (one,) = detector([images / 'phantom0.dcm'])
    assert not one.scored and one.reason == 'cannot be read' and 'nan' in one.error


def test_without_pillow_dicom_is_read_and_others_say_what_they_need(small, images, tmp_path):
    made, folder = small
    files = [images / 'phantom0.dcm', images / 'signed', images / 'grey.png']
    run = run_alone(folder, *files, blocked=(*BLOCKED, 'PIL'), cwd=tmp_path)
    *read, other = [ResultLine.from_json(line) for line in run.stdout.splitlines()]
    assert check_equal(made, read) == 2
    assert not other.scored and 'pip install pillow' in other.error


def test_maps_of_planes_and_batches(small):
    made, folder = small
    detector = OnnxDetector(folder)
    assert detector.about['input_size'] == [128, 128]
    check_maps(made, detector, PLANES)
    together = detector.predict_planes(PLANES)
    for plane, one in zip(PLANES, together):
        np.testing.assert_allclose(one.prob_map, detector.predict(plane).prob_map, atol=1e-6)
    # at an operating point below the threshold of the boxes, and above it
    (low,), (high,) = (detector.predict_planes(PLANES[:1], thr) for thr in (0.05, 0.9))
    boxes = component_boxes(low.prob_map, low.map_scale, PLANES[0].shape, 0.05)[0]
    np.testing.assert_array_equal(low.boxes, boxes)
    np.testing.assert_array_equal(high.boxes, together[0].boxes)


@pytest.mark.slow
def test_an_ensemble_of_any_size(tmp_path):
    member = detector_cfg()
    preprocessor = member.pop('data_preprocessor')
    ensemble = dict(
        type='EnsembleDetector',
        detectors=[member, copy.deepcopy(member)],
        data_preprocessor=preprocessor,
        test_cfg=dict(component_thr=0.3, max_per_img=7),
    )
    made = inferencer(tmp_path, ensemble, FREE)
    first, second = made.model.detectors
    assert not torch.equal(
        first.prob_map_head.logit_conv.weight, second.prob_map_head.logit_conv.weight
    )
    detector = export_onnx(made, tmp_path / 'out', 'two')
    assert detector.about['input_size'] is None
    assert detector.about['max_per_img'] == 7 and detector.about['component_thr'] == 0.3
    check_maps(made, detector, PLANES)
    # of several sizes in one batch, too
    sizes = {one.prob_map.shape for one in detector.predict_planes(PLANES)}
    assert len(sizes) > 3


@pytest.mark.slow
def test_r50(tmp_path):
    model = detector_cfg()
    model['backbone'] = dict(type='ResNet', depth=50, norm_eval=False)
    model['neck'] = dict(
        type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4
    )
    model['prob_map_head'] |= dict(
        in_channels=256, feat_channels=128, norm_cfg=dict(type='GN', num_groups=32)
    )
    made = inferencer(tmp_path, model)
    check_maps(made, export_onnx(made, tmp_path / 'out', 'r50'), PLANES)


def test_a_classifier_whose_score_is_no_maximum(tmp_path):
    model = dict(
        type='CAMClassifier',
        data_preprocessor=detector_cfg()['data_preprocessor'],
        backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
        in_channels=64,
    )
    made = inferencer(tmp_path, model)
    detector = export_onnx(made, tmp_path / 'out', 'cam')
    check_maps(made, detector, PLANES)
    for plane in PLANES:
        score = float(in_torch(made, plane).pred_score)
        assert detector.predict(plane).score == pytest.approx(score, abs=1e-5)


def test_what_has_no_form_outside_torch_is_an_error(small, tmp_path):
    made, _ = small
    flipped = copy.copy(made)
    flipped.prepare = FracInferencer.__new__(FracInferencer)
    steps = [dict(type='Resize', scale=(64, 64)), dict(type='RandomFlip', prob=0.5)]
    flipped = FracInferencer(config(detector_cfg(), steps), made.weights, device='cpu')
    with pytest.raises(ExportError, match='step RandomFlip of the test pipeline'):
        export_onnx(flipped, tmp_path / 'out', 'flipped')
    steps = [dict(type='Resize', scale_factor=0.5)]
    other = FracInferencer(config(detector_cfg(), steps), made.weights, device='cpu')
    with pytest.raises(ExportError, match='fixed scale'):
        export_onnx(other, tmp_path / 'out', 'other')
    steps = [dict(type='Pad', size=(64, 64), pad_val=dict(img=1))]
    other = FracInferencer(config(detector_cfg(), steps), made.weights, device='cpu')
    with pytest.raises(ExportError, match='black'):
        export_onnx(other, tmp_path / 'out', 'other')
    boxes = copy.copy(made)
    boxes.model = torch.nn.Linear(1, 1)
    with pytest.raises(ExportError, match='Linear has no form as ONNX'):
        export_onnx(boxes, tmp_path / 'out', 'boxes')
    assert not (tmp_path / 'out').exists()


def test_one_that_predicts_something_else_is_not_written(small, tmp_path, monkeypatch):
    made, folder = small
    graph = (folder / 'model.onnx').read_bytes()
    monkeypatch.setattr('mmfrac.deployment.onnx.export._graph', lambda *arguments: graph)
    # other weights than those of the graph
    made = inferencer(tmp_path, detector_cfg(), seed=1)
    with pytest.raises(ExportError, match='nothing is written'):
        export_onnx(made, tmp_path / 'out', 'other')
    assert not (tmp_path / 'out').exists()


def test_damaged_exports_are_errors(small, tmp_path):
    _, folder = small
    with pytest.raises(FileNotFoundError, match='no exported detector'):
        OnnxDetector(tmp_path)
    with pytest.raises(ValueError, match="none in 'int8'"):
        OnnxDetector(folder, 'int8')
    with pytest.raises(ValueError, match='there are: fppi 0\\.1, all'):
        next(OnnxDetector(folder)(['a.dcm'], point='x'))
    (tmp_path / 'model.json').write_bytes((folder / 'model.json').read_bytes())
    (tmp_path / 'model.onnx').write_bytes((folder / 'model.onnx').read_bytes() + b'\0')
    with pytest.raises(ValueError, match='is not the file that'):
        OnnxDetector(tmp_path)
    about = json.loads((folder / 'model.json').read_text()) | dict(format='mmfrac onnx 0')
    (tmp_path / 'model.json').write_text(json.dumps(about))
    with pytest.raises(ValueError, match="has format 'mmfrac onnx 0'"):
        OnnxDetector(tmp_path)


def test_what_is_carried_is_what_mmfrac_itself_reads_with(small):
    _, folder = small
    for name, path in carried_modules().items():
        carried = folder / 'frac_onnx' / Path(*name.split('.')[1:]).with_suffix('.py')
        text = path.read_text().replace('from mmfrac.', 'from frac_onnx.')
        assert carried.read_text() == text
    assert 'mmfrac.datasets.radiographs.grey_scale' in carried_modules()


def test_int8_is_smaller_and_near(small, images, tmp_path):
    _, folder = small
    shutil.copytree(folder, tmp_path / 'out')
    detector = add_int8(tmp_path / 'out', sorted(images.glob('image_*_12.dcm')))
    assert detector.precision == 'int8'
    whole = OnnxDetector(tmp_path / 'out')
    differences = [
        float(np.abs(detector.predict(plane).prob_map - whole.predict(plane).prob_map).max())
        for plane in PLANES
    ]
    assert 0 < max(differences) < 0.2
    # the backbone's convolutions but the first; neck and head stay as they are
    graph = onnx.load(tmp_path / 'out' / 'model_int8.onnx').graph
    inputs = [node.input[1] for node in graph.node if node.op_type == 'Conv']
    quantized = [name for name in inputs if name.endswith('_DequantizeLinear_Output')]
    assert len(quantized) == 19 and all('.backbone.layer' in name for name in quantized)
    assert len(inputs) == 34 and 'members.0.backbone.conv1.weight' in inputs
    with pytest.raises(ValueError, match='got none'):
        add_int8(tmp_path / 'out', [])


def test_the_command(small, images, tmp_path, monkeypatch, capsys):
    made, folder = small
    points = [PackagePoint('low', 0.3, 'fppi=0.5')]
    write_package(
        tmp_path / 'a.mmfrac',
        made.cfg,
        [folder.parent / 'best.pth'],
        name='a',
        operating_points=points,
        temperature=1.5,
    )
    # as it was exported before
    graph = (folder / 'model.onnx').read_bytes()
    monkeypatch.setattr('mmfrac.deployment.onnx.export._graph', lambda *arguments: graph)
    one = tmp_path / 'calibration'
    one.mkdir()
    shutil.copy(images / 'phantom0.dcm', one)
    arguments = [str(tmp_path / 'a.mmfrac'), str(tmp_path / 'out'), '--int8', str(one)]
    monkeypatch.setattr(sys, 'argv', ['export', *arguments])
    runpy.run_path(str(TOOL), run_name='__main__')
    said = capsys.readouterr().out
    assert 'differs from torch by' in said and 'int8: calibrated on 1 images' in said
    detector = OnnxDetector(tmp_path / 'out', 'int8')
    package = read_package(tmp_path / 'a.mmfrac')
    assert detector.identity == package.identity
    assert detector.about['operating_points'][0]['name'] == 'low'
    assert detector.about['temperature'] == 1.5
    assert 'Research use only' in (tmp_path / 'out' / 'README.md').read_text()
    # a folder that is somebody's stays
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'model.onnx').write_bytes(b'mine')
    monkeypatch.setattr(sys, 'argv', ['export', arguments[0], str(tmp_path / 'mine')])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOL), run_name='__main__')
    assert (tmp_path / 'mine' / 'model.onnx').read_bytes() == b'mine'
