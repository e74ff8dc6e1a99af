# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The label tables as they were published, counted a second time with pandas."""

import ast
import json

import pandas as pd
import pytest

from mmfrac.datasets import CXRDataset
from mmfrac.preparation.converters import (
    ConvertOptions,
    convert_chexpert,
    convert_nih_cxr14,
    convert_padchest,
    convert_rsna,
    convert_vindr_cxr,
)

PADCHEST = 'PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz'
GOOGLE = 'google2019_nih-chest-xray-labels.csv.gz'


def written(out):
    return pd.DataFrame(json.loads(out.read_text())['images'])


def loads(out, count):
    """CXRDataset reads the output; the films themselves are not there."""
    dataset = CXRDataset(ann_file=str(out), check_files=False)
    assert len(dataset) == count
    return dataset


@pytest.mark.slow
def test_chexpert(label_tables, tmp_path, given):
    path, out = label_tables / 'chexpert_train.csv.gz', tmp_path / 'a.json'
    summary = convert_chexpert(path, 'no', out, given)
    table = pd.read_csv(path)
    frontal = table[table['Frontal/Lateral'] == 'Frontal']
    fracture = (
        frontal['Fracture']
        .fillna(-1)
        .where(frontal['Fracture'].notna() | (frontal['No Finding'] != 1), 0)
    )
    images = written(out)
    assert images['file_name'].tolist() == frontal['Path'].tolist()
    assert images['label'].tolist() == fracture.astype(int).tolist()
    assert images['patient_id'].tolist() == frontal['Path'].str.split('/').str[2].tolist()
    assert (images['regions'] == (images['label'] == 0)).all()
    assert summary.positives == (frontal['Fracture'] == 1).sum() == 7436
    assert summary.left_out == {'view Lateral': (table['Frontal/Lateral'] == 'Lateral').sum()}
    dataset = loads(out, len(frontal))
    assert (dataset.labels() == 1).sum() == summary.positives

    part = table.sample(20_000, random_state=0)
    part.to_csv(tmp_path / 'part.csv', index=False)
    options = ConvertOptions(
        size=(320, 320), uncertain='positive', blank='negative', views='all', source='stanford'
    )
    summary = convert_chexpert(tmp_path / 'part.csv', 'no', out, options)
    assert summary.films == len(part) and summary.subsets['U'] == 0
    assert summary.positives == part['Fracture'].isin([1, -1]).sum()
    drop = ConvertOptions(size=(320, 320), uncertain='drop', blank='drop', views=('lateral',))
    summary = convert_chexpert(tmp_path / 'part.csv', 'no', out, drop)
    lateral = part[part['Frontal/Lateral'] == 'Lateral']
    healthy = lateral['Fracture'].isna() & (lateral['No Finding'] == 1)
    assert summary.left_out['uncertain label'] == (lateral['Fracture'] == -1).sum() > 0
    assert summary.films == (lateral['Fracture'].isin([0, 1]) | healthy).sum()


@pytest.mark.slow
def test_padchest(label_tables, tmp_path):
    path, out = label_tables / PADCHEST, tmp_path / 'a.json'
    summary = convert_padchest(path, 'no', out, ConvertOptions(size='table'))
    columns = [
        'ImageID',
        'PatientID',
        'Projection',
        'Labels',
        'Rows_DICOM',
        'Columns_DICOM',
        'MethodLabel',
    ]
    table = pd.read_csv(path, usecols=columns, dtype=str)
    table['names'] = [
        {name.strip() for name in ast.literal_eval(text)} - {''} if text == text else set()
        for text in table['Labels']
    ]
    ours = {'rib fracture', 'callus rib fracture', 'clavicle fracture'}
    table['label'] = [
        1 if names & ours else -1 if 'fracture' in names or names <= {'unchanged'} else 0
        for names in table['names']
    ]
    frontal = table[table['Projection'].isin(['PA', 'AP', 'AP_horizontal'])]
    kept = frontal[['exclude' not in names for names in frontal['names']]]
    images = written(out)
    assert images['file_name'].tolist() == kept['ImageID'].tolist()
    assert images['label'].tolist() == kept['label'].tolist()
    assert images['patient_id'].tolist() == kept['PatientID'].tolist()
    assert images['height'].tolist() == kept['Rows_DICOM'].astype(int).tolist()
    assert images['width'].tolist() == kept['Columns_DICOM'].astype(int).tolist()
    assert summary.films + sum(summary.left_out.values()) == len(table) == 160_861
    # every third rib fracture of the release has a blank before its name
    assert summary.positives == (kept['label'] == 1).sum() > 2600
    loads(out, len(kept))

    options = ConvertOptions(size='table', uncertain='negative', blank='negative', views='all')
    part = table[table['names'].map(lambda names: any('fracture' in name for name in names))]
    part.to_csv(tmp_path / 'part.csv', index=False)
    also = convert_padchest(
        tmp_path / 'part.csv', 'no', out, options, ['humeral', 'vertebral'], True
    )
    hand = part[part['MethodLabel'] == 'Physician']
    every = ours | {'humeral fracture', 'vertebral fracture'}
    wanted = [bool(n & every) and 'exclude' not in n for n in hand['names']]
    assert also.positives == sum(wanted) > 900


