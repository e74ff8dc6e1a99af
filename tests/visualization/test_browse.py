# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import runpy
import shutil
import sys
from collections import Counter

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer

from mmfrac.utils.config import set_data_root, set_img_scale
from mmfrac.visualization.browse import MODES, browse_dataset, single_datasets, spread_images


@pytest.fixture
def cfg(repository, tiny_data):
    cfg = Config.fromfile(repository / 'configs' / 'frac_ssl.py')
    set_data_root(cfg._cfg_dict, str(tiny_data))
    set_img_scale(cfg._cfg_dict, (64, 64))
    return cfg


def test_films_are_spread_over_data_sets_and_subsets(cfg):
    init_default_scope('mmdet')
    sets = single_datasets(DATASETS.build(cfg.train_dataloader.dataset))
    assert [len(one) for one in sets] == [10, 5]

    def drawn(number):
        found = list(spread_images(sets, number))
        assert len({(id(one), index) for one, index in found}) == len(found)
        infos = [one.get_data_info(index) for one, index in found]
        return Counter((info['label'], info['regions']) for info in infos)

    assert drawn(3) == {(1, True): 1, (0, True): 1, (1, False): 1}
    assert drawn(7) == {(1, True): 3, (0, True): 2, (1, False): 2}
    assert drawn(14) == {(1, True): 4, (0, True): 5, (1, False): 5}
    assert drawn(99) == {(1, True): 4, (0, True): 6, (1, False): 5}


@pytest.mark.parametrize('mode', MODES)
def test_modes(cfg, tmp_path, mode):
    shown = []
    browsed = browse_dataset(
        cfg, tmp_path, mode=mode, number=4, size=64, show=lambda *args: shown.append(args)
    )
    assert len(browsed.images) == 4 and browsed.unreadable == [] and len(browsed.sheets) == 1
    written = sorted(browsed.images + browsed.sheets)
    assert sorted(tmp_path.glob('[!.]*')) == written and len(shown) == 4
    picture = cv2.imread(str(browsed.images[0]))
    assert np.array_equal(picture[..., ::-1], shown[0][0])
    # a film of 64 px and a line of text a cell, two px between them
    columns = {'pipeline': 6, 'transformed': 1, 'original': 1, 'concat': 2}[mode]
    assert picture.shape[1] == (48 if mode == 'original' else columns * 66 - 2)
    if mode == 'pipeline':
        # 8 steps before the branch, wrapped, and the branch
        assert picture.shape[0] > 3 * 64


@pytest.mark.slow
def test_a_film_does_not_depend_on_the_others(cfg, tmp_path):
    def picture(folder, number, seed=0):
        films = browse_dataset(cfg, tmp_path / folder, number=number, size=64, seed=seed).images
        return cv2.imread(str(next(path for path in films if path.name == 'train_0.png')))

    first = picture('a', 3)
    assert np.array_equal(first, picture('b', 15))
    assert not np.array_equal(first, picture('c', 3, seed=1))


def test_test_phase_and_wrong_options(cfg, tmp_path):
    browsed = browse_dataset(cfg, tmp_path, phase='test', number=9, size=64)
    assert len(browsed.images) == 5
    for options in (dict(phase='none'), dict(mode='none'), dict(number=0), dict(size=1)):
        with pytest.raises(ValueError, match=next(iter(options))):
            browse_dataset(cfg, tmp_path, **options)
    cfg.pop('val_dataloader')
    with pytest.raises(ValueError, match='no val_dataloader'):
        browse_dataset(cfg, tmp_path, phase='val')


@pytest.fixture
def run(repository, monkeypatch, capsys):
    tool = repository / 'tools' / 'analysis_tools' / 'browse_dataset.py'
    config = repository / 'configs' / 'frac_sup.py'

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(tool), str(config), *map(str, args)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(tool), run_name='__main__')
        return left.value.code, capsys.readouterr()

    return run


def test_tool(run, tiny_data, tmp_path, monkeypatch):
    options = ('--output-dir', tmp_path / 'out', '--show-number', 2, '--size', 64)
    small = ('--cfg-options', 'train_dataloader.dataset.pipeline.2.scale=(64,64)')
    code, said = run('--data-root', tiny_data, *options, '--mode', 'original', '--not-show')
    assert code == 0 and '2 films, 1 contact sheets' in said.out
    names = sorted(path.name for path in (tmp_path / 'out').glob('[!.]*'))
    assert names == ['sheet_0.png', 'train_0.png', 'train_4.png']
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    code, said = run('--data-root', tiny_data, *options, '--mode', 'original')
    assert code == 0 and 'no display' in said.out
    shown = []
    monkeypatch.setenv('DISPLAY', ':99')
    monkeypatch.setattr(Visualizer, 'show', lambda self, *args: shown.append(args))
    code, _ = run('--data-root', tiny_data, *options, '--show-interval', 0.5, *small)
    assert code == 0 and [args[2] for args in shown] == [0.5, 0.5]
    assert [args[1] for args in shown] == ['train_0', 'train_4']
    code, said = run('--data-root', tmp_path / 'nowhere', *options, '--not-show')
    assert code == 1 and 'nowhere' in said.err and 'Traceback' not in said.err


def test_unreadable_films_are_named(run, tiny_data, tmp_path):
    root = shutil.copytree(tiny_data, tmp_path / 'data')
    (root / 'images' / 'train_0.png').write_bytes(b'broken')
    out = tmp_path / 'out'
    code, said = run('--data-root', root, '--output-dir', out, '--not-show', '--show-number', 99)
    assert code == 1 and 'train_0.png' in said.err and '9 films' in said.out
    assert len(list(out.glob('*.png'))) == 10


def test_films_are_never_drawn_over(run, tiny_data, tmp_path):
    root = shutil.copytree(tiny_data, tmp_path / 'data')
    before = {path: path.read_bytes() for path in (root / 'images').iterdir()}
    options = ('--data-root', root, '--output-dir', root / 'images', '--not-show')
    code, said = run(*options, '--show-number', 99)
    assert code == 1 and 'was not written by mmfrac' in said.err and 'Traceback' not in said.err
    assert all(path.read_bytes() == content for path, content in before.items())
