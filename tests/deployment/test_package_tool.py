# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""From a checkpoint to a package with operating points, by the commands."""

import json

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmfrac.deployment.package import RESEARCH_ONLY, read_package
from tests.tools.tiny_run import ROOT, start, write_config

PACKAGE = ROOT / 'tools/model_converters/package_model.py'
FROC = ROOT / 'tools/analysis_tools/froc.py'
PHANTOMS = 'It knows phantoms only: synthetic images, not patients. Not a medical device.'


@pytest.fixture(scope='module')
def packaged(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('packaged')
    config = write_config(folder, tiny_data)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=2)), folder / 'model.pth')
    named = ['--name', 'tiny', '--licence', 'CC0-1.0', '--limits', 'For tests.']
    run = start(
        PACKAGE,
        *(folder / 'tiny.mmfrac', '--config', config, '--checkpoint', folder / 'model.pth', *named),
        *('--train-annotations', tiny_data / 'annotations/train.json', '--training', 'epochs=2'),
        *('--about', 'ethics=not needed', 'funding=none', '--card', folder / 'card'),
        cwd=folder,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return folder, run


def predictions(tiny_data, folder, split):
    """Boxes of a model that finds every lesion, surely or less so, and one that is none."""
    content = json.loads((tiny_data / f'annotations/{split}.json').read_text())
    names = {image['id']: image['file_name'] for image in content['images']}
    lines = ['film,x1,y1,x2,y2,score']
    for number, one in enumerate(content['annotations']):
        x, y, w, h = one['bbox']
        lines.append(f'{names[one["image_id"]]},{x},{y},{x + w},{y + h},{0.9 - 0.2 * number}')
    lines.append(f'{content["images"][-1]["file_name"]},0,0,5,5,0.4')
    path = folder / f'{split}.csv'
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_a_package_and_its_card_are_written(packaged, tiny_data):
    folder, run = packaged
    package = read_package(folder / 'tiny.mmfrac')
    assert f'SHA-256 {package.sha256}' in run.stdout
    assert package.name == 'tiny' and package.limits.endswith('For tests.')
    images = package.manifest['training']['images']
    assert images['images'] == images['patients'] == 15 and images['lesions'] == 4
    assert images['images_by_label'] == {
        'without fracture': 6,
        'with fracture, label only': 5,
        'with fracture and boxes': 4,
    }
    text = (folder / 'card/README.md').read_text()
    for part in ('CC0-1.0', 'not needed', 'Epochs', '| Lesions | 4 |'):
        assert part in text
    shown = start(PACKAGE, folder / 'tiny.mmfrac', cwd=folder)
    assert shown.returncode == 0 and 'Licence: CC0-1.0' in shown.stdout


def test_thresholds_chosen_on_validation_films_are_written_into_it(packaged, tiny_data):
    folder, _ = packaged
    test, val = (predictions(tiny_data, folder, split) for split in ('test', 'val'))
    annotations = [tiny_data / f'annotations/{split}.json' for split in ('test', 'val')]
    options = ['--replicates', 20, '--no-html', '--target', 'fppi=0.1', 'sensitivity=1']
    common = [annotations[0], f'tiny={test}', *options, '--package', folder / 'tiny.mmfrac']
    run = start(FROC, *common, '--val', annotations[1], f'tiny={val}', cwd=folder)
    assert run.returncode == 0, run.stderr[-3000:]
    package = read_package(folder / 'tiny.mmfrac')
    assert f'now SHA-256 {package.sha256}' in run.stdout
    # a table of boxes names no model
    assert 'note: whether the predictions are of the model of package tiny' in run.stderr
    first, second = package.operating_points
    # 0.4 is the false one, and the surest threshold above it keeps both lesions
    assert (first.chosen_for, second.name) == ('fppi=0.1', 'sensitivity=1')
    assert 0.4 < first.threshold <= 0.7 and second.threshold == pytest.approx(0.7)
    assert first.achieved['validation']['recall'] == 1
    assert first.achieved['test']['fppi']['value'] == 0
    assert package.temperature > 0 and package.manifest['metrics']['AUROC']['value'] == 1
    assert package.manifest['evaluation']['test_images'] == 5
    # chosen on test images they would be too good
    before = package.sha256
    run = start(FROC, *common, cwd=folder)
    assert run.returncode == 1 and 'chosen on validation images' in run.stderr
    assert read_package(folder / 'tiny.mmfrac').sha256 == before


@pytest.mark.parametrize(
    ('options', 'limits', 'limitations'),
    [
        ([], f'{RESEARCH_ONLY} {PHANTOMS}', PHANTOMS),
        (
            ['--limits', 'Research use only: adults.', '--about', 'limitations=small'],
            'Research use only: adults.',
            'small',
        ),
        (['--limits', 'Research use only: adults.'], 'Research use only: adults.', None),
    ],
)
def test_weights_that_come_along_keep_their_warning(tmp_path, options, limits, limitations):
    model = 'mmfrac::models/frac_ssl_phantom/model.pth'
    named = ['--config', 'mmfrac::phantom/frac_ssl_phantom.py', '--checkpoint', model]
    run = start(PACKAGE, tmp_path / 'a.mmfrac', *named, *options, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    package = read_package(tmp_path / 'a.mmfrac')
    assert package.limits == limits
    assert package.manifest['about'].get('limitations') == limitations


def test_what_is_no_package_is_said_in_a_sentence(tmp_path):
    (tmp_path / 'none.mmfrac').write_bytes(b'PK\x03\x04 none')
    run = start(PACKAGE, tmp_path / 'none.mmfrac', cwd=tmp_path)
    assert run.returncode == 1 and 'Traceback' not in run.stderr
    assert 'is no package of a model, or damaged' in run.stderr
    run = start(PACKAGE, tmp_path / 'a.mmfrac', '--about', 'colour=red', cwd=tmp_path)
    assert run.returncode == 2 and 'knows no' in run.stderr
