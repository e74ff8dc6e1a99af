# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A config of JSON or YAML runs nothing."""

import json
import os
import sys

import pytest
import yaml
from mmdet.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import init_default_scope

from mmfrac.utils.config import load_config
from mmfrac.utils.plain_config import is_registered
from tests.tools.tiny_run import ROOT

MODEL = dict(type='ProbMapDetector')


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module and a config that leave a file behind when they are run; its path."""
    sprung = tmp_path / 'sprung'
    code = f'open({str(sprung)!r}, "w").close()\n'
    for name in ('trap.py', 'base.py'):
        (tmp_path / name).write_text(code)
    (tmp_path / 'trapped').mkdir()
    for name in ('__init__.py', 'registry.py'):
        (tmp_path / 'trapped' / name).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield sprung
    for name in [name for name in sys.modules if name.partition('.')[0] in ('trap', 'trapped')]:
        del sys.modules[name]


CONTENTS = {
    'a type of another module': dict(model=dict(type='os.system', command='touch sprung')),
    'a function of a package': dict(model=dict(type='mmengine.utils.import_modules_from_strings')),
    'torch': dict(model=dict(type='torch.load', f='x.pth')),
    'a module as type': dict(model=dict(type='trap')),
    'a module deep down': dict(model=MODEL, hooks=[dict(a=dict(b=[dict(type='trapped.x.Y')]))]),
    'a scope': dict(model=dict(type='trapped.Resize')),
    'a scope of its own': dict(model=dict(type='Resize', _scope_='trapped')),
    'the default scope': dict(model=MODEL, default_scope='trapped'),
    'imports': dict(model=MODEL, custom_imports=dict(imports=['trap'])),
    'an import': dict(model=MODEL, custom_imports=dict(imports='trapped')),
    'an import of ours and one more': dict(
        model=MODEL, custom_imports=dict(imports=['mmfrac', 'trap'], allow_failed_imports=True)
    ),
    'a constructor': dict(model=MODEL, optim_wrapper=dict(constructor='subprocess.run')),
    'a runner': dict(model=MODEL, runner_type='subprocess.run'),
    'an expression': dict(
        model=dict(MODEL, test_cfg=dict(nms=dict(type="__import__('trap')", iou_threshold=0.5)))
    ),
    'a hook that evaluates': dict(model=MODEL, custom_hooks=[dict(type='RFSearchHook')]),
    'a pickle': dict(model=MODEL, data=dict(type='CocoDataset', proposal_file='a.PKL')),
    'a Python base': dict(_base_='base.py', model=MODEL),
    'a Python base by way of a package': dict(_base_='mmdet::_base_/{up}base.py', model=MODEL),
    'a Python base by way of ours': dict(_base_='mmfrac::{up}base.py', model=MODEL),
    'a Python base by its path in a package': dict(_base_='mmfrac::{folder}base.py', model=MODEL),
    'one of two bases': dict(_base_=['base.json', 'base.py'], model=MODEL),
    'a base of another package': dict(_base_='trapped::base.py', model=MODEL),
    'a base of a base': dict(_base_='deep.json', model=MODEL),
    'itself': dict(_base_='config.json', model=MODEL),
}


@pytest.mark.parametrize('suffix', ['json', 'yaml', 'yml'])
@pytest.mark.parametrize('kind', CONTENTS)
def test_what_asks_for_code_is_refused(kind, suffix, trap, tmp_path):
    (tmp_path / 'base.json').write_text(json.dumps(dict(x=1)))
    (tmp_path / 'deep.json').write_text(json.dumps(dict(_base_='base.py')))
    write = json.dumps if suffix == 'json' else yaml.dump
    file = tmp_path / f'config.{suffix}'
    content = dict(CONTENTS[kind])
    if isinstance(content.get('_base_'), str):
        folder = f'{tmp_path}/'
        content['_base_'] = content['_base_'].format(folder=folder, up='../' * 40 + folder[1:])
    if content.get('_base_') == 'config.json':
        content['_base_'] = file.name
    file.write_text(write(content))
    with pytest.raises(ValueError, match=r'^configs? .*(JSON|_base_)') as raised:
        load_config(file)
    assert not trap.exists() and '\n' not in str(raised.value)


@pytest.mark.parametrize(
    'text',
    [
        '!!python/object/apply:os.system ["touch {sprung}"]',
        '!!python/object/new:subprocess.Popen [["touch", "{sprung}"]]',
        '!!python/name:os.system ""',
        '!!python/module:trap ""',
        '!!python/object:trapped.X {{}}',
        '!custom x',
    ],
)
def test_tags_of_yaml_are_refused(text, trap, tmp_path):
    file = tmp_path / 'config.yaml'
    file.write_text('model: {type: ProbMapDetector}\nx: ' + text.format(sprung=trap))
    with pytest.raises(ValueError, match=r'config\.yaml.*more than plain data'):
        load_config(file)
    # whoever reads it
    for read in (load, Config.fromfile):
        with pytest.raises(yaml.YAMLError):
            read(str(file))
    assert not trap.exists()


@pytest.mark.parametrize('suffix', ['json', 'yaml'])
@pytest.mark.parametrize('text', ['', '[1]', '3', '"x"', '{', '\x00', '[' * 3000, '{"_base_": 3}'])
def test_what_is_no_config_is_one_error(text, suffix, tmp_path):
    file = tmp_path / f'config.{suffix}'
    file.write_text(text)
    with pytest.raises(ValueError, match=rf'config\.{suffix}'):
        load_config(file)


NO_SETTINGS = [
    ('json', '[1]', r'holds a value of type list; settings by name are wanted'),
    ('json', 'null', r'holds nothing; settings'),
    ('yaml', '', r'holds nothing; settings'),
    ('yaml', '5', r'holds a value of type int; settings'),
    ('yaml', 'model: {}\n1: 2', r'the key 1 of the file is of type int'),
    ('yaml', 'true: 2', r'the key True of the file is of type bool'),
    ('yaml', '2020-01-02: 2', r'the key .*2020.* of the file is of type date'),
    ('yaml', 'model: {type: ProbMapDetector, 2: x}', r'the key 2 of model is of type int'),
    (
        'yaml',
        'a: 2020-13-45',
        r"'2020-13-45' is no timestamp \(month must be in 1..12.* line 1, column 4",
    ),
    ('yaml', 'model: {}\na: 2020-01-45T00:00:00Z', r'is no timestamp \(day .* line 2'),
    ('yaml', 'a: !!int x', r"'x' is no int .* line 1"),
    ('yaml', 'a: !!timestamp x', r"'x' is no timestamp .* line 1"),
    ('yaml', 'a: !!bool x', r"'x' is no bool .* line 1"),
]


@pytest.mark.parametrize('is_base', [False, True])
@pytest.mark.parametrize(('suffix', 'text', 'words'), NO_SETTINGS)
def test_what_holds_no_settings_is_one_sentence_with_the_file(
    suffix, text, words, is_base, tmp_path
):
    file = tmp_path / f'config.{suffix}'
    file.write_text(text)
    if is_base:
        (tmp_path / 'child.json').write_text(json.dumps(dict(_base_=file.name)))
    with pytest.raises(ValueError, match=words) as caught:
        load_config(tmp_path / 'child.json' if is_base else file)
    said = str(caught.value)
    assert '\n' not in said and 'Error' not in said
    assert str(tmp_path / 'child.json' if is_base else file) in said or str(file) in said


def test_tables_of_numbers_are_data(tmp_path):
    file = tmp_path / 'config.yaml'
    file.write_text('model: {type: ProbMapDetector}\nweights: {1: 0.5, 2: 0.25}\n')
    assert load_config(file).weights == {1: 0.5, 2: 0.25}


BOMB = '\n'.join(
    ['a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]']
    + [f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 10)}]' for i in range(1, 9)]
)


@pytest.mark.parametrize(
    'text, fault',
    [
        ('x: ' + '[' * 200_000 + ']' * 200_000, 'nested more than 100 levels'),
        ('x: ' + '{a: ' * 5000 + '1' + '}' * 5000, 'nested more than 100 levels'),
        (BOMB, 'stand for more than 1000000 values'),
    ],
)
def test_yaml_that_would_crash_a_reader(text, fault, tmp_path):
    file = tmp_path / 'config.yaml'
    file.write_text('model: {type: ProbMapDetector}\n' + text)
    with pytest.raises(ValueError, match=fault):
        load_config(file)
    with pytest.raises(yaml.YAMLError, match=fault):
        load(str(file))


def test_aliases_in_reason_are_read(tmp_path):
    file = tmp_path / 'config.yaml'
    file.write_text('model: {type: ProbMapDetector}\nx: &x [1, 2]\ny: [*x, *x]\n')
    assert load_config(file).y == [[1, 2], [1, 2]]


@pytest.mark.parametrize('suffix', ['json', 'yaml'])
def test_a_whole_config_may_be_data(suffix, tmp_path):
    whole = load_config(ROOT / 'configs/frac_ssl.py')
    file = tmp_path / f'whole.{suffix}'
    whole.dump(str(file))
    read = load_config(file)
    init_default_scope('mmdet')
    assert type(MODELS.build(read.model)) is type(MODELS.build(whole.model))
    child = tmp_path / f'child.{suffix}'
    child.write_text(
        json.dumps(dict(_base_=file.name, model=dict(semi_train_cfg=dict(burn_in_epochs=7))))
    )
    assert load_config(child).model.semi_train_cfg.burn_in_epochs == 7
    own = os.path.relpath(ROOT / 'configs/frac_sup.py', tmp_path)
    child.write_text(json.dumps(dict(_base_=own, custom_imports=dict(imports=['mmfrac.engine']))))
    assert load_config(child).model.type == 'ProbMapDetector'


@pytest.mark.parametrize(
    'name, known',
    [
        ('Resize', True),
        ('mmdet.Resize', True),
        ('mmdet.datasets.transforms.Resize', True),
        ('torch.optim.Adam', False),
        ('Adam', True),
        ('BN', True),
        ('nms', True),
        ('FracMetric', True),
        ('DefaultOptimWrapperConstructor', True),
        ('mmdet.datasets.transforms.nothing', False),
        ('mmdet.utils.setup_env', False),
        ('os', False),
        ('', False),
        ('a b', False),
    ],
)
def test_registered_names(name, known):
    assert is_registered(name) == known


def test_a_python_config_is_a_program(trap, tmp_path):
    (tmp_path / 'config.py').write_text(
        "_base_ = 'base.py'\nmodel = dict(type='trapped.Detector')\n"
    )
    assert load_config(tmp_path / 'config.py').model.type == 'trapped.Detector'
    assert trap.exists() and HOOKS is not None
