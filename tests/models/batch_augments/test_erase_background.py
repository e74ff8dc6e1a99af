# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmdet.registry import MODELS


def erase(images, target, **options):
    step = MODELS.build(dict(type='EraseBackground', **options))
    valid = torch.ones_like(target, dtype=torch.bool)
    targets = dict(unsup_student=dict(target=target, valid=valid), sup=dict(target=target))
    inputs, same = step(dict(unsup_student=images, sup=images), targets)
    assert inputs['sup'] is images and same is targets
    return inputs['unsup_student']


def test_lesions_and_what_is_around_them_are_kept():
    torch.manual_seed(0)
    images = torch.rand(8, 1, 64, 64)
    target = torch.zeros(8, 1, 16, 16)
    target[:, :, 5:7, 5:7] = 0.9
    # boxes of the whole image: all goes but the kept
    found = erase(images, target, boxes=1, size=(1.0, 1.0), margin=1)
    kept = torch.zeros(64, 64, dtype=torch.bool)
    kept[16:32, 16:32] = True  # cells 4 to 7 of 4 px
    assert torch.equal(found[..., kept], images[..., kept])
    grey = images.mean((2, 3), keepdim=True).expand_as(images)
    torch.testing.assert_close(found[..., ~kept], grey[..., ~kept])


def test_share_that_goes():
    torch.manual_seed(0)
    images = torch.rand(64, 1, 64, 64)
    found = erase(images, torch.zeros(64, 1, 16, 16), boxes=1, size=(0.25, 0.25))
    share = (found != images).float().mean((1, 2, 3))
    # a box of a sixteenth, in px
    assert share.min() > 0.05 and share.max() < 0.075


def test_padding_stays():
    images, target = torch.rand(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)
    valid = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    step = MODELS.build(dict(type='EraseBackground', boxes=1, size=(1.0, 1.0)))
    targets = dict(unsup_student=dict(target=target, valid=valid))
    assert torch.equal(step(dict(unsup_student=images), targets)[0]['unsup_student'], images)


@pytest.mark.parametrize(
    'options', [dict(boxes=0), dict(size=(0.3, 0.2)), dict(size=(0, 0.2)), dict(margin=-1)]
)
def test_wrong_options(options):
    with pytest.raises(ValueError):
        MODELS.build(dict(type='EraseBackground', **options))
