# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Names that take a fracture back, and rows whose keys contradict each other."""

import gzip
import json

import pytest

from mmfrac.datasets.labels import doubts_fracture, names_fracture
from mmfrac.evaluation.offline.ground_truth import read_ground_truth
from mmfrac.evaluation.offline.image_prediction import PredictionError
from mmfrac.evaluation.offline.predictions import open_predictions
from mmfrac.preparation.checks import check_data
from mmfrac.preparation.converters import (
    ConvertOptions,
    convert_chestx_det,
    convert_coco,
    convert_csv,
    convert_padchest,
    convert_vindr_cxr,
)
from mmfrac.preparation.dicom_folder import FolderOptions, convert_dicom_folder
from mmfrac.preparation.splits.folds import write_folds
from mmfrac.utils.errors import AnnotationError
from tests.datasets.radiographs.test_dicom import make_dicom, ramp

GIVEN = ConvertOptions(size=(80, 96))


def labels(out):
    return {image['file_name']: image['label'] for image in json.loads(out.read_text())['images']}


# ---- categories ------------------------------------------------------------------------------------


def coco(path, *names, image=None, box=None):
    """The first category has a box on a.png."""
    images = [
        dict(id=key, file_name=f'{name}.png', width=80, height=96)
        for key, name in ((1, 'a'), (2, 'b'))
    ]
    images[1] |= image or {}
    boxes = [dict(id=1, image_id=1, category_id=1, bbox=[10, 10, 20, 20]) | (box or {})]
    categories = [dict(id=key, name=name) for key, name in enumerate(names, 1)]
    path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)))
    return path


@pytest.mark.parametrize(
    'name',
    [
        *(
            'no fracture',
            'not fractured',
            'non-fracture',
            'no_fracture',
            'NoFracture?',
            'fracture absent',
        ),
        *('negative for fracture', 'fracture mimic', 'fracture fixation hardware', 'unfractured'),
        *(
            'suspected fracture',
            'fracture-like line',
            'pseudofracture',
            'keine Fraktur / no fracture',
        ),
        *('rib fx', 'callus', 'RibFx', 'NoFracture', 'nofracture', 'NotFractured', 'FractureNo'),
        *(
            'PossibleFracture',
            'r/o rib fracture',
            'susp. fracture',
            'poss. fracture',
            '0 fractures',
        ),
        *('unlikely fracture', 'fracture_0', '!fracture', 'unknown fracture', 'fracture candidate'),
        *(
            'indeterminate fracture',
            'fracture vs. vessel',
            'fracture look-alike',
            'non-rib fracture',
        ),
    ],
)
def test_categories_that_may_be_no_fracture(tmp_path, name):
    out = tmp_path / 'out.json'
    source = coco(tmp_path / 'a.json', name, 'fracture')
    with pytest.raises(
        AnnotationError, match=r'there are boxes of .*name the categories .*--categories'
    ):
        convert_coco(source, tmp_path, out, GIVEN)
    summary = convert_coco(source, tmp_path, out, GIVEN, categories=[name])
    assert summary.positives == 1 and f'{name!r} (1 boxes)' in summary.notes[0]
    # one without boxes does not matter
    coco(source, 'fracture', name)
    summary = convert_coco(source, tmp_path, out, GIVEN)
    assert labels(out) == {'a.png': 1, 'b.png': 0}
    assert summary.notes[0] == "categories that count as fractures: 'fracture' (1 boxes)"


@pytest.mark.parametrize(
    'name',
    [
        *(
            'fracture',
            'Rib_Fracture',
            'rib fracture (left)',
            'fractured rib',
            'old fracture',
            'Fraktur',
        ),
        *(
            'nondisplaced fracture',
            'non-displaced rib fracture',
            'fracture, notched',
            'flail/fractures',
            'RibFracture',
            'fracture2',
            'fracture (10th rib)',
            'refracture',
        ),
    ],
)
def test_categories_that_are_fractures(name):
    assert name == 'Fraktur' or names_fracture(name)
    assert name == 'Fraktur' or not doubts_fracture(name)


