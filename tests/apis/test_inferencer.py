# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import inspect
import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from pydicom.uid import ExplicitVRLittleEndian
from torch._dynamo.utils import counters

from mmfrac.apis import FracInferencer
from mmfrac.apis import inferencer as inferencer_module
from mmfrac.datasets.radiographs.read import RadiographError
from mmfrac.models.postprocess import components
from mmfrac.utils.io import OutputFolder
from tests.forking import python_for_tools
from tests.models.small_model import build, detector_cfg, semi_cfg

PIPELINE = [
    dict(type='LoadRadiograph'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='Pad', size=(128, 128)),
    dict(type='PackProbMapInputs'),
]


def config(model) -> Config:
    dataset = dict(type='CXRDataset', pipeline=PIPELINE)
    return Config(dict(default_scope='mmdet', model=model, test_dataloader=dict(dataset=dataset)))


def save(model, path, seed=0):
    # so that the untrained maps vary, also above the threshold
    torch.manual_seed(seed)
    head = getattr(model, 'student', model).prob_map_head
    torch.nn.init.normal_(head.logit_conv.weight, std=0.5)
    torch.nn.init.constant_(head.logit_conv.bias, -1.5)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), path)
    return str(path)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save(build(detector_cfg()), tmp_path_factory.mktemp('weights') / 'best.pth')


@pytest.fixture(scope='module')
def inferencer(weights):
    return FracInferencer(config(detector_cfg()), weights, device='cpu')


