# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""No output takes the place of an input, or of a file that its writer did not write."""

import json
import os
import runpy
import shutil
import sys

import pytest
import torch
from PIL import Image

from mmfrac.deployment.annotation import Found, convert_found
from mmfrac.evaluation.metrics.frac_metric import FracMetric
from mmfrac.evaluation.report.curves import plot_run
from mmfrac.preparation.checks import check_data, write_check_report, write_page
from mmfrac.preparation.converters import ConvertOptions, convert_coco, convert_csv
from mmfrac.preparation.converters.coco_writer import CocoImage, write_coco
from mmfrac.preparation.dicom_folder import FolderOptions, convert_dicom_folder
from mmfrac.preparation.splits.folds import write_folds
from mmfrac.utils.io import check_output, listed_output
from mmfrac.visualization.run_plots import plot_keys
from tests.datasets.radiographs.test_dicom import make_dicom, ramp

GIVEN = ConvertOptions(size=(40, 30))


def refused(path, match, write, *args, **more):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=match):
        write(*args, **more)
    assert path.read_bytes() == before


def coco(path, names=('a.png',)):
    images = [
        dict(
            id=i,
            notes='hours of work',
            file_name=name,
            width=40,
            height=30,
            label=int(i > 10),
            regions=i < 11,
        )
        for i, name in enumerate(names, 1)
    ]
    content = dict(images=images, annotations=[], categories=[dict(id=1, name='fracture')])
    path.write_text(json.dumps(content))
    return path


def test_coco_converter(films, tmp_path):
    root = films('a.png')
    source = coco(tmp_path / 'src.json')
    refused(source, r'src\.json is what is read', convert_coco, source, root, source)
    link = tmp_path / 'link.json'
    os.link(source, link)
    refused(source, r'link\.json is what is read', convert_coco, source, root, link)
    other = coco(tmp_path / 'other.json')
    refused(
        other,
        r'other\.json is there and is no COCO file of a converter',
        convert_coco,
        source,
        root,
        other,
    )
    film = root / 'a.png'
    refused(film, r'a\.png is there and is no COCO file', convert_coco, source, root, film)
    # its own output it replaces, but not where that is read
    out = tmp_path / 'out.json'
    convert_coco(source, root, out)
    first = out.read_bytes()
    convert_coco(source, root, out)
    assert out.read_bytes() == first
    refused(out, r'out\.json is what is read', convert_coco, out, root, out)
    # nor once somebody has worked on it
    out.write_text(json.dumps(json.loads(first), indent=1))
    refused(out, r'out\.json is there and is no COCO file', convert_coco, source, root, out)


def test_empty_and_odd_outputs(tmp_path):
    record = CocoImage('a" \\ ü.png', 40, 30, 0, True, 'x', None)
    out = tmp_path / 'out.json'
    out.touch()
    write_coco([record], out)
    write_coco([record], out)
    write_coco([], out)
    write_coco([record], out)
    (tmp_path / 'gone').symlink_to(tmp_path / 'nothing')
    write_coco([record], tmp_path / 'gone')


def test_csv_converter(films, tmp_path):
    root = films('a.png')
    table = tmp_path / 't.csv'
    table.write_text('path,label\na.png,0\n')
    refused(table, r't\.csv is what is read', convert_csv, table, root, table)
    film = root / 'a.png'
    refused(film, r'a\.png is there and is no COCO file', convert_csv, table, root, film, GIVEN)


