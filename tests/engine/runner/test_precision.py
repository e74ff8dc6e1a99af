# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import argparse
import copy
import json
import logging
import shutil

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn
from torch._dynamo.utils import counters

from mmfrac.engine.runner import compiled, precision
from mmfrac.engine.runner.batch_norms import fold_batch_norms
from mmfrac.utils import device
from mmfrac.utils.cli import add_precision_argument
from tests.configs.test_configs import tiny_config


def test_semi_supervised_steps_in_bfloat16_on_the_cpu(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, 'get_device', lambda: 'cpu')
    cfg = tiny_config('frac_ssl.py', tiny_data, tmp_path)
    cfg.train_cfg.val_interval = 10
    cfg.default_hooks.checkpoint = None
    precision.use_amp(cfg)
    cfg.optim_wrapper.emulate = True
    runner = Runner.from_cfg(cfg)
    student = runner.model.student
    seen = []
    student.backbone.conv1.register_forward_hook(
        lambda module, args, out: seen.append((torch.is_grad_enabled(), out.dtype))
    )
    clear = torch.clear_autocast_cache

    def note_and_clear():
        seen.append('clear')
        clear()

    monkeypatch.setattr(torch, 'clear_autocast_cache', note_and_clear)
    before = student.backbone.conv1.weight.clone()
    runner.train()
    # student of the burn-in step, teacher (before the epoch and in its step), student
    assert (True, torch.bfloat16) in seen and (False, torch.bfloat16) in seen
    # weights that the teacher's pass made, without gradient, are gone before the student's
    student_pass = len(seen) - 1 - seen[::-1].index((True, torch.bfloat16))
    assert seen[student_pass - 2 : student_pass] == [(False, torch.bfloat16), 'clear']
    assert student.backbone.conv1.weight.dtype == torch.float32
    assert not torch.equal(before, student.backbone.conv1.weight)
    scalars = runner.message_hub.log_scalars
    for name in ('loss_sup', 'loss_semi'):
        value = torch.tensor(scalars[f'train/{name}'].current())
        assert torch.isfinite(value)
        # a loss in bfloat16 would have 8 significant bits
        assert value != value.to(torch.bfloat16)


def test_accelerators_keep_mmengines_own(monkeypatch):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', loss_scale=1.0)))
    monkeypatch.setattr(precision, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(precision, 'has_bf16', lambda _: False)
    precision.use_amp(cfg)
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')
    monkeypatch.setattr(precision, 'has_bf16', lambda _: True)
    precision.use_amp(cfg)
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', loss_scale=1.0, dtype='bfloat16')
    cfg.optim_wrapper.pop('dtype')
    monkeypatch.setattr(precision, 'get_device', lambda: 'cpu')
    precision.use_amp(cfg)
    assert cfg.optim_wrapper == dict(type='CPUAmpOptimWrapper')


@pytest.mark.parametrize('has_units', [False, True])
def test_a_cpu_without_units_trains_in_fp32_and_says_so(has_units, monkeypatch):
    monkeypatch.setattr(precision, 'has_bf16', lambda _: has_units)
    said = []
    monkeypatch.setattr(precision, 'print_log', lambda text, *_: said.append(text))
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 1, 1))
    wrapper = precision.CPUAmpOptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    for _ in range(2):
        with wrapper.optim_context(model):
            out = model(torch.ones(1, 4, 8, 8))
    assert out.dtype == (torch.bfloat16 if has_units else torch.float32)
    assert len(said) == 1 and ('1 depthwise' if has_units else 'no units for bfloat16') in said[0]


