# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Findings out to annotation tools, and corrections back."""

import copy
import json
import re
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from mmfrac.datasets.coco_checks import check_annotations
from mmfrac.deployment.annotation import (
    TOOLS,
    AnnotationFileError,
    Found,
    compare_boxes,
    convert_found,
    export_annotations,
    import_annotations,
    most_uncertain_first,
    read_found,
)
from mmfrac.deployment.results import ResultLine
from tests.deployment.tiny_package import write_dicom, write_png
from tests.tools.tiny_run import ROOT, start

MODEL = dict(name='model', sha256='ab')
ANNOTATE = ROOT / 'tools/deployment/annotate.py'
CONVERT = ROOT / 'tools/dataset_converters/predictions.py'


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    (folder / 'b').mkdir(parents=True)
    write_png(folder / 'a <1>.png', 1)
    write_dicom(folder / 'b/2.dcm', 2)
    write_png(folder / 'c.png', 3)
    return folder


@pytest.fixture
def results(images, tmp_path):
    """Three images of 64 x 48 px, one that was not scored."""
    boxes = [[8.0, 6.0, 24.0, 18.0], [40.0, 30.0, 50.0, 40.0]]
    facts = dict(width=64, height=48, scored=True)
    found = [
        ResultLine(str(images / 'a <1>.png'), MODEL, score=0.9, probability=0.8, **facts),
        ResultLine(
            *(str(images / 'b/2.dcm'), MODEL),
            **facts,
            score=0.45,
            boxes=boxes,
            scores=[0.45, 0.3],
        ),
        ResultLine(
            str(images / 'c.png'), MODEL, score=0.1, boxes=[[0, 0, 9, 9]], scores=[0.1], **facts
        ),
        ResultLine(str(images / 'd.png'), MODEL, reason='view lateral'),
    ]
    path = tmp_path / 'results.jsonl'
    path.write_text('\n'.join(one.to_json() for one in found) + '\n')
    return path


@pytest.fixture
def base(tmp_path):
    """Annotations of these images and of another; of the patient of one nobody else knows."""
    files = ['a <1>.png', 'b/2.dcm', 'c.png', 'other.png']
    content = dict(
        images=[
            dict(
                id=10 + number,
                file_name=name,
                width=64,
                height=48,
                patient_id=f'P{number}',
                label=-1 if number < 3 else 1,
                regions=number == 3,
            )
            for number, name in enumerate(files)
        ],
        annotations=[dict(id=7, image_id=13, category_id=4, bbox=[1, 2, 3, 4], area=12, iscrowd=0)],
        categories=[dict(id=4, name='fracture')],
    )
    path = tmp_path / 'base.json'
    path.write_text(json.dumps(content))
    return path


def exported(results, images, tmp_path, tool, **options):
    found = most_uncertain_first(read_found(results))
    out = tmp_path / tool
    return out, export_annotations(found, out, tool, images, **options)


def picture(out, number):
    """Name under which an image was exported."""
    return json.loads((out / 'export.json').read_text())['images'][number]['picture']


def test_the_most_uncertain_come_first():
    found = [Found(name, 1, 1, p, [], []) for name, p in zip('abcde', (0.9, 0.4, 0.6, 0.02, 1.0))]
    assert [one.image for one in most_uncertain_first(found)] == ['b', 'c', 'a', 'd', 'e']
    assert [one.image for one in most_uncertain_first(found, 2)] == ['b', 'c']
    assert [round(one.uncertainty, 2) for one in found] == [0.2, 0.8, 0.8, 0.04, 0]


