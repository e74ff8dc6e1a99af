# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import shutil

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.registry import init_default_scope
from PIL import Image

from mmfrac.datasets import LoadRadiograph
from mmfrac.datasets.radiographs.read import RadiographError, image_size, read_radiograph
from mmfrac.utils.errors import AnnotationError

GREY8 = np.arange(240, dtype=np.uint8).reshape(12, 20)
GREY16 = np.linspace(0, 65535, 240).astype(np.uint16).reshape(12, 20)


def save(path, image, **options):
    Image.fromarray(image).save(path, **options)
    return str(path)


@pytest.mark.parametrize('kind', ['png', 'tif', 'png_no_suffix', 'tif_lzw'])
def test_grey(tmp_path, kind):
    options = dict(format=kind[:3].upper().replace('TIF', 'TIFF'))
    if kind == 'tif_lzw':
        options['compression'] = 'tiff_lzw'
    path = save(tmp_path / 'film', GREY8, **options)
    plane = read_radiograph(path)
    assert plane.dtype == np.float32 and plane.flags.c_contiguous and plane.flags.writeable
    np.testing.assert_allclose(plane, GREY8 / 255, atol=1e-7)
    plane = read_radiograph(save(tmp_path / 'deep', GREY16, **options))
    assert plane.dtype == np.float32
    np.testing.assert_allclose(plane, GREY16 / 65535, atol=1e-7)
    assert plane.max() == 1 and image_size(path) == (20, 12)


@pytest.mark.parametrize(
    ('highest', 'full'), [(4095, 4095), (4000, 4095), (16000, 16383), (40000, 65535), (300, 1023)]
)
def test_sixteen_bit_file_of_a_shallower_film(tmp_path, highest, full):
    film = np.linspace(0, highest, 240).astype(np.uint16).reshape(12, 20)
    np.testing.assert_allclose(
        read_radiograph(save(tmp_path / 'a.png', film)), film / full, atol=1e-6
    )


def test_grey_in_colour_keeps_its_values(tmp_path):
    rgb = np.repeat(GREY8[..., None], 3, axis=2)
    alpha = np.full_like(GREY8, 7)[..., None]
    for name, image in (
        ('rgb', rgb),
        ('rgba', np.concatenate([rgb, alpha], 2)),
        ('la', np.concatenate([rgb[..., :1], alpha], 2)),
    ):
        plane = read_radiograph(save(tmp_path / f'{name}.png', image))
        np.testing.assert_allclose(plane, GREY8 / 255, atol=1e-7)
    Image.fromarray(GREY8).convert('P').save(tmp_path / 'palette.png')
    np.testing.assert_allclose(read_radiograph(tmp_path / 'palette.png'), GREY8 / 255, atol=1e-7)


def test_colour_is_luma(tmp_path):
    rgb = np.zeros((4, 5, 3), np.uint8)
    rgb[0], rgb[1], rgb[2], rgb[3] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)
    plane = read_radiograph(save(tmp_path / 'a.png', rgb))
    luma = (0.299 * 10 + 0.587 * 20 + 0.114 * 30) / 255
    np.testing.assert_allclose(plane[:, 0], [0.299, 0.587, 0.114, luma], atol=1e-4)


@pytest.mark.parametrize('channels', [3, 4])
@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_sixteen_bit_colour_is_not_cut_to_eight(tmp_path, channels, suffix):
    image = np.repeat(GREY16[..., None], channels, axis=2)
    path = str(tmp_path / f'a.{suffix}')
    assert cv2.imwrite(path, image)
    plane = read_radiograph(path)
    np.testing.assert_allclose(plane, GREY16 / 65535, atol=1e-7)
    image[..., 1] = 0  # OpenCV's order is blue, green, red
    image[..., 0] = 0
    assert cv2.imwrite(path, image)
    np.testing.assert_allclose(read_radiograph(path), 0.299 * (GREY16 / 65535.0), atol=1e-5)


