# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Each public set in the layout of its release, on small tables."""

import gzip
import json

import pytest

from mmfrac.datasets import CXRDataset
from mmfrac.preparation.converters import (
    ConvertOptions,
    convert_chexpert,
    convert_coco,
    convert_mimic_cxr,
    convert_nih_cxr14,
    convert_padchest,
    convert_rsna,
    convert_vindr_cxr,
)
from mmfrac.preparation.converters.padchest import read_findings
from mmfrac.utils.errors import AnnotationError


@pytest.fixture
def table(tmp_path):
    def write(name, *lines):
        data = ('\n'.join(lines) + '\n').encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith('.gz') else data)
        return tmp_path / name

    return write


def films_of(out):
    """(file name, label, regions, patient) of each film."""
    images = json.loads(out.read_text())['images']
    keys = ('file_name', 'label', 'regions', 'patient_id')
    return [tuple(image.get(key) for key in keys) for image in images]


def boxes_of(out):
    return [(a['bbox'], a.get('site')) for a in json.loads(out.read_text())['annotations']]


def problems_of(convert, *args, **more):
    with pytest.raises(AnnotationError) as caught:
        convert(*args, **more)
    return list(caught.value.problems)


# ---- CheXpert ------------------------------------------------------------------------------------

CHEXPERT = (
    'Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Fracture',
    'CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,F,68,Frontal,AP,1.0,',
    'CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,F,87,Frontal,AP,,1.0',
    'CheXpert-v1.0-small/train/patient00002/study2/view2_lateral.jpg,F,87,Lateral,,,1.0',
    'CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg,M,41,Frontal,AP,,-1.0',
    'CheXpert-v1.0-small/train/patient00004/study1/view1_frontal.jpg,F,20,Frontal,PA,,0.0',
    'CheXpert-v1.0-small/train/patient00005/study1/view1_frontal.jpg,F,20,Frontal,PA,,',
)


@pytest.mark.parametrize('root', ['', 'CheXpert-v1.0-small/'])
def test_chexpert(table, films, tmp_path, root):
    paths = [line.split(',')[0] for line in CHEXPERT[1:]]
    folder = films(*(path.replace('CheXpert-v1.0-small/', root) for path in paths))
    out = tmp_path / 'a.json'
    summary = convert_chexpert(table('train.csv', *CHEXPERT), folder, out)
    kept = [path.replace('CheXpert-v1.0-small/', root) for path in paths if 'frontal' in path]
    assert films_of(out) == [
        (path, label, label == 0, patient)
        for path, label, patient in zip(
            kept, (0, 1, -1, 0, -1), [f'patient0000{n}' for n in range(1, 6)]
        )
    ]
    assert summary.left_out == {'view Lateral': 1} and summary.positives == 1
    data = CXRDataset(data_root=str(tmp_path), ann_file='a.json', data_prefix=dict(img='films'))
    assert data.labels().tolist() == [0, 1, -1, 0, -1]


def test_chexpert_without_view_column(table, tmp_path, given):
    """The test set's table names no view, its files do."""
    lines = (
        'Path,Fracture',
        *(
            f'CheXpert/test/patient1/study1/{v}.jpg,1'
            for v in ('view1_frontal', 'view2_lateral', 'x')
        ),
    )
    summary = convert_chexpert(table('test.csv', *lines), 'no', tmp_path / 'a.json', given)
    assert summary.films == 1 and summary.left_out == {
        'view Lateral'.lower(): 1,
        'view not given': 1,
    }


def test_chexpert_problems(table, tmp_path, given):
    lines = (
        *CHEXPERT,
        'a/view1_frontal.jpg,F,1,Frontal,AP,,1.0',
        CHEXPERT[1][:-3] + '7,',
        CHEXPERT[2] + '2',
    )
    problems = problems_of(
        convert_chexpert, table('train.csv', *lines), 'no', tmp_path / 'a.json', given
    )
    assert [one.split(': ')[1] for one in problems] == ['line 8', 'line 9', 'line 10']
    assert 'no folder patientNNNNN' in problems[0] and 'No Finding' in problems[1]
    assert "label '1.02' is none of" in problems[2]