@pytest.fixture
def films(tmp_path):
    """A 16-bit PNG, the same film as DICOM without suffix and 256 px wide, and two broken files."""
    folder = tmp_path / 'films'
    folder.mkdir()
    rng = np.random.default_rng(3)
    film = cv2.resize(rng.random((12, 16)), (256, 192), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    pixels = (film * 4095).round().astype(np.uint16)
    pixels[0, 0] = 4095
    cv2.imwrite(str(folder / 'a.png'), pixels)
    write_dicom(folder / 'film_b', pixels)
    (folder / 'c.png').write_bytes((folder / 'a.png').read_bytes()[:2000])
    (folder / 'd.dcm').write_bytes(b'no film at all')
    return folder


def write_dicom(path, pixels):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = '1.2.840.10008.5.1.4.1.1.1.1'
    meta.MediaStorageSOPInstanceUID = '1.2.3'
    film = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, 'MONOCHROME2'
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.WindowCenter, film.WindowWidth = 2048, 4096
    film.PixelData = pixels.tobytes()
    film.save_as(path, enforce_file_format=True)


def test_what_an_earlier_run_wrote_of_a_film_goes_when_it_cannot_be_read(
    inferencer, films, tmp_path
):
    out = tmp_path / 'out'
    inferencer(films, out_dir=out, save_maps=True)
    (out / 'maps' / 'mine.npz').write_bytes(b'')
    (films / 'a.png').write_bytes(b'cut')
    result = inferencer(films, out_dir=out, save_maps=True)
    assert [one['film'] for one in result['predictions']] == [str(films / 'film_b')]
    assert sorted(path.name for path in (out / 'maps').iterdir()) == ['film_b.npz', 'mine.npz']
    assert [path.name for path in (out / 'vis').iterdir()] == ['film_b.png']


def test_folder_of_dicom_png_and_broken_films(inferencer, films, tmp_path):
    out = tmp_path / 'out'
    result = inferencer(str(films), batch_size=3, out_dir=out, save_maps=True)
    predictions = result['predictions']
    assert [p['film'] for p in predictions] == [str(films / 'a.png'), str(films / 'film_b')]
    assert [error['film'] for error in result['errors']] == [
        str(films / 'c.png'),
        str(films / 'd.dcm'),
    ]
    assert all(error['film'] in error['error'] for error in result['errors'])
    assert 0.2 < predictions[0]['score'] < 0.99
    # the same film in two formats
    assert predictions[0]['score'] == pytest.approx(predictions[1]['score'], abs=1e-3)
    written = json.loads((out / 'predictions.json').read_text())
    assert written['predictions'] == predictions and written['errors'] == result['errors']
    for name, prediction, path in zip(('a', 'film_b'), predictions, result['visualization']):
        assert path == str(out / 'vis' / f'{name}.png')
        assert cv2.imread(path).shape == (768, 1024, 3)
        # 256 x 192 px go into 128 x 96 of the input, of which a cell is 4
        assert prediction['map_scale'] == [8, 8]
        saved = np.load(out / 'maps' / f'{name}.npz')
        assert saved['prob_map'].shape == (24, 32) and saved['map_scale'].tolist() == [8, 8]
        assert saved['prob_map'].max() == pytest.approx(prediction['score'])
        assert str(saved['film']) == prediction['film']
        found = components(torch.from_numpy(saved['prob_map']), (8.0, 8.0), (192, 256))
        assert len(prediction['boxes']) == len(prediction['scores']) == len(found) > 0
        np.testing.assert_allclose(prediction['boxes'], found.bboxes.numpy())
    assert not list(out.rglob('*.tmp'))


def test_whatever_an_image_is_the_others_are_predicted(inferencer, films, tmp_path, monkeypatch):
    os.mkfifo(films / 'pipe.png')
    (films / 'link.png').symlink_to(films / 'nowhere')
    cv2.imwrite(str(films / 'strip.png'), np.zeros((1, 3000), np.uint8))
    (films / 'marked').write_bytes(bytes(128) + b'DICM' + bytes(40))
    calls = []

    def prepare(results, prepare=inferencer.prepare):
        calls.append(results['img_path'])
        if results['img_path'].endswith('film_b'):
            raise cv2.error('no size')
        # the predictions so far are on disk
        return prepare(results)

    monkeypatch.setattr(inferencer, 'prepare', prepare)
    cv2.imwrite(str(films / 'z.png'), np.arange(96 * 96, dtype=np.uint16).reshape(96, 96))
    result = inferencer(str(films), out_dir=tmp_path / 'out')
    assert [p['film'] for p in result['predictions']] == [
        str(films / 'a.png'),
        str(films / 'z.png'),
    ]
    bad = ('c.png', 'd.dcm', 'film_b', 'link.png', 'marked', 'pipe.png', 'strip.png')
    assert [error['film'] for error in result['errors']] == [str(films / name) for name in bad]
    assert all(error['film'] in error['error'] for error in result['errors'])
    assert not (tmp_path / 'out' / 'predictions.partial.jsonl').exists()


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('vis', 'vis is there and is no folder'),
        ('vis/film_b.png', r'film_b\.png is there and was not written by mmfrac'),
        ('maps', 'maps is there and is no folder'),
        ('maps/film_b.npz', r'film_b\.npz is there and was not written by mmfrac'),
        ('predictions.partial.jsonl', r'jsonl is there and was not written by mmfrac'),
    ],
)
def test_what_is_in_the_way_is_said_before_the_first_film(
    inferencer, films, tmp_path, monkeypatch, name, words
):
    theirs = tmp_path / 'out' / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text('theirs')
    monkeypatch.setattr(inferencer, 'load', None)
    there = sorted((tmp_path / 'out').rglob('*'))
    with pytest.raises(ValueError, match=words):
        inferencer(films, out_dir=tmp_path / 'out', save_maps=True)
    assert sorted((tmp_path / 'out').rglob('*')) == there and theirs.read_text() == 'theirs'


