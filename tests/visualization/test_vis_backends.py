# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Validation metrics, training values and the config reach mmengine's visualizer back ends."""

from mmdet.registry import VISBACKENDS
from mmengine.runner import Runner
from mmengine.visualization import BaseVisBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.configs.test_configs import tiny_config

RECEIVED: list[tuple] = []


@VISBACKENDS.register_module(force=True)
class RecordingVisBackend(BaseVisBackend):
    """What a back end such as W&B or MLflow is given."""

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return None

    def add_config(self, config, **kwargs):
        RECEIVED.append(('config', config.model.type))

    def add_scalar(self, name, value, step=0, **kwargs):
        RECEIVED.append((name, float(value), step))

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        for name, value in scalar_dict.items():
            self.add_scalar(name, value, step)


def test_back_ends_receive_metrics_values_and_config(tiny_data, tmp_path):
    cfg = tiny_config('phantom/frac_ssl_phantom.py', tiny_data, tmp_path)
    cfg.train_cfg.val_interval = 1
    cfg.default_hooks.logger.interval = 1
    backends = ('RecordingVisBackend', 'TensorboardVisBackend')
    cfg.visualizer.vis_backends = [dict(type=name) for name in backends]
    # mmengine has one visualizer a name in a process
    cfg.visualizer.name = 'test_vis_backends'
    RECEIVED.clear()
    runner = Runner.from_cfg(cfg)
    runner.train()
    # the other back ends are stopped by the runner when it is done
    assert ('config', 'SemiProbMapDetector') in RECEIVED
    scalars = {entry[0]: [] for entry in RECEIVED}
    for name, *value in RECEIVED:
        scalars[name].append(value)
    (events,) = tmp_path.glob('*/vis_data')
    written = EventAccumulator(str(events)).Reload()
    for name in ('frac/AUROC', 'frac/FROC', 'frac/Recall@0.1'):
        assert [step for _, step in scalars[name]] == [1, 2]
        # TensorBoard stores float32; NaN is not equal to itself
        read = [(event.value, event.step) for event in written.Scalars(name)]
        assert [step for _, step in read] == [1, 2]
        for (value, _), (given, _) in zip(read, scalars[name]):
            assert abs(value - given) < 1e-6
    assert 0 <= scalars['frac/AUROC'][-1][0] <= 1
    for name in ('loss_sup', 'loss_semi', 'sharpening/t', 'monitor/pseudo_positive'):
        assert scalars[name] and name in written.Tags()['scalars']
