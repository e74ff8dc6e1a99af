# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The converters as commands."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'tools/dataset_converters'
GIB = 2**30
# ru_maxrss would count the memory of the process that starts this one, before it is replaced
MEASURED = """
import re, runpy, sys, time
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], time.process_time())
"""

COCO = dict(
    categories=[dict(id=1, name='fracture')],
    images=[dict(id=1, file_name='a.png', width=40, height=30)],
    annotations=[dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 5, 5])],
)
DET = [dict(file_name='1.png', syms=['Fracture'], boxes=[[1, 1, 5, 5]])]
TABLES = {
    'labels.csv': 'subject_id,study_id,Fracture\n1,2,1.0\n',
    'films.csv': 'dicom_id,subject_id,study_id,ViewPosition,Rows,Columns\na,1,2,PA,30,40\n',
    'split.csv': 'dicom_id,split\na,train\n',
    'chexpert.csv': 'Path,Fracture\nx/patient1/study1/view1_frontal.jpg,1.0\n',
    'padchest.csv': "ImageID,PatientID,Projection,Labels\na.png,1,PA,['rib fracture']\n",
    'vindr.csv': 'image_id,rad_id,class_name,x_min,y_min,x_max,y_max\na,R1,Rib fracture,1,1,9,9\n',
    'sizes.csv': 'image_id,dim0,dim1\na,30,40\n',
    'google.csv': 'Image Index,Patient ID,Fracture\n00000001_000.png,1,YES\n',
    'more.csv': 'Image Index,Patient ID,Fracture\n00000002_000.png,2,NO\n',
    'rsna.csv': 'patientId,Target\na,0\n',
    'classes.csv': 'patientId,class\na,Normal\n',
    'films.tsv': 'path\tfx\na.png\t1\n',
    'coco.json': json.dumps(COCO),
    'det.json': json.dumps(DET),
}
# of the hospital's folder, and of what models found: tested on their own
NOT_OURS = {'dicom_folder', 'predictions'}
RUNS = dict(
    chexpert='chexpert.csv images OUT --views frontal,lateral --uncertain drop --source here',
    mimic_cxr='labels.csv images OUT --metadata films.csv --split-table split.csv --split train',
    padchest='padchest.csv images OUT --also humeral vertebral --blank drop',
    vindr_cxr='vindr.csv images OUT --merge any --iou 0.5 --fuse union --sizes sizes.csv --suffix .png',
    nih_cxr14='google.csv images OUT --more more.csv --missing error',
    rsna='rsna.csv images OUT --classes classes.csv',
    plain_coco='coco.json images OUT --categories fracture --unboxed unknown',
    plain_csv='films.tsv images OUT --column label=fx --encoding utf-8',
    chestx_det='det.json images OUT',
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a tool as a command in a folder that holds TABLES; returns exit code, output, errors."""
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)

    def start(tool, *arguments):
        path = FOLDER / f'{tool}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *arguments])
        code = 0
        try:
            runpy.run_path(str(path), run_name='__main__')
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return start


def test_every_tool_is_run():
    assert set(RUNS) == {path.stem for path in FOLDER.glob('*.py')} - NOT_OURS


@pytest.mark.parametrize('tool', RUNS)
def test_runs(run, tool, tmp_path):
    arguments = RUNS[tool].replace('OUT', 'out/a.json').split()
    code, out, errors = run(tool, *arguments, '--size', '40x30')
    assert code == 0, errors
    assert 'wrote out/a.json' in out and 'positives' in out and 'patients' in out
    images = json.loads((tmp_path / 'out/a.json').read_text())['images']
    assert len(images) == (2 if tool == 'nih_cxr14' else 1) and images[0]['width'] == 40
    if tool not in ('plain_coco', 'chestx_det'):
        assert '100%' in errors, 'no progress is shown'


@pytest.mark.parametrize('tool', RUNS)
def test_wrong_input_is_one_message(run, tool, tmp_path):
    table, *others = RUNS[tool].replace('OUT', 'out/a.json').split()
    code, _, errors = run(tool, table, *others)
    assert code == 1 and "FileNotFoundError: no image folder 'images'" in errors
    assert '--size' in errors and 'Traceback' not in errors
    (tmp_path / table).write_text('colour,shape\nred,round\n')
    code, _, errors = run(tool, table, *others, '--size', '40x30')
    assert code == 1 and table in errors and 'Traceback' not in errors
    if not table.endswith('.json'):
        assert "found: 'colour', 'shape'" in errors
    code, _, errors = run(tool, 'no.csv', *others, '--size', '40x30')
    assert code == 1 and 'FileNotFoundError' in errors and 'no.csv' in errors
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        (['--size', '40'], 'WIDTHxHEIGHT'),
        (['--workers', '0'], 'workers 0'),
        (['--column', 'label'], 'not NAME=OTHER'),
        (['--encoding', 'x'], 'unknown encoding'),
    ],
)
def test_wrong_choices(run, option, words):
    code, _, errors = run('plain_csv', *RUNS['plain_csv'].split()[:3], *option)
    assert code == 1 and words in errors


@pytest.mark.slow
def test_200_000_rows(tmp_path):
    """Under 60 s and 1 GiB, torch and all."""
    table = tmp_path / 'films.csv'
    with open(table, 'w') as file:
        file.write('path,label,patient_id,x1,y1,x2,y2\n')
        for index in range(200_000):
            box = '10,20,100,200.5' if index % 20 == 0 else ',,,'
            file.write(
                f'site/{index % 97}/film_{index}.png,{int(index % 20 == 0)},p{index // 3},{box}\n'
            )
    command = [sys.executable, '-c', MEASURED, FOLDER / 'plain_csv.py', table, 'no']
    done = subprocess.run(
        [*map(str, command), str(tmp_path / 'a.json'), '--size', '1024x1024'],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert 'fracture boxes' in done.stdout
    assert ' 200000' in done.stdout and ' 10000' in done.stdout
    kib, seconds = done.stdout.splitlines()[-1].split()
    assert int(kib) * 1024 < GIB
    # processor time, as the tests may run beside others
    assert float(seconds) < 60
