# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy

import pytest

from mmfrac.experiments.benchmark import Method
from mmfrac.experiments.fingerprint import (
    _decisive,
    fingerprint,
    fold_fingerprint,
    run_fingerprint,
)
from tests.tools.tiny_run import ROOT, write_config


def test_the_fingerprint_follows_config_and_films(tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data)
    method = Method('ours', str(config), 'Ours')
    one, same, other = (
        run_fingerprint(tiny_data, [method.build_config(ROOT, {'randomness.seed': seed})])
        for seed in (0, 0, 1)
    )
    assert one == same != other
    # hooks that change the training count wherever they stand, those that report it do not
    config = method.build_config(ROOT, {'randomness.seed': 0})
    config.default_hooks.logger.interval = 7
    assert run_fingerprint(tiny_data, [config]) == one
    config.default_hooks.ema = dict(type='EMAHook', momentum=0.1)
    averaged = run_fingerprint(tiny_data, [config])
    config.default_hooks.ema.momentum = 0.2
    assert len({one, averaged, run_fingerprint(tiny_data, [config])}) == 3
    (tmp_path / 'films/annotations').mkdir(parents=True)
    for name in ('train', 'val', 'test'):
        text = (tiny_data / f'annotations/{name}.json').read_text()
        (tmp_path / f'films/annotations/{name}.json').write_text(text.replace('rib', 'clavicle'))
    config = method.build_config(ROOT, {'randomness.seed': 0})
    assert run_fingerprint(tmp_path / 'films', [config]) != one
    # films with other names than those of every benchmark, that are trained on
    config.train_dataloader.dataset.datasets[0].ann_file = 'annotations/train_truth.json'
    truth = tmp_path / 'films/annotations/train_truth.json'
    truth.write_text('{}')
    before = run_fingerprint(tmp_path / 'films', [config])
    truth.write_text('{"images": []}')
    assert run_fingerprint(tmp_path / 'films', [config]) != before
    with pytest.raises(FileNotFoundError, match=r'no annotation file .*train\.json'):
        run_fingerprint(tmp_path / 'nothing', [config])


def test_folds_and_runs_follow_the_same_settings(tiny_data, tmp_path):
    method = Method('ours', str(write_config(tmp_path, tiny_data)), 'Ours')
    config = method.build_config(ROOT, {'randomness.seed': 0})

    def fingerprints(options=None):
        changed = copy.deepcopy(config)
        changed.merge_from_dict(options or {})
        return run_fingerprint(tiny_data, [changed]), fold_fingerprint(changed, ['--amp'])

    run, fold = fingerprints()
    assert fold != fold_fingerprint(config, [])
    for same in (
        {'default_hooks.logger.interval': 7, 'default_hooks.visualization.draw': True},
        {'work_dir': 'elsewhere', 'log_level': 'ERROR', 'launcher': 'slurm'},
        {'auto_scale_lr': dict(enable=False, base_batch_size=64)},
    ):
        assert fingerprints(same) == (run, fold)
    for other in (
        {'default_hooks.dynamic_sharpening.unsup_source': 1},
        {'randomness.seed': 1},
        {'load_from': 'weights.pth'},
        {'auto_scale_lr': dict(enable=True, base_batch_size=64)},
    ):
        changed = fingerprints(other)
        assert changed[0] != run and changed[1] != fold
    # which checkpoint is kept as the best decides the result of a fold alone
    changed = fingerprints({'default_hooks.checkpoint.rule': 'less'})
    assert changed[0] == run and changed[1] != fold


def test_burn_in_to_the_end_is_the_number_of_epochs(tiny_data, tmp_path):
    method = Method('ours', str(write_config(tmp_path, tiny_data)), 'Ours')
    settings = dict(short=1, number=2, word='all')
    found = {}
    for name, burn_in in settings.items():
        options = {'model.semi_train_cfg.burn_in_epochs': burn_in, 'train_cfg.max_epochs': 2}
        cfg = method.build_config(ROOT, options)
        found[name] = (run_fingerprint(tiny_data, [cfg]), fold_fingerprint(cfg, []))
        # the config itself stays
        assert cfg.model.semi_train_cfg.burn_in_epochs == burn_in
    assert found['word'] == found['number'] != found['short']


def test_the_fingerprint_is_of_the_files_that_are_read(tiny_data, tmp_path):
    method = Method('ours', str(write_config(tmp_path, tiny_data)), 'Ours')
    usual = method.build_config(ROOT, {})
    one = 'test_dataloader.dataset.ann_file'
    external = method.build_config(ROOT, {one: 'annotations/external.json'})
    folder = tmp_path / 'films/annotations'
    folder.mkdir(parents=True)
    for name in ('train', 'val', 'test'):
        (folder / f'{name}.json').write_bytes((tiny_data / f'annotations/{name}.json').read_bytes())
    with pytest.raises(FileNotFoundError, match=r'no annotation file .*external\.json'):
        run_fingerprint(tmp_path / 'films', [external])
    found = set()
    for content in ('{}', '{"images": []}'):
        (folder / 'external.json').write_text(content)
        found.add(run_fingerprint(tmp_path / 'films', [external]))
    assert len(found) == 2
    # as every fingerprint was made: the three files in their order, whoever reads them
    contents = [_decisive(external)]
    files = [folder / f'{name}.json' for name in ('train', 'val', 'test', 'external')]
    assert fingerprint(contents, files) in found
    # and test.json is needed by those that read it alone
    (folder / 'test.json').unlink()
    assert run_fingerprint(tmp_path / 'films', [external]) not in found
    with pytest.raises(FileNotFoundError, match=r'no annotation file .*test\.json'):
        run_fingerprint(tmp_path / 'films', [usual])