def test_dicom_folder(tmp_path):
    root = tmp_path / 'films'
    root.mkdir()
    film = root / 'a.dcm'
    make_dicom(film, ramp(), SOPInstanceUID='1.2', PatientID='p', Modality='DX', ViewPosition='PA')
    table = tmp_path / 'labels.csv'
    table.write_text('path,label\na.dcm,1\n')
    key = tmp_path / 'key'
    key.write_text('k' * 32)
    out, names, left = (tmp_path / name for name in ('out.json', 'map.csv', 'left.csv'))

    def convert(out=out, **more):
        choices = dict(key_file=key, map_file=names, left_out_file=left) | more
        options = ConvertOptions(workers=1)
        return convert_dicom_folder(root, out, table, options, FolderOptions(**choices))

    refused(film, r'a\.dcm is there and is no COCO file', convert, film)
    for path in (table, film, key):
        match = r'is there and is no list of files that are left out'
        refused(path, match, convert, left_out_file=path)
    for path, name in ((out, 'COCO file'), (names, '--map')):
        with pytest.raises(ValueError, match=rf"--left-out '.*' is the {name}, too"):
            convert(left_out_file=path)
        assert not path.exists()
    with pytest.raises(ValueError, match=r"--map '.*' is the COCO file, too"):
        convert(map_file=out)
    convert()
    convert()
    assert left.read_text() == 'file,reason,detail\n'


def test_check_data(films, tmp_path, monkeypatch):
    films('a.png', folder='images')
    (tmp_path / 'annotations').mkdir()
    file = coco(tmp_path / 'annotations/train.json')
    report, entries = check_data(tmp_path, workers=0, progress=False)
    refused(file, r'train\.json is there and is no report', write_check_report, report, file)
    match = r'train\.json is there and is no page'
    refused(file, match, write_page, report, entries, file, workers=0)
    for _ in range(2):
        write_check_report(report, tmp_path / 'r.json')
        write_page(report, entries, tmp_path / 'r.html', workers=0)


@pytest.mark.parametrize('option', ['--json', '--html'])
def test_check_data_says_so_first(films, tmp_path, monkeypatch, repository, option):
    film = films('a.png', folder='images') / 'a.png'
    arguments = ['check_data.py', str(tmp_path), option, str(film)]
    monkeypatch.setattr(sys, 'argv', arguments)
    tool = runpy.run_path(str(repository / 'tools/check_data.py'))
    refused(film, r'a\.png is there and is no', tool['main'])


def test_froc_says_so_first(tmp_path, monkeypatch, repository, capsys):
    truth, out = coco(tmp_path / 'truth.json'), tmp_path / 'report'
    out.mkdir()
    (out / 'froc.json').write_text('mine')
    (tmp_path / 'found.json').write_text('[]')
    arguments = ['froc.py', truth, f'a={tmp_path / "found.json"}', '--out', out]
    tool = runpy.run_path(str(repository / 'tools/analysis_tools/froc.py'))
    monkeypatch.setattr(sys, 'argv', list(map(str, arguments)))
    refused(out / 'froc.json', r'froc\.json is there and was not written by mmfrac', tool['main'])
    for value in ('nan', 'inf', '0', '-1'):
        monkeypatch.setattr(sys, 'argv', [*map(str, arguments), f'--max-fppi={value}'])
        with pytest.raises(ValueError, match='--max-fppi is a number above 0'):
            tool['main']()
    # nothing was evaluated
    assert capsys.readouterr().out == ''


def test_a_hold_out_without_end(tmp_path, monkeypatch, repository):
    source = coco(tmp_path / 'src.json', [f'{i}.png' for i in range(20)])
    tool = runpy.run_path(str(repository / 'tools/split_folds.py'))
    for value in ('inf', 'nan'):
        monkeypatch.setattr(sys, 'argv', ['split_folds.py', str(source), '--holdout', value])
        with pytest.raises(ValueError, match='a hold-out is a number of films or a share below 1'):
            tool['main']()


def test_folds_do_not_replace_what_they_are_made_of(tmp_path):
    source = coco(tmp_path / 'src.json', [f'{i}.png' for i in range(20)])
    options = dict(num_folds=2, hold_out=0)
    write_folds([source], tmp_path / 'folds', **options)
    inner = tmp_path / 'folds/fold0/train.json'
    match = r'train\.json is read, and would be replaced'
    refused(inner, match, write_folds, [inner], tmp_path / 'folds', overwrite=True, **options)
    write_folds([source], tmp_path / 'folds', overwrite=True, **options)


