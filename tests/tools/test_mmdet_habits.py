# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""tools/test.py as mmdet's users know it: --tta, CocoMetric beside FracMetric, --cfg-options."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import mmfrac  # noqa: F401
from tests.tools.tiny_run import TEST, start, succeed, write_config

BOTH = "test_evaluator = [dict(type='FracMetric'), dict(type='CocoMetric', metric='bbox')]"


@pytest.fixture(scope='module')
def untrained(tiny_data, tmp_path_factory):
    """Config with both metrics, and a checkpoint of its model."""
    folder = tmp_path_factory.mktemp('habits')
    config = write_config(folder, tiny_data, BOTH)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    torch.nn.init.normal_(model.student.prob_map_head.logit_conv.weight, std=0.5)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'model.pth')
    return config, folder / 'model.pth'


def test_tta_with_both_metrics_and_cfg_options(untrained, tmp_path):
    config, checkpoint = untrained
    results = {}
    for option in ([], ['--tta']):
        out = tmp_path / f'frac{len(option)}.json'
        done = succeed(
            TEST,
            config,
            checkpoint,
            *option,
            '--out-json',
            out,
            '--cfg-options',
            'test_evaluator.0.recall_fppi=0.2,0.4',
            cwd=tmp_path,
        )
        assert 'coco/bbox_mAP:' in done.stdout and 'frac/AUROC:' in done.stdout
        results[len(option)] = json.loads(out.read_text())
    plain, tta = (results[index] for index in range(2))
    for result in (plain, tta):
        assert {'Recall@0.2', 'Recall@0.4'} <= {name.split('/')[-1] for name in result['metrics']}
        assert result['num_images'] == 5 and result['num_lesions'] == 2
    # the mean of four views is another map
    assert plain['curve']['thresholds'] != tta['curve']['thresholds']


def test_tta_needs_a_model_and_a_pipeline(untrained, tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data, "_base_.pop('tta_model')")
    done = start(TEST, config, untrained[1], '--tta', cwd=tmp_path)
    assert done.returncode == 1 and '--tta needs tta_model in the config' in done.stderr


def test_both_metrics_agree_on_found_and_missed_lesions():
    evaluator = Evaluator([dict(type='FracMetric'), dict(type='CocoMetric', metric='bbox')])
    evaluator.dataset_meta = dict(classes=('fracture',))
    boxes = {1: [10, 10, 30, 30], 2: [40, 20, 60, 50], 3: None}
    samples = []
    for film, box in boxes.items():
        instances = [dict(bbox=box, bbox_label=0, ignore_flag=0)] if box else []
        sample = DetDataSample(
            metainfo=dict(
                img_id=film,
                img_path=f'{film}.png',
                ori_shape=(64, 64),
                label=int(bool(box)),
                regions=True,
                instances=instances,
            )
        )
        # the lesion of film 2 is missed
        found = np.array([box] if film == 1 else []).reshape(-1, 4)
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(found, dtype=torch.float32),
            scores=torch.full((len(found),), 0.9),
            labels=torch.zeros(len(found), dtype=torch.long),
        )
        samples.append(sample)
    evaluator.process(samples)
    metrics = evaluator.evaluate(3)
    assert metrics['frac/Recall@0.1'] == metrics['frac/FROC'] == 0.5
    # images with scores 0.9, 0 and, without a fracture, 0: one of two pairs is won, one is a tie
    assert metrics['frac/AUROC'] == 0.75
    # precision 1 up to recall 0.5: 51 of COCO's 101 recall levels
    assert metrics['coco/bbox_mAP_50'] == pytest.approx(51 / 101, abs=1e-3)