# ---- MIMIC-CXR -----------------------------------------------------------------------------------

MIMIC_LABELS = (
    'subject_id,study_id,Atelectasis,Fracture,No Finding',
    '10000032,50414267,,1.0,',
    '10000032,53189527,,,1.0',
    '10000764,57375967,,-1.0,',
)
MIMIC_FILMS = (
    'dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate',
    '02aa-1,10000032,50414267,CHEST,PA,3056,2544,21800506',
    '02aa-2,10000032,50414267,CHEST,LATERAL,3056,2544,21800506',
    '02aa-3,10000032,53189527,CHEST,AP,2544,3056,21800506',
    '02aa-4,10000764,57375967,CHEST,AP,2544,3056,21800506',
    '02aa-5,10000935,50578979,CHEST,,2544,3056,21800506',
    '02aa-6,10000935,50578979,CHEST,PA,2544,3056,21800506',
)
MIMIC_SPLIT = (
    'dicom_id,study_id,subject_id,split',
    *(
        f'02aa-{n},1,1,{split}'
        for n, split in enumerate(['train', 'train', 'test', 'train', 'train', 'validate'], 1)
    ),
)


def mimic_paths(suffix='.jpg'):
    places = (
        'p10/p10000032/s50414267/02aa-1',
        'p10/p10000032/s53189527/02aa-3',
        'p10/p10000764/s57375967/02aa-4',
        'p10/p10000935/s50578979/02aa-6',
    )
    return [f'files/{place}{suffix}' for place in places]


@pytest.mark.parametrize('suffix', ['.jpg', '.dcm', '.png'])
def test_mimic(table, films, tmp_path, suffix):
    labels = table('mimic-cxr-2.0.0-chexpert.csv.gz', *MIMIC_LABELS)
    metadata = table('mimic-cxr-2.0.0-metadata.csv.gz', *MIMIC_FILMS)
    folder, out = films(*mimic_paths(suffix)), tmp_path / 'a.json'
    summary = convert_mimic_cxr(labels, metadata, folder, out)
    patients = ('10000032', '10000032', '10000764', '10000935')
    assert films_of(out) == [
        (path, label, label == 0, patient)
        for path, label, patient in zip(mimic_paths(suffix), (1, 0, -1, -1), patients)
    ]
    assert summary.left_out == {'view LATERAL': 1, 'view not given': 1} and summary.patients == 3
    assert '21800506' not in out.read_text()


def test_mimic_in_a_folder_beside_other_sets(table, films, tmp_path):
    """One image folder for several sets: the names are looked for in all of it."""
    labels, metadata = table('l.csv', *MIMIC_LABELS), table('m.csv', *MIMIC_FILMS)
    folder = films(*(f'mimic/{path}' for path in mimic_paths()), 'other/02aa.jpg')
    convert_mimic_cxr(labels, metadata, folder, tmp_path / 'a.json')
    assert [film[0] for film in films_of(tmp_path / 'a.json')] == [
        f'mimic/{path}' for path in mimic_paths()
    ]


def test_mimic_split_and_sizes_of_the_table(table, tmp_path):
    labels, metadata = table('l.csv', *MIMIC_LABELS), table('m.csv', *MIMIC_FILMS)
    split = table('mimic-cxr-2.0.0-split.csv.gz', *MIMIC_SPLIT)
    options, out = ConvertOptions(size='table'), tmp_path / 'a.json'
    summary = convert_mimic_cxr(labels, metadata, 'no', out, options, split, 'train')
    assert [film[0] for film in films_of(out)] == [mimic_paths()[0], mimic_paths()[2]]
    assert summary.left_out['in another split'] == 2
    images = json.loads(out.read_text())['images']
    assert (images[0]['width'], images[0]['height']) == (2544, 3056)
    problems = problems_of(convert_mimic_cxr, labels, metadata, 'no', out, options, split, 'val')
    assert any("no film in 'val'; there are test, train, validate" in one for one in problems)
    with pytest.raises(ValueError, match='go together'):
        convert_mimic_cxr(labels, metadata, 'no', out, options, split)


