# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What a converter does not understand, match or read is never label 0 or lost without a word."""

import gzip
import io
import json
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from mmfrac.datasets import CXRDataset
from mmfrac.preparation.converters import (
    ConvertOptions,
    convert_chestx_det,
    convert_chexpert,
    convert_coco,
    convert_csv,
    convert_mimic_cxr,
    convert_nih_cxr14,
    convert_padchest,
    convert_rsna,
    convert_vindr_cxr,
)
from mmfrac.preparation.converters.padchest import read_findings
from mmfrac.preparation.tables.table import Problems, Table, open_table
from mmfrac.preparation.tables.values import read_number_id
from mmfrac.utils.errors import AnnotationError
from tests.slow import slow_but

GIVEN = ConvertOptions(size=(80, 96))


@pytest.fixture
def table(tmp_path):
    def write(name, *lines):
        (tmp_path / name).write_text('\n'.join(lines) + '\n')
        return tmp_path / name

    return write


def images_of(out):
    return json.loads(out.read_text())['images']


def problem_of(convert, *args, **more):
    with pytest.raises(AnnotationError) as caught:
        convert(*args, **more)
    return str(caught.value)


# ---- lists of findings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'findings'),
    [
        ("['rib fracture' 'nodule']", {'rib fracture', 'nodule'}),
        ("['rib fracture'\n 'nodule'\n 'scoliosis']", {'rib fracture', 'nodule', 'scoliosis'}),
        ('["rib fracture" \'nodule\']', {'rib fracture', 'nodule'}),
        ("['rib fracture', 'nodule']", {'rib fracture', 'nodule'}),
        ("[ 'rib fracture' ,'nodule', ]", {'rib fracture', 'nodule'}),
        ('["Kerley\'s lines" "rib fracture"]', {"kerley's lines", 'rib fracture'}),
        (r"['Kerley\'s lines']", {"kerley's lines"}),
        ('[]', set()),
        ("['']", set()),
        ('nan', set()),
    ],
)
def test_lists_that_are_understood(text, findings):
    assert read_findings(text) == findings


@pytest.mark.parametrize(
    'text',
    [
        *("['rib fracture''nodule']", "['rib fracture', ... 'nodule']", "['a' ... 'b']"),
        *('[rib fracture, nodule]', 'rib fracture', "['rib fracture'", "'rib fracture'"),
        *("('rib fracture',)", "array(['rib fracture'], dtype=object)", "['a',, 'b']", '[nan]'),
        *("[['rib fracture']]", "['a'] ['b']", "['a'; 'b']", "['a' + 'b']", "[u'a']", '["a\'b]'),
        *('[' + ' ' * 9000 + 'x', "['a'" + ' ' * 9000 + 'x'),
    ],
)
def test_lists_that_are_not_are_errors_with_their_line(table, tmp_path, text):
    cell = '"' + text.replace('"', '""') + '"'
    file = table('p.csv', 'ImageID,PatientID,Projection,Labels', f'a.png,p1,PA,{cell}')
    message = problem_of(convert_padchest, file, 'no', tmp_path / 'a.json', GIVEN)
    assert 'p.csv: line 2: labels' in message and not (tmp_path / 'a.json').exists()


@pytest.mark.parametrize(
    'name', ['fracture of rib', 'rib fractures', 'costal fracture', 'sternum fracture', 'Fractured']
)
def test_fractures_of_no_known_name_are_uncertain(table, tmp_path, name):
    file = table('p.csv', 'ImageID,PatientID,Projection,Labels', f'a.png,p1,PA,"[\'{name}\']"')
    summary = convert_padchest(file, 'no', tmp_path / 'a.json', GIVEN)
    assert [image['label'] for image in images_of(tmp_path / 'a.json')] == [-1]
    assert name.lower() in str(summary)
    lines = 'image_id,rad_id,class_name,x_min,y_min,x_max,y_max', f'a,R1,{name},1,1,9,9'
    message = problem_of(
        convert_vindr_cxr, table('v.csv', *lines), 'no', tmp_path / 'b.json', GIVEN
    )
    assert 'v.csv: line 2: class' in message and 'is a fracture, but none of' in message