def test_a_stopped_run_leaves_what_is_done(inferencer, films, tmp_path, monkeypatch):
    forward, calls = inferencer._forward, []

    def stopped(packed):
        calls.append(packed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(packed)

    monkeypatch.setattr(inferencer, '_forward', stopped)
    with pytest.raises(KeyboardInterrupt):
        inferencer(str(films), out_dir=tmp_path / 'out')
    lines = (tmp_path / 'out' / 'predictions.partial.jsonl').read_text().splitlines()
    head, first = map(json.loads, lines[:2])
    assert 'checkpoint' in head and first['film'] == str(films / 'a.png') and first['score'] > 0


def test_plane_gives_what_its_file_gives_in_any_batch(inferencer, films):
    plane = cv2.imread(str(films / 'a.png'), cv2.IMREAD_UNCHANGED) / 4095
    single = inferencer([plane, str(films / 'a.png')])['predictions']
    batch = inferencer([str(films / 'a.png'), plane], batch_size=2)['predictions']
    assert single[0]['film'] == 'array_0000' and batch[1]['film'] == 'array_0001'
    assert single[0]['score'] == single[1]['score'] == pytest.approx(batch[0]['score'], abs=1e-5)
    np.testing.assert_array_equal(single[0]['boxes'], single[1]['boxes'])
    assert inferencer(1 - plane)['predictions'][0]['score'] != single[0]['score']


def test_nothing_is_written_without_out_dir_or_when_switched_off(inferencer, films, tmp_path):
    film = str(films / 'a.png')
    assert inferencer(film)['visualization'] == []
    out = tmp_path / 'out'
    inferencer(film, out_dir=out, no_save_vis=True, no_save_pred=True)
    assert not out.exists()
    inferencer(film, out_dir=out, no_save_vis=True)
    assert [path.name for path in out.rglob('[!.]*')] == ['predictions.json']


def test_is_called_like_mmdets_inferencer():
    ours = list(inspect.signature(FracInferencer.__call__).parameters)
    other_tasks = ('texts', 'stuff_texts', 'custom_entities', 'tokens_positive', 'kwargs')
    theirs = [
        name
        for name in inspect.signature(DetInferencer.__call__).parameters
        if name not in (*other_tasks, 'draw_pred')
    ]
    assert ours[: len(theirs)] == theirs


def test_overlays_and_data_samples_are_returned_and_shown(
    inferencer, films, tmp_path, monkeypatch, capsys
):
    film = str(films / 'a.png')
    shown = []
    monkeypatch.setattr('mmfrac.apis.inferencer.show_overlay', lambda *args: shown.append(args))
    result = inferencer(film, return_vis=True, show=True, wait_time=3, print_result=True)
    assert str(result['predictions'][0]) in capsys.readouterr().out
    (overlay,) = result['visualization']
    assert overlay.shape == (768, 1024, 3) and overlay.dtype == np.uint8
    assert shown[0][0] is overlay and shown[0][1:] == ('a', 3)
    both = inferencer(film, return_vis=True, return_datasamples=True, out_dir=tmp_path)
    (sample,) = both['predictions']
    assert sample.pred_score == pytest.approx(result['predictions'][0]['score'])
    written = cv2.imread(str(tmp_path / 'vis' / 'a.png'))[..., ::-1]
    np.testing.assert_array_equal(both['visualization'][0], written)
    content = json.loads((tmp_path / 'predictions.json').read_text())
    assert content['predictions'] == result['predictions']


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a C++ compiler')
def test_a_compiled_network_predicts_the_same(weights):
    # bf16, where the CPU has it, rounds at other places
    eager, compiled = (
        FracInferencer(
            config(detector_cfg()), weights, device='cpu', precision='fp32', compile=compile
        )
        for compile in (False, True)
    )
    plane = np.random.default_rng(4).random((96, 128), np.float32)
    before = counters['stats']['calls_captured']
    found, wanted = (one(plane)['predictions'][0] for one in (compiled, eager))
    assert counters['stats']['calls_captured'] > before + 20
    assert found['score'] == pytest.approx(wanted['score'], abs=1e-5)
    assert found['boxes'] == wanted['boxes']


def test_without_a_compiler_nothing_is_compiled(weights, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(ValueError, match=r"no 'no-such-compiler' here: install g\+\+"):
        FracInferencer(config(detector_cfg()), weights, device='cpu', compile=True)


def test_errors_raise_when_asked_to(inferencer, films, tmp_path):
    with pytest.raises(RadiographError, match=r'd\.dcm'):
        inferencer(str(films / 'd.dcm'), on_error='raise')
    with pytest.raises(FileNotFoundError, match='gone'):
        inferencer(str(tmp_path / 'gone.png'), on_error='raise')
    assert len(inferencer(str(tmp_path / 'gone.png'))['errors']) == 1
    with pytest.raises(ValueError, match='on_error must be one of'):
        inferencer(str(films), on_error='ignore')
    with pytest.raises(ValueError, match='batch_size'):
        inferencer(str(films), batch_size=0)
    for threshold in (80, -0.1, float('nan')):
        with pytest.raises(ValueError, match=rf'must lie in \[0, 1\], got {threshold}'):
            inferencer(str(films), pred_score_thr=threshold)


def test_ssl_checkpoint_with_its_config_predicts_with_the_student(inferencer, films, tmp_path):
    cfg = semi_cfg()
    model = build(cfg)
    weights = save(model, tmp_path / 'ssl.pth', seed=1)
    film = str(films / 'a.png')
    semi = FracInferencer(config(cfg), weights, device='cpu')(film)['predictions'][0]
    torch.save(dict(state_dict=model.student.state_dict()), tmp_path / 'student.pth')
    student = FracInferencer(config(detector_cfg()), tmp_path / 'student.pth', device='cpu')
    assert semi == student(film)['predictions'][0]
    assert semi['score'] != inferencer(film)['predictions'][0]['score']


def test_a_variance_below_0_is_refused(weights, tmp_path):
    content = torch.load(weights, weights_only=True)
    name = next(key for key in content['state_dict'] if key.endswith('running_var'))
    content['state_dict'][name][0] = -1
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=rf'a\.pth holds a variance below 0 .*, e\.g\. {name}'):
        FracInferencer(config(detector_cfg()), tmp_path / 'a.pth', device='cpu')


def test_checkpoint_of_another_model_is_refused(weights, tmp_path):
    other = detector_cfg()
    other['prob_map_head']['feat_channels'] = 32
    with pytest.raises(ValueError, match='checkpoint of another model'):
        FracInferencer(config(other), weights, device='cpu')
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        FracInferencer(config(detector_cfg()), tmp_path / 'gone.pth')
    with pytest.raises(FileNotFoundError, match='no config'):
        FracInferencer(tmp_path / 'gone.py', weights)
    (tmp_path / 'text.pth').write_text('no weights')
    with pytest.raises(ValueError, match='cannot be loaded'):
        FracInferencer(config(detector_cfg()), tmp_path / 'text.pth')


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_checkpoint_cannot_run_code(weights, tmp_path):
    content = torch.load(weights, weights_only=True)
    torch.save(dict(content, extra=Harmful(tmp_path / 'hacked')), tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match='cannot be loaded as a checkpoint'):
        FracInferencer(config(detector_cfg()), tmp_path / 'bad.pth')
    assert not (tmp_path / 'hacked').exists()


def test_pipeline_without_radiograph_loader_is_refused(weights):
    cfg = config(detector_cfg())
    cfg.test_dataloader.dataset.pipeline[0].type = 'LoadImageFromFile'
    with pytest.raises(ValueError, match='must begin with LoadRadiograph'):
        FracInferencer(cfg, weights)


def test_tool_goes_on_and_says_what_it_could_not_read(films, weights, tmp_path, repository):
    cfg = tmp_path / 'cfg.py'
    config(detector_cfg()).dump(cfg)
    command = [python_for_tools(), str(repository / 'tools' / 'infer.py'), str(films)]
    command += ['--config', str(cfg), '--checkpoint', weights, '--out-dir', str(tmp_path / 'out')]
    result = subprocess.run(
        [*command, '--device', 'cpu', '--no-overlays'],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(repository), 'PATH': ''},
    )
    assert result.returncode == 1, result.stderr
    assert 'a.png' in result.stdout and 'film_b' in result.stdout
    assert 'd.dcm' in result.stderr and 'Traceback' not in result.stderr
    assert (tmp_path / 'out' / 'predictions.json').is_file()