def test_mimic_problems_of_both_tables_at_once(table, tmp_path, given):
    labels = table('l.csv', *MIMIC_LABELS, '10000032,50414267,,0.0,', '1,2,,x,')
    metadata = table('m.csv', *MIMIC_FILMS, ',1,2,CHEST,PA,1,1,')
    problems = problems_of(convert_mimic_cxr, labels, metadata, 'no', tmp_path / 'a.json', given)
    assert [one.split(':')[:2] for one in problems] == [
        ['l.csv', ' line 5'],
        ['l.csv', ' line 6'],
        ['m.csv', ' line 8'],
    ]
    wrong = problems_of(convert_mimic_cxr, metadata, labels, 'no', tmp_path / 'a.json', given)
    assert (
        len(wrong) == 2
        and "no column 'Fracture'" in wrong[1]
        and "no column 'dicom_id'" in wrong[0]
    )


# ---- PadChest ------------------------------------------------------------------------------------


def padchest_lines(*films):
    header = ',ImageID,ImageDir,PatientID,PatientBirth,Projection,MethodLabel,'
    header += 'Rows_DICOM,Columns_DICOM,Labels'
    return header, *(
        f'{n},{n}.png,{n % 3},83986{n % 4},1930,{view},{method},20,10,"{labels}"'
        for n, (view, method, labels) in enumerate(films)
    )


PADCHEST = padchest_lines(
    ('PA', 'Physician', "['rib fracture']"),
    ('AP_horizontal', 'RNN_model', "['normal', ' callus rib fracture', '']"),
    ('AP', 'Physician', "['clavicle fracture', 'humeral fracture']"),
    ('L', 'Physician', "['rib fracture']"),
    ('PA', 'Physician', "['vertebral fracture']"),
    ('PA', 'Physician', "['humeral fracture', 'nodule']"),
    ('PA', 'Physician', "['fracture']"),
    ('PA', 'Physician', 'nan'),
    ('PA', 'Physician', "['']"),
    ('PA', 'Physician', "['unchanged']"),
    ('PA', 'Physician', "['exclude', 'rib fracture']"),
    ('PA', 'Physician', "['normal']"),
    ('COSTAL', 'Physician', "['rib fracture']"),
)


def test_padchest(table, films, tmp_path):
    folder = films(*(f'{n % 3}/{n}.png' for n in range(13)))
    out, labels = tmp_path / 'a.json', table('PADCHEST_160K.csv', *PADCHEST)
    summary = convert_padchest(labels, folder, out)
    assert [(int(name.split('/')[1][:-4]), label) for name, label, *_ in films_of(out)] == [
        *((0, 1), (1, 1), (2, 1), (4, 0), (5, 0), (6, -1), (7, -1), (8, -1), (9, -1), (11, 0))
    ]
    assert summary.left_out == {'view L': 1, 'view COSTAL': 1, "labelled 'exclude'": 1}
    assert summary.changed == {
        'vertebral fracture, taken as none': 1,
        'humeral fracture, taken as none': 1,
    }
    assert '1930' not in out.read_text()
    options = ConvertOptions(
        size='table', views=('PA', 'COSTAL'), uncertain='positive', blank='drop'
    )
    summary = convert_padchest(labels, 'no', out, options, ['humeral', 'vertebral'], True)
    assert [(int(name[:-4]), label) for name, label, *_ in films_of(out)] == [
        *((0, 1), (4, 1), (5, 1), (6, 1), (11, 0), (12, 1))
    ]
    assert summary.left_out['no fracture label'] == 3 and summary.left_out['view L'] == 1
    assert json.loads(out.read_text())['images'][0]['width'] == 10
    with pytest.raises(ValueError, match='none of'):
        convert_padchest(labels, 'no', out, options, ['femoral'])