def test_known_classes_in_other_spellings(table, tmp_path):
    for name in ('rib_fracture', 'RIB-FRACTURE', 'Rib  fracture'):
        lines = 'image_id,rad_id,class_name,x_min,y_min,x_max,y_max', f'a,R1,{name},1,1,9,9'
        convert_vindr_cxr(table('v.csv', *lines), 'no', tmp_path / 'b.json', GIVEN)
        assert images_of(tmp_path / 'b.json')[0]['label'] == 1


# ---- joins ---------------------------------------------------------------------------------------

FILMS = (
    'dicom_id,subject_id,study_id,ViewPosition',
    'a,10000032,50414267,PA',
    'b,10000764,57375967,AP',
)


@pytest.mark.parametrize(
    ('first', 'second'),
    [
        ('10000032.0,50414267.0', '10000764.0,57375967.0'),
        ('10000032.,50414267.00', '10000764,57375967.0'),
        ('010000032,0050414267', '10000764,57375967'),
        (' 10000032 , 50414267', '10000764 ,57375967'),
        ('"10000032","50414267"', '10000764,57375967'),
    ],
)
def test_numbers_of_studies_match_however_they_are_written(table, tmp_path, first, second):
    labels = table('l.csv', 'subject_id,study_id,Fracture', f'{first},1.0', f'{second},0')
    summary = convert_mimic_cxr(labels, table('m.csv', *FILMS), 'no', tmp_path / 'a.json', GIVEN)
    assert [image['label'] for image in images_of(tmp_path / 'a.json')] == [1, 0]
    assert summary.noted == {}


@pytest.mark.parametrize('wrong', ['1.0000032e+07,50414267', 'x,50414267', ',50414267', '1.5,2'])
def test_ids_that_are_no_numbers(table, tmp_path, wrong):
    labels = table('l.csv', 'subject_id,study_id,Fracture', f'{wrong},1.0')
    message = problem_of(
        convert_mimic_cxr, labels, table('m.csv', *FILMS), 'no', tmp_path / 'a.json', GIVEN
    )
    assert 'l.csv: line 2: ' in message and ' id' in message


def test_both_remainders_are_told(table, tmp_path):
    rows = ('10000032,50414267,1', '7,8,0', '7,9,1')
    labels = table('l.csv', 'subject_id,study_id,Fracture', *rows)
    summary = convert_mimic_cxr(labels, table('m.csv', *FILMS), 'no', tmp_path / 'a.json', GIVEN)
    assert summary.noted == {
        'studies of l.csv not in m.csv, e.g. 7, 8': 2,
        'studies of m.csv not in l.csv, e.g. 10000764, 57375967': 1,
    }
    assert 'studies of l.csv not in m.csv' in str(summary)


def test_a_join_where_nothing_matches_is_an_error(table, tmp_path):
    labels, films = table('l.csv', 'subject_id,study_id,Fracture', '7,8,1'), table('m.csv', *FILMS)
    out = tmp_path / 'a.json'
    message = problem_of(convert_mimic_cxr, labels, films, 'no', out, GIVEN)
    assert 'none of its 1 studies is in m.csv: here e.g. 7, 8, there 10000032' in message
    sizes = table('s.csv', 'image_id,dim0,dim1', 'z,9,9')
    lines = 'image_id,rad_id,class_name,x_min,y_min,x_max,y_max', 'a,R1,Rib fracture,1,1,9,9'
    message = problem_of(convert_vindr_cxr, table('v.csv', *lines), 'no', out, GIVEN, sizes=sizes)
    assert 'none of its 1 images is in s.csv' in message
    classes = table('c.csv', 'patientId,class', 'z,Normal')
    rsna = table('r.csv', 'patientId,Target', 'a,0')
    message = problem_of(convert_rsna, rsna, 'no', out, GIVEN, classes)
    assert 'none of its 1 images is in c.csv' in message
    google = table('g.csv', 'Image Index,Patient ID,Fracture', '00000001_000.png,1,YES')
    boxes = table('b.csv', 'Image Index,Finding Label,Bbox [x,y,w,h]', '2.png,Fracture,1,1,5,5')
    message = problem_of(convert_nih_cxr14, [google], 'no', out, GIVEN, boxes=boxes)
    assert "1 images with fracture boxes are in no other table, e.g. '2.png'" in message
    assert not out.exists()