def test_predictions_as_annotations(tmp_path):
    mine = coco(tmp_path / 'mine.json')
    found = [Found('a.png', 40, 30, 0.9, [], [], '')]
    refused(mine, r'mine\.json is there and was not written by mmfrac', convert_found, found, mine)
    for _ in range(2):
        convert_found(found, tmp_path / 'out.json')


def test_metric_files(tmp_path):
    mine = coco(tmp_path / 'mine.json')
    refused(mine, r'mine\.json is there and is no metrics file', FracMetric, out_file=str(mine))
    match = r'mine\.json is there and is no records file'
    refused(mine, match, FracMetric, records_file=str(mine))


@pytest.mark.parametrize('tool', ['export_detector', 'plain_checkpoint'])
def test_checkpoints(tmp_path, repository, monkeypatch, tool):
    state = {'weight': torch.zeros(1)}
    names = ('student.weight', 'teacher.weight') if tool == 'export_detector' else ('weight',)
    torch.save(dict(state_dict=dict.fromkeys(names, state['weight']), meta={}), tmp_path / 'a.pth')
    shutil.copy(tmp_path / 'a.pth', tmp_path / 'other.pth')
    main = runpy.run_path(str(repository / f'tools/model_converters/{tool}.py'))['main']
    monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'a.pth'), str(tmp_path / 'other.pth')])
    refused(tmp_path / 'other.pth', r'other\.pth is there and was not written by mmfrac', main)
    monkeypatch.setattr(sys, 'argv', [tool, str(tmp_path / 'a.pth'), str(tmp_path / 'new.pth')])
    main()
    main()


def test_listed_output(tmp_path):
    path = tmp_path / 'a.png'
    listed_output(path).write_bytes(b'1')
    listed_output(path).write_bytes(b'2')
    (tmp_path / 'b.png').write_bytes(b'film')
    with pytest.raises(ValueError, match=r'b\.png is there and was not written by mmfrac'):
        listed_output(tmp_path / 'b.png')
    with pytest.raises(ValueError, match=r'it is a folder, name a file'):
        listed_output(tmp_path)


def test_head_and_tail(tmp_path):
    path = tmp_path / 'a'
    path.write_bytes(b'head' + bytes(2**18) + b'tail\n')
    check_output(path, 'thing', b'head', tail=b'tail')
    for head, tail in ((b'ead', b'tail'), (b'head', b'tai')):
        with pytest.raises(ValueError, match=r'a is there and is no thing'):
            check_output(path, 'thing', head, tail=tail)
    check_output(tmp_path / 'none', 'thing', b'x')


def test_devices_and_pipes(tmp_path):
    table, out = tmp_path / 't.csv', tmp_path / 'out.json'
    table.write_text('path,label\na.png,0\n')
    # a pipe without a writer would be waited for without end
    os.mkfifo(out)
    (tmp_path / 'link.json').symlink_to('/dev/null')
    for path in (out, tmp_path / 'link.json', '/dev/null'):
        with pytest.raises(ValueError, match='it is a device or a pipe, name a file'):
            check_output(path, 'thing', b'x')
    with pytest.raises(ValueError, match='it is a device or a pipe, name a file'):
        convert_csv(table, tmp_path, out, GIVEN)
    assert out.is_fifo()


def test_plots(tmp_path):
    film = tmp_path / 'froc.png'
    Image.new('L', (40, 30)).save(film)
    (tmp_path / 'run').mkdir()
    match = r'froc\.png is there and is no plot'
    refused(film, match, plot_run, tmp_path / 'run', tmp_path, report=lambda _: None)
    shutil.copy(film, tmp_path / 'keys.png')
    match = r'keys\.png is there and is no plot'
    refused(film, match, plot_keys, [tmp_path / 'run'], ['loss'], tmp_path / 'keys.png')
    for _ in range(2):
        plot_run(tmp_path / 'run', tmp_path / 'plots', report=lambda _: None)