def test_unread_fields_are_named(tmp_path):
    source = coco(
        tmp_path / 'a.json', 'fracture', image=dict(ward='x'), box=dict(score=1, reader='y')
    )
    summary = convert_coco(source, tmp_path, tmp_path / 'out.json', GIVEN)
    assert summary.notes[1:3] == [
        'fields of images that are not read: ward',
        'fields of annotations that are not read: reader, score',
    ]
    assert 'note: fields of annotations that are not read: reader, score' in str(summary)


def test_findings_of_padchest_and_vindr(tmp_path):
    table = tmp_path / 't.csv'
    header = 'ImageID,PatientID,Projection,Labels\n'
    table.write_text(
        header
        + 'a.png,p1,PA,"[\'old rib fx\']"\nb.png,p2,PA,"[\'callus\']"\nc.png,p3,PA,"[\'nodule\']"\n'
    )
    summary = convert_padchest(table, tmp_path, tmp_path / 'out.json', GIVEN)
    assert labels(tmp_path / 'out.json') == {'a.png': -1, 'b.png': -1, 'c.png': 0}
    assert [name for name in summary.noted if 'old rib fx' in name or 'callus' in name]
    table.write_text('image_id,class_name,rad_id,x_min,y_min,x_max,y_max\na,Rib fx,R1,1,1,9,9\n')
    with pytest.raises(AnnotationError, match=r"line 2: class 'Rib fx' is a fracture, but none of"):
        convert_vindr_cxr(table, tmp_path, tmp_path / 'out.json', GIVEN)


@pytest.mark.parametrize(
    'text',
    [
        *('-', '?', '00000', 'NOID', '#REF!', '\u200b'),
        *('UNK', 'Unknown patient', 'Patient: anonymous'),
    ],
)
def test_patients_of_tables_that_are_none(tmp_path, text):
    table = tmp_path / 't.csv'
    table.write_text(f'path,label,patient_id\na.png,1,{text}\n', encoding='utf-8')
    with pytest.raises(AnnotationError, match=r'line 2: no patient id'):
        convert_csv(table, tmp_path, tmp_path / 'out.json', GIVEN)


# ---- two keys of a row ------------------------------------------------------------------------------


@pytest.fixture
def convert(tmp_path):
    folder = tmp_path / 'films'
    folder.mkdir()
    (tmp_path / 'key').write_text('k' * 32)
    for number, name in enumerate('ab', 1):
        stored = ramp()
        stored[0, 0] = number
        fields = dict(
            SOPInstanceUID=f'1.2.{number}',
            StudyInstanceUID=f'1.8.{number}',
            AccessionNumber=f'0{number}',
        )
        make_dicom(
            folder / f'{name}.dcm',
            stored,
            PatientID=name,
            Modality='DX',
            ViewPosition='PA',
            **fields,
        )

    def run(text):
        (tmp_path / 'labels.csv').write_text(text)
        options = FolderOptions(key_file=tmp_path / 'key', names='original')
        out = tmp_path / 'out.json'
        found = convert_dicom_folder(
            folder, out, tmp_path / 'labels.csv', ConvertOptions(workers=1), options
        )
        return found[0], labels(out)

    return run


def test_path_and_uid_of_two_films(convert):
    with pytest.raises(
        AnnotationError, match=r'line 2: its path is that of a film, its instance is not'
    ):
        convert('path,SOPInstanceUID,label\na.dcm,1.2.2,1\nb.dcm,1.2.2,0\n')
    with pytest.raises(
        AnnotationError, match=r'line 3: its path is that of a film, its accession is not'
    ):
        convert('path,AccessionNumber,label\na.dcm,1,1\nb.dcm,7,0\n')
    for table in (
        'path,SOPInstanceUID,AccessionNumber,label\na.dcm,1.2.1,1,1\nb.dcm,,2.0,0\n',
        'SOPInstanceUID,StudyInstanceUID,label\n1.2.1,1.8.1,1\n1.2.2,1.8.2,0\n',
    ):
        assert convert(table)[1] == {'a.dcm': 1, 'b.dcm': 0}