def test_tables_that_contradict_each_other(table, tmp_path):
    out, size = tmp_path / 'a.json', ConvertOptions(size=(1024, 1024))
    # a column that was sorted alone puts films of one patient into two splits
    google = table('g.csv', 'Image Index,Patient ID,Fracture', '00000013_000.png,14,NO')
    message = problem_of(convert_nih_cxr14, [google], 'no', out, size)
    assert 'patient 00000014, but the name 00000013_000.png is of 00000013' in message
    labels = table('r.csv', 'patientId,x,y,width,height,Target', 'a,1,2,30,40,1', 'b,,,,,0')
    classes = table('c.csv', 'patientId,class', 'a,Normal', 'b,Lung Opacity')
    message = problem_of(convert_rsna, labels, 'no', out, size, classes)
    assert "line 2: a has Target 1, but the class 'Normal'" in message
    ids = table('v.csv', 'image_id,class_name,rad_id,x_min,y_min,x_max,y_max', 'a,9,R1,1,2,30,40')
    message = problem_of(convert_vindr_cxr, ids, 'no', out, size)
    assert "class_name '9' is no name; is it a class_id?" in message
    path = 'x/patient00001/../patient00002/study1/view1_frontal.jpg'
    chexpert = table('x.csv', 'Path,Frontal/Lateral,No Finding,Fracture', f'{path},Frontal,,1')
    convert_chexpert(chexpert, 'no', out, size)
    assert images_of(out)[0]['patient_id'] == 'patient00002'


def test_a_box_that_is_there_twice_is_one_lesion(tmp_path):
    out = tmp_path / 'a.json'
    boxes = [dict(id=key, image_id=1, category_id=1, bbox=[10, 20, 30, 20]) for key in (1, 2, 3)]
    boxes[2]['bbox'] = [10, 20, 30, 21]
    images = [dict(id=1, file_name='a.png', width=80, height=96)]
    categories = [dict(id=1, name='fracture')]
    coco = dict(images=images, annotations=boxes, categories=categories)
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    summary = convert_coco(tmp_path / 'coco.json', 'no', out, GIVEN)
    assert summary.boxes == 2 and summary.left_out == {'repeated box of a film': 1}
    record = dict(file_name='a.png', syms=['Fracture'] * 2, boxes=[[1, 2, 30, 40]] * 2)
    (tmp_path / 'det.json').write_text(json.dumps([record]))
    summary = convert_chestx_det(tmp_path / 'det.json', 'no', out, options=GIVEN)
    assert summary.boxes == 1 and summary.left_out == {'repeated box of a film': 1}


def test_whole_numbers_as_ids():
    assert [read_number_id(text) for text in ('7', '007', '7.0', ' 7. ', '0')] == [*'7777', '0']
    for wrong in ('', '7.5', '5e7', '-7', 'p7', '7,0'):
        with pytest.raises(ValueError, match='id'):
            read_number_id(wrong)


# ---- columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'columns',
    [
        *('x,y,width,height', 'x,y,w,h', 'xmin,ymin,xmax,ymax', 'left,top,right,bottom'),
        *('X_Center,Y_Center,W,H', 'bbox,a,b,c', 'x0,y0,width,height'),
        *(
            'x 1,y 1,x 2,y 2',
            'x1 (px),y1 (px),x2 (px),y2 (px)',
            'Box_XMin,Box_YMin,Box_XMax,Box_YMax',
        ),
        *(
            'startX,startY,endX,endY',
            'minX,minY,maxX,maxY',
            'coordinates,a,b,c',
            'Bounding Box,a,b,c',
        ),
        *('bbox_width,bbox_height,a,b', 'EncodedPixels,a,b,c'),
    ],
)
def test_boxes_in_other_columns_are_not_lost(table, tmp_path, columns):
    file = table('t.csv', f'path,label,{columns}', 'a.png,1,10,10,20,20')
    message = problem_of(convert_csv, file, 'no', tmp_path / 'a.json', GIVEN)
    assert 't.csv: header: columns' in message and 'look like boxes in another form' in message


