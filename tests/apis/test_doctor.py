# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import subprocess
from collections import namedtuple
from pathlib import Path

import pydicom.pixels
import pytest
import torch

from mmfrac.apis import doctor
from tests.forking import python_for_tools

ROOT = Path(__file__).resolve().parents[2]


def lines(folder='.'):
    return {check.name: check for check in doctor.diagnose(folder)}


def test_one_line_each_and_nothing_that_is_needed_is_missing(tmp_path):
    command = [python_for_tools(), ROOT / 'tools/doctor.py', '--work-dir', tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    names = [line[5:].split(':')[0].strip() for line in run.stdout.splitlines()]
    for name in ('system', 'versions', 'operators of mmcv', 'disk', 'shared memory', 'browser'):
        assert name in names
    assert f'torch {torch.__version__}' in run.stdout
    assert any(name.startswith('DICOM JPEG 2000') for name in names)


def test_missing_decoder_has_its_remedy(monkeypatch):
    Decoder = namedtuple('Decoder', 'available_plugins')
    monkeypatch.setattr(doctor, 'get_decoder', lambda uid: Decoder(()))
    check = lines()['DICOM RLE Lossless']
    assert check.found == 'no decoder' and 'requirements/dicom.txt' in check.remedy
    assert str(check).startswith('note ')
    assert pydicom.pixels.get_decoder is not doctor.get_decoder


@pytest.mark.parametrize(('free', 'has_remedy'), [(0.5, True), (100, False)])
def test_little_memory_and_disk(monkeypatch, tmp_path, free, has_remedy):
    Usage = namedtuple('Usage', 'total used free')
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda path: Usage(0, 0, free * 2**30))
    found = lines(tmp_path / 'not' / 'there')
    assert bool(found['shared memory'].remedy) == has_remedy
    assert bool(found['disk'].remedy) == has_remedy
    assert f'{free:.1f} GiB free in {tmp_path}' in found['disk'].found


def test_folder_that_cannot_be_written_is_a_fault(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.os, 'access', lambda path, mode: False)
    check = lines(tmp_path)['disk']
    assert check.is_needed and str(check).startswith('FAULT')


def test_driver_without_a_torch_for_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(doctor.shutil, 'which', lambda name: '/usr/bin/' + name)
    assert 'install the torch build' in lines()['GPU'].remedy


def test_gpus_are_named_with_their_precision(monkeypatch):
    Properties = namedtuple('Properties', 'name total_memory')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(
        torch.cuda, 'get_device_properties', lambda index: Properties('Card', 8 * 2**30)
    )
    monkeypatch.setattr(torch.cuda, 'device', lambda index: pytest.MonkeyPatch.context())
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda emulated: False)
    assert lines()['GPU 0'].found == 'Card, 8 GiB, runs fp16'
