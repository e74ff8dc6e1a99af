# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""tools/cache_films.py from the command line, and the switch that lets a run use what it wrote."""

import argparse
import runpy
import shutil
import sys

import pytest
from mmdet.registry import DATASETS

from mmfrac.utils.cli import config_from_arguments
from mmfrac.utils.config import film_sets
from tests.tools.tiny_run import ROOT

TOOL = str(ROOT / 'tools/cache_films.py')
CONFIG = str(ROOT / 'configs/phantom/frac_ssl_phantom.py')


@pytest.fixture
def root(tiny_data, tmp_path):
    """A copy of the tiny data set: 25 films in three splits."""
    return shutil.copytree(tiny_data, tmp_path / 'data')


def run(monkeypatch, root, *arguments):
    words = [TOOL, CONFIG, str(root / 'cache'), '--data-root', str(root), '--workers', '0']
    monkeypatch.setattr(sys, 'argv', [*words, *arguments])
    runpy.run_path(TOOL, run_name='__main__')


def test_estimate_write_check(root, monkeypatch, capsys):
    run(monkeypatch, root, '--estimate')
    # 64 x 48 px become 256 x 192: float32 at most
    assert f'25 films, at most {25 * 256 * 192 * 4 / 2**30:.2f} GiB' in capsys.readouterr().out
    assert not (root / 'cache').exists()
    run(monkeypatch, root, '--splits', 'val', 'test')
    assert '10 written' in capsys.readouterr().out
    run(monkeypatch, root)
    assert '10 kept, 15 written' in capsys.readouterr().out
    run(monkeypatch, root, '--check', '4')
    assert '4 identical, 21 sound' in capsys.readouterr().out


def test_failed_films_are_listed_and_the_exit_code_is_1(root, monkeypatch, capsys):
    for name in ('train_1.png', 'val_0.png'):
        (root / 'images' / name).write_bytes(b'no film at all')
    with pytest.raises(SystemExit) as left:
        run(monkeypatch, root)
    out, err = capsys.readouterr()
    assert left.value.code == 1 and '2 failed, 23 written' in out
    assert '2 films failed:' in err and 'train_1.png' in err and 'val_0.png' in err


def test_missing_config_and_cache(root, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, root, '--check')
    assert 'FileNotFoundError: no films 256x256_' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', [TOOL, 'none.py', str(root)])
    with pytest.raises(SystemExit):
        runpy.run_path(TOOL, run_name='__main__')
    assert 'no config file none.py' in capsys.readouterr().err


@pytest.mark.slow
def test_one_setting_lets_every_data_set_read_the_cache(root, monkeypatch, tmp_path):
    run(monkeypatch, root)
    taken = {}
    for options in ({}, dict(film_cache=str(root / 'cache'))):
        given = dict(config=CONFIG, data_root=str(root))
        args = argparse.Namespace(**given, work_dir=str(tmp_path), cfg_options=options)
        cfg = config_from_arguments(args)
        loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
        sets = [one for loader in loaders for one in film_sets(loader)]
        assert len(sets) == 5
        assert all(one.get('film_cache') == options.get('film_cache') for one in sets)
        datasets = [DATASETS.build(one) for one in sets[-2:]]
        taken[len(options)] = [
            dataset[index]['inputs'] for dataset in datasets for index in range(len(dataset))
        ]
        firsts = {type(dataset.pipeline.transforms[0]).__name__ for dataset in datasets}
        assert firsts == {'CachedRadiograph' if options else 'LoadRadiograph'}
    assert len(taken[0]) == 10
    assert all(one.equal(other) for one, other in zip(taken[0], taken[1]))