@pytest.mark.slow
def test_google_labels_of_nih(label_tables, tmp_path):
    out, options = tmp_path / 'a.json', ConvertOptions(size='table')
    google, entries = label_tables / GOOGLE, label_tables / 'Data_Entry_2017_v2020.csv.gz'
    boxes = label_tables / 'BBox_List_2017.csv.gz'
    summary = convert_nih_cxr14([google], 'no', out, options, boxes=boxes)
    table, images = pd.read_csv(google), written(out)
    assert images['file_name'].tolist() == table['Image Index'].tolist()
    assert images['label'].tolist() == (table['Fracture'] == 'YES').astype(int).tolist()
    assert images['patient_id'].astype(int).tolist() == table['Patient ID'].tolist()
    assert summary.patients == table['Patient ID'].nunique() and summary.positives == 186
    assert (images['patient_id'] == images['file_name'].str[:8]).all()
    listed = pd.read_csv(boxes)['Finding Label'].value_counts()
    assert summary.boxes == 0
    assert summary.left_out == {f'{k} boxes, another finding': n for k, n in listed.items()}

    summary = convert_nih_cxr14([google], 'no', out, options, entries, split='test')
    everything = pd.read_csv(entries)
    test = table[table['Set Id'] == 'test']
    rest = everything[~everything['Image Index'].isin(table['Image Index'])]
    assert summary.films == len(test) + len(rest)
    assert summary.subsets['U'] == len(rest)
    assert summary.positives == (test['Fracture'] == 'YES').sum()
    loads(out, summary.films)


def test_rsna(label_tables, tmp_path):
    out, path = tmp_path / 'a.json', label_tables / 'kaggle_stage_2_train_labels.csv.zip'
    summary = convert_rsna(path, 'no', out, ConvertOptions(size='table'))
    table, images = pd.read_csv(path), written(out)
    assert images['file_name'].str[:-4].tolist() == table['patientId'].unique().tolist()
    assert set(images['label']) == {-1} and summary.boxes == 0
    assert summary.left_out == {'Lung opacity boxes, another finding': table['x'].notna().sum()}
    loads(out, 26_684)


@pytest.mark.slow
def test_vinbigdata(label_tables, tmp_path, given):
    """As published it has no fracture class; and with one class renamed, its real boxes."""
    out, path = tmp_path / 'a.json', label_tables / 'vinbigdata-train.csv.gz'
    table = pd.read_csv(path)
    summary = convert_vindr_cxr(path, 'no', out, given)
    others = table[table['class_name'] == 'Other lesion']['image_id'].nunique()
    assert (summary.films, summary.positives) == (15_000, 0)
    assert summary.subsets['U'] == others
    loads(out, 15_000)

    marked = table[table['class_name'] == 'Nodule/Mass']
    renamed = table[table['image_id'].isin(marked['image_id'])].replace(
        {'class_name': {'Nodule/Mass': 'Rib fracture'}}
    )
    renamed.to_csv(tmp_path / 't.csv', index=False)
    votes = marked.groupby('image_id')['rad_id'].nunique()
    for merge, needed in (('any', 1), ('majority', 2), ('all', 3)):
        options = ConvertOptions(size=(4000, 4000))
        summary = convert_vindr_cxr(tmp_path / 't.csv', 'no', out, options, merge)
        assert summary.positives == (votes >= needed).sum()
        assert summary.subsets['U'] == (votes < needed).sum()
        assert 0 < summary.boxes <= len(marked)
        assert summary.subsets['P_hos'] + summary.subsets['P_pub'] == summary.positives