@pytest.mark.parametrize(
    'text',
    ["['a'", "{'a': 1}", "['a', 1]", "__import__('os').getcwd()", '[' * 400, "'a'", 'rib fracture'],
)
def test_padchest_labels_that_are_no_list(text, table, tmp_path, given):
    with pytest.raises(ValueError, match='are no list of names'):
        read_findings(text)
    lines = padchest_lines(('PA', 'Physician', "['normal']"), ('PA', 'Physician', text))
    problems = problems_of(
        convert_padchest, table('p.csv', *lines), 'no', tmp_path / 'a.json', given
    )
    assert len(problems) == 1 and problems[0].startswith('p.csv: line 3: labels')


# ---- VinDr-CXR -----------------------------------------------------------------------------------

VINDR = (
    'image_id,rad_id,class_name,x_min,y_min,x_max,y_max',
    'f1,R1,Rib fracture,100,100,200,200',
    'f1,R2,Rib fracture,110,100,210,200',
    'f1,R3,No finding,,,,',
    'f1,R1,Clavicle fracture,500,100,600,150',
    'f2,R1,No finding,,,,',
    'f2,R2,Other lesion,1,1,9,9',
    'f2,R3,No finding,,,,',
    'f3,R1,Rib fracture,10,10,50,50',
    'f3,R2,No finding,,,,',
    'f3,R3,Cardiomegaly,10,10,50,50',
    'f1,R1,Rib fracture,100,100,200,200',
)


@pytest.mark.parametrize(
    ('merge', 'fuse', 'labels', 'boxes'),
    [
        ('majority', 'mean', (1, 0, -1), [([105, 100, 100, 100], 'rib')]),
        ('majority', 'union', (1, 0, -1), [([100, 100, 110, 100], 'rib')]),
        (
            *('any', 'mean', (1, 0, 1)),
            [
                ([105, 100, 100, 100], 'rib'),
                ([500, 100, 100, 50], 'clavicle'),
                ([10, 10, 40, 40], 'rib'),
            ],
        ),
        ('all', 'mean', (-1, 0, -1), []),
    ],
)
def test_vindr(table, tmp_path, given, merge, fuse, labels, boxes):
    out = tmp_path / 'a.json'
    annotations = table('annotations_train.csv', *VINDR)
    summary = convert_vindr_cxr(annotations, 'no', out, given, merge, fuse=fuse)
    assert films_of(out) == [
        (f'f{n}.dicom', label, bool(boxes) if label == 1 else label == 0, None)
        for n, label in enumerate(labels, 1)
    ]
    assert boxes_of(out) == boxes
    assert summary.left_out == {
        'Other lesion boxes, another finding': 1,
        'Cardiomegaly boxes, another finding': 1,
        'repeated row': 1,
    }


def test_vindr_resized_films(table, films, tmp_path):
    folder, out = films('train/f1.png', 'train/f2.jpg', 'train/f3.png'), tmp_path / 'a.json'
    sizes = table('train_meta.csv', 'image_id,dim0,dim1', 'f1,3000,2000', 'f2,30,40', 'f3,30,40')
    lines = [line for line in VINDR if not line.startswith('f3')]
    summary = convert_vindr_cxr(table('t.csv', *lines), folder, out, sizes=sizes)
    # 2000 x 3000 px became 40 x 30: 105 / 50, 100 / 100
    assert boxes_of(out)[0][0] == pytest.approx([2.1, 1, 2, 1])
    assert [film[0] for film in films_of(out)] == ['train/f1.png', 'train/f2.jpg']
    told = 'films with boxes scaled by different factors to the sides of their file'
    assert summary.changed[told] == 1
    assert summary.noted["images of train_meta.csv not in t.csv, e.g. 'f3'"] == 1


def test_vindr_consensus_of_the_test_set(table, tmp_path, given):
    lines = (
        'image_id,class_name,x_min,y_min,x_max,y_max',
        'f1,Rib fracture,100,100,200,200',
        'f1,rib fracture,110,100,210,200',
        'f2,No finding,,,,',
        'f3,Rib fracture,,,,',
    )
    out = tmp_path / 'a.json'
    convert_vindr_cxr(table('annotations_test.csv', *lines), 'no', out, given)
    assert [film[1:3] for film in films_of(out)] == [(1, True), (0, True), (1, False)]
    assert boxes_of(out) == [([105, 100, 100, 100], 'rib')]


