# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import io
import json
import os
import pickle
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

from mmfrac.apis import FracInferencer
from mmfrac.deployment.package import (
    RESEARCH_ONLY,
    PackageError,
    PackagePoint,
    _plain_config,
    package_inferencer,
    read_package,
    update_package,
    write_evaluation,
    write_package,
)
from mmfrac.engine.runner.ensemble import build_ensemble, weights_sha256, write_ensemble
from mmfrac.evaluation.offline.summary import Target, summarise
from mmfrac.models.state_dicts import detector_checkpoint
from tests.evaluation.offline.test_summarising import FEW, results
from tests.models.small_model import build, detector_cfg, semi_cfg

PIPELINE = [
    dict(type='LoadRadiograph'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='Pad', size=(64, 64)),
    dict(type='PackProbMapInputs'),
]
IMAGE = np.random.default_rng(0).random((48, 64)).astype(np.float32)
POINT = PackagePoint('low', 0.2, 'fppi=0.5', dict(validation=dict(recall=0.9, fppi=0.5)))


def config(model) -> Config:
    dataset = dict(
        type='CXRDataset', data_root='/home/jane_doe/', ann_file='a.json', pipeline=PIPELINE
    )
    return Config(dict(default_scope='mmdet', model=model, test_dataloader=dict(dataset=dataset)))


def save(model, path, seed=0):
    torch.manual_seed(seed)
    head = getattr(model, 'student', model).prob_map_head
    torch.nn.init.normal_(head.logit_conv.weight, std=0.5)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=3, cfg='/home/jane_doe')), path)
    return str(path)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('package')


@pytest.fixture(scope='module')
def checkpoints(folder):
    return [save(build(detector_cfg()), folder / f'{seed}.pth', seed) for seed in (0, 1)]


@pytest.fixture(scope='module')
def package(folder, checkpoints):
    return write_package(
        folder / 'one.mmfrac',
        config(detector_cfg()),
        checkpoints[:1],
        name='one',
        operating_points=[POINT],
        temperature=2.0,
        metrics=dict(AUROC=dict(value=0.9, low=0.8, high=0.95)),
        training=dict(images=dict(images=12, patients=10)),
        licence='CC-BY-4.0',
        limits='For <b>tests</b> | only.',
        about=dict(ethics='none'),
    )


def predict(inferencer):
    return inferencer([IMAGE])['predictions'][0]


def test_a_package_predicts_as_its_checkpoint(package, checkpoints):
    expected = predict(FracInferencer(config(detector_cfg()), checkpoints[0], 'cpu', 'fp32'))
    found = predict(package_inferencer(package, 'cpu', 'fp32'))
    assert found == expected and 0 < found['score'] < 1
    assert package.classes == ('fracture',) and package.precision == 'auto'
    assert package.operating_points == (POINT,) and package.operating_point() == POINT
    assert package.operating_point('fppi=0.5') == package.operating_point('low') == POINT
    with pytest.raises(ValueError, match="no operating point 'high'; it has: low"):
        package.operating_point('high')
    result = package.result(found, 'fp32', POINT, image='a.png', width=64, height=48)
    logit = np.log(found['score'] / (1 - found['score']))
    assert result.probability == pytest.approx(1 / (1 + np.exp(-logit / 2)), abs=1e-6)
    assert result.flag == (found['score'] >= 0.2) and result.model == package.identity


def test_the_checksum_is_that_of_the_file(package):
    import hashlib

    with open(package.path, 'rb') as file:
        assert package.sha256 == hashlib.sha256(file.read()).hexdigest()


def test_members_predict_as_their_ensemble(folder, checkpoints):
    cfg = config(detector_cfg())
    path = folder / 'both.mmfrac'
    package = write_package(path, cfg, checkpoints, name='both', half=True)
    assert len(package.weights) == 2
    assert path.stat().st_size < 1.2 * (folder / 'one.mmfrac').stat().st_size
    found = package_inferencer(package, 'cpu', 'fp32')
    expected = build_ensemble(cfg, checkpoints)
    data = found.load(IMAGE).packed
    maps = [
        model.test_step(dict(inputs=[data['inputs']], data_samples=[data['data_samples']]))[0]
        for model in (found.model, expected)
    ]
    np.testing.assert_allclose(
        maps[0].pred_prob_map.data.detach(), maps[1].pred_prob_map.data.detach(), atol=2e-3
    )