@pytest.mark.parametrize(
    ('box', 'words'),
    [
        ('0.1,0.1,0.3,0.4', 'is it a part of the film, in [0, 1]?'),
        ('0,0,1,1', 'is it a part of the film, in [0, 1]?'),
        ('0.5,0.5,0.75,0.5001', 'is it a part of the film, in [0, 1]?'),
        ('30,40,20,20', 'is it x, y, width, height?'),
        ('50,60,10,20', 'is it x, y, width, height?'),
        ('10,10,90,40', 'are width and height of the film exchanged'),
    ],
)
def test_boxes_of_another_form(table, tmp_path, box, words):
    file = table('t.csv', 'path,label,x1,y1,x2,y2', f'a.png,1,{box}')
    message = problem_of(convert_csv, file, 'no', tmp_path / 'a.json', GIVEN)
    assert 't.csv: line 2: box' in message and words in message


def test_columns_that_nobody_reads_are_named(table, tmp_path):
    file = table('t.csv', 'path,label,age,fracture_site,', 'a.png,1,40,rib,')
    summary = convert_csv(file, 'no', tmp_path / 'a.json', GIVEN)
    assert summary.unread == {'t.csv': ('age', 'fracture_site')}
    other = table('o.csv', 'path,label,width,height,index,pixel_x,text', 'a.png,1,80,96,1,2,3')
    assert convert_csv(other, 'no', tmp_path / 'a.json', GIVEN).unread['o.csv'][0] == 'index'
    assert 'not read: t.csv: columns age, fracture_site' in str(summary)
    lines = 'ImageID,PatientID,Projection,Labels,Extra\x1b[2J', "a.png,p1,PA,['nodule'],x"
    summary = convert_padchest(table('p.csv', *lines), 'no', tmp_path / 'b.json', GIVEN)
    assert r'not read: p.csv: columns Extra\x1b[2J' in str(summary)


# ---- COCO ----------------------------------------------------------------------------------------


def coco(path, *annotations, image=None, size=(80, 96), categories=('fracture',)):
    images = [
        dict(id=k, file_name=f'f{k}.png', width=size[0], height=size[1], patient_id=f'p{k}')
        for k in (1, 2)
    ]
    images[0] |= image or {}
    boxes = [
        dict(id=i, image_id=1, category_id=1, bbox=[10, 10, 20, 20]) | a
        for i, a in enumerate(annotations, 1)
    ]
    names = [dict(id=i, name=name) for i, name in enumerate(categories, 1)]
    path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=names)))
    return path


