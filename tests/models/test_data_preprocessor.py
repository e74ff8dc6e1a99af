# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from mmfrac.models.data_preprocessor import check_first_images, check_images
from tests.models.small_model import build, detector_cfg, semi_cfg

COCO = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
FILM = torch.linspace(0, 1, 64 * 64).reshape(1, 64, 64)
BYTES = (FILM * 255).expand(3, -1, -1)


def preprocessor(**options):
    init_default_scope('mmdet')
    return MODELS.build(dict(type='DetDataPreprocessor', **options))


def grey(**options):
    return preprocessor(mean=[0.449], std=[0.226], **options)


def test_images_that_fit():
    colour = preprocessor(**COCO)
    noisy = FILM * 1.3 - 0.1
    assert check_images(grey(), [FILM, noisy, None])
    assert check_images(grey(), dict(sup=[FILM, None], unsup_teacher=[None, FILM]))
    for image in (BYTES, BYTES.to(torch.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8)):
        assert check_images(colour, [image])
    assert check_images(colour, BYTES[None])
    # one that does not normalise, as of YOLOX, takes anything
    for image in (FILM.expand(3, -1, -1), BYTES):
        assert check_images(preprocessor(), [image])
        assert check_images(preprocessor(mean=[0.0], std=[1.0]), [image])
    # a black image is of either kind
    assert not check_images(grey(), [torch.zeros(1, 8, 8)])
    assert not check_images(colour, [torch.zeros(3, 8, 8)])


@pytest.mark.parametrize(
    'options', [COCO, dict(mean=[103.53], std=[1.0]), dict(mean=[0.0], std=[255.0])]
)
def test_mean_and_std_of_8_bits(options):
    films = [torch.zeros(3, 8, 8), FILM.expand(3, -1, -1)]
    with pytest.raises(ValueError, match=r'of 8 bits .* reach 1\): give it mean=\[0\.449\], std='):
        check_images(preprocessor(**options), films)


@pytest.mark.parametrize('image', [BYTES, BYTES.to(torch.uint8)], ids=['float', 'uint8'])
def test_images_of_8_bits(image):
    with pytest.raises(ValueError, match=r'mean 0\.449 .* films .*reach 255\): .* LoadRadiograph'):
        check_images(grey(), [image])


@pytest.mark.parametrize(
    'options', [COCO, dict(mean=[0.4] * 3, std=[0.2] * 3), dict(bgr_to_rgb=True)]
)
def test_three_planes_of_one(options):
    with pytest.raises(
        ValueError, match=r'expects three planes .* of one: give it mean=\[0\.449\]'
    ):
        check_images(preprocessor(**options), [FILM])


def test_the_first_images_of_each_mode_are_looked_at():
    module = grey()
    check_first_images(module, (dict(inputs=[torch.zeros(1, 8, 8)]),))
    check_first_images(module, (dict(inputs=[FILM]),))
    # not again
    check_first_images(module, (dict(inputs=[BYTES]),))
    module.eval()
    with pytest.raises(ValueError, match=r'of 8 bits'):
        check_first_images(module, (dict(inputs=[BYTES]),))


def test_prob_map_detectors_look_by_themselves():
    three = FILM.expand(3, -1, -1)
    cfg = detector_cfg()
    cfg['data_preprocessor'] = dict(type='DetDataPreprocessor', **COCO)
    with pytest.raises(ValueError, match=r'which are of images of 8 bits'):
        build(cfg).data_preprocessor(dict(inputs=[three], data_samples=[None]), False)
    with pytest.raises(ValueError, match=r'expects three planes'):
        build(cfg).data_preprocessor(dict(inputs=[FILM], data_samples=[None]), False)
    semi = build(semi_cfg())
    with pytest.raises(ValueError, match=r'got images of 8 bits'):
        semi.data_preprocessor(dict(inputs=dict(sup=[BYTES]), data_samples=dict(sup=[None])), True)
