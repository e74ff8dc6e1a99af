# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.engine.runner.launch import is_first_rank
from mmfrac.utils.lock import locked
from tests.tools.tiny_run import TRAIN, start, write_config


def test_a_second_training_in_a_work_dir_is_refused(tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data)
    with locked(tmp_path / 'run'):
        done = start(TRAIN, config, '--work-dir', 'run', cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / 'run').exists()
    assert f'another process works in {tmp_path}/run: wait for it' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'launcher, name',
    [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')],
)
def test_the_first_rank_of_a_launch_holds_the_work_dir(monkeypatch, launcher, name):
    for rank in ('0', '1', '10'):
        monkeypatch.setenv(name, rank)
        assert is_first_rank(launcher) == (rank == '0')
        # a job of Slurm may start a training of its own
        assert is_first_rank('none')
