# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmfrac.experiments.cross_validation import best_checkpoint, fold_job
from mmfrac.experiments.jobs import Tools, frac_options
from mmfrac.preparation.splits.folds import write_folds
from mmfrac.utils.config import film_sets, set_data_root, set_fold


@pytest.fixture
def folds(tiny_data, tmp_path):
    files = [tiny_data / f'annotations/{part}.json' for part in ('train', 'val', 'test')]
    write_folds(files, tmp_path / 'folds', num_folds=2, hold_out=6)
    return tmp_path / 'folds'


@pytest.fixture
def cfg(repository):
    return Config.fromfile(repository / 'configs/phantom/frac_ssl_phantom.py')


def test_every_data_set_reads_its_fold(cfg, folds):
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='CocoMetric', ann_file='val.json')]
    set_fold(cfg._cfg_dict, folds, 1)
    files = [one.ann_file for one in film_sets(cfg.train_dataloader)]
    assert files == [str(folds / 'fold1/train.json')] * 3
    assert cfg.val_dataloader.dataset.ann_file == str(folds / 'fold1/val.json')
    assert cfg.val_evaluator[1].ann_file == str(folds / 'fold1/val.json')
    assert cfg.test_dataloader.dataset.ann_file == str(folds / 'test.json')
    with pytest.raises(FileNotFoundError, match='no fold 2'):
        set_fold(cfg._cfg_dict, folds, 2)
    cfg.train_dataloader.dataset.datasets[0].ann_file = 'other.json'
    with pytest.raises(ValueError, match=r'a fold has one train\.json'):
        set_fold(cfg._cfg_dict, folds, 1)


def test_hidden_boxes_need_folds_of_the_file_that_has_them(cfg, folds, tiny_data, tmp_path):
    set_data_root(cfg._cfg_dict, str(tiny_data))
    for one in film_sets(cfg.train_dataloader):
        one.update(ann_file='annotations/train_truth.json', complete_boxes=True)
    with pytest.raises(ValueError, match=r'hidden boxes of .*/train_truth\.json .* lacks'):
        set_fold(cfg._cfg_dict, folds, 0)
    for one in film_sets(cfg.train_dataloader):
        one.ann_file = 'annotations/train.json'  # which hides none that the folds lack
    set_fold(copy.deepcopy(cfg._cfg_dict), folds, 0)
    for one in film_sets(cfg.train_dataloader):
        one.ann_file = 'annotations/train_truth.json'
    files = [tiny_data / f'annotations/{part}.json' for part in ('train_truth', 'val', 'test')]
    write_folds(files, tmp_path / 'truth', num_folds=2, hold_out=6)
    set_fold(cfg._cfg_dict, tmp_path / 'truth', 0)
    assert film_sets(cfg.train_dataloader)[0].ann_file == str(tmp_path / 'truth/fold0/train.json')


def test_test_films_stay_where_no_fold_holds_any(cfg, folds):
    (folds / 'test.json').unlink()
    set_fold(cfg._cfg_dict, folds, 0)
    assert cfg.test_dataloader.dataset.ann_file == 'annotations/test.json'


def test_fingerprint_follows_config_films_and_options(cfg, folds, tmp_path):
    def fingerprint(fold=0, options=(), work_dir=tmp_path, ranks=1):
        tools = Tools(Path('tools'), ranks, options)
        return fold_job(cfg, folds, fold, work_dir, tools, 4.0).fingerprint

    first = fingerprint()
    assert first == fingerprint(work_dir=tmp_path / 'elsewhere')
    others = {fingerprint(1), fingerprint(options=('--amp',))}
    cfg.optim_wrapper.optimizer.lr = 0.5
    others.add(fingerprint())
    cfg.optim_wrapper.optimizer.lr = 2e-3
    assert first == fingerprint()
    path = folds / 'test.json'
    path.write_text(path.read_text() + ' ')
    others.add(fingerprint())
    assert len(others - {first}) == 4


def test_a_fold(cfg, folds, tmp_path):
    job = fold_job(cfg, folds, 1, tmp_path, Tools(Path('tools')), 4.0)
    assert (job.name, job.work_dir) == ('fold 1', tmp_path / 'fold1')
    assert job.cfg.work_dir == str(job.work_dir) and cfg.get('work_dir') is None
    assert job.max_fppi == 4


def checkpoint(folder, epoch, score):
    content = dict(
        state_dict={},
        meta=dict(epoch=epoch),
        message_hub=dict(runtime_info=dict(best_score=score)),
    )
    torch.save(content, folder / f'best_frac_AUROC_epoch_{epoch}.pth')


def test_the_stored_score_decides_between_two_best(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'best_frac_AUROC_\*\.pth'):
        best_checkpoint(tmp_path)
    for epoch, score in ((10, 0.8), (9, 0.9), (3, 0.9)):
        checkpoint(tmp_path, epoch, score)
    path, epoch = best_checkpoint(tmp_path)
    assert (path.name, epoch) == ('best_frac_AUROC_epoch_3.pth', 3)


def test_options_of_the_metric():
    metric = dict(type='FracMetric', crossing='best', out_file='a.json', connectivity=4)
    expected = dict(crossing='best', connectivity=4)
    assert frac_options(metric) == expected
    assert frac_options([dict(type='CocoMetric'), metric]) == expected
    with pytest.raises(ValueError, match='need a FracMetric'):
        frac_options([dict(type='CocoMetric')])