def test_what_a_model_and_a_device_can_have(monkeypatch):
    low, boxes = nn.Linear(1, 1), nn.Linear(1, 1)
    low.low_precision = True
    for has_units, wanted in ((False, 'fp32'), (True, 'bf16')):
        monkeypatch.setattr(precision, 'has_bf16', lambda _, has=has_units: has)
        assert precision.choose_precision('auto', 'cpu', low) == wanted
        assert precision.choose_precision('auto', 'cpu', boxes) == 'fp32'
        assert precision.choose_precision('bf16', 'cpu', low) == 'bf16'
        assert precision.choose_precision('fp32', 'cpu', low) == 'fp32'
        # as --amp trains: fp16 is for accelerators without bf16
        assert precision.choose_precision('amp', 'cpu', low) == wanted
        assert precision.choose_precision('amp', 'cuda', low) == ('bf16' if has_units else 'fp16')
        assert precision.choose_precision('amp', 'cuda', boxes) == 'fp32'
    assert precision.choose_precision('fp16', 'cuda', low) == 'fp16'
    for name, model, words in (
        ('half', low, 'must be one of'),
        ('bf16', boxes, 'predicts boxes'),
        ('fp16', low, 'a CPU does not'),
    ):
        with pytest.raises(ValueError, match=words):
            precision.choose_precision(name, 'cpu', model)


def test_units_of_a_cpu(monkeypatch):
    supported = dict(value=True)
    monkeypatch.setattr(
        torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: supported['value'], raising=False
    )
    for flags, wanted in (
        ('flags : fpu avx512f avx512bw avx512_bf16 amx_tile', True),
        ('flags : fpu amx_bf16', True),
        ('Features : fp asimd bf16', True),
        ('flags : fpu avx2 avx512f avx512bw', False),
    ):
        monkeypatch.setattr(device.Path, 'read_text', lambda *_, flags=flags, **__: flags)
        device._cpu_has_bf16.cache_clear()
        assert device.has_bf16('cpu') is wanted
    # ONEDNN_MAX_CPU_ISA=AVX2
    supported['value'] = False
    monkeypatch.setattr(device.Path, 'read_text', lambda *_, **__: 'avx512_bf16')
    device._cpu_has_bf16.cache_clear()
    assert device.has_bf16('cpu') is False
    device._cpu_has_bf16.cache_clear()