def test_what_infer_wrote_is_read(images, results, tmp_path):
    found = list(read_found(results))
    # the calibrated probability, where there is one
    assert [one.probability for one in found] == [0.8, 0.45, 0.1]
    predictions = [
        dict(film=one.image, score=one.probability, boxes=one.boxes, scores=one.scores)
        for one in found
    ]
    path = tmp_path / 'predictions.json'
    content = dict(checkpoint='runs/best.pth', predictions=predictions, errors=[])
    path.write_text(json.dumps(content))
    again = list(read_found(path))
    assert [(one.image, one.width, one.height, one.boxes) for one in again] == [
        (one.image, 64, 48, one.boxes) for one in found
    ]
    assert again[0].model == 'best.pth'
    predictions[1]['boxes'][0] = [1, 2]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'predictions\[1\]: .*a box is'):
        list(read_found(path))
    path.write_text('[]')
    with pytest.raises(ValueError, match='neither'):
        list(read_found(path))
    with pytest.raises(FileNotFoundError):
        list(read_found(tmp_path / 'nothing.jsonl'))


def test_tasks_of_label_studio(results, images, tmp_path):
    out, path = exported(results, images, tmp_path, 'label-studio')
    tasks = json.loads(path.read_text())
    assert [task['data']['file_name'] for task in tasks] == ['b/2.dcm', 'a <1>.png', 'c.png']
    (prediction,) = tasks[0]['predictions']
    assert prediction['score'] == 0.45 and prediction['model_version'] == 'model'
    first = prediction['result'][0]
    assert first['value'] == dict(
        x=12.5, y=12.5, width=25.0, height=25.0, rotation=0, rectanglelabels=['fracture']
    )
    assert (first['original_width'], first['original_height']) == (64, 48)
    # those below the least score are left out
    assert [len(task['predictions'][0]['result']) for task in tasks] == [2, 0, 0]
    assert tasks[1]['data']['image'] == '/data/local-files/?d=' + picture(out, 1)
    assert re.fullmatch(r'images/000001_[0-9a-f]{8}_a__1_\.png', picture(out, 1))
    config = ElementTree.parse(out / 'label_config.xml').getroot()
    names = [config.find(tag).get('name') for tag in ('Image', 'RectangleLabels')]
    assert names == [first['to_name'], first['from_name']]
    shown = cv2.imread(str(out / picture(out, 0)), cv2.IMREAD_UNCHANGED)
    assert shown.shape == (48, 64) and shown.dtype == np.uint8 and np.ptp(shown) > 100


@pytest.mark.parametrize('tool', TOOLS)
def test_what_nobody_changed_comes_back_as_it_was(results, images, base, tmp_path, tool):
    out, path = exported(results, images, tmp_path, tool)
    content = path.read_text()
    if tool == 'label-studio':
        tasks = json.loads(content)
        for task in tasks:
            task['annotations'] = [dict(completed_by=3, result=task['predictions'][0]['result'])]
        content = json.dumps(tasks)
    (tmp_path / 'back').write_text(content)
    arguments = [tmp_path / 'back', out, tmp_path / 'new.json', base, 'Dr A']
    is_said = tool == 'label-studio'
    if not is_said:
        with pytest.raises(AnnotationFileError, match=r'all 3 images .* --reviewed-all'):
            import_annotations(*arguments)
        assert not (tmp_path / 'new.json').exists()
    counts = import_annotations(*arguments, reviewed_all=not is_said)
    assert counts == dict(images=3, kept=2, moved=0, added=0, removed=0, empty=0)
    new = json.loads((tmp_path / 'new.json').read_text())
    assert check_annotations(new) == []
    assert [image['label'] for image in new['images']] == [0, 1, 0, 1]
    assert all(image['regions'] for image in new['images'])
    assert [image['patient_id'] for image in new['images']] == ['P0', 'P1', 'P2', 'P3']
    who = 'user 3' if is_said else 'Dr A'
    assert new['images'][1]['corrected'] == dict(
        by=who, at='', model='model', kept=2, moved=0, added=0, removed=0
    )
    assert 'corrected' not in new['images'][3]
    boxes = {one['image_id']: one['bbox'] for one in new['annotations']}
    assert boxes[13] == [1, 2, 3, 4] and set(boxes) == {11, 13}
    first = next(one for one in new['annotations'] if one['image_id'] == 11)
    assert first['bbox'] == pytest.approx([8, 6, 16, 12]) and first['category_id'] == 4
    assert len({one['id'] for one in new['annotations']}) == 3