def test_a_path_that_is_not_there_beside_a_uid_that_is(convert):
    summary, found = convert('path,SOPInstanceUID,label\nold/x.dcm,1.2.1,1\nb.dcm,1.2.2,0\n')
    assert found == {'a.dcm': 1, 'b.dcm': 0}
    assert summary.noted['rows whose path is no file here, taken by their SOPInstanceUID'] == 1
    # the label of a film that is not here is not that of its study
    assert convert('path,StudyInstanceUID,label\nx.dcm,1.8.1,1\nb.dcm,1.8.2,0\n')[1]['a.dcm'] == -1


def test_two_labels_of_a_film_by_two_keys(convert):
    table = 'path,StudyInstanceUID,label\na.dcm,,1\n,1.8.1,{}\nb.dcm,,0\n'
    with pytest.raises(
        AnnotationError,
        match=r'line 2: label 1 of a film by its path, but 0 by its study on line 3',
    ):
        convert(table.format(0))
    for label in ('1', '-1', ''):
        assert convert(table.format(label))[1] == {'a.dcm': 1, 'b.dcm': 0}
    with pytest.raises(
        AnnotationError, match=r'label 0 of a film by its path, but 1 by its instance'
    ):
        convert('path,SOPInstanceUID,label\na.dcm,,0\n,1.2.1,1\nb.dcm,,0\n')
    # another film of the study may show it
    summary, found = convert('path,StudyInstanceUID,label\na.dcm,,0\n,1.8.1,1\nb.dcm,,0\n')
    assert found == {'a.dcm': 0, 'b.dcm': 0}
    assert summary.noted['films of label 0 beside label 1 of their study'] == 1


def test_two_keys_of_a_predicted_box(tmp_path):
    truth = read_ground_truth(coco(tmp_path / 'truth.json', 'fracture'))
    table = tmp_path / 'p.csv'
    header = 'film,image_id,x1,y1,x2,y2,score\n'
    table.write_text(header + 'b.png,1,1,1,9,9,0.5\n')
    match = r"line 2: film 'b.png', but image_id 1 is that of 'a.png'"
    with pytest.raises(PredictionError, match=match):
        open_predictions(table, truth)
    table.write_text(
        header + 'b.png,2,1,1,9,9,0.5\na.png,,1,1,9,9,0.5\n,1,1,1,9,9,0.4\nb.png,x7,1,1,9,9,0.5\n'
    )
    assert len(open_predictions(table, truth)['a.png'].boxes) == 2


def test_a_table_of_another_category_alone(tmp_path):
    truth = read_ground_truth(coco(tmp_path / 'truth.json', 'fracture'))
    table = tmp_path / 'p.csv'
    header = 'film,category,x1,y1,x2,y2,score\n'
    table.write_text(header + 'a.png,Fracture,1,1,9,9,0.5\n')
    match = r"no row is of category 'fracture'.* there are 1 of 'Fracture'"
    with pytest.raises(ValueError, match=match):
        open_predictions(table, truth)
    table.write_text(header + 'a.png,nodule,1,1,9,9,0.5\na.png,fracture,1,1,9,9,0.5\n')
    assert open_predictions(table, truth).others == {'nodule': 1}