def test_names_of_films_neither_end_the_tool_nor_command_the_terminal(
    films, weights, tmp_path, repository
):
    cfg, odd = tmp_path / 'cfg.py', tmp_path / 'odd'
    config(detector_cfg()).dump(cfg)
    odd.mkdir()
    film, cut = (films / 'a.png').read_bytes(), (films / 'a.png').read_bytes()[:300]
    for name, content in (
        (b'bad\xff\xfe.png', film),
        (b'esc\x1b[31m.png', film),
        (b'new\n0.9999  1  forged.png', film),
        (b'\xff\x1b[2J\nnot read: forged.png', cut),
    ):
        Path(os.fsdecode(os.fsencode(odd) + b'/' + name)).write_bytes(content)
    command = [python_for_tools(), str(repository / 'tools' / 'infer.py'), str(odd)]
    command += ['--config', str(cfg), '--checkpoint', weights, '--out-dir', str(tmp_path / 'out')]
    told = subprocess.run(
        [*command, '--device', 'cpu', '--no-overlays'],
        capture_output=True,
        env={'PYTHONPATH': str(repository), 'PATH': ''},
    )
    assert told.returncode == 1, told.stderr
    assert b'\x1b' not in told.stdout + told.stderr
    lines = told.stdout.decode().splitlines()
    assert len(lines) == 4 and lines[-1].startswith('written: ')
    for name in (r'bad\udcff\udcfe.png', r'esc\x1b[31m.png', r'new\n0.9999  1  forged.png'):
        assert sum(line.endswith(name) for line in lines) == 1
    unread = [line for line in told.stderr.decode().splitlines() if line.startswith('not read: ')]
    assert len(unread) == 1 and r'\udcff\x1b[2J\nnot read: forged.png' in unread[0]


