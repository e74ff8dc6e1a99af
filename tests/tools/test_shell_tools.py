# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*ROOT.glob('tools/*.sh'), *ROOT.glob('tools/lib/*.sh'), ROOT / '.ci/run'])
# stands in for train.py, test.py and srun: writes down what it was started with
RECORDER = """
import json, os, sys
names = ('RANK', 'WORLD_SIZE', 'MASTER_PORT', 'OMP_NUM_THREADS', 'PYTHONPATH')
record = dict(argv=sys.argv[1:], **{name: os.environ.get(name) for name in names})
path = os.path.join(os.environ['RECORDS'], f'rank{os.environ.get("RANK", "")}.json')
with open(path, 'w') as file:
    json.dump(record, file)
sys.exit(int(os.environ.get('FAIL_RANK', 'none') == record['RANK']))
"""
AWKWARD = ['--cfg-options', 'a=[1, 2]', 'b="x y"', '', '*']


@pytest.fixture
def project(tmp_path):
    """A project folder, with a blank in its name, that holds the real shell tools and recorders."""
    folder = tmp_path / 'a project'
    shutil.copytree(ROOT / 'tools/lib', folder / 'tools/lib')
    for script in ROOT.glob('tools/*.sh'):
        shutil.copy(script, folder / 'tools')
    for name in ('train.py', 'test.py'):
        (folder / 'tools' / name).write_text(RECORDER)
    (folder / 'configs').mkdir()
    (folder / 'configs/one.py').write_text('')
    (folder / 'one.pth').write_text('')
    (folder / 'bin').mkdir()
    srun = folder / 'bin/srun'
    srun.write_text(f'#!{sys.executable}\n{RECORDER}')
    srun.chmod(0o755)
    (folder / 'records').mkdir()
    return folder