def test_two_sizes_of_an_image_of_vindr(tmp_path):
    table = tmp_path / 't.csv'
    header = 'image_id,class_name,rad_id,x_min,y_min,x_max,y_max,width,height\n'
    table.write_text(
        header + 'a,Rib fracture,R1,1,1,9,9,80,96\na,Rib fracture,R2,1,1,9,9,160,192\n'
    )
    with pytest.raises(
        AnnotationError, match=r'line 3: width and height \(160, 192\), but \(80, 96\)'
    ):
        convert_vindr_cxr(table, tmp_path, tmp_path / 'out.json', GIVEN)
    table.write_text(header + 'a,Rib fracture,R1,1,1,9,9,80,96\na,Rib fracture,R2,1,1,9,9,,\n')
    assert convert_vindr_cxr(table, tmp_path, tmp_path / 'out.json', GIVEN).positives == 1
    table.write_text(
        'image_id,class_name,rad_id,x_min,y_min,x_max,y_max\na,Rib fracture,R1,1,1,9,9\n'
    )
    sizes = tmp_path / 's.csv'
    sizes.write_text('image_id,dim0,dim1\na,96,80\na,192,160\n')
    with pytest.raises(AnnotationError, match=r's\.csv: line 3: size \(160, 192\), but \(80, 96\)'):
        convert_vindr_cxr(table, tmp_path, tmp_path / 'out.json', GIVEN, sizes=sizes)


# ---- the file-name map of ChestX-Det ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('content', 'match'),
    [
        ('nih_name,det_name\nä.png,9.png\n'.encode('cp1252'), r'line 2: nih: b.*is not utf-8'),
        (b'nih_name,det_name\n' + b'x' * 2**20 + b',9.png\n', r'names\.csv'),
        (b'nih_name,det_name\n1.png,"9.png\n', r'names\.csv'),
        (b'', r'names\.csv: header: the table is empty'),
        (b'nih,det\n', r"no column 'nih_name', 'det_name'"),
    ],
)
def test_a_name_map_that_cannot_be_read(tmp_path, content, match):
    (tmp_path / 'det.json').write_text('[{"file_name": "9.png", "syms": [], "boxes": []}]')
    (tmp_path / 'names.csv').write_bytes(content)
    with pytest.raises(AnnotationError, match=match):
        convert_chestx_det(
            tmp_path / 'det.json',
            tmp_path,
            tmp_path / 'out.json',
            tmp_path / 'names.csv',
            options=GIVEN,
        )


@pytest.mark.parametrize(
    'pack', [lambda text: text.encode('utf-16'), lambda text: gzip.compress(text.encode())]
)
def test_a_name_map_of_another_kind(tmp_path, pack):
    (tmp_path / 'det.json').write_text('[{"file_name": "9.png", "syms": [], "boxes": []}]')
    (tmp_path / 'names.csv').write_bytes(pack('nih_name;det_name\n00000001_000.png;9.png\n'))
    summary = convert_chestx_det(
        tmp_path / 'det.json',
        tmp_path,
        tmp_path / 'out.json',
        tmp_path / 'names.csv',
        options=GIVEN,
    )
    assert summary.patients == 1 and not any('no patient_id' in note for note in summary.notes)


# ---- one film under two names ---------------------------------------------------------------------


def test_one_film_under_two_names(films, tmp_path):
    root = films('a.png', folder='images')
    (tmp_path / 'annotations').mkdir()
    source = coco(tmp_path / 'annotations/train.json', 'fracture', image=dict(file_name='.//a.png'))
    report, _ = check_data(tmp_path, workers=0, progress=False)
    assert report.counts['duplicate_id'] == 1 and report.num_errors
    coco(source, 'fracture', image=dict(file_name=str(root / 'a.png')))
    report, _ = check_data(tmp_path, workers=0, progress=False, allow_outside=True)
    assert [one.message for one in report.of_check('duplicate_id')] == [
        f'train: {root / "a.png"} is the file of a.png, too'
    ]
    # nor are they two patients of two files
    other = coco(tmp_path / 'b.json', 'fracture', image=dict(file_name='c.png'))
    other.write_text(other.read_text().replace('a.png', './a.png'))
    with pytest.raises(AnnotationError, match=r'b\.json: images\[0\] \(id 1, \./a\.png\): also in'):
        write_folds([coco(source, 'fracture'), other], tmp_path / 'folds', 2, 0)
