# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from mmfrac.utils.device import (
    HostBuffers,
    HostCopy,
    to_device,
    usable_device,
)


class Counted(HostBuffers):
    host_buffers = ('count',)

    def __init__(self):
        super().__init__()
        self.register_buffer('count', torch.tensor(3))
        self.register_buffer('scale', torch.tensor(2.0))


def test_counters_stay_on_the_host_wherever_the_module_goes():
    module = nn.Sequential(Counted())
    count = module[0].count
    module.to('meta').double()
    assert module[0].count is count and count == 3
    assert module[0].scale.is_meta and module[0].scale.dtype == torch.float64
    assert set(module.state_dict()) == {'0.count', '0.scale'}


def test_a_module_built_without_values_gets_its_counters_on_the_host():
    with torch.device('meta'):
        module = Counted()
    assert module.to(torch.float64).count.is_meta
    assert module.to_empty(device='cpu').count.device.type == 'cpu'


def test_values_arrive():
    values = torch.arange(3.0)
    assert torch.equal(to_device(values, torch.device('cpu')), values)
    assert to_device(values, torch.device('meta')).is_meta
    assert np.array_equal(HostCopy(values).numpy(), [0, 1, 2])


def test_a_device_that_is_not_there_is_said():
    assert usable_device('cpu') == torch.device('cpu')
    with pytest.raises(ValueError, match=r"no device 'gpu'"):
        usable_device('gpu')
    with pytest.raises(ValueError, match=r'no device cuda:99: .* leave --device out'):
        usable_device('cuda:99')


_PAGES = """
import resource, sys, torch
from mmfrac.utils.device import keep_freed_memory
kept = keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    layers = [torch.ones(1 << 24) for _ in range(3)]
    return sum(float(layer[0]) for layer in layers)
for _ in range(8):
    step()
before = faults()
for _ in range(5):
    step()
print(kept, faults() - before)
"""


def memory_of_steps(**environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(('MALLOC_', 'GLIBC_'))}
    run = subprocess.run(
        [sys.executable, '-c', _PAGES],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = run.stdout.split()
    return kept == 'True', int(faults)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc has it')
def test_memory_of_freed_tensors_is_kept():
    kept, faults = memory_of_steps()
    if not kept:
        pytest.skip('no glibc')
    # 15 tensors of 64 MB are 16,384 pages each, or 32 huge ones
    assert faults < 100
    kept, faults = memory_of_steps(MALLOC_TRIM_THRESHOLD_='131072')
    assert not kept and faults > 15 * 30