@pytest.mark.parametrize('tool', ['cvat', 'coco'])
def test_what_is_exactly_as_exported_is_not_taken_over(results, images, base, tmp_path, tool):
    # c.png has a box, too
    out, path = exported(results, images, tmp_path, tool, pictures=False, min_score=0.1)
    if tool == 'coco':
        content = json.loads(path.read_text())
        first, second, _ = content['annotations']
        # in another order, and as tools round
        first['bbox'][0] += 0.01
        content['annotations'] = [second, first]
    else:
        root = ElementTree.parse(path).getroot()
        pictures = root.findall('image')
        boxes = pictures[0].findall('box')
        for one in boxes[::-1]:
            pictures[0].remove(one)
            pictures[0].append(one)
        boxes[0].set('xtl', str(float(boxes[0].get('xtl')) + 0.01))
        pictures[2].remove(pictures[2].find('box'))
        content = ElementTree.tostring(root, encoding='unicode')
    counts, new = back(tmp_path, out, content, base)
    assert counts == {
        **dict(images=1, kept=0, moved=0, added=0, removed=1, empty=0),
        'as exported': 2,
    }
    assert [image.get('corrected') is None for image in new['images']] == [True, True, False, True]
    assert [image['label'] for image in new['images']] == [-1, -1, 0, 1]
    assert [image['regions'] for image in new['images']] == [False, False, True, True]
    assert [one['image_id'] for one in new['annotations']] == [13]
    # a px is a correction
    if tool == 'coco':
        first['bbox'][0] += 1
        counts, new = back(tmp_path, out, content, base)
        assert counts['images'] == 2 and counts['kept'] + counts['moved'] == 2
    counts, new = back(tmp_path, out, content, base, reviewed_all=True)
    assert counts['images'] == 3 and [image['label'] for image in new['images']] == [0, 1, 0, 1]


@pytest.mark.parametrize('min_score', [80, -0.1, float('nan')])
def test_the_least_score_is_in_0_1(results, images, tmp_path, min_score):
    with pytest.raises(ValueError, match=rf'must lie in \[0, 1\], got {min_score}'):
        exported(results, images, tmp_path, 'coco', min_score=min_score)
    with pytest.raises(ValueError, match=rf'must lie in \[0, 1\], got {min_score}'):
        convert_found(read_found(results), tmp_path / 'found.json', images, min_score)
    assert not (tmp_path / 'coco').exists() and not (tmp_path / 'found.json').exists()


def label_studio(results, images, tmp_path):
    out, path = exported(results, images, tmp_path, 'label-studio', pictures=False)
    return out, json.loads(path.read_text())


def back(tmp_path, out, content, base=None, **options):
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / 'back').write_text(text)
    counts = import_annotations(tmp_path / 'back', out, tmp_path / 'new.json', base, **options)
    return counts, json.loads((tmp_path / 'new.json').read_text())


def box(x, y, width, height, rotation=0):
    value = dict(x=x, y=y, width=width, height=height, rotation=rotation)
    return dict(type='rectanglelabels', value=value)


def test_corrections_say_who_made_them(results, images, tmp_path):
    out, tasks = label_studio(results, images, tmp_path)
    first = tasks[0]['predictions'][0]['result'][0]
    moved = copy.deepcopy(first)
    moved['value']['width'] = 50
    tasks[0]['annotations'] = [
        dict(completed_by=dict(email='old@b.c'), updated_at='2026-01-01', result=[]),
        dict(
            completed_by=dict(email='new@b.c'),
            updated_at='2026-02-01',
            result=[moved, box(75, 75, 50, 50), dict(type='choices', value={})],
        ),
        dict(completed_by=1, updated_at='2026-03-01', was_cancelled=True, result=[first]),
    ]
    tasks[1]['annotations'] = []
    # turned by a quarter about its upper left corner
    tasks[2]['annotations'] = [dict(result=[box(50, 50, 75 / 2, 25, 90)])]
    counts, new = back(tmp_path, out, tasks)
    # nobody looked at the second one
    # of the first one two say different things
    assert counts == dict(images=2, kept=0, moved=1, added=2, removed=1, empty=0, disputed=1)
    assert [image['file_name'] for image in new['images']] == ['b/2.dcm', 'c.png']
    assert new['images'][0]['corrected'] == dict(
        by='new@b.c', at='2026-02-01', model='model', kept=0, moved=1, added=1, removed=1
    )
    assert new['images'][1]['corrected']['by'] == 'not said'
    assert [one['bbox'] for one in new['annotations']] == [
        pytest.approx([8, 6, 32, 12]),
        # cut to the image
        pytest.approx([48, 36, 16, 12]),
        pytest.approx([20, 24, 12, 24]),
    ]