def test_of_a_teacher_student_model_the_student_is_packaged(folder):
    semi = build(semi_cfg())
    path = save(semi, folder / 'semi.pth')
    package = write_package(folder / 'semi.mmfrac', config(semi_cfg()), [path], name='semi')
    assert package.config.model.type == 'ProbMapDetector'
    assert not any(key.startswith('teacher') for key in package.weights[0]['state_dict'])
    expected = predict(FracInferencer(config(semi_cfg()), path, 'cpu', 'fp32'))
    assert predict(package_inferencer(package, 'cpu', 'fp32'))['score'] == expected['score']


def test_no_path_of_the_machine_is_in_it(package):
    content = Path(package.path).read_bytes()
    assert b'jane_doe' not in content


def test_equal_parts_give_an_equal_file(folder, checkpoints):
    cfg = config(detector_cfg())
    first, second = (
        write_package(folder / f'{name}.mmfrac', cfg, checkpoints[:1], name='same')
        for name in ('first', 'second')
    )
    assert first.sha256 == second.sha256


def test_a_card_shows_what_is_known_and_what_is_not(package):
    with zipfile.ZipFile(package.path) as archive:
        page, text = archive.read('card.html').decode(), archive.read('README.md').decode()
    assert '&lt;b&gt;tests&lt;/b&gt;' in page and '<b>' not in page
    assert '&lt;b&gt;tests&lt;/b&gt; \\| only' in text and '<b>' not in text
    for part in (RESEARCH_ONLY, 'CC-BY-4.0', '0.95', 'fppi=0.5', 'not given', 'ResNet-18', '12'):
        assert part in page and part.replace('_', r'\_') in text
    assert package.manifest['sha256']['weights/0.pth'] in page


def test_figures_are_written_into_a_package_that_is_there(folder, checkpoints):
    path = folder / 'later.mmfrac'
    before = write_package(path, config(detector_cfg()), checkpoints[:1], name='later')
    assert before.operating_point() is None and before.probability(0.5) is None
    after = update_package(path, operating_points=[POINT], temperature=1.5, metrics=dict(FROC=0.7))
    assert after.operating_points == (POINT,) and after.temperature == 1.5
    assert after.manifest['metrics'] == dict(FROC=0.7) and after.sha256 != before.sha256
    sums = [one.manifest['sha256']['weights/0.pth'] for one in (before, after)]
    assert sums[0] == sums[1]
    assert predict(package_inferencer(after, 'cpu')) == predict(package_inferencer(before, 'cpu'))
    with zipfile.ZipFile(path) as archive:
        assert 'threshold 0.2' in archive.read('README.md').decode()
    # of an evaluation that could fit none, the one before does not stay
    again = update_package(path, temperature=None)
    assert again.probability(0.5) is None and again.operating_points == (POINT,)
    assert again.manifest['metrics'] == dict(FROC=0.7)


@pytest.mark.parametrize(
    ('packaged', 'test', 'val', 'expected'),
    [
        ('auto', 'bf16', 'bf16', 'bf16'),
        ('fp32', 'fp32', None, 'fp32'),
        ('auto', None, None, 'auto'),
        ('fp32', 'bf16', 'bf16', r'predicted in bf16, .* predicts in fp32: .* --precision fp32'),
        ('auto', 'bf16', 'fp32', r'predicted in bf16 and fp32'),
    ],
)
def test_thresholds_belong_to_the_precision_of_their_images(
    tmp_path, checkpoints, packaged, test, val, expected
):
    path = tmp_path / 'a.mmfrac'
    write_package(path, config(detector_cfg()), checkpoints[:1], name='a', precision=packaged)
    images = [
        replace(results(seed, part=part), precision=precision)
        for seed, part, precision in ((0, 'test', test), (2, 'val', val))
    ]
    summary = summarise(dict(a=images[0]), FEW, [Target('sensitivity', 0.5)], dict(a=images[1]))
    if expected in ('auto', 'fp32', 'bf16'):
        package = write_evaluation(path, summary)
        assert package.precision == expected and len(package.operating_points) == 1
        return
    before = path.read_bytes()
    with pytest.raises(ValueError, match=expected):
        write_evaluation(path, summary)
    assert path.read_bytes() == before


def evaluated(weights_of_test, weights_of_val):
    parts = [
        replace(results(seed, part=part), weights=tuple(weights))
        for seed, part, weights in ((0, 'test', weights_of_test), (2, 'val', weights_of_val))
    ]
    return summarise(dict(a=parts[0]), FEW, [Target('sensitivity', 0.5)], dict(a=parts[1]))


def sums_of(*paths):
    checkpoints = [torch.load(path, weights_only=True) for path in paths]
    return [one for checkpoint in checkpoints for one in weights_sha256(checkpoint)]