def test_real_films(inferencer, shared_data, tmp_path):
    inputs = [str(shared_data / 'real_cxr' / 'dicom'), str(shared_data / 'real_cxr' / 'images')]
    result = inferencer(inputs, batch_size=4, no_save_vis=True, out_dir=tmp_path)
    assert result['errors'] == [] and len(result['predictions']) == 25
    assert all(0 < prediction['score'] < 1 for prediction in result['predictions'])


def test_what_a_stopped_run_left_is_kept(inferencer, films, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    options = dict(out_dir=out, no_save_vis=True)
    forward = inferencer._forward

    left = []
    for last in ('film_b', 'film_b', 'a.png'):

        def stop(packed, last=str(films / last)):
            if packed[0]['data_samples'].img_path == last:
                raise KeyboardInterrupt
            return forward(packed)

        monkeypatch.setattr(inferencer, '_forward', stop)
        with pytest.raises(KeyboardInterrupt):
            inferencer(str(films), **options)
        left.append((out / 'predictions.partial.jsonl').read_text())
    kept = [out / f'predictions.partial.{number}.jsonl' for number in (1, 2)]
    assert [path.read_text() for path in kept] == left[:2]
    assert [json.loads(text.splitlines()[1])['film'] for text in left[:2]] == [
        str(films / 'a.png')
    ] * 2
    # the third has nothing but the name of its checkpoint
    monkeypatch.setattr(inferencer, '_forward', forward)
    inferencer(str(films), **options)
    assert sorted(path.name for path in out.glob('predictions*')) == [
        'predictions.json',
        'predictions.partial.1.jsonl',
        'predictions.partial.2.jsonl',
    ]


def test_a_run_leaves_the_journal_of_another_one(inferencer, films, tmp_path):
    partial = tmp_path / 'predictions.partial.jsonl'
    with inferencer_module._opened_journal(OutputFolder(tmp_path), 'first.pth') as journal:
        journal.add(dict(predictions=[dict(film='a')], errors=[]))
        before = partial.read_text()
        inferencer(str(films / 'a.png'), out_dir=tmp_path, no_save_vis=True)
        assert partial.read_text() == before and (tmp_path / 'predictions.json').is_file()
        journal.end()
    assert [path.name for path in tmp_path.glob('*partial*')] == []
    # the lock is let go of
    inferencer(str(films / 'a.png'), out_dir=tmp_path, no_save_vis=True)
    assert [path.name for path in tmp_path.glob('*partial*')] == []


def test_a_doubtful_film_is_warned_of_by_its_name(inferencer, films, tmp_path):
    flat = tmp_path / 'flat.png'
    cv2.imwrite(str(flat), np.full((96, 96), 7, np.uint8))
    inferencer(str(flat))
    assert inferencer._load_image.noted[str(flat)] == 'all its pixels have one value'
    assert inferencer.load(str(flat)).notes == ('all its pixels have one value',)
