# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform, Compose
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.utils.config import set_data_root, set_img_scale
from mmfrac.visualization.browse import pipeline_steps


class Add(BaseTransform):
    def __init__(self, value):
        self.value = value

    def transform(self, results):
        return None if self.value is None else results | dict(sum=results['sum'] + self.value)


def test_steps_enter_compose_and_end_where_a_film_is_left_out():
    steps = pipeline_steps([Add(1), Compose([Add(2), Compose([Add(3)])]), Add(4)], dict(sum=0))
    assert [step.results['sum'] for step in steps] == [1, 3, 6, 10]
    steps = list(pipeline_steps([Add(1), Compose([Add(None), Add(3)]), Add(4)], dict(sum=0)))
    assert [step.results for step in steps] == [dict(sum=1), None]
    assert {step.name for step in steps} == {'Add'} and {step.branch for step in steps} == {''}


@pytest.mark.parametrize('part', [0, 1])
def test_steps_end_where_the_pipeline_does(repository, tiny_data, part):
    """The last step of each branch is what training gets, drawn at random as there."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(repository / 'configs' / 'frac_ssl.py')
    set_data_root(cfg._cfg_dict, str(tiny_data))
    set_img_scale(cfg._cfg_dict, (64, 64))
    dataset = DATASETS.build(cfg.train_dataloader.dataset.datasets[part])
    for index in range(len(dataset)):
        np.random.seed(index)
        expected = dataset.pipeline(dataset.get_data_info(index))
        np.random.seed(index)
        steps = list(pipeline_steps(dataset.pipeline.transforms, dataset.get_data_info(index)))
        branches = list(dict.fromkeys(step.branch for step in steps))
        assert branches == ([['', 'sup'], ['', 'unsup_teacher', 'unsup_student']][part])
        for branch in branches[1:]:
            last = [step for step in steps if step.branch == branch][-1]
            assert last.name == 'PackProbMapInputs'
            assert torch.equal(last.results['inputs'], expected['inputs'][branch])
            sample = expected['data_samples'][branch]
            assert torch.equal(
                last.results['data_samples'].gt_prob_map.prob_map, sample.gt_prob_map.prob_map
            )