@pytest.mark.parametrize('half', [False, True])
def test_an_evaluation_of_other_weights_is_refused(tmp_path, checkpoints, half):
    path, cfg = tmp_path / 'a.mmfrac', config(detector_cfg())
    write_package(path, cfg, checkpoints[:1], name='a', half=half)
    own, other = (sums_of(one) for one in checkpoints)
    before, said = path.read_bytes(), []
    for part, summary in (
        ('test', evaluated(other, own)),
        ('validation', evaluated(own, other)),
        ('validation', evaluated([], other)),
    ):
        error = rf'the {part} predictions are of other weights .*{other[0][:8]}.* {own[0][:8]}'
        with pytest.raises(ValueError, match=error):
            write_evaluation(path, summary, said.append)
    assert path.read_bytes() == before and not said
    write_evaluation(path, evaluated(own, own), said.append)
    assert not said
    write_evaluation(path, evaluated(own, []), said.append)
    (text,) = said
    assert 'could not be checked: the validation predictions do not say' in text


def test_weights_are_told_apart_in_whatever_file_they_are(tmp_path, checkpoints):
    cfg = config(detector_cfg())
    package = write_package(tmp_path / 'both.mmfrac', cfg, checkpoints, name='both')
    own = sums_of(*checkpoints)
    # of an ensemble in one checkpoint, its members in any order
    _, whole = write_ensemble(cfg, checkpoints[::-1], tmp_path / 'ensemble')
    assert sums_of(whole) == own[::-1]
    said = []
    write_evaluation(package.path, evaluated(own[::-1], own), said.append)
    with pytest.raises(ValueError, match='of other weights'):
        write_evaluation(package.path, evaluated(own[:1], own), said.append)
    assert not said
    # of a teacher-student model and its student
    semi = save(build(semi_cfg()), tmp_path / 'semi.pth')
    student = detector_checkpoint(torch.load(semi, weights_only=True))
    torch.save(student, tmp_path / 'student.pth')
    assert sums_of(semi) == sums_of(tmp_path / 'student.pth')
    # numbers of other kinds, and what is no tensor
    held = dict(number=torch.tensor(3), halves=torch.ones(3).bfloat16(), empty=torch.ones(0))
    assert weights_sha256(held) == weights_sha256(held | dict(version='1'))
    assert weights_sha256(held) != weights_sha256(held | dict(number=torch.tensor(4)))


def test_packages_of_before_that_do_not_say_their_weights(tmp_path, checkpoints):
    def without_weights(parts):
        manifest = json.loads(parts['manifest.json'])
        del manifest['members'][0]['weights']
        parts['manifest.json'] = json.dumps(manifest).encode()

    own, other = (sums_of(one) for one in checkpoints)
    for half in (False, True):
        cfg, new = config(detector_cfg()), tmp_path / f'{half}.mmfrac'
        package = write_package(new, cfg, checkpoints[:1], name='a', half=half)
        path, said = tmp_path / f'old_{half}.mmfrac', []
        rewritten(package, path, without_weights)
        if half:
            write_evaluation(path, evaluated(other, other), said.append)
            assert 'could not be checked: its manifest does not say' in said.pop()
            # of a checkpoint that had them so
            same = weights_sha256(package.weights[0])
            write_evaluation(path, evaluated(same, same), said.append)
            assert not said
            continue
        with pytest.raises(ValueError, match='of other weights'):
            write_evaluation(path, evaluated(other, other), said.append)
        write_evaluation(path, evaluated(own, own), said.append)
        assert not said


def test_weights_beyond_float16_are_not_halved(folder, checkpoints):
    loaded = torch.load(checkpoints[0], weights_only=True)
    key = next(one for one in loaded['state_dict'] if one.endswith('running_var'))
    loaded['state_dict'][key][0] = 1e6
    torch.save(loaded, folder / 'large.pth')
    large = [folder / 'large.pth']
    with pytest.raises(ValueError, match=f'{key} .* no float16 holds'):
        write_package(folder / 'half.mmfrac', config(detector_cfg()), large, name='a', half=True)
    assert not (folder / 'half.mmfrac').exists()


def test_what_cannot_be_packaged_leaves_no_file(folder, checkpoints):
    other = detector_cfg()
    other['backbone']['depth'] = 34
    with pytest.raises(ValueError, match='checkpoint of another model'):
        write_package(folder / 'bad.mmfrac', config(other), checkpoints[:1], name='bad')
    with pytest.raises(ValueError, match='must end with'):
        write_package(folder / 'bad.zip', config(other), checkpoints[:1], name='bad')
    with pytest.raises(FileNotFoundError):
        write_package(folder / 'bad.mmfrac', config(other), ['no.pth'], name='bad')
    with pytest.raises(ValueError, match='no checkpoint'):
        write_package(folder / 'bad.mmfrac', config(other), [], name='bad')
    assert not (folder / 'bad.mmfrac').exists()
    with pytest.raises(ValueError, match='a number > 0'):
        PackagePoint('x', float('inf'))


