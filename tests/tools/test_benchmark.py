# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""tools/analysis_tools/benchmark.py at sizes that take no time; the ratios themselves are not tested."""

import importlib
import math
import multiprocessing
import platform
import shutil
import subprocess
import sys
import time
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.preparation.phantom import write_dicom
from tests.forking import python_for_tools
from tests.tools.tiny_run import write_config

FOLDER = Path(__file__).resolve().parents[2] / 'tools' / 'analysis_tools'
TINY = {
    'froc': dict(repeats=1, sizes=(32,)),
    'step': dict(repeats=1, size=64, films=2),
    'loader': dict(repeats=2, sizes=(64,), img_scales=(32,), films=2),
    'cache': dict(repeats=1, sizes=(64, 90), img_scale=64, films=2),
    'detectors': dict(
        repeats=1,
        size=64,
        images=1,
        folder='compare/phantom',
        others=('retinanet', 'faster_rcnn'),
        ours='phantom/frac_ssl_phantom.py',
    ),
}
TINY_FIGURES = {
    'bootstrap': dict(repeats=1, films=8, replicates=20, size=32),
    'coverage': dict(repeats=2, num_patients=40, replicates=30, truth_patients=200),
    'streaming': dict(films=8, size=32, noise_films=8),
    'scale': dict(images=(96, 192), replicates=20, apart=False),
}


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return lambda name: importlib.import_module(f'benchmarks.{name}')


def test_help_shows_an_example():
    call = [python_for_tools(), str(FOLDER / 'benchmark.py'), '--help']
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert 'python tools/analysis_tools/benchmark.py all' in done.stdout


@pytest.mark.parametrize('section', TINY)
def test_section_gives_ratios(module, section):
    threads = cv2.getNumThreads()
    rows = list(module(section).measure(**TINY[section]))
    assert rows and len({row.case for row in rows}) == len(rows)
    for row in rows:
        assert row.section == section
        for figure in (row.ratio, row.ours_ms, row.bare_ms):
            assert math.isfinite(figure) and figure > 0
    assert cv2.getNumThreads() == threads


@pytest.mark.slow
@pytest.mark.parametrize('section', TINY_FIGURES)
def test_section_gives_figures(module, section):
    rows = list(module(section).measure(**TINY_FIGURES[section]))
    assert rows and len({row.case for row in rows}) == len(rows)
    for row in rows:
        assert row.section == section and math.isfinite(row.value)
        assert row.value >= 0 or 'exponent' in row.case


@pytest.mark.slow
def test_what_a_step_should_take(module, capsys):
    rows = list(
        module('expected').measure(
            repeats=1, config='phantom/frac_ssl_phantom.py', film=128, device='cpu'
        )
    )
    seconds = [row.value for row in rows]
    assert len(seconds) == 5 and min(seconds) > 0
    assert seconds[2] > seconds[0]
    assert 'A step of phantom/frac_ssl_phantom.py should take' in capsys.readouterr().out
    said = module('expected').verdict('a.py', 2.0, dict(network=1.5, loader=2.0))
    assert said.endswith('take 2 s on this machine; the loader (2 s) holds it up (network 1.5 s).')