def start(project, script, *arguments, cwd=None, **variables):
    environment = {
        name: value
        for name, value in os.environ.items()
        # torchrun's own variables are there when the tests are run by a launched process
        if name not in ('RANK', 'WORLD_SIZE', 'MASTER_PORT', 'MASTER_ADDR', 'PORT', 'NNODES')
    }
    environment |= {'PYTHON': sys.executable, 'RECORDS': str(project / 'records')}
    environment |= {'PATH': f'{project / "bin"}:{environment["PATH"]}', 'CUDA_VISIBLE_DEVICES': ''}
    environment.pop('OMP_NUM_THREADS', None)
    return subprocess.run(
        ['bash', str(project / 'tools' / script), *arguments],
        cwd=cwd or project,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def records(project):
    paths = sorted((project / 'records').glob('*.json'))
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_syntax(script):
    run = subprocess.run(['bash', '-n', str(script)], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, '')


@pytest.mark.parametrize('script', sorted(ROOT.glob('tools/*.sh')), ids=lambda path: path.name)
def test_help(script, tmp_path):
    run = subprocess.run(
        ['bash', str(script), '--help'], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0
    assert f'tools/{script.name}' in run.stdout


@pytest.mark.parametrize(
    'arguments',
    [
        ('dist_train.sh', 'configs/one.py'),
        ('dist_train.sh', 'configs/one.py', 'two'),
        ('dist_train.sh', 'configs/one.py', '0'),
        ('dist_test.sh', 'configs/one.py', 'one.pth'),
        ('slurm_train.sh', 'gpu', 'job', 'configs/one.py'),
        ('slurm_test.sh', 'gpu', 'job', 'configs/one.py'),
        ('setup_env.sh', '--python'),
        ('setup_env.sh', '--verbose'),
        ('run_tests.sh', '--python'),
        ('quickstart.sh', '--work-dir'),
        ('quickstart.sh', 'work_dirs/one'),
    ],
)
def test_wrong_arguments_are_refused(project, arguments):
    run = start(project, *arguments)
    assert run.returncode == 2
    assert run.stderr and not run.stdout
    assert records(project) == []


@pytest.mark.parametrize(
    'arguments',
    [('dist_train.sh', 'absent.py', '2'), ('dist_test.sh', 'configs/one.py', 'absent.pth', '2')],
)
def test_absent_file_is_named(project, arguments):
    run = start(project, *arguments)
    assert run.returncode == 1
    assert "'absent.p" in run.stderr and str(project) in run.stderr


def test_dist_train_starts_ranks_from_any_folder(project, tmp_path):
    run = start(project, 'dist_train.sh', 'configs/one.py', '2', *AWKWARD, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    first, second = records(project)
    assert (first['RANK'], second['RANK'], first['WORLD_SIZE']) == ('0', '1', '2')
    assert first['argv'] == second['argv']
    assert first['argv'] == [str(project / 'configs/one.py'), '--launcher', 'pytorch', *AWKWARD]
    assert first['PYTHONPATH'].split(':')[0] == str(project)
    # as nproc, which the script asks
    cores = len(os.sched_getaffinity(0))
    assert first['OMP_NUM_THREADS'] == str(max(1, cores // 2))


def test_dist_test_ends_with_a_failure_of_any_rank(project):
    run = start(project, 'dist_test.sh', 'configs/one.py', 'one.pth', '2', FAIL_RANK='1')
    assert run.returncode != 0
    assert records(project)[0]['argv'][:2] == ['configs/one.py', 'one.pth']


def torchrun_arguments(project, **variables):
    """The arguments that `python -m torch.distributed.run` is started with."""
    python = project / 'bin/python'
    python.write_text(f'#!{sys.executable}\n{RECORDER}')
    python.chmod(0o755)
    run = start(project, 'dist_train.sh', 'configs/one.py', '3', PYTHON=str(python), **variables)
    assert run.returncode == 0, run.stderr
    return records(project)[0]


def test_several_machines(project):
    argv = torchrun_arguments(project, NNODES='2', NODE_RANK='1', MASTER_ADDR='host0')['argv']
    assert argv[:2] == ['-m', 'torch.distributed.run']
    assert argv[2:7] == [
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=host0',
        '--master_port=29500',
        '--nproc_per_node=3',
    ]


def test_given_port_is_used_on_one_machine(project):
    argv = torchrun_arguments(project, PORT='29611')['argv']
    assert '--master_port=29611' in argv and '--standalone' not in argv


def test_cores_are_shared_at_least_one_a_rank(project):
    (project / 'bin/nproc').write_text('#!/bin/sh\necho 2\n')
    (project / 'bin/nproc').chmod(0o755)
    assert torchrun_arguments(project)['OMP_NUM_THREADS'] == '1'
    assert torchrun_arguments(project, OMP_NUM_THREADS='7')['OMP_NUM_THREADS'] == '7'


def test_slurm_train(project, tmp_path):
    run = start(
        project,
        'slurm_train.sh',
        *('gpu', 'a job', 'configs/one.py', 'work dir', *AWKWARD),
        cwd=tmp_path,
        GPUS='4',
        CPUS_PER_TASK='3',
        SRUN_ARGS='--quotatype=auto --exclude=n1',
        PORT='29612',
    )
    assert run.returncode == 0, run.stderr
    (record,) = records(project)
    assert record['argv'] == [
        *('-p', 'gpu', '--job-name=a job', '--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4'),
        *('--cpus-per-task=3', '--kill-on-bad-exit=1', '--quotatype=auto', '--exclude=n1'),
        *(sys.executable, '-u', str(project / 'tools/train.py'), str(project / 'configs/one.py')),
        *('--work-dir=work dir', *AWKWARD, '--launcher=slurm'),
    ]
    assert record['MASTER_PORT'] == '29612'
    assert record['PYTHONPATH'].split(':')[0] == str(project)


def test_slurm_test_on_several_nodes(project):
    arguments = ('gpu', 'job', 'configs/one.py', 'one.pth', '--out', 'o.pkl')
    run = start(project, 'slurm_test.sh', *arguments, GPUS='16')
    assert run.returncode == 0, run.stderr
    argv = records(project)[0]['argv']
    assert argv[3:6] == ['--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8']
    assert argv[-6:] == [
        str(project / 'tools/test.py'),
        *('configs/one.py', 'one.pth', '--out', 'o.pkl', '--launcher=slurm'),
    ]


def test_slurm_without_srun(project):
    (project / 'bin/srun').unlink()
    run = start(project, 'slurm_train.sh', 'gpu', 'job', 'configs/one.py', 'work')
    assert run.returncode == 1
    assert 'no srun' in run.stderr