def test_bilevel_jpeg_and_white_is_zero(tmp_path):
    bits = GREY8 > 100
    np.testing.assert_array_equal(read_radiograph(save(tmp_path / 'b.png', bits)), bits)
    jpeg = save(tmp_path / 'c.jpg', GREY8, quality=100, subsampling=0)
    np.testing.assert_allclose(read_radiograph(jpeg), GREY8 / 255, atol=0.02)
    # Pillow writes 8 bits inverted under this tag and inverts them back, 16 bits as they are.
    path = save(tmp_path / '8.tif', GREY8, tiffinfo={262: 0})
    np.testing.assert_allclose(read_radiograph(path), GREY8 / 255, atol=1e-6)
    path = save(tmp_path / '16.tif', GREY16, tiffinfo={262: 0})
    np.testing.assert_allclose(read_radiograph(path), 1 - GREY16 / 65535, atol=1e-6)


def test_float_and_int32_tiff(tmp_path):
    unit = (GREY16 / 65535).astype(np.float32)
    np.testing.assert_array_equal(read_radiograph(save(tmp_path / 'a.tif', unit)), unit)
    wide = save(tmp_path / 'b.tif', unit * 3000 - 1000)
    np.testing.assert_allclose(read_radiograph(wide), unit, atol=1e-6)
    whole = save(tmp_path / 'c.tif', GREY16.astype(np.int32) * 1000)
    np.testing.assert_allclose(read_radiograph(whole), unit, atol=1e-6)
    unit[3, 4] = np.nan
    with pytest.raises(RadiographError, match='NaN'):
        read_radiograph(save(tmp_path / 'd.tif', unit))


@pytest.mark.parametrize('film', [GREY8, GREY16, np.repeat(GREY8[..., None], 3, axis=2)])
@pytest.mark.parametrize('suffix', ['png', 'tif', 'jpg'])
def test_truncated(tmp_path, film, suffix):
    if suffix == 'jpg' and film.dtype != np.uint8:
        pytest.skip('JPEG has 8 bits')
    film = np.kron(film, np.ones((8, 8, 1)[: film.ndim], film.dtype))
    path = tmp_path / f'a.{suffix}'
    save(path, film)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RadiographError, match=r'a\.' + suffix):
        read_radiograph(path)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_radiograph(tmp_path / 'nowhere.png')
    for name, content in (('empty', b''), ('text.png', b'hello, this is a page' * 30)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RadiographError, match=name):
            read_radiograph(tmp_path / name)
    with pytest.raises(RadiographError, match=str(tmp_path)):
        read_radiograph(tmp_path)
    pages = [Image.fromarray(GREY8)] * 2
    pages[0].save(tmp_path / 'pages.tif', save_all=True, append_images=pages[1:])
    with pytest.raises(RadiographError, match='2 pages'):
        read_radiograph(tmp_path / 'pages.tif')


def test_transform(tmp_path):
    path = save(tmp_path / 'a.png', GREY16)
    plane = read_radiograph(path)
    results = LoadRadiograph()(dict(img_path=path))
    np.testing.assert_array_equal(results['img'], plane)
    assert results['img_shape'] == results['ori_shape'] == (12, 20)
    three = TRANSFORMS.build(dict(type='LoadRadiograph', channels=3))(dict(img_path=path))['img']
    assert three.shape == (12, 20, 3) and three.dtype == np.float32
    assert all((three[..., c] == plane).all() for c in range(3))


@pytest.mark.parametrize('options', [dict(channels=2), dict(on_error='ignore')])
def test_wrong_options(options):
    with pytest.raises(ValueError, match='must be'):
        LoadRadiograph(**options)


def test_skip_counts_each_file_once(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'nothing of the kind')
    (tmp_path / 'b.png').write_bytes(b'')
    load = LoadRadiograph(on_error='skip')
    for name in 'abaa':
        assert load(dict(img_path=str(tmp_path / f'{name}.png'))) is None
    assert load.num_skipped == 2
    assert 'empty' in load.skipped[str(tmp_path / 'b.png')]
    with pytest.raises(FileNotFoundError):
        load(dict(img_path=str(tmp_path / 'c.png')))
    with pytest.raises(RadiographError):
        LoadRadiograph()(dict(img_path=str(tmp_path / 'a.png')))