def test_vindr_table_of_the_challenge(table, tmp_path, given):
    """It has no fracture class: its fractures are among the other lesions."""
    lines = [line for line in VINDR if 'fracture' not in line]
    lines += ['f4,R1,Cardiomegaly,1,1,5,5', 'f3,R1,No finding,,,,']
    summary = convert_vindr_cxr(table('train.csv', *lines), 'no', tmp_path / 'a.json', given)
    assert [film[:2] for film in films_of(tmp_path / 'a.json')] == [
        *(('f1.dicom', 0), ('f2.dicom', -1), ('f3.dicom', 0), ('f4.dicom', 0))
    ]
    assert summary.changed == {"'Other lesion' of a table without fractures: no label": 1}


def test_vindr_problems(table, tmp_path, given):
    lines = (
        *VINDR,
        'f4,R1,Rib fracture,1,1,,5',
        'f5,R1,Rib fracture,9,1,5,5',
        ',R1,No finding,,,,',
        'f6,R1,Rib fracture,1,1,5,5000',
    )
    problems = problems_of(
        convert_vindr_cxr, table('t.csv', *lines), 'no', tmp_path / 'a.json', given, 'any'
    )
    assert [one.split(': ')[1] for one in problems] == [f'line {n}' for n in range(13, 17)]
    for options in (('most',), ('any', 0), ('any', 0.5, 'max')):
        with pytest.raises(ValueError, match='one of'):
            convert_vindr_cxr(table('t.csv', *VINDR), 'no', tmp_path / 'a.json', given, *options)


# ---- NIH -----------------------------------------------------------------------------------------

GOOGLE = (
    'Image Index,Finding Labels,Patient ID,View Position,Fracture,Set Id',
    '00000013_008.png,No Finding,13,AP,YES,test',
    '00000013_026.png,No Finding,13,PA,NO,test',
    '00000032_002.png,No Finding,32,PA,NO,val',
)
ENTRIES = (
    'Image Index,Finding Labels,Patient ID,View Position',
    '00000013_008.png,No Finding,13,AP',
    '00000001_000.png,No Finding,1,PA',
)


@pytest.mark.parametrize('missing', ['error', 'drop'])
def test_nih_takes_no_mask_for_a_film(table, films, tmp_path, missing):
    folder = films('00000013_008.png', 'masks/00000013_026.png', size=(1024, 1024))
    google = table('google.csv', *GOOGLE[:3])
    with pytest.raises(
        AnnotationError, match=r"line 3: masks/00000013_026\.png: 1 in folders like 'masks'"
    ):
        convert_nih_cxr14([google], folder, tmp_path / 'a.json', ConvertOptions(missing=missing))


def test_nih(table, films, tmp_path):
    folder = films(
        'images_001/images/00000013_008.png',
        'images_001/images/00000013_026.png',
        'images_002/images/00000032_002.png',
        'images_001/images/00000001_000.png',
        size=(1024, 1024),
    )
    out, google = tmp_path / 'a.json', table('google.csv', *GOOGLE)
    summary = convert_nih_cxr14(
        [google], folder, out, entries=table('Data_Entry_2017.csv', *ENTRIES)
    )
    assert films_of(out) == [
        ('images_001/images/00000013_008.png', 1, False, '00000013'),
        ('images_001/images/00000013_026.png', 0, True, '00000013'),
        ('images_002/images/00000032_002.png', 0, True, '00000032'),
        ('images_001/images/00000001_000.png', -1, False, '00000001'),
    ]
    assert summary.patients == 3 and summary.notes == []
    options = ConvertOptions(size='table', views=('PA',))
    summary = convert_nih_cxr14([google], 'no', out, options, split='test')
    assert [film[0] for film in films_of(out)] == ['00000013_026.png']
    assert summary.left_out == {'view AP': 1, 'in another split': 1}
    assert json.loads(out.read_text())['images'][0]['width'] == 1024


