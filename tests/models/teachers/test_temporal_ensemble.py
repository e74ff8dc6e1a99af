# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

from mmfrac.engine import TeacherHook
from mmfrac.models import BaseTeacher
from mmfrac.models.teachers import TemporalEnsembleTeacher
from mmfrac.models.teachers.temporal_ensemble.map_ensemble import (
    MapMemory,
    delete_epochs,
    stored_epochs,
)
from tests.models.small_model import build, collate, film, semi_batch, semi_cfg

FILMS = [(f'/data/{name}.png', f'{name}.png') for name in 'abcdef']


class Given(BaseTeacher):
    """A teacher whose maps are the inputs."""

    def forward(self, student, inputs, samples):
        return inputs


if 'GivenTeacherOfTest' not in MODELS:
    MODELS.register_module(name='GivenTeacherOfTest', module=Given)


def teacher(folder, resume=False, films=FILMS, state=None, **options):
    one = TemporalEnsembleTeacher(teacher=dict(type='GivenTeacherOfTest'), **options)
    one.open(films, str(folder), resume)
    if state is not None:
        one.check_checkpoint(state)
        one.load_state_dict(state)
    one.start(None)
    return one


def sample(name, **metainfo):
    metainfo = dict(homography_matrix=np.diag([0.5, 0.5, 1.0]), **metainfo)
    return SimpleNamespace(img_path=f'/data/{name}.png', metainfo=metainfo)


def step(one, **values):
    """Films with constant maps in one step; targets by film."""
    samples = [sample(name) for name in values]
    maps = torch.tensor(list(values.values())).view(-1, 1, 1, 1).expand(-1, 1, 2, 3)
    known = one.known(samples)
    targets = one(None, maps, samples)
    one.after_step(None)
    assert all(len(target.unique()) == 1 for target in targets)
    return {
        name: (target.flatten()[0].item(), bool(is_known))
        for name, target, is_known in zip(values, targets, known)
    }


def epoch(one, number, *steps):
    one.start_epoch(number)
    found = [step(one, **values) for values in steps]
    one.end_epoch()
    return found


def test_three_epochs_by_hand(tmp_path):
    one = teacher(tmp_path)
    assert epoch(one, 4, dict(a=0.5)) == [dict(a=(0.5, False))]
    # Z = 0.4 * 0.5 = 0.2 and n = 1: target 0.2 / 0.4; b has no history of its own
    assert epoch(one, 5, dict(a=0.25, b=0.75)) == [
        dict(a=(pytest.approx(0.5, abs=1e-3), True), b=(0.75, False))
    ]
    # a: Z = 0.6 * 0.2 + 0.4 * 0.25 = 0.22, n = 2: 0.22 / 0.64; b: n = 1
    (found,) = epoch(one, 6, dict(b=0.0, a=0.0))
    assert found['a'] == (pytest.approx(0.22 / 0.64, abs=1e-3), True)
    assert found['b'] == (pytest.approx(0.75, abs=1e-3), True)
    assert one.ensemble.count.tolist() == [3, 2, 0, 0, 0, 0]
    assert one.ensemble.updated.tolist() == [7, 7, 0, 0, 0, 0]


def test_another_decay(tmp_path):
    one = teacher(tmp_path, decay=0.9)
    for number, value in enumerate((1.0, 0.0)):
        epoch(one, number, dict(a=value))
    # Z = 0.9 * 0.1
    assert epoch(one, 2, dict(a=0.0))[0]['a'][0] == pytest.approx(0.09 / 0.19, abs=1e-3)


def test_one_update_an_epoch_that_of_the_first_step(tmp_path):
    one = teacher(tmp_path)
    found = epoch(one, 0, dict(a=0.5), dict(a=0.9), dict(a=0.1, b=0.3))
    assert [bool(one_step['a'][1]) for one_step in found] == [False] * 3
    (found,) = epoch(one, 1, dict(a=0.0))
    assert found['a'] == (pytest.approx(0.5, abs=1e-3), True)
    assert one.ensemble.count[:2].tolist() == [2, 1]


def test_an_evaluation_leaves_no_trace(tmp_path):
    one = teacher(tmp_path)
    one.start_epoch(0)
    one.eval()
    step(one, a=0.5)
    one.train()
    one.end_epoch()
    assert not one.ensemble.count.any() and not stored_epochs(one.ensemble.folder)


def train(one, first, last):
    """State and targets of epochs with other films and maps each."""
    states, targets = {}, {}
    for number in range(first, last):
        values = {name: (number * 7 + ord(name)) % 10 / 10 for name in 'abcd'[number % 2 :]}
        targets[number] = epoch(one, number, values)
        one.note_checkpoint()
        states[number] = {key: value.clone() for key, value in one.state_dict().items()}
    return states, targets


