# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
from mmengine.config import Config

from mmfrac.utils.config import change_transform, merge_config_file, set_data_root, set_img_scale


def test_a_file_of_changes_is_merged_and_reads_the_base(tmp_path):
    (tmp_path / 'base.py').write_text(
        "model = dict(teacher=dict(type='A', decay=1), loss=dict(type='L', weight=2))\nepochs = 3\n"
    )
    (tmp_path / 'changes.py').write_text(
        'import math\n'
        "model = dict(teacher=dict(_delete_=True, type='B'), loss=dict(weight=_base_.epochs + 4))\n"
        'epochs = math.floor(5.5)\n'
    )
    (tmp_path / 'child.py').write_text(
        "_base_ = 'base.py'\n"
        'from mmfrac.utils.config import merge_config_file\n'
        "merge_config_file(_base_, '{{ fileDirname }}/changes.py')\n"
        'epochs = _base_.epochs + 1\n'
    )
    expected = dict(model=dict(teacher=dict(type='B'), loss=dict(type='L', weight=7)), epochs=5)
    cfg = Config.fromfile(tmp_path / 'base.py')
    merge_config_file(cfg._cfg_dict, tmp_path / 'changes.py')
    assert cfg.to_dict() == expected
    assert Config.fromfile(tmp_path / 'child.py').to_dict() == dict(expected, epochs=6)


def test_a_missing_file_of_changes_is_said(tmp_path):
    (tmp_path / 'one.py').write_text('')
    with pytest.raises(FileNotFoundError, match=r'other\.py; .* holds one\.py'):
        merge_config_file(Config()._cfg_dict, tmp_path / 'other.py')


def test_every_pipeline_and_data_root_is_changed():
    cfg = dict(
        img_scale=(8, 8),
        data_root='old/',
        loader=dict(
            dataset=dict(
                datasets=[
                    dict(data_root='old/', pipeline=[dict(type='Resize', scale=(8, 8))]),
                    dict(
                        data_root='old/',
                        pipeline=(dict(type='MultiBranch', sup=[dict(type='Pad', size=(8, 8))]),),
                    ),
                ]
            )
        ),
    )
    set_img_scale(cfg, (4, 4))
    set_data_root(cfg, 'new/')
    first, second = cfg['loader']['dataset']['datasets']
    assert first['pipeline'][0]['scale'] == (4, 4) and cfg['img_scale'] == (4, 4)
    assert second['pipeline'][0]['sup'][0]['size'] == (4, 4)
    assert cfg['data_root'] == first['data_root'] == second['data_root'] == 'new/'


def test_a_transform_is_changed_wherever_it_is():
    step = dict(type='Target', stride=4)
    cfg = dict(pipeline=[dict(step)], branches=dict(sup=(dict(step), dict(type='Other', stride=4))))
    change_transform(cfg, 'Target', type='Window', inner=0.5)
    changed = dict(type='Window', stride=4, inner=0.5)
    assert cfg == dict(
        pipeline=[changed], branches=dict(sup=(changed, dict(type='Other', stride=4)))
    )


def test_a_shared_step_is_scaled_once_and_other_scales_keep_their_ratio():
    shared, larger = dict(type='Resize', scale=(100, 100)), dict(type='Resize', scale=(150, 150))
    cfg = dict(img_scale=(100, 100), train=[shared], val=[shared, dict(again=shared)], tta=[larger])
    set_img_scale(cfg, (64, 64))
    assert shared['scale'] == (64, 64) and larger['scale'] == (96, 96)
    set_img_scale(cfg, (32, 32))
    assert shared['scale'] == (32, 32) and larger['scale'] == (48, 48)
