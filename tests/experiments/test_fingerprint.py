# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.experiments.benchmark import Method
from mmfrac.experiments.fingerprint import fold_fingerprint, run_fingerprint
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