def test_a_checkpoint_finds_its_memory_after_the_run_went_on_and_was_killed(tmp_path):
    states, targets = train(teacher(tmp_path), 0, 6)
    killed = teacher(tmp_path, resume=True, state=states[5])
    killed.start_epoch(6)
    step(killed, a=0.77, c=0.11)  # written, and never put in force
    # after the sixth checkpoint of three that are kept
    with pytest.raises(FileNotFoundError, match=r'epoch_\d\.f16.* last 3 checkpoints'):
        teacher(tmp_path, resume=True, state=states[1])
    resumed_states, resumed = train(teacher(tmp_path, resume=True, state=states[3]), 4, 6)
    for number in (4, 5):
        assert resumed[number] == targets[number]
        for name, value in states[number].items():
            assert torch.equal(value, resumed_states[number][name]), name


def test_a_run_resumed_from_an_older_checkpoint_replaces_what_came_later(tmp_path):
    states, _ = train(teacher(tmp_path), 0, 6)
    teacher(tmp_path, resume=True, state=states[4])
    with pytest.raises(FileNotFoundError, match=r'epoch_6\.f16'):
        teacher(tmp_path, resume=True, state=states[5])
    # the checkpoints before it stay until new ones take their places
    train(teacher(tmp_path, resume=True, state=states[4]), 5, 6)
    teacher(tmp_path, resume=True, state=states[3])


def test_a_film_twice_in_one_step_counts_once(tmp_path):
    one = teacher(tmp_path)
    one.start_epoch(0)
    maps = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1).expand(-1, 1, 2, 3)
    one(None, maps, [sample('a'), sample('a')])
    one.after_step(None)
    one.end_epoch()
    assert epoch(one, 1, dict(a=0.0))[0]['a'][0] == pytest.approx(0.5, abs=1e-3)
    assert one.ensemble.count[0] == 2


def test_files_that_no_checkpoint_needs_are_deleted(tmp_path):
    one = teacher(tmp_path, keep_checkpoints=2)
    epoch(one, 0, dict(f=0.5))
    for number in range(1, 8):
        epoch(one, number, dict(a=0.5, b=0.5))
        one.note_checkpoint()
        assert len(stored_epochs(one.ensemble.folder)) <= 4
    # that of f, and of the last two checkpoints
    assert stored_epochs(one.ensemble.folder) == [1, 7, 8]


def test_a_new_run_begins_with_an_empty_memory(tmp_path):
    one = teacher(tmp_path)
    epoch(one, 0, dict(a=0.5))
    fresh = teacher(tmp_path)
    fresh.load_state_dict(one.state_dict())  # load_from
    assert not fresh.ensemble.count.any() and not stored_epochs(fresh.ensemble.folder)
    closed = TemporalEnsembleTeacher(teacher=dict(type='GivenTeacherOfTest'))
    closed.load_state_dict(one.state_dict())  # to test a model


def test_first_epoch_has_no_weight(tmp_path):
    model = build(semi_cfg(teacher=dict(type='TemporalEnsembleTeacher'))).train()
    model.teacher.open([('c', 'c'), ('d', 'd')], str(tmp_path), False)
    model.teacher.start(model.student)

    def losses(*names):
        data = semi_batch([film('a', label=0)], [film(name, regions=False) for name in names])
        return model(**model.data_preprocessor(data, training=True), mode='loss')

    model.teacher.start_epoch(0)
    first = losses('c', 'd')
    first['loss_semi'].backward()
    assert first['loss_semi'].item() == 0 and first['semi_weight'].item() == 0
    assert all(not p.grad.any() for p in model.student.parameters() if p.grad is not None)
    assert 0 < first['teacher_score'].item() < 1 and first['teacher_student_gap'].isfinite()
    model.teacher.after_step(model.student)
    model.teacher.end_epoch()
    model.teacher.start_epoch(1)
    second = losses('c', 'd')
    assert second['loss_semi'].item() > 0 and second['semi_weight'].item() == 1