def test_cvat_says_who(results, images, tmp_path):
    out, path = exported(results, images, tmp_path, 'cvat', pictures=False)
    root = ElementTree.parse(path).getroot()
    meta = ElementTree.SubElement(root, 'meta')
    task = ElementTree.SubElement(meta, 'task')
    ElementTree.SubElement(ElementTree.SubElement(task, 'owner'), 'username').text = 'boss'
    ElementTree.SubElement(ElementTree.SubElement(task, 'assignee'), 'username').text = 'ann'
    ElementTree.SubElement(meta, 'dumped').text = '2026-05-01'
    # CVAT puts its own folders before names
    root.findall('image')[0].set('name', 'x/' + picture(out, 0))
    content = ElementTree.tostring(root, encoding='unicode')
    counts, new = back(tmp_path, out, content, reviewed_all=True)
    assert counts['kept'] == 2
    found = new['images'][0]['corrected']
    assert (found['by'], found['at']) == ('ann', '2026-05-01')


def test_a_turned_box_of_cvat_is_its_hull(results, images, tmp_path):
    out, path = exported(results, images, tmp_path, 'cvat', pictures=False)
    root = ElementTree.parse(path).getroot()
    image = root.findall('image')[2]
    sides = dict(xtl='10', ytl='20', xbr='30', ybr='24', rotation='90', label='fracture')
    ElementTree.SubElement(image, 'box', sides)
    _, new = back(tmp_path, out, ElementTree.tostring(root, encoding='unicode'))
    assert new['annotations'][-1]['bbox'] == pytest.approx([18, 12, 4, 20])


def test_boxes_of_other_categories_stay_as_they_were(results, images, base, tmp_path):
    out, path = exported(results, images, tmp_path, 'coco', pictures=False)
    content = json.loads(base.read_text())
    content['categories'].append(dict(id=5, name='device'))
    other = dict(id=8, image_id=11, category_id=5, bbox=[5, 6, 7, 8], area=56, iscrowd=0)
    old = dict(id=9, image_id=11, category_id=4, bbox=[0, 0, 5, 5], area=25, iscrowd=0)
    content['annotations'] += [other, old]
    content['images'][1] |= dict(label=1, regions=True)
    base.write_text(json.dumps(content))
    _, new = back(tmp_path, out, path.read_text(), base, reviewed_all=True)
    found = [one for one in new['annotations'] if one['image_id'] == 11]
    assert [one for one in found if one['category_id'] == 5] == [other]
    assert len(found) == 3 and old not in found


def test_boxes_are_compared_one_to_one():
    one, near, far = [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]
    assert compare_boxes([one], [one, near]) == dict(kept=1, moved=0, added=1, removed=0)
    assert compare_boxes([near, far], [one]) == dict(kept=0, moved=1, added=0, removed=1)
    assert compare_boxes([], []) == dict(kept=0, moved=0, added=0, removed=0)
    assert compare_boxes([one], [far]) == dict(kept=0, moved=0, added=1, removed=1)


def of_studio(shape):
    return dict(data=dict(picture='000000_2.png'), annotations=[dict(result=[shape])])


