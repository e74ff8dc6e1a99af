# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Two gloo ranks: every method without a search for unused parameters, overflow of fp16, SyncBN."""

import hashlib
import multiprocessing
import traceback
from datetime import timedelta

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import set_random_seed
from torch import distributed, nn

from mmfrac.apis.inferencer import revert_sync_batchnorm
from mmfrac.engine.runner.ensemble import ensemble_checkpoint
from mmfrac.engine.runner.launch import prepare_launch
from mmfrac.models.state_dicts import detector_checkpoint
from tests.configs.test_configs import CONFIGS, NAMES
from tests.engine.method_steps import CASES, config_of, end_step, is_done, prepared, train
from tests.models.small_model import build, collate, detector_cfg, film, semi_cfg
from tests.slow import slow_but

METHODS = [name for name in CASES if name.startswith('_base_')]


def digest(model):
    """Of all trained weights."""
    found = hashlib.sha256()
    for weight in model.parameters():
        found.update(weight.detach().numpy().tobytes())
    return found.hexdigest()


def same_on_all_ranks(value):
    values = all_gather_object(value)
    assert values == values[:1] * len(values), values
    return values[0]


def trained(case, data, folder, num_steps=2, static_graph=False, epochs=None):
    """Steps of a method on both ranks; its weights and what is left of the run."""
    set_random_seed(0)
    cfg, own_epochs = config_of(case, data, folder)
    cfg.train_dataloader.batch_size = 4
    runner = prepared(cfg, folder / case.replace('/', '_'), 'cpu')
    wrapper = MMDistributedDataParallel(
        runner.model, find_unused_parameters=False, static_graph=static_graph
    )
    before = digest(runner.model)

    def step(batch):
        losses = wrapper.train_step(batch, runner.optim_wrapper)
        end_step(runner, batch, losses)
        return losses

    # an unused parameter is an error of the next forward pass
    train(runner, epochs or own_epochs, step, num_steps)
    assert same_on_all_ranks(digest(runner.model)) != before
    return runner, wrapper


def every_method(data, folder):
    """Burn-in and semi-supervised steps of all methods that differ in more than numbers."""
    for case in METHODS:
        cfg, epochs = config_of(case, data, folder)
        if not is_done('ranks', cfg.model):
            # methods have the burn-in of their base
            trained(case, data, folder, epochs=sorted({0, *epochs}))


def static_graph(data, folder):
    """It holds from burn-in to semi-supervised training, and changes nothing."""
    for case in ('_base_/methods/low_quantile.py', '_base_/methods/noisy_or.py'):
        options = dict(num_steps=3, epochs=[0, 1])
        models = [
            trained(case, data, folder, static_graph=static, **options)[0].model
            for static in (False, True)
        ]
        assert digest(models[0]) == digest(models[1])


def overflow(data, folder):
    """A step whose gradients overflow on one rank is left out on both, at a lower scale."""
    with pytest.MonkeyPatch.context() as patch:
        # mmengine asks for an accelerator; the scaler itself is PyTorch's, of any device
        patch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
        patch.setattr(
            amp_optimizer_wrapper,
            'GradScaler',
            lambda **options: torch.amp.GradScaler('cpu', **options),
        )
        torch.manual_seed(0)
        cfg, _ = config_of('_base_/methods/mean_teacher.py', data, folder)
        cfg.train_dataloader.batch_size = 4
        runner = prepared(cfg, folder, 'cpu')
        model = runner.model
        adam = torch.optim.Adam(model.student.parameters(), lr=1e-3)
        optim_wrapper = amp_optimizer_wrapper.AmpOptimWrapper(
            loss_scale=dict(init_scale=2.0**10, growth_interval=100), optimizer=adam
        )
        runner.optim_wrapper = optim_wrapper
        wrapper = MMDistributedDataParallel(model)
        overflows = [True]
        is_bad_rank = distributed.get_rank() == 1
        model.student.prob_map_head.logit_conv.weight.register_hook(
            lambda grad: grad * float('inf') if is_bad_rank and overflows[0] else grad
        )
        scales, weights = [2.0**10], [digest(model.student)]

        def step(batch):
            losses = wrapper.train_step(batch, optim_wrapper)
            end_step(runner, batch, losses)
            scales.append(same_on_all_ranks(optim_wrapper.loss_scaler.get_scale()))
            weights.append(same_on_all_ranks(digest(model.student)))
            assert all(weight.isfinite().all() for weight in model.parameters())
            overflows[0] = False
            return losses

        train(runner, [1], step, num_steps=3)
    assert scales == [1024, 512, 512, 512]
    assert weights[0] == weights[1] and len(set(weights)) == 3
    assert {state['step'].item() for state in adam.state.values()} == {2}
    same_on_all_ranks(digest(model.teacher))
    assert optim_wrapper.state_dict()['loss_scaler']['scale'] == 512