def test_what_does_not_fit_is_said(tmp_path):
    one = teacher(tmp_path)
    turned = sample('a')
    turned.metainfo['homography_matrix'] = np.array([[-1.0, 0, 8], [0, 1, 0], [0, 0, 1]])
    one.start_epoch(0)
    with pytest.raises(ValueError, match=r'/data/a\.png: .*un-augmented.*unsup_teacher'):
        one(None, torch.zeros(1, 1, 2, 2), [turned])
    one(None, torch.zeros(1, 1, 2, 2), [sample('a')])
    with pytest.raises(ValueError, match='2 x 4 cells, but the film memory holds maps of 2 x 2'):
        one(None, torch.zeros(1, 1, 2, 4), [sample('a')])
    with pytest.raises(ValueError, match=r'/data/z\.png is none of the 6 training films'):
        one.known([sample('z')])
    with pytest.raises(ValueError, match='TeacherHook opens'):
        TemporalEnsembleTeacher().known([sample('a')])
    with pytest.raises(ValueError, match='remembers 6 training films, this run has 5'):
        teacher(tmp_path, resume=True, films=FILMS[:5], state=one.state_dict())
    for options in (dict(decay=1.0), dict(keep_checkpoints=0)):
        with pytest.raises(ValueError, match=next(iter(options))):
            TemporalEnsembleTeacher(**options)


def test_films_may_move_between_stop_and_resume(tmp_path):
    one = teacher(tmp_path)
    epoch(one, 0, dict(a=0.5))
    moved = [(path.replace('/data', '/elsewhere'), name) for path, name in FILMS]
    again = teacher(tmp_path, resume=True, films=moved, state=one.state_dict())
    assert again.known([SimpleNamespace(img_path='/elsewhere/a.png')]).item()


def test_hook_opens_the_memory_for_a_training_alone(tmp_path):
    model = build(semi_cfg(teacher=dict(type='TemporalEnsembleTeacher')))
    runner = SimpleNamespace(model=model, _train_loop=dict(type='EpochBasedTrainLoop'))
    TeacherHook().before_run(runner)
    assert model.teacher.ensemble.folder is None
    model.eval()
    (found,) = model(**model.data_preprocessor(collate([film('a')])), mode='predict')
    assert 'pred_prob_map' in found


def resident() -> int:
    """Bytes of memory that this process holds, mapped files included."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'), reason='needs /proc')
def test_memory_of_the_process_does_not_grow_with_the_films(tmp_path):
    memory = MapMemory(tmp_path, 32184, (256, 256))
    values = np.random.default_rng(0).random((256, 256)).astype(np.float16)
    memory.write(1, 0, values)
    before = resident()
    rows = range(0, 32184, 200)
    for row in rows:
        memory.write(1, row, values)
        assert np.array_equal(memory.read(1, row), values)
    grown = resident() - before
    written = len(rows) * values.nbytes
    assert written > 20e6 and grown < 4e6, (written, grown)
    stat = memory.file(1).stat()
    assert stat.st_size == 32184 * 131072 and stat.st_blocks * 512 < 1.2 * written
    assert not memory.missing([1]) and memory.missing([1, 2]) == [memory.file(2)]
    delete_epochs(tmp_path, [1])


def rank_of_two(rank: int, folder, queue) -> None:
    """A process of two: films change hands between epochs."""
    from torch import distributed

    store = distributed.FileStore(str(folder / 'store'), 2)
    distributed.init_process_group('gloo', store=store, rank=rank, world_size=2)
    one = teacher(folder / 'run')
    # film b: of rank 0, then of rank 1; film a: of both at once, and again on one of them later
    epochs = [
        ([dict(a=0.5, b=0.25), dict(c=1.0)], [dict(c=0.75, a=0.0), dict(d=1.0)]),
        ([dict(c=0.25), dict(d=0.5)], [dict(b=0.75), dict(a=1.0)]),
        ([dict(b=0.0), dict(a=0.0)], [dict(c=0.0), dict(d=0.0)]),
    ]
    found = [epoch(one, number, *steps[rank]) for number, steps in enumerate(epochs)]
    try:
        teacher(folder / f'machine_{rank}')
        error = ''
    except ValueError as raised:
        error = str(raised)
    queue.put((rank, found[-1], one.ensemble.count.tolist(), error))
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_ranks_share_the_history(tmp_path):
    context = multiprocessing.get_context('fork')
    queue = context.SimpleQueue()
    ranks = [context.Process(target=rank_of_two, args=(rank, tmp_path, queue)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
        assert process.exitcode == 0
    results = {rank: rest for rank, *rest in (queue.get(), queue.get())}
    targets = {}
    for steps, count, _ in results.values():
        assert count == [3, 3, 3, 3, 0, 0]
        for one_step in steps:
            targets.update({name: target for name, (target, known) in one_step.items() if known})

    def expected(first, second):
        return pytest.approx((0.6 * 0.4 * first + 0.4 * second) / 0.64, abs=1e-3)

    # in the first step of the first epoch both ranks had a: rank 0's counts. c came to rank 1 first
    assert targets == dict(
        a=expected(0.5, 1.0), b=expected(0.25, 0.75), c=expected(0.75, 0.25), d=expected(1.0, 0.5)
    )
    for rank in (0, 1):
        assert 'ranks [1] do not see what rank 0 wrote' in results[rank][2]