BAD = {
    'an unknown image': ([dict(data=dict(image='x.png'), annotations=[dict(result=[])])], 'x.png'),
    'nobody': ([], 'no image that was submitted'),
    'no boxes': ({'images': []}, 'is none of'),
    'no tasks': ([3], 'cannot be taken over'),
    'no JSON': ('{', 'neither JSON nor XML'),
    'deep': ('[' * 100000, 'neither JSON nor XML'),
    'another XML': ('<html/>', 'no XML of CVAT'),
    'broken XML': ('<annotations>', 'no XML'),
    'entities': (
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>',
        'entities',
    ),
    'a side': (
        '<annotations><image name="000000_2.png"><box xtl="a" ytl="1" xbr="2" ybr="3"/></image>'
        '</annotations>',
        'lacks a side',
    ),
    'NaN': (
        '<annotations><image name="000000_2.png"><box xtl="nan" ytl="1" xbr="2" ybr="3"/></image>'
        '</annotations>',
        'no number',
    ),
    'a polygon of CVAT': (
        '<annotations><image name="000000_2.png"><tag label="x"/><polygon points="1,1;2,2;1,2"/></image>'
        '</annotations>',
        "a shape 'polygon'",
    ),
    'a box of another label': (
        '<annotations><image name="000000_2.png"><box label="rib" xtl="1" ytl="1" xbr="2" ybr="3"/>'
        '</image></annotations>',
        "label 'rib', 'fracture' was exported",
    ),
    'a polygon of Label Studio': (
        [of_studio(dict(type='polygonlabels', value=dict(points=[[1, 1], [2, 2], [1, 2]])))],
        "a shape 'polygonlabels'",
    ),
    'another label of Label Studio': (
        [of_studio(dict(type='rectanglelabels', value=dict(rectanglelabels=['rib'])))],
        "label 'rib', 'fracture' was exported",
    ),
    'a box of three sides': (
        dict(
            images=[dict(id=1, file_name='000000_2.png')],
            annotations=[dict(image_id=1, bbox=[1, 1, 2])],
        ),
        'cannot be taken over',
    ),
    'another category of COCO': (
        dict(
            images=[dict(id=1, file_name='000000_2.png')],
            annotations=[dict(image_id=1, category_id=3, bbox=[1, 1, 2, 2])],
            categories=[dict(id=3, name='rib')],
        ),
        "label 'rib', 'fracture' was exported",
    ),
    'twice': (
        '<annotations><image name="000000_2.png"/><image name="a/000000_2.png"/></annotations>',
        'twice',
    ),
}


@pytest.mark.parametrize('content, text', BAD.values(), ids=BAD)
def test_a_file_that_cannot_be_taken_over(results, images, tmp_path, content, text):
    out, _ = label_studio(results, images, tmp_path)
    content = content if isinstance(content, str) else json.dumps(content)
    refused(tmp_path, out, content.replace('000000_2.png', picture(out, 0)), text)


def refused(tmp_path, out, content, text):
    with pytest.raises(AnnotationFileError, match=text):
        back(tmp_path, out, content)
    assert not (tmp_path / 'new.json').exists()


def first_box(results, images, tmp_path, tool, size, sides):
    """Folder of an export, and its file with a size and one box for the first image."""
    out, path = exported(results, images, tmp_path, tool, pictures=False)
    x1, y1, x2, y2 = sides
    if tool == 'cvat':
        root = ElementTree.parse(path).getroot()
        image = root.find('image')
        for one in image.findall('box')[1:]:
            image.remove(one)
        image.attrib.update(zip(('width', 'height'), map(str, size)))
        image.find('box').attrib.update(zip(('xtl', 'ytl', 'xbr', 'ybr'), map(str, sides)))
        return out, ElementTree.tostring(root, encoding='unicode')
    content = json.loads(path.read_text())
    if tool == 'coco':
        content['images'][0].update(zip(('width', 'height'), size))
        content['annotations'] = content['annotations'][:1]
        content['annotations'][0]['bbox'] = [x1, y1, x2 - x1, y2 - y1]
        return out, content
    # there sides are percent of the size
    one = content[0]['predictions'][0]['result'][0]
    one.update(zip(('original_width', 'original_height'), size))
    percent = [100 * side / whole for side, whole in zip((x1, y1, x2 - x1, y2 - y1), size * 2)]
    one['value'].update(zip(('x', 'y', 'width', 'height'), percent))
    content[0]['annotations'] = [dict(result=[one])]
    return out, content


