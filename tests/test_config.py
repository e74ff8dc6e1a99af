# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
from mmfrac.config import set_data_root, set_img_scale


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