def test_nih_tables_of_two_splits_and_boxes(table, tmp_path):
    out, options = tmp_path / 'a.json', ConvertOptions(size='table')
    boxes = table(
        'BBox_List_2017.csv',
        'Image Index,Finding Label,Bbox [x,y,w,h],,,',
        '00000013_008.png,Fracture,100.5,10,20,30',
        '00000013_008.png,Atelectasis,1,1,20,30',
    )
    tables = [table('val.csv', GOOGLE[0], GOOGLE[3]), table('test.csv', *GOOGLE[:3])]
    summary = convert_nih_cxr14(tables, 'no', out, options, boxes=boxes)
    assert [film[1:3] for film in films_of(out)] == [(0, True), (1, True), (0, True)]
    assert boxes_of(out) == [([100.5, 10, 20, 30], None)]
    assert summary.left_out == {'Atelectasis boxes, another finding': 1}
    again = [*tables, table('more.csv', GOOGLE[0], GOOGLE[3].replace('NO', 'YES'))]
    (problem,) = problems_of(convert_nih_cxr14, again, 'no', out, options)
    assert 'more.csv: line 2' in problem and 'the same film as line 2 of val.csv' in problem
    lines = (
        GOOGLE[0],
        GOOGLE[1].replace('YES', 'NO'),
        '1.png,x,P7,AP,YES,test',
        ',x,7,AP,YES,test',
    )
    problems = problems_of(
        convert_nih_cxr14, [table('t.csv', *lines)], 'no', out, options, boxes=boxes
    )
    assert [
        'but 1 fracture box' in problems[0],
        'is no number' in problems[1],
        'no image name' in problems[2],
    ] == [True] * 3


# ---- RSNA ----------------------------------------------------------------------------------------

RSNA = (
    'patientId,x,y,width,height,Target',
    'aa-1,,,,,0',
    'bb-2,264.0,152.0,213.0,379.0,1',
    'bb-2,562.0,152.0,256.0,453.0,1',
    'cc-3,,,,,0',
)


def test_rsna(table, films, tmp_path):
    out, labels = tmp_path / 'a.json', table('stage_2_train_labels.csv', *RSNA)
    folder = films('aa-1.dcm', 'bb-2.png', 'cc-3.dcm')
    summary = convert_rsna(labels, folder, out)
    assert films_of(out) == [
        *(
            ('aa-1.dcm', -1, False, None),
            ('bb-2.png', -1, False, None),
            ('cc-3.dcm', -1, False, None),
        )
    ]
    assert summary.left_out == {'Lung opacity boxes, another finding': 2} and summary.boxes == 0
    classes = table(
        'stage_2_detailed_class_info.csv',
        'patientId,class',
        'aa-1,No Lung Opacity / Not Normal',
        'bb-2,Lung Opacity',
        'bb-2,Lung Opacity',
        'cc-3,Normal',
    )
    names = tmp_path / 'map.json'
    names.write_text(
        json.dumps(
            [
                dict(subset_img_id=a, img_id=b)
                for a, b in (
                    ('aa-1', '00000013_005.png'),
                    ('bb-2', '00000014_001.png'),
                    ('cc-3', '00000013_006.png'),
                )
            ]
        )
    )
    options = ConvertOptions(size='table', blank='drop')
    summary = convert_rsna(labels, 'no', out, options, classes, names)
    assert films_of(out) == [('cc-3.dcm', 0, True, '00000013')]
    assert summary.left_out['no fracture label'] == 2


def test_rsna_problems(table, tmp_path, given):
    labels = table('t.csv', *RSNA, 'cc-3,,,,,1', 'dd-4,1,2,x,4,1', 'ee-5,,,,,yes please')
    problems = problems_of(convert_rsna, labels, 'no', tmp_path / 'a.json', given)
    assert [one.split(': ')[1] for one in problems] == ['line 6', 'line 7', 'line 8']
    (tmp_path / 'map.json').write_text('[{"img_id": 3}, 5]')
    problems = problems_of(
        convert_rsna,
        table('t.csv', *RSNA),
        'no',
        tmp_path / 'a.json',
        given,
        None,
        tmp_path / 'map.json',
    )
    assert [one.split(':')[0] for one in problems] == ['map.json', 'map.json']