@pytest.mark.parametrize('tool', TOOLS)
@pytest.mark.parametrize('sides', [(160, 120, 200, 160), (8, 6, 24, 18)], ids=['off', 'fits'])
def test_boxes_on_a_copy_of_another_size(results, images, tmp_path, tool, sides):
    out, content = first_box(results, images, tmp_path, tool, (256, 192), sides)
    name = re.escape(picture(out, 0))
    refused(
        tmp_path, out, content, f'back, image .*{name}.* 256 x 192, 64 x 48 was exported; annotate'
    )


@pytest.mark.parametrize('size', [(64.0, 48.0), (None, None), (0, 0)], ids=str)
def test_a_size_that_is_the_same_or_not_said(results, images, tmp_path, size):
    out, content = first_box(results, images, tmp_path, 'coco', size, (8, 6, 24, 18))
    assert back(tmp_path, out, content)[0]['kept'] == 1


@pytest.mark.parametrize('tool', TOOLS)
def test_a_box_off_its_image(results, images, tmp_path, tool):
    out, content = first_box(results, images, tmp_path, tool, (64, 48), (96, 6, 106, 18))
    name = re.escape(picture(out, 0))
    where = re.escape('[96.0, 6.0, 106.0, 18.0]' if tool != 'coco' else '[96, 6, 106, 18]')
    refused(tmp_path, out, content, f'back, image .*{name}.* box {where} .*lies off its 64 x 48 px')


@pytest.mark.parametrize('tool, rotation', [('cvat', 0), ('cvat', 45), ('coco', 0)])
def test_a_box_inside_out(results, images, tmp_path, tool, rotation):
    out, content = first_box(results, images, tmp_path, tool, (64, 48), (24, 6, 8, 36))
    if tool == 'cvat':
        content = content.replace('<box ', f'<box rotation="{rotation}" ')
    name = re.escape(picture(out, 0))
    refused(tmp_path, out, content, f'back, image .*{name}.* box .24.* is inside out')


@pytest.mark.parametrize('tool', TOOLS)
def test_a_click_is_no_box_and_is_counted(results, images, tmp_path, tool):
    out, content = first_box(results, images, tmp_path, tool, (64, 48), (8, 6, 8, 6))
    with pytest.raises(
        AnnotationFileError, match=r'all boxes are without an area, clicks; draw them'
    ):
        back(tmp_path, out, content)
    # beside a box it is left out, with the image if there is none
    counts, new = back(tmp_path, out, with_box(content, (4, 4, 20, 20)))
    assert (counts['images'], counts['empty'], counts['clicks']) == (1, 1, 0)
    assert [one['bbox'] for one in new['annotations']] == [pytest.approx([4, 4, 16, 16])]


def test_clicks_alone_beside_images_as_exported(results, images, tmp_path):
    out, path = exported(results, images, tmp_path, 'coco', pictures=False, min_score=0.1)
    content = json.loads(path.read_text())
    there = len({one['image_id'] for one in content['annotations']})
    content['annotations'][0]['bbox'][2] = 0
    content['annotations'] = [
        one
        for number, one in enumerate(content['annotations'])
        if not number or one['image_id'] != content['annotations'][0]['image_id']
    ]
    others = len(content['images']) - 1
    words = (
        rf'of the 1 images that were changed all .*clicks.*\. {others} are left out.*--reviewed-all'
    )
    assert there > 1
    with pytest.raises(AnnotationFileError, match=words):
        back(tmp_path, out, content)


def with_box(content, sides):
    """The file of an annotator with another box in its first image."""
    x1, y1, x2, y2 = sides
    if isinstance(content, str):
        root = ElementTree.fromstring(content)
        corners = dict(zip(('xtl', 'ytl', 'xbr', 'ybr'), map(str, sides)), label='fracture')
        ElementTree.SubElement(root.find('image'), 'box', corners)
        return ElementTree.tostring(root, encoding='unicode')
    content = copy.deepcopy(content)
    if isinstance(content, list):
        one = box(x1 / 0.64, y1 / 0.48, (x2 - x1) / 0.64, (y2 - y1) / 0.48)
        one['value']['rectanglelabels'] = ['fracture']
        content[0]['annotations'][0]['result'].append(one)
    else:
        last = content['annotations'][-1]
        content['annotations'].append(last | dict(id=99, bbox=[x1, y1, x2 - x1, y2 - y1]))
    return content