def test_skip_in_training_draws_another_film(tiny_data, tmp_path):
    init_default_scope('mmdet')
    root = tmp_path / 'data'
    shutil.copytree(tiny_data, root)
    (root / 'images' / 'train_3.png').write_bytes(b'broken')
    config = dict(
        type='CXRDataset',
        data_root=str(root),
        ann_file='annotations/train.json',
        data_prefix=dict(img='images'),
        pipeline=[dict(type='LoadRadiograph', on_error='skip')],
    )
    dataset = DATASETS.build(config)
    np.random.seed(0)
    drawn = dataset[3]
    assert drawn['file_name'] != 'train_3.png' and drawn['img'].shape == (64, 48)
    assert dataset.pipeline.transforms[0].num_skipped == 1
    with pytest.raises(ValueError, match='on_error'):
        DATASETS.build(dict(config, test_mode=True))


def test_a_link_to_nowhere_is_skipped_and_a_missing_film_is_not(tmp_path):
    (tmp_path / 'link.png').symlink_to(tmp_path / 'nowhere')
    load = LoadRadiograph(on_error='skip')
    assert load(dict(img_path=str(tmp_path / 'link.png'))) is None and load.num_skipped == 1
    with pytest.raises(FileNotFoundError, match='missing'):
        load(dict(img_path=str(tmp_path / 'missing.png')))
    with pytest.raises(FileNotFoundError, match='link'):
        LoadRadiograph()(dict(img_path=str(tmp_path / 'link.png')))


def test_mmdet_transforms_take_the_plane(tiny_data):
    init_default_scope('mmdet')
    dataset = DATASETS.build(
        dict(
            type='CXRDataset',
            data_root=str(tiny_data),
            ann_file='annotations/train.json',
            data_prefix=dict(img='images'),
            pipeline=[
                dict(type='LoadRadiograph'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='Resize', scale=(96, 96), keep_ratio=True),
                dict(type='Pad', size=(96, 96), pad_val=dict(img=0)),
                dict(type='RandomFlip', prob=1.0),
                dict(type='Rotate', prob=1.0, img_border_value=0),
                dict(type='IntensityJitter'),
            ],
        )
    )
    for index in range(len(dataset)):
        results = dataset[index]
        img = results['img']
        assert img.shape == (96, 96) and img.dtype == np.float32
        assert img.min() == 0 and 0.1 < img.max() <= 1
        assert results['homography_matrix'].shape == (3, 3)
        assert len(results['gt_bboxes']) == (index < 4)


def test_real_films(shared_data):
    root = shared_data / 'real_cxr'
    paths = sorted(root.glob('images/*.png')) + sorted(root.glob('unlabeled/*.png'))
    assert len(paths) == 32
    for path in paths:
        plane = read_radiograph(path)
        assert plane.shape == (1024, 1024) and image_size(path) == (1024, 1024)
        assert plane.dtype == np.float32 and 0 <= plane.min() < 0.2 and 0.8 < plane.max() <= 1
        with Image.open(path) as image:
            grey = np.asarray(image.convert('RGB'))[..., 0]
        np.testing.assert_allclose(plane, grey / 255, atol=1e-6)


def test_boxes_of_a_film_of_another_size(tmp_path):
    path = save(tmp_path / 'a.png', np.zeros((24, 32), np.uint8))
    load = LoadRadiograph(on_error='skip')
    boxed = dict(img_path=path, height=24, width=32, instances=[dict(bbox=[1, 1, 9, 9])])
    assert load(dict(boxed))['ori_shape'] == (24, 32)
    for height, width in ((48, 64), (32, 24), (24, 33)):
        with pytest.raises(
            AnnotationError, match=rf'is 32 x 24 px .* drawn on {width} x {height} px'
        ):
            load(dict(boxed, height=height, width=width))
        # without boxes nothing can lie elsewhere
        assert load(dict(boxed, height=height, width=width, instances=[])) is not None


def test_doubts_of_a_film_are_told_once_or_given_to_the_caller(tmp_path):
    flat = save(tmp_path / 'flat.png', np.full((12, 20), 7, np.uint8))
    load = LoadRadiograph()
    for _ in range(2):
        assert 'notes' not in load(dict(img_path=flat))
    assert load.noted == {flat: 'all its pixels have one value'}
    load = LoadRadiograph()
    notes = load(dict(img_path=flat, notes=[]))['notes']
    assert notes == ['all its pixels have one value'] and not load.noted
    assert load(dict(img_path=save(tmp_path / 'a.png', GREY8), notes=[]))['notes'] == []