# ---- COCO ----------------------------------------------------------------------------------------


def coco(**changes):
    data = dict(
        categories=[dict(id=3, name='Rib Fracture'), dict(id=5, name='nodule')],
        images=[
            dict(id=7, file_name='P1_a.png', width=40, height=30),
            dict(id=8, file_name='P1_b.png', width=40, height=30),
            dict(
                id=9, file_name='P2_c.png', width=40, height=30, label=-1, source='x', patient_id=5
            ),
        ],
        annotations=[
            dict(
                id=1,
                image_id=7,
                category_id=3,
                bbox=[1, 1, 5, 5],
                iscrowd=0,
                site='rib',
                segmentation=[[1, 1, 6, 1, 6, 6]],
            ),
            dict(id=2, image_id=8, category_id=5, bbox=[1, 1, 5, 5]),
            dict(
                id=4,
                image_id=7,
                category_id=3,
                bbox=[9, 9, 5, 5],
                segmentation=dict(counts=[310, 3, 887], size=[30, 40]),
            ),
            dict(id=5, image_id=7, category_id=3, bbox=[9, 9, 5, 5], iscrowd=1),
        ],
    )
    return json.dumps(data | changes)


def test_coco(tmp_path):
    source, out, tables = tmp_path / 'c.json', tmp_path / 'a.json', ConvertOptions(size='table')
    source.write_text(coco())
    summary = convert_coco(source, 'no', out, tables)
    assert films_of(out) == [
        *(
            ('P1_a.png', 1, True, None),
            ('P1_b.png', 0, True, None),
            ('P2_c.png', -1, False, '5'),
        )
    ]
    assert boxes_of(out) == [([1, 1, 5, 5], 'rib'), ([9, 9, 5, 5], None), ([9, 9, 5, 5], None)]
    flags = [a['iscrowd'] for a in json.loads(out.read_text())['annotations']]
    assert flags == [0, 0, 1] and summary.boxes == 2
    assert summary.noted == {
        'images with boxes of nodule, and none of those asked for: label 0': 1,
        'boxes that are ignored, no lesions': 1,
    }
    assert json.loads(out.read_text())['annotations'][0]['segmentation'] == [[1, 1, 6, 1, 6, 6]]
    assert summary.left_out == {'nodule boxes, another finding': 1}
    assert summary.changed == {'masks left out, their boxes kept': 1}
    assert [image['source'] for image in json.loads(out.read_text())['images']] == [
        'coco',
        'coco',
        'x',
    ]
    convert_coco(source, 'no', out, tables, ['nodule'], 'unknown', r'^(P\d)_')
    assert [film[1:] for film in films_of(out)] == [
        (-1, False, 'P1'),
        (1, True, 'P1'),
        (-1, False, 'P2'),
    ]


def test_coco_problems(tmp_path, given):
    source, out = tmp_path / 'c.json', tmp_path / 'a.json'
    source.write_text(coco())
    for options, words in (
        (dict(categories=['mass']), "no category \\['mass'\\]"),
        (dict(unboxed='x'), 'none of'),
        (dict(patient_pattern='('), 'is no expression'),
        (dict(patient_pattern='^Q'), '3 problems'),
    ):
        with pytest.raises(ValueError, match=words):
            convert_coco(source, 'no', out, given, **options)
    source.write_text(coco(categories=[dict(id=3, name='mass'), dict(id=5, name='nodule')]))
    with pytest.raises(AnnotationError, match='with fracture in its name'):
        convert_coco(source, 'no', out, given)
    source.write_text(coco(images=[dict(id=7, file_name='a')]))
    with pytest.raises(AnnotationError, match='missing field'):
        convert_coco(source, 'no', out, given)
    source.write_text('{')
    with pytest.raises(AnnotationError, match='not JSON'):
        convert_coco(source, 'no', out, given)
    assert not out.exists()