def test_an_image_with_clicks_alone_stays_as_it_was(results, images, base, tmp_path):
    out, tasks = label_studio(results, images, tmp_path)
    tasks[0]['annotations'] = [dict(result=[box(10, 10, 0, 0)])]
    tasks[1]['annotations'] = [dict(result=[])]
    content = json.loads(base.read_text())
    content['images'][0]['label'] = content['images'][1]['label'] = 1
    base.write_text(json.dumps(content))
    counts, new = back(tmp_path, out, tasks, base)
    assert (counts['images'], counts['clicks'], counts['to negative']) == (1, 1, 1)
    names = {picture['file_name']: picture for picture in new['images']}
    assert names['b/2.dcm']['label'] == 1 and 'corrected' not in names['b/2.dcm']
    assert names['a <1>.png']['label'] == 0


def test_ignored_boxes(results, images, base, tmp_path):
    # of the base they stay
    out, path = exported(results, images, tmp_path, 'coco', pictures=False)
    content = json.loads(base.read_text())
    unclear = dict(id=9, image_id=11, category_id=4, bbox=[0, 0, 5, 5], area=25, iscrowd=1)
    content['annotations'].append(unclear)
    base.write_text(json.dumps(content))
    _, new = back(tmp_path, out, path.read_text(), base, reviewed_all=True)
    assert unclear in new['annotations']
    # of a correction nobody knows what they are
    (tmp_path / 'new.json').unlink()
    content = json.loads(path.read_text())
    content['annotations'][0]['iscrowd'] = 1
    name = re.escape(content['images'][0]['file_name'])
    refused(tmp_path, out, content, rf"back, image '{name}': a box that is ignored")


@pytest.mark.parametrize('tool', TOOLS)
def test_a_box_partly_off_its_image_is_clipped(results, images, tmp_path, tool):
    out, content = first_box(results, images, tmp_path, tool, (64, 48), (-8, 6, 24, 60))
    _, new = back(tmp_path, out, content)
    assert [one['bbox'] for one in new['annotations']] == [pytest.approx([0, 6, 24, 42])]


def two_patients(p_of_a, p_of_b):
    facts = [('A/IM0001.dcm', p_of_a), ('B/IM0001.dcm', p_of_b)]
    found = [Found(name, 64, 48, p, [[8, 6, 24, 18]], [0.5], 'model') for name, p in facts]
    return most_uncertain_first(found)


def test_corrections_go_to_no_other_image_of_the_same_name(tmp_path):
    for folder, found in ('one', two_patients(0.5, 0.9)), ('two', two_patients(0.9, 0.5)):
        path = export_annotations(found, tmp_path / folder, 'coco', pictures=False)
    corrected = (tmp_path / 'one/instances.json').read_text()
    assert path.read_text() != corrected
    refused(tmp_path, tmp_path / 'two', corrected, 'was not exported')
    _, new = back(tmp_path, tmp_path / 'one', corrected, reviewed_all=True)
    assert [image['file_name'] for image in new['images']] == ['A/IM0001.dcm', 'B/IM0001.dcm']
    # names below two roots may be the same
    names = set()
    for root in 'AB':
        found = [Found(f'{root}/IM0001.dcm', 64, 48, 0.5, [], [])]
        export_annotations(found, tmp_path / root, 'coco', root, pictures=False)
        names.add(picture(tmp_path / root, 0))
    assert len(names) == 2


