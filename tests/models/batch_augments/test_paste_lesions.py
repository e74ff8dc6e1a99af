# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmdet.registry import MODELS

from mmfrac.models.batch_augments.paste_lesions import _grey, _moved
from tests.models.small_model import build as build_model
from tests.models.small_model import film, semi_batch, semi_cfg


def build(**options):
    return MODELS.build(dict(type='PasteLesions', **options))


def step_of(sup=4, unsup=3, size=(64, 48), unsup_size=None):
    """Images of noise; a lesion of 2 x 3 cells in the first of branch 'sup'."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = {}, {}
    for name, count, (height, width) in (
        ('sup', sup, size),
        ('unsup_student', unsup, unsup_size or size),
    ):
        inputs[name] = torch.rand(count, 1, height, width, generator=generator)
        cells = (count, 1, height // 4, width // 4)
        targets[name] = dict(target=torch.zeros(cells), valid=torch.ones(cells, dtype=torch.bool))
    targets['sup']['target'] = targets['sup']['target'].to(torch.uint8)
    targets['sup']['target'][0, :, 5:7, 4:7] = 1
    targets['sup']['labels'] = torch.tensor([1] + [0] * (sup - 1))
    pseudo = torch.rand(targets['unsup_student']['target'].shape, generator=generator)
    targets['unsup_student'] |= dict(target=pseudo, weight=torch.full_like(pseudo, 0.25))
    return inputs, targets


def test_the_lesion_comes_with_its_surroundings_and_leaves_the_grey():
    torch.manual_seed(0)
    inputs, targets = step_of()
    step = build(prob=1.0, margin=1 / 16, shift=0.0)
    found, new = step(inputs, targets)
    mirrored = set()
    for name, receivers in (('sup', (1, 2, 3)), ('unsup_student', (0, 1, 2))):
        for index in receivers:
            before, after = inputs[name][index, 0], found[name][index, 0]
            target = new[name]['target'][index, 0]
            giver, lesion = inputs['sup'][:1], targets['sup']['target'][0, 0].float()
            # 12 cells wide: columns 4 to 6 become 5 to 7
            is_mirrored = bool(target[5, 7] == 1)
            mirrored.add(is_mirrored)
            if is_mirrored:
                giver, lesion = giver.flip(-1), lesion.flip(-1)
            cells = torch.zeros(16, 12, dtype=torch.bool)
            cells[4:8, 4:9] = True  # a margin of a cell
            if not is_mirrored:
                cells = cells.flip(-1)
            own = targets[name]['target'][index, 0].float()
            assert torch.equal(target, torch.where(cells, lesion, own))
            # within: their detail on the own grey; some cells beside: as it was
            wanted = giver + _grey(before[None, None], 4) - _grey(giver, 4)
            rows, columns = slice(18, 30), slice(18, 34) if is_mirrored else slice(14, 30)
            torch.testing.assert_close(after[rows, columns], wanted[0, 0, rows, columns])
            far = torch.ones(64, 48, dtype=torch.bool)
            far[6:42] = False
            assert torch.equal(after[far], before[far])
            assert abs(after.mean() - before.mean()) < 0.01
            if name == 'unsup_student':
                assert torch.equal(new[name]['weight'][index, 0], torch.where(cells, 1.0, 0.25))
    assert mirrored == {True, False}
    # it gives, and has nobody to take from
    assert torch.equal(found['sup'][0], inputs['sup'][0])
    assert torch.equal(new['sup']['target'][0], targets['sup']['target'][0].float())
    assert new['sup']['labels'].tolist() == [1, 1, 1, 1]
    # what was given is not changed
    assert targets['sup']['labels'].tolist() == [1, 0, 0, 0]


def test_share_of_the_images_and_moves():
    torch.manual_seed(0)
    step = build(prob=0.5, margin=0.0, shift=0.25)
    pasted, places = 0, set()
    for _ in range(60):
        inputs, targets = step_of(sup=2, unsup=4)
        found, new = step(inputs, targets)
        changed = (found['unsup_student'] != inputs['unsup_student']).flatten(1).any(1)
        pasted += int(changed.sum())
        for target, is_changed in zip(new['unsup_student']['target'], changed):
            if is_changed:
                rows, columns = torch.nonzero(target[0] == 1, as_tuple=True)
                places.add((int(rows.min()) - 5, int(columns.min())))
    assert 90 < pasted < 150
    assert {down for down, _ in places} == set(range(-4, 5))
    # mirrored or not, what stays within: columns 0 to 4 + 4, or 5 - 4 to 9
    assert {column for _, column in places} == set(range(10))


@pytest.mark.parametrize('branches', [('sup',), ('unsup_student',)])
def test_other_branches_are_left_alone(branches):
    inputs, targets = step_of()
    found, new = build(prob=1.0, branches=branches)(inputs, targets)
    for name in inputs:
        assert (found[name] is inputs[name]) == (name not in branches)
        assert (new[name] is targets[name]) == (name not in branches)


def test_without_boxes_or_sup_images_nothing_changes():
    inputs, targets = step_of()
    targets['sup']['target'].zero_()
    found, new = build(prob=1.0)(inputs, targets)
    for name in inputs:
        assert torch.equal(found[name], inputs[name])
        for key, value in targets[name].items():
            assert torch.equal(new[name][key], value.to(new[name][key].dtype)), key
    alone = build(prob=1.0)({'unsup_student': inputs['unsup_student']}, targets)[0]
    assert alone['unsup_student'] is inputs['unsup_student']


def test_nothing_is_pasted_where_no_image_is_or_the_mask_is_unknown():
    inputs, targets = step_of()
    targets['unsup_student']['valid'][:, :, :, 6:] = False
    targets['sup']['valid'][2] = False
    targets['sup']['mask_known'] = torch.tensor([True, True, True, False])
    torch.manual_seed(1)
    found, new = build(prob=1.0, shift=0.0)(inputs, targets)
    own, pseudo = (some['unsup_student']['target'][..., 6:] for some in (targets, new))
    assert torch.equal(own, pseudo)
    assert torch.equal(found['unsup_student'][..., 24:], inputs['unsup_student'][..., 24:])
    assert not torch.equal(found['unsup_student'], inputs['unsup_student'])
    assert torch.equal(found['sup'][2:], inputs['sup'][2:])
    assert new['sup']['labels'].tolist() == [1, 1, 0, 0]


def test_lesions_of_cells_that_do_not_count_are_not_given():
    inputs, targets = step_of()
    targets['sup']['valid'][0] = False
    found, _ = build(prob=1.0)(inputs, targets)
    assert torch.equal(found['unsup_student'], inputs['unsup_student'])


def test_branches_of_other_sizes():
    torch.manual_seed(0)
    inputs, targets = step_of(unsup_size=(40, 80))
    found, new = build(prob=1.0, shift=0.0, margin=0.0)(inputs, targets)
    assert found['unsup_student'].shape == inputs['unsup_student'].shape
    assert {int(one.eq(1).sum()) for one in new['unsup_student']['target']} == {6}


def test_moved_slowly():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(6, 2, 9, 7, generator=generator) + 1
    moves = [
        (bool(i % 2), down, right)
        for i, (down, right) in enumerate([(0, 0), (3, -2), (-4, 1), (8, 6), (-8, -6), (1, 9)])
    ]
    size = (8, 11)
    wanted = torch.zeros(6, 2, *size)
    for index, (is_mirrored, down, right) in enumerate(moves):
        value = values[index].flip(-1) if is_mirrored else values[index]
        for row in range(9):
            for column in range(7):
                # a mirrored one is moved before, as the mirror image of the move would be
                at = (row + down, column + right)
                if 0 <= at[0] < size[0] and 0 <= at[1] < size[1]:
                    wanted[index, :, at[0], at[1]] = value[:, row, column]
    assert torch.equal(_moved(values, torch.Size(size), moves), wanted)


@pytest.mark.parametrize(
    'options', [dict(prob=0), dict(prob=1.1), dict(margin=-0.1), dict(shift=0.6)]
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match='prob must lie in'):
        build(**options)


@pytest.mark.parametrize('burn_in_epochs, branches', [(1, {'sup'}), (0, {'sup', 'unsup_student'})])
def test_a_model_pastes_in_burn_in_too(burn_in_epochs, branches):
    augments = [dict(type='PasteLesions', prob=1.0)]
    config = semi_cfg(batch_augments=augments, semi_train_cfg=dict(burn_in_epochs=burn_in_epochs))
    model = build_model(config)
    model.set_epoch(0)
    augment, seen = model.batch_augments[0], []
    augment.register_forward_hook(lambda module, given, result: seen.append((given, result)))
    films = [film('a', boxes=[(8, 8, 24, 24)]), film('b', label=0)]
    batch = semi_batch(films, [film('c', regions=False)])
    found = model.train()(**model.data_preprocessor(batch, training=True), mode='loss')
    ((_, targets), (_, new)) = seen[0]
    assert set(new) == branches
    assert targets['sup']['target'][1].sum() == 0 < new['sup']['target'][1].sum()
    for loss in (name for name in found if name.startswith('loss_')):
        found[loss].backward(retain_graph=True)
        assert torch.isfinite(found[loss]) and found[loss] > 0