def counters_are_not_sent(data, folder):
    """Counters on the host are left to each rank: NCCL could not take them."""
    model = build(semi_cfg(teacher=dict(type='MeanTeacher')))
    model.teacher.ema.n_averaged.fill_(distributed.get_rank())
    wrapper = MMDistributedDataParallel(model)
    assert all_gather_object(model.teacher.ema.n_averaged.item()) == [0, 1]
    ignored = {'teacher.ema.n_averaged'}
    assert wrapper.parameters_to_ignore == ignored
    assert len(list(model.buffers())) - len(wrapper.modules_buffers) == len(ignored)


def sync_bn(data, folder):
    """Trained with SyncBN, used without: the names are the same, and nothing needs ranks."""
    teacher = dict(type='MeanTeacher')
    model = build(semi_cfg(teacher=teacher))
    plain = build(semi_cfg(teacher=teacher))
    model = convert_sync_batchnorm(model, 'torch')
    for part in (model.student, model.teacher.ema.module):
        kinds = {type(layer) for layer in part.backbone.modules()}
        assert nn.SyncBatchNorm in kinds and nn.BatchNorm2d not in kinds
    for layer in model.student.modules():
        if isinstance(layer, nn.SyncBatchNorm):
            layer.running_mean.normal_()
    model.teacher.after_step(model.student)
    images = [film(name) for name in 'ab']
    batch = model.data_preprocessor(collate(images))
    # a teacher's pass is one in eval mode, in which no rank waits for another
    if distributed.get_rank() == 0:
        maps = model.teacher(model.student, batch['inputs'], batch['data_samples'])
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        wanted = plain.eval().student.logits(batch['inputs'])
        if distributed.get_rank() == 0:
            assert torch.equal(maps, plain.teacher.ema.module.logits(batch['inputs']).sigmoid())
        assert torch.equal(model.eval().student.logits(batch['inputs']), wanted)
        single = build(detector_cfg()).eval()
        single.load_state_dict(
            detector_checkpoint(dict(state_dict=model.state_dict()))['state_dict']
        )
        assert torch.equal(single.logits(batch['inputs']), wanted)
        member = {**detector_cfg(), 'data_preprocessor': None}
        ensemble = build(dict(type='EnsembleDetector', detectors=[member] * 2)).eval()
        checkpoint = ensemble_checkpoint([dict(state_dict=model.state_dict())] * 2)
        ensemble.load_state_dict(checkpoint['state_dict'], strict=False)
        assert all(torch.equal(one, wanted) for one in ensemble._forward(batch['inputs']))
        reverted = revert_sync_batchnorm(model)
    assert not any(isinstance(layer, nn.SyncBatchNorm) for layer in reverted.modules())


CHECKS = (counters_are_not_sent, sync_bn, overflow, static_graph, every_method)


def rank_of_two(rank, data, folder, queue):
    """A process of two: what went wrong in each check."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / 'store'), 2)
    # a rank that failed is not waited for long
    distributed.init_process_group(
        'gloo', store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    for check in CHECKS:
        try:
            check(data, folder)
            error = ''
        except Exception:
            error = traceback.format_exc()
        queue.put((rank, check.__name__, error))
        if any(all_gather_object(bool(error))):
            break
    distributed.destroy_process_group()


@pytest.fixture(scope='module')
def found(tiny_data, tmp_path_factory):
    """Errors of all checks by name, of one start of the ranks."""
    folder = tmp_path_factory.mktemp('ranks')
    context = multiprocessing.get_context('fork')
    queue = context.SimpleQueue()
    ranks = [
        context.Process(target=rank_of_two, args=(rank, tiny_data, folder, queue))
        for rank in (0, 1)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(300)
        process.kill()
    errors: dict = {}
    while not queue.empty():
        rank, name, error = queue.get()
        errors.setdefault(name, {})[rank] = error
    return errors


@pytest.mark.slow
@pytest.mark.parametrize('check', CHECKS, ids=lambda check: check.__name__)
def test_two_ranks(check, found):
    errors = found.get(check.__name__)
    assert errors == {0: '', 1: ''}, '\n'.join((errors or {'': 'it was not reached'}).values())


@pytest.mark.parametrize('name', slow_but(NAMES, NAMES[::16]))
def test_no_config_searches_for_unused_parameters(name):
    assert not Config.fromfile(CONFIGS / name).get('find_unused_parameters')


def test_ranks_without_gpu_refuse_sync_bn(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match=r"sync_bn='torch' needs GPUs.*sync_bn=None"):
        prepare_launch(Config(dict(launcher='pytorch', sync_bn='torch')))