# ---- packages of others ---------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return os.system, ('touch HACKED',)


def rewritten(package, path, change, compression=zipfile.ZIP_STORED, sums=True):
    """The package with changed parts, its checksums set to fit."""
    import hashlib

    with zipfile.ZipFile(package.path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    if sums and 'manifest.json' in parts:
        manifest = None
        with suppress(ValueError, RecursionError):
            manifest = json.loads(parts['manifest.json'])
        if isinstance(manifest, dict) and isinstance(manifest.get('sha256'), dict):
            manifest['sha256'] = {
                name: hashlib.sha256(part).hexdigest()
                for name, part in parts.items()
                if name != 'manifest.json'
            }
            parts['manifest.json'] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return path


def manifest_with(**changes):
    def change(parts):
        parts['manifest.json'] = json.dumps(json.loads(parts['manifest.json']) | changes).encode()

    return change


def config_with(change_plain):
    def change(parts):
        plain = yaml.load(parts['config.yaml'], yaml.UnsafeLoader)
        change_plain(plain)
        parts['config.yaml'] = yaml.dump(plain).encode()

    return change


def part(name, content):
    return lambda parts: parts.update({name: content})


def pickled(parts):
    content = io.BytesIO()
    torch.save(dict(state_dict={}, meta=Evil()), content)
    parts['weights/0.pth'] = content.getvalue()


BOMB = b''.join(
    b'a%d: &a%d [%s]\n' % (n, n, b','.join([b'*a%d' % (n - 1)] * 9) if n else b'x')
    for n in range(12)
)
CHANGES = {
    'a pickle as weights': (pickled, 'executing code'),
    'a plain pickle': (part('weights/0.pth', pickle.dumps(Evil())), 'executing code|no checkpoint'),
    'a path that climbs': (part('../../HACKED', b'x'), 'no part of a package'),
    'an absolute path': (part('/tmp/HACKED', b'x'), 'no part of a package'),
    'a Python config': (part('config.py', b'x'), 'no part of a package'),
    'no weights': (lambda parts: parts.pop('weights/0.pth'), 'is missing'),
    'no manifest': (lambda parts: parts.pop('manifest.json'), 'is missing'),
    'more members': (part('weights/1.pth', b'x'), 'other members'),
    'YAML that runs': (
        part('config.yaml', b'model: !!python/object/apply:os.system ["touch HACKED"]'),
        'more than plain data',
    ),
    'YAML that grows': (part('config.yaml', BOMB), 'aliases'),
    'no YAML': (part('config.yaml', b'a: [}'), 'is no YAML'),
    'deep YAML': (part('config.yaml', b'a: ' + b'[' * 50000), 'is nested more than'),
    'no text': (part('config.yaml', b'\xff\xfe\x00'), 'no text'),
    'a base': (part('config.yaml', b'_base_: /etc/passwd'), 'refers to other files'),
    'a variable': (part('config.yaml', b'model: {type: "{{ $HOME:x }}"}'), 'refers to other'),
    'another package': (
        config_with(lambda plain: plain.update(custom_imports=dict(imports=['os']))),
        'imports more',
    ),
    'an unknown type': (
        config_with(lambda plain: plain['model'].update(type='os.system')),
        'not registered',
    ),
    'no model': (config_with(lambda plain: plain.pop('model')), 'no model'),
    'a manifest of another kind': (manifest_with(format='x'), 'none of a mmfrac package'),
    'a manifest of later': (manifest_with(version=2), 'version 2'),
    'a list as manifest': (part('manifest.json', b'[]'), 'none of a mmfrac package'),
    'no JSON': (part('manifest.json', b'{'), 'no JSON'),
    'deep JSON': (part('manifest.json', b'[' * 100000), 'no JSON'),
    'no name': (manifest_with(name=None), 'no name'),
    'a precision': (manifest_with(precision='int3'), 'int3'),
    'a temperature': (manifest_with(temperature=-1), 'temperature -1'),
    'NaN': (manifest_with(temperature=float('nan')), 'temperature nan'),
    'a point': (manifest_with(operating_points=[dict(name='a')]), 'operating point'),
    'a threshold': (
        manifest_with(operating_points=[dict(name='a', threshold='1', chosen_for='', achieved={})]),
        'number > 0',
    ),
    'a number that no float is': (manifest_with(temperature=10**400), 'no number > 0'),
    'a model of another type': (manifest_with(model=5), 'its model is of another type'),
    'steps of another type': (manifest_with(preprocessing=5), 'its preprocessing is of'),
    'images of another type': (manifest_with(training=dict(images=5)), 'images of the training'),
    'weights of elsewhere': (
        config_with(
            lambda plain: plain['model']['backbone'].update(
                init_cfg=dict(type='Pretrained', checkpoint='http://host/a.pth')
            )
        ),
        'weights of elsewhere .checkpoint',
    ),
    'weights of a hub': (
        config_with(lambda plain: plain['model']['backbone'].update(model_name='hf-hub:a/b')),
        'weights of elsewhere .model_name',
    ),
    'members elsewhere': (manifest_with(members=[dict(file='../x')]), 'other members'),
}


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize('change, text', CHANGES.values(), ids=CHANGES)
def test_a_package_that_asks_for_more_than_data_is_refused(
    package, tmp_path, monkeypatch, change, text
):
    monkeypatch.chdir(tmp_path)
    path = rewritten(package, tmp_path / 'evil.mmfrac', change)
    with pytest.raises(PackageError, match=text) as caught:
        read_package(path)
    assert '\n' not in str(caught.value) or 'Traceback' not in str(caught.value)
    assert sorted(one.name for one in tmp_path.iterdir()) == ['evil.mmfrac']
    assert not os.path.exists('/tmp/HACKED')


def test_a_manifest_may_leave_the_temperature_out(package, tmp_path):
    def change(parts):
        manifest = json.loads(parts['manifest.json'])
        del manifest['temperature']
        parts['manifest.json'] = json.dumps(manifest).encode()

    assert read_package(rewritten(package, tmp_path / 'a.mmfrac', change)).temperature is None


def test_names_of_models_may_hold_what_bases_are_called(package, tmp_path):
    change = config_with(
        lambda plain: plain['model']['backbone'].update(model_name='vit_base_patch16_224')
    )
    found = read_package(rewritten(package, tmp_path / 'a.mmfrac', change))
    assert found.config.model.backbone.model_name == 'vit_base_patch16_224'


def test_where_weights_came_from_before_the_training_is_left_out(folder, checkpoints):
    model = detector_cfg()
    model['backbone']['init_cfg'] = [dict(type='Pretrained', checkpoint='torchvision://resnet50')]
    model['backbone']['pretrained'] = None
    model['neck'] = model['neck'] | dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth'))
    plain = _plain_config(config(model | dict(extra=dict(pretrained=True, name='timm'))), 1)
    assert plain['model']['backbone']['init_cfg'] is plain['model']['neck']['init_cfg'] is None
    assert plain['model']['extra'] == dict(pretrained=False, name='timm')


def test_a_changed_part_is_found(package, tmp_path):
    def change(parts):
        parts['weights/0.pth'] = parts['weights/0.pth'] + b' '

    path = rewritten(package, tmp_path / 'changed.mmfrac', change, sums=False)
    with pytest.raises(PackageError, match='another SHA-256'):
        read_package(path)


def test_zip_bombs_and_damage_are_refused(package, tmp_path):
    path = tmp_path / 'bad.mmfrac'
    rewritten(package, path, part('README.md', bytes(10**7)), zipfile.ZIP_DEFLATED)
    with pytest.raises(PackageError, match='compressed'):
        read_package(path)
    rewritten(package, path, part('README.md', bytes(2**22 + 1)))
    with pytest.raises(PackageError, match=r'README.md has \d+ bytes'):
        read_package(path)
    whole = Path(package.path).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(whole[: rng.integers(len(whole))] if number % 3 == 0 else whole)
        for _ in range(3):
            # the names and checksums at the ends are hit as often as the weights
            end = len(damaged) if number % 2 else min(len(damaged), 4000)
            if end:
                damaged[-int(rng.integers(1, end + 1))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            same = read_package(path)
        except PackageError:
            continue
        assert same.manifest == package.manifest
    with pytest.raises(FileNotFoundError, match='no package'):
        read_package(tmp_path / 'nowhere.mmfrac')


def test_a_part_given_twice_is_refused(package, tmp_path):
    path = tmp_path / 'twice.mmfrac'
    path.write_bytes(Path(package.path).read_bytes())
    with pytest.warns(UserWarning), zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('config.yaml', b'x')
    with pytest.raises(PackageError, match='two parts of one name'):
        read_package(path)