@pytest.mark.parametrize(
    'arguments, says',
    [
        (['step', '--trained', 'a.py', 'a.pth'], 'of the precision section'),
        (['precision', '--trained', 'a.py', 'a.pth', '--repeats', '2'], 'without --repeats'),
        (['precision', '--data-root', 'films'], 'that of --trained'),
        (['froc', '--images', '4'], 'of the sections detectors, precision, memory'),
        (['precision', '--images', '4', '--trained', 'a.py', 'a.pth'], 'without --trained'),
        (['precision', '--images', '0'], 'at least 1, got 0'),
    ],
)
def test_options_that_would_count_for_nothing(arguments, says):
    done = subprocess.run(
        [python_for_tools(), str(FOLDER / 'benchmark.py'), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and says in done.stderr


@pytest.mark.parametrize('section', ['detectors', 'precision', 'memory'])
@pytest.mark.parametrize('given', [{}, dict(images=4)])
def test_images_of_a_batch(section, given, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    tool, asked = importlib.import_module('benchmark'), []

    def measure(images=None, **others):
        asked.append(dict(others) if images is None else dict(others, images=images))
        return []

    monkeypatch.setitem(tool.SECTIONS, section, SimpleNamespace(measure=measure))
    arguments = [f'--{name}={value}' for name, value in given.items()]
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', section, *arguments])
    tool.main()
    assert asked == [given]
    # which is what it is called in each of them
    assert (
        'images' in signature(importlib.import_module(f'benchmarks.{section}').measure).parameters
    )


@pytest.mark.slow
def test_precision_gives_ratios_and_what_changes(module):
    rows = list(
        module('precision').measure(
            repeats=1, sizes=(64,), configs=('phantom/frac_sup_phantom.py',), device='cpu'
        )
    )
    changes = {row.case: row.value for row in rows if row.case.startswith('change')}
    gradients = {row.case: row.value for row in rows if row.case.startswith('gradient')}
    first = [row.value for row in rows if row.case.startswith('first image')]
    ratios = [row.ratio for row in rows if row.case.startswith(('step', 'inference'))]
    # seven ways, of which four are folded and do not train, and two of these compiled
    assert len(changes) == 5 + len(first) and len(ratios) == 8 + len(first) and min(ratios) > 0
    assert len(first) == 2 * (shutil.which('g++') is not None) and all(value > 0 for value in first)
    for case, change in changes.items():
        assert change < (1e-5 if 'fp32' in case else 0.02)
    assert all(change > 0 for case, change in changes.items() if 'bf16' in case)
    # of the same weights and images, so as good as equal, and not of the same numbers
    assert len(gradients) == 3
    for case, cosine in gradients.items():
        assert (
            (0.9999 if 'fp32' in case else 0.9) < cosine < (1.0001 if 'fp32' in case else 0.99999)
        )


@pytest.mark.slow
def test_metrics_of_a_trained_model_in_each_way(module, tiny_data, tmp_path):
    init_default_scope('mmdet')
    config = write_config(tmp_path, tiny_data)
    torch.manual_seed(0)
    detector = MODELS.build(Config.fromfile(config).model.detector)
    torch.save(dict(state_dict=detector.state_dict()), tmp_path / 'a.pth')
    precision = module('precision')
    trained = (str(config), str(tmp_path / 'a.pth'))
    rows = list(precision.measure(device='cpu', trained=trained, data_root=str(tiny_data)))
    values = {row.case: row.value for row in rows}
    ways = [precision.BASE, *precision.WAYS]
    ways = [way for way in ways if not way.compiled or shutil.which('g++')]
    expected = {f'{name} {way}' for name in precision.METRICS for way in ways}
    changed = {f'change of {name} {way}' for name in precision.METRICS for way in ways[1:]}
    assert set(values) == expected | changed
    assert 0 <= values['AUROC fp32 NCHW'] <= 1
    for name in changed:
        _, _, metric, *way = name.split()
        case = ' '.join([metric, *way])
        assert values[name] == pytest.approx(values[case] - values[f'{metric} fp32 NCHW'])
    assert all(abs(values[name]) < 1e-6 for name in changed if 'fp32' in name)
    # a goal of its own, which these few films may miss
    assert {(row.low, row.high) for row in rows if row.case in changed} == {(-1e-3, 1e-3)}


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='glibc can be told to')
def test_memory_is_kept_in_one_of_two_processes(module):
    options = dict(repeats=1, sizes=(64,), configs=('phantom/frac_sup_phantom.py',))
    step, inference = module('memory').measure(**options)
    assert step.case.startswith('step') and inference.case.startswith('inference')
    assert step.ratio > 0 and inference.ratio > 0 and step.ours_ms > inference.ours_ms
    assert not multiprocessing.active_children()


@pytest.mark.parametrize('ends, share', [((-1.0, 2.0), 1), ((2.0, 3.0), 0)])
def test_coverage_counts_intervals_that_hold_the_truth(module, monkeypatch, ends, share):
    coverage = module('coverage')
    monkeypatch.setattr(coverage, 'interval', lambda values, level: ends)
    assert {row.value for row in coverage.measure(**TINY_FIGURES['coverage'])} == {share}


@pytest.mark.parametrize('value, is_met', [(0.9, False), (0.93, True), (0.97, True), (0.98, False)])
def test_figure_has_to_lie_within(module, value, is_met):
    assert module('figure').Figure('s', 'c', value, 'share', 0.93, 0.97).is_met == is_met


@pytest.mark.slow
def test_each_part_of_scale_has_a_process_of_its_own(module, tmp_path):
    scale = module('scale')
    held = np.ones(2**27)  # a GiB that must not count
    seconds, peak = scale._run('sample an epoch', tmp_path, 96, 20, apart=True)
    assert held.any() and seconds > 0 and 2**26 < peak < held.nbytes


def test_scale_finds_what_grows_faster_than_linearly(module, monkeypatch):
    scale = module('scale')
    monkeypatch.setattr(
        scale, 'PARTS', dict(linear=lambda f, n, r: n * 1e-6, square=lambda f, n, r: n**2 * 1e-6)
    )
    rows = list(scale.measure(images=(10, 100), apart=False))
    met = {row.case.split(':')[0]: row.is_met for row in rows if 'exponent' in row.case}
    assert met == dict(linear=True, square=False)


def test_figures_name_the_machine(module):
    machine = module('machine')
    found = machine.machine()
    assert found['cpu'] and isinstance(found['cpu_bf16'], bool)
    assert found['cpu'] in machine.machine_line() and 'bf16 units' in machine.machine_line()


def test_loader_reads_the_films_of_a_folder(module, tmp_path):
    write_dicom(tmp_path / 'one.dcm', np.full((40, 30), 7, np.uint16), patient_id='P', pixel_mm=1)
    options = dict(repeats=1, img_scales=(32, 64), folder=str(tmp_path))
    rows = list(module('loader').measure(**options))
    assert [row.case for row in rows] == [
        'one.dcm to 32 x 32 input',
        'one.dcm to 64 x 64 input',
    ]


@pytest.mark.parametrize('at_least, ratio', [(True, 3), (False, 1 / 3)])
def test_ratio_of_known_times(module, monkeypatch, at_least, ratio):
    pairing = module('pairing')
    now = [0.0]
    monkeypatch.setattr(time, 'perf_counter', lambda: now[0])

    def taking(seconds):
        def call():
            now[0] += seconds

        return call

    row = pairing.compare('s', 'c', taking(0.002), taking(0.006), 4, 1.0, at_least, ours_calls=5)
    assert (row.ours_ms, row.bare_ms) == pytest.approx((2, 6))
    assert row.ratio == pytest.approx(ratio)
    assert row.is_met
    row = pairing.compare('s', 'c', taking(0.006), taking(0.002), 4, 1.0, at_least)
    assert row.ratio == pytest.approx(1 / ratio)
    assert not row.is_met


def test_repeats_must_be_positive(module):
    with pytest.raises(ValueError, match='repeats must be at least 1, got 0'):
        module('pairing').compare('s', 'c', int, int, 0, 1.0, True)