def test_an_export_of_other_pictures_is_not_replaced(tmp_path):
    found, out = two_patients(0.5, 0.9), tmp_path / 'out'
    export_annotations(found[:1], out, 'coco', pictures=False)
    # more images, or another tool: all that were exported still come back
    export_annotations(found, out, 'cvat', pictures=False)
    before = {path: path.read_bytes() for path in out.iterdir()}
    for others in two_patients(0.9, 0.5), found[:1]:
        with pytest.raises(
            ValueError, match=r'export.json lists other pictures, e.g. .*; name another'
        ):
            export_annotations(others, out, 'coco', pictures=False)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_an_export_whose_names_have_no_checksum_is_imported(results, images, tmp_path):
    out, path = exported(results, images, tmp_path, 'coco', pictures=False)
    for one in path, out / 'export.json':
        one.write_text(re.sub(r'(\d{6}_)[0-9a-f]{8}_', r'\1', one.read_text()))
    assert picture(out, 0) == 'images/000000_2.png'
    counts, _ = back(tmp_path, out, path.read_text(), reviewed_all=True)
    assert counts['images'] == 3 and counts['kept'] == 2


def test_what_is_not_there_or_lies_elsewhere(results, images, base, tmp_path):
    out, tasks = label_studio(results, images, tmp_path)
    tasks[0]['annotations'] = [dict(result=[])]
    with pytest.raises(FileNotFoundError, match='lies beside'):
        back(tmp_path, tmp_path, tasks)
    content = json.loads(base.read_text())
    content['images'][1]['file_name'] = '2.dcm'
    base.write_text(json.dumps(content))
    with pytest.raises(AnnotationFileError, match=r"no image 'b/2.dcm'"):
        back(tmp_path, out, tasks, base)
    with pytest.raises(ValueError, match='does not lie in'):
        exported(results, images / 'b', tmp_path, 'coco')
    with pytest.raises(ValueError, match='tool must be'):
        export_annotations([Found('a', 1, 1, 0.5, [], [])], tmp_path / 'x', 'paper')
    with pytest.raises(ValueError, match='no image to annotate'):
        export_annotations([], tmp_path / 'x', 'coco')


def test_findings_as_annotations_of_a_model(results, images, tmp_path):
    counts = convert_found(read_found(results), tmp_path / 'found.json', images, 0.2)
    assert counts == {'images': 3, 'boxes': 2, 'with a box': 1}
    content = json.loads((tmp_path / 'found.json').read_text())
    assert check_annotations(content) == []
    assert [image['label'] for image in content['images']] == [-1, 1, -1]
    assert not any(image['regions'] for image in content['images'])
    assert content['images'][1]['source'] == 'model model'
    assert content['annotations'][1]['score'] == 0.3


@pytest.mark.slow
def test_the_commands(results, images, tmp_path):
    run = start(
        *(ANNOTATE, 'export', results, '--to', 'coco', '--out-dir', tmp_path / 'out'),
        *('--root', images, '--number', 2),
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert '2 images, uncertainty 0.900 to 0.400' in run.stdout
    run = start(
        *(ANNOTATE, 'import', tmp_path / 'out/instances.json', '--export', tmp_path / 'out'),
        *('--out', tmp_path / 'new.json', '--annotator', 'me', '--reviewed-all'),
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert '2 images corrected; boxes: 2 kept, 0 moved, 0 added, 0 removed' in run.stdout
    content = json.loads((tmp_path / 'out/instances.json').read_text())
    del content['annotations'][0]
    (tmp_path / 'out/instances.json').write_text(json.dumps(content))
    run = start(
        *(ANNOTATE, 'import', tmp_path / 'out/instances.json', '--export', tmp_path / 'out'),
        *('--out', tmp_path / 'changed.json'),
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    assert '1 images corrected; boxes: 1 kept, 0 moved, 0 added, 1 removed' in run.stdout
    assert '1 images are exactly as exported and not taken over' in run.stdout
    run = start(CONVERT, results, images, tmp_path / 'found.json', cwd=tmp_path)
    assert run.returncode == 0 and 'with a box         0' in run.stdout, run.stderr
    run = start(CONVERT, tmp_path / 'new.json', images, tmp_path / 'found.json', cwd=tmp_path)
    assert run.returncode == 1 and 'Traceback' not in run.stderr