@pytest.fixture
def films(tmp_path):
    """Two images of 80 x 96 px."""
    for name in ('f1.png', 'f2.png'):
        Image.fromarray(np.eye(96, 80, dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ('annotations', 'image'),
    [
        *(([dict(iscrowd=1)], {}), ([dict(ignore=1)], {}), ([dict(iscrowd=1), {}], {})),
        *(([dict(iscrowd=1)], dict(label=0)), ([dict(ignore=True)], dict(label=1))),
        *(([dict(segmentation=[[]])], {}), ([dict(segmentation=[[], [1, 1, 9, 1, 9, 9]])], {})),
        *(([], {}), ([{}], dict(regions=False)), ([dict(iscrowd=1)], dict(label=-1))),
    ],
    ids=str,
)
def test_converter_and_loader_agree(films, annotations, image):
    source, out = coco(films / 'a.json', *annotations, image=image), films / 'b.json'
    convert_coco(source, films, out)
    infos = [
        CXRDataset(data_root=str(films), ann_file=file).get_data_info(0)
        for file in ('a.json', 'b.json')
    ]
    for key in ('label', 'regions', 'patient_id'):
        assert infos[0][key] == infos[1][key]
    flags = [[(o['bbox'], o['ignore_flag']) for o in info['instances']] for info in infos]
    assert flags[0] == flags[1]
    assert not (image == {} and annotations and infos[1]['label'] == 0)


def test_an_ignored_box_alone_is_counted(films):
    summary = convert_coco(coco(films / 'a.json', dict(iscrowd=1)), films, films / 'b.json')
    assert summary.subsets == dict(P_hos=0, N=1, P_pub=0, U=1) and summary.boxes == 0
    assert summary.noted == {
        'images whose fracture boxes are all ignored: label -1': 1,
        'boxes that are ignored, no lesions': 1,
    }


@pytest.mark.parametrize(
    ('chosen', 'names', 'label'),
    [
        (['rib fracture'], ('rib fracture', 'clavicle fracture'), -1),
        (['fracture'], ('fracture', 'old fractures'), -1),
        (['fracture'], ('fracture', 'nodule'), 0),
        (None, ('rib fracture', 'clavicle fracture'), 1),
        (None, ('fracture', 'nodule'), 0),
    ],
)
def test_one_class_of_two(films, chosen, names, label):
    source = coco(films / 'a.json', dict(category_id=2), categories=names)
    summary = convert_coco(source, films, films / 'b.json', None, chosen)
    assert [image['label'] for image in images_of(films / 'b.json')] == [label, 0]
    told = f'images with boxes of {names[1]}, and none of those asked for: label {label}'
    assert summary.noted == ({told: 1} if label != 1 else {})


def test_a_stated_label_beside_boxes_of_another_finding(films):
    boxes = dict(category_id=2), dict(category_id=2)
    source = coco(films / 'a.json', *boxes, image=dict(label=0), categories=('fracture', 'mass'))
    convert_coco(source, films, films / 'b.json')
    assert images_of(films / 'b.json')[0]['label'] == 0


@pytest.mark.parametrize(('uncertain', 'label'), [('unknown', -1), ('negative', 0)])
def test_unknown_boxes_without_label_are_no_negative(films, uncertain, label):
    source = coco(films / 'a.json', image=dict(regions=False))
    summary = convert_coco(source, films, films / 'b.json', ConvertOptions(uncertain=uncertain))
    assert [image['label'] for image in images_of(films / 'b.json')] == [label, 0]
    assert list(summary.noted) == [
        'images with neither label nor box, but regions false: uncertain'
    ]
    source = coco(films / 'a.json', image=dict(regions=False, label=0))
    assert convert_coco(source, films, films / 'b.json').subsets['N'] == 2


def test_patients_by_a_pattern(films):
    source, out = coco(films / 'a.json'), films / 'b.json'
    for pattern in ('^(p1)?', '(x)', '^(p*)'):
        message = problem_of(convert_coco, source, films, out, patient_pattern=pattern)
        assert 'a.json: images[0] (id 1, f1.png): no patient' in message
    summary = convert_coco(source, films, out, patient_pattern='[12]')
    assert [image['patient_id'] for image in images_of(out)] == ['1', '2']
    told = 'images with another patient_id than in their name, which counts'
    assert summary.noted == {told: 2}
    source = coco(films / 'a.json', image=dict(patient_id='f1'))
    assert convert_coco(source, films, out, patient_pattern='f.').noted == {told: 1}


def test_width_and_height_exchanged(films):
    out = films / 'b.json'
    for size, words in (
        ((96, 80), 'are width and height exchanged there'),
        ((192, 160), 'are width and height exchanged there'),
        ((80, 120), 'its sides are scaled by 1 and 0.8'),
        ((100, 96), 'its sides are scaled by 0.8 and 1'),
    ):
        source = coco(films / 'a.json', {}, size=size)
        message = problem_of(convert_coco, source, films, out)
        assert words in message and 'f1.png' in message and not out.exists()
    stretched = ConvertOptions(allow_stretched=True)
    summary = convert_coco(coco(films / 'a.json', {}, size=(80, 120)), films, out, stretched)
    assert 'films with boxes scaled by different factors to the sides of their file' in str(summary)
    assert json.loads(out.read_text())['annotations'][0]['bbox'] == [10, 8, 20, 16]
    summary = convert_coco(coco(films / 'a.json', {}, size=(160, 192)), films, out)
    assert json.loads(out.read_text())['annotations'][0]['bbox'] == [5, 5, 10, 10]
    # nothing lies elsewhere where there is no box
    summary = convert_coco(coco(films / 'a.json', size=(96, 80)), films, out)
    assert summary.noted == {
        'films without boxes whose width and height are exchanged in the table': 2
    }


@pytest.mark.parametrize('name', ['../f1.png', 'ABSOLUTE', 'x/../../f1.png'])
def test_images_outside_of_the_folder(films, table, name):
    name = str(films / 'f1.png') if name == 'ABSOLUTE' else name
    (films / 'inner' / 'x').mkdir(parents=True)
    file = table('t.csv', 'path,label', f'{name},0')
    for options in (ConvertOptions(), GIVEN):
        message = problem_of(convert_csv, file, films / 'inner', films / 'a.json', options)
        assert 't.csv: line 2' in message and '--allow-outside' in message
    convert_csv(file, films / 'inner', films / 'a.json', ConvertOptions(allow_outside=True))
    assert images_of(films / 'a.json')[0]['width'] == 80
    # an absolute name of what lies in the folder is one of it
    convert_csv(table('u.csv', 'path,label', f'{films}/f1.png,0'), films, films / 'b.json')
    assert images_of(films / 'b.json')[0]['file_name'] == 'f1.png'


# ---- bombs ---------------------------------------------------------------------------------------


def gzipped_zeros(head, block, times):
    """``head`` and ``times`` blocks of bytes, packed without being held."""
    packer, out = zlib.compressobj(9, zlib.DEFLATED, 31), io.BytesIO()
    out.write(packer.compress(head))
    for _ in range(times):
        out.write(packer.compress(block))
    out.write(packer.flush())
    return out.getvalue()


@pytest.mark.parametrize(
    'block',
    slow_but(
        [b'\n' * 2**20, b'a.png,0\n' * 2**17, b'x' * 2**20, b',' * 2**20, b'"a\n' * 2**18],
        [b'x' * 2**20],
    ),
)
@pytest.mark.parametrize('head', [b'path,label\n', b''])
def test_tables_that_inflate_without_end(tmp_path, head, block):
    (tmp_path / 't.csv.gz').write_bytes(gzipped_zeros(head, block, 200))
    problems = Problems()
    table = Table(tmp_path / 't.csv.gz', dict(path=('path',), label=('label',)), problems)
    # the file says what it inflates to, so nothing of it is read
    assert not list(table.rows())
    (line,) = problems.lines
    assert line.startswith('t.csv.gz: header: ') and 'to inflate to more than' in line


@pytest.mark.parametrize(
    'block', slow_but([b'\n' * 2**20, b'x' * 2**20, b',' * 2**20, b'"a\n' * 2**18], [b',' * 2**20])
)
@pytest.mark.parametrize('head', [b'path,label\n', b''])
def test_tables_that_say_they_are_small(tmp_path, head, block):
    content = gzipped_zeros(head, block, 200)
    (tmp_path / 't.csv.gz').write_bytes(content[:-4] + bytes(4))
    problems = Problems()
    table = Table(tmp_path / 't.csv.gz', dict(path=('path',), label=('label',)), problems)
    assert not any(True for _ in table.rows())
    assert len(problems) and all(len(line) < 400 for line in problems.lines)


def test_what_a_table_inflates_to_is_counted_as_it_is_read(tmp_path):
    content = gzipped_zeros(b'path,label\n', b'a.png,0\n' * 2**17, 12)
    # of the whole file so many bytes would be allowed
    content += gzip.compress(np.random.default_rng(0).bytes(2**18))
    (tmp_path / 't.csv.gz').write_bytes(content)
    read = 0
    with open_table(tmp_path / 't.csv.gz') as (file, _), pytest.raises(OSError, match='inflate to'):
        while read < 2**25:
            read += len(file.read(2**16))
    assert read <= 2**23 < 12 * 2**20 < 100 * len(content)


def test_zip_bomb_and_locked_zip(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('t.csv', b'path,label\n' + b'a.png,0\n' * 2**22)
    (tmp_path / 't.zip').write_bytes(packed.getvalue())
    problems = Problems()
    table = Table(tmp_path / 't.zip', dict(path=('path',), label=('label',)), problems)
    assert sum(1 for _ in table.rows()) < 2**22
    assert 'inflate to more than' in problems.lines[0] and 'unpack it' in problems.lines[0]
    content = bytearray(packed.getvalue())
    for mark, at in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        content[content.index(mark) + at] |= 1  # says that it is encrypted
    (tmp_path / 'u.zip').write_bytes(content)
    Table(tmp_path / 'u.zip', dict(path=('path',)), problems)
    assert any('u.zip: header: the file cannot be read' in line for line in problems.lines)


def test_large_sound_packed_table(tmp_path):
    rows = b''.join(b'%d.png,%d\n' % (i * 7919**3, i % 2) for i in range(200_000))
    (tmp_path / 't.csv.gz').write_bytes(gzip.compress(b'path,label\n' + rows))
    problems = Problems()
    table = Table(tmp_path / 't.csv.gz', dict(path=('path',), label=('label',)), problems)
    assert sum(1 for _ in table.rows()) == 200_000 and not len(problems)