@pytest.mark.parametrize('name', ['frac_ssl.py', 'baselines/chexnet_cam.py', 'compare/fcos.py'])
def test_folded_batch_norms_and_precision_change_no_map_by_much(name, tiny_data, tmp_path):
    init_default_scope('mmdet')
    cfg = tiny_config(name, tiny_data, tmp_path)
    model = MODELS.build(cfg.model)
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    model.eval()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[1]])

    def predict(kind):
        with torch.no_grad(), precision.low_precision(kind, 'cpu'):
            return [sample.clone() for sample in model.test_step(copy.deepcopy(batch))]

    def differ(some, others):
        if 'pred_prob_map' not in some[0]:
            return (some[0].pred_instances.scores - others[0].pred_instances.scores).abs().max()
        return max(
            (a.pred_prob_map.data - b.pred_prob_map.data).abs().max() for a, b in zip(some, others)
        )

    first = next(key for key, _ in model.named_modules() if key.endswith('backbone.conv1'))
    whole = predict('fp32')
    fold_batch_norms(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    folded = predict('fp32')
    assert model.get_submodule(first).bias is not None and differ(whole, folded) < 1e-5
    if name != 'compare/fcos.py':
        low = predict('bf16')
        assert low[0].pred_prob_map.data.dtype == torch.float32
        assert 0 < differ(folded, low) < 0.02


def test_the_loop_tests_in_its_precision_and_notes_it(tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    cfg.test_evaluator = dict(type='FracMetric', out_file=str(tmp_path / 'out.json'))
    precision.set_test_precision(cfg, 'bf16')
    runner = Runner.from_cfg(cfg)
    seen = set()
    conv = runner.model.student.backbone.conv1
    conv.register_forward_hook(lambda module, args, out: seen.add(out.dtype))
    metrics = runner.test()
    assert seen == {torch.bfloat16} and conv.bias is not None
    written = json.loads((tmp_path / 'out.json').read_text())
    assert written['precision'] == 'bf16'
    assert written['metrics']['AUROC'] == metrics['frac/AUROC']


def test_a_loop_that_knows_no_precision_is_not_given_one():
    cfg = Config(dict(test_cfg=dict(type='MyLoop')))
    precision.set_test_precision(cfg, 'auto')
    assert cfg.test_cfg == dict(type='MyLoop')
    with pytest.raises(ValueError, match='MyLoop, which knows no precision'):
        precision.set_test_precision(cfg, 'bf16')
    cfg.test_cfg = dict(type='PrecisionTestLoop', precision='fp32', fold_bn=False)
    precision.set_test_precision(cfg, 'auto')
    assert cfg.test_cfg == dict(type='PrecisionTestLoop', precision='fp32', fold_bn=False)
    precision.set_test_precision(cfg, 'bf16')
    assert cfg.test_cfg.precision == 'bf16'


def test_a_loop_that_compiles_nothing_is_not_asked_to():
    cfg = Config(dict(test_cfg=dict(type='MyLoop')))
    with pytest.raises(ValueError, match='MyLoop, which knows no compile: leave --compile out'):
        precision.set_test_precision(cfg, 'auto', compiled=True)
    cfg.test_cfg = dict()
    precision.set_test_precision(cfg, 'auto')
    assert 'compile' not in cfg.test_cfg
    precision.set_test_precision(cfg, 'auto', compiled=True)
    assert cfg.test_cfg == dict(type='PrecisionTestLoop', fold_bn=True, compile=True)


def test_what_is_folded_is_compiled_and_the_teacher_is_not(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, 'check_compiler', lambda device: None)
    monkeypatch.setattr(precision, 'check_compiler', lambda device: None)
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    cfg.model.teacher = dict(type='MeanTeacher')
    precision.set_test_precision(cfg, 'fp32', compiled=True)
    runner = Runner.from_cfg(cfg)
    found = []

    def note(module):
        norms = [child for child in module.modules() if isinstance(child, nn.BatchNorm2d)]
        found.append((module, len(norms)))

    monkeypatch.setattr(nn.Module, 'compile', note)
    warned = []
    monkeypatch.setattr(compiled, 'print_log', lambda *args: warned.append(args))
    runner.test()
    assert not warned
    student = runner.model.student
    assert [module for module, _ in found] == [
        student.backbone,
        student.neck,
        student.prob_map_head,
    ]
    assert [norms for _, norms in found] == [0, 0, 0]


def test_a_model_without_such_a_part_is_named(monkeypatch):
    monkeypatch.setattr(compiled, 'check_compiler', lambda device: None)
    with pytest.raises(ValueError, match=r'Linear has none of .* that could be compiled'):
        compiled.compile_networks(nn.Linear(1, 1), 'cpu')


def test_what_is_called_otherwise_is_said_not_to_be_compiled(monkeypatch):
    monkeypatch.setattr(compiled, 'check_compiler', lambda device: None)
    parts = []
    monkeypatch.setattr(nn.Module, 'compile', lambda part: parts.append(part))
    said = []
    monkeypatch.setattr(compiled, 'print_log', lambda *args: said.append(args))
    student = nn.ModuleDict(dict(backbone=nn.Linear(1, 1)))
    model = nn.ModuleDict(dict(student=student, teacher=nn.Linear(1, 1)))
    compiled.compile_networks(model, 'cpu')
    assert parts == [student.backbone] and not said
    student['decoder'] = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    compiled.compile_networks(model, 'cpu')
    assert parts == [student.backbone] * 2
    assert said == [
        ('torch.compile: student.backbone alone; not student.decoder', 'current', logging.WARNING),
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which('g++') is None, reason='needs a C++ compiler')
def test_a_compiled_test_has_the_same_metrics(tiny_data, tmp_path):
    found = []
    for is_compiled in (False, True):
        cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path / str(is_compiled))
        precision.set_test_precision(cfg, 'fp32', compiled=is_compiled)
        before = counters['stats']['calls_captured']
        found.append(Runner.from_cfg(cfg).test())
        assert (counters['stats']['calls_captured'] > before + 20) == is_compiled
    first, second = found
    assert second == pytest.approx(first, abs=1e-3)


def test_without_a_compiler_the_loop_is_not_built(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    precision.set_test_precision(cfg, 'fp32', compiled=True)
    with pytest.raises(ValueError, match=r"no 'no-such-compiler' here: install g\+\+"):
        Runner.from_cfg(cfg).test()


def test_one_switch_in_training_and_testing():
    parser = argparse.ArgumentParser()
    add_precision_argument(parser)
    assert parser.parse_args([]).precision == 'auto'
    assert parser.parse_args(['--amp']).precision == 'amp'
    assert parser.parse_args(['--precision', 'bf16']).precision == 'bf16'
