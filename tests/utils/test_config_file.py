# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import argparse
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from mmfrac.utils.cli import KeyValues, add_common_arguments, config_from_arguments
from mmfrac.utils.config import load_config
from mmfrac.utils.errors import plain_errors


@pytest.mark.parametrize(
    'name, text, words',
    [
        ('a.py', 'x = 1\nmodel = dict(\n', 'never closed in line 2: model = dict('),
        ('a.py', 'model = dict(a=nothing)', "NameError: name 'nothing' is not defined"),
        ('a.py', 'x = 1 / 0', 'ZeroDivisionError: division by zero'),
        ('a.py', 'assert 1 == 2', 'AssertionError'),
        ('a.py', 'x = [][0]', 'IndexError: list index out of range'),
        ('a.py', '', 'has no model'),
        ('a.json', '{"model": {"a": 1}, "model": {}}', "key 'model' is there 2 times"),
        ('a.yaml', 'model: {a: 1}\nmodel: {}\n', "key 'model' is there twice in"),
        ('a.yaml', 'model: {a: 1, a: 2}\n', "key 'a' is there twice in"),
        ('a.json', '{"a": 1}', 'has no model'),
        ('a.txt', 'model = dict()', 'its name must end'),
    ],
)
def test_files_that_are_no_config(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as caught:
        load_config(tmp_path / name)
    assert words in str(caught.value) and str(tmp_path / name) in str(caught.value)


def test_missing_files(tmp_path):
    (tmp_path / 'a.py').write_text("_base_ = 'base.py'\n")
    with pytest.raises(FileNotFoundError, match=r'a\.py: .*base\.py.*_base_'):
        load_config(tmp_path / 'a.py')
    with pytest.raises(FileNotFoundError, match='no config file'):
        load_config(tmp_path)


def test_benchmark_files_have_no_model(tmp_path):
    (tmp_path / 'a.py').write_text('methods = dict()\n')
    assert load_config(tmp_path / 'a.py', needs_model=False).methods == {}


def test_options_that_are_no_pairs(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    assert parser.parse_args(['--cfg-options', 'a.b=3', 'c=x=1']).cfg_options == {
        'a.b': 3,
        'c': 'x=1',
    }
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a=3', 'b'])
    assert 'key=value pairs, got b' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ("dict(type='MeanTeacher')", dict(type='MeanTeacher')),
        ("dict(type='MeanTeacher', max_decay=-0.5)", dict(type='MeanTeacher', max_decay=-0.5)),
        ("[dict(type='MixUp', alpha=[1, None])]", [dict(type='MixUp', alpha=[1, None])]),
        ('[a, dict(x=dict(y=(1, True)))]', None),
        ("{'x': {'y': (1, True)}}", dict(x=dict(y=(1, True)))),
        ('dict()', {}),
        ('dict(type=MeanTeacher)', None),
        ('dict(**x)', None),
        ('{**x}', '{**x}'),
        ('{:04d}.png', '{:04d}.png'),
        ("dict(type=open('x'))", None),
        ("dict(type='MeanTeacher'", None),
        ('[1,(2,3]', None),
        ('[dictionary,(1,2)]', ['dictionary', (1, 2)]),
    ],
)
def test_options_may_be_dicts(text, value, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=KeyValues)
    arguments = ['--cfg-options', f'a.b={text}']
    if value is not None:
        assert parser.parse_args(arguments).cfg_options == {'a.b': value}
        return
    with pytest.raises(SystemExit):
        parser.parse_args(arguments)
    assert '--cfg-options' in capsys.readouterr().err


def test_a_dict_replaces_and_merges_as_in_a_config():
    config = CONFIGS / 'phantom/frac_ssl_phantom.py'
    options = [
        "model.batch_augments=[dict(type='MixUp')]",
        "model.teacher=dict(type='MeanTeacher')",
    ]
    cfg = from_command_line(config, '--cfg-options', *options)
    assert cfg.model.batch_augments == [dict(type='MixUp')]
    assert MODELS.build(cfg.model.teacher).max_decay == 0.999


def from_command_line(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_common_arguments(parser)
    return config_from_arguments(parser.parse_args([str(one) for one in arguments]))


CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def test_an_option_of_a_list_says_of_which_item():
    mil = CONFIGS / 'ablations/mil.py'
    with pytest.raises(
        ValueError, match=r'model\.semi_loss\.reduction: model\.semi_loss is a list'
    ):
        from_command_line(mil, '--cfg-options', 'model.semi_loss.reduction=sum')
    cfg = from_command_line(mil, '--cfg-options', 'model.semi_loss.0.reduction=sum')
    assert [loss.get('reduction') for loss in cfg.model.semi_loss] == ['sum', None]


@pytest.mark.parametrize('stride', [2, 8])
@pytest.mark.parametrize('written', [False, True])
def test_one_line_sets_the_stride(tmp_path, stride, written):
    line, options = '', ['--cfg-options', f'model.detector.prob_map_head.stride={stride}']
    if written:
        line, options = f'model = dict(detector=dict(prob_map_head=dict(stride={stride})))', []
    (tmp_path / 'a.py').write_text(f'_base_ = {str(CONFIGS / "frac_ssl.py")!r}\n{line}\n')
    cfg = from_command_line(tmp_path / 'a.py', *options)
    sup, unsup = cfg.train_dataloader.dataset.datasets
    branches = [
        sup.pipeline[-1].sup,
        unsup.pipeline[-1].unsup_teacher,
        unsup.pipeline[-1].unsup_student,
    ]
    targets = [step for branch in branches for step in branch if step.type == 'ProbMapTarget']
    assert [target.stride for target in targets] == [stride] * 3


def test_an_imported_function_that_is_called_is_said(tmp_path):
    (tmp_path / 'a.py').write_text(
        'from mmengine.config import read_base\n'
        'with read_base():\n    from .b import *\n'
        'from mmfrac.utils.config import set_data_root\n'
        'set_data_root(model, "a")\n'
    )
    (tmp_path / 'b.py').write_text('model = dict()\n')
    with pytest.raises(ValueError, match='cannot call a function that it imports'):
        load_config(tmp_path / 'a.py')


class Small(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 0:
            # not of the config: the fault of the code
            raise TypeError('cannot count backwards')


def setting():
    return Config(dict(model=dict())).test_dataloader


@pytest.mark.parametrize(
    'action, words',
    [
        (lambda: MODELS.build(dict(type='PiTeachr')), 'KeyError: PiTeachr is not in the'),
        (lambda: MODELS.build(dict(type=Small, widht=3)), "unexpected keyword argument 'widht'"),
        (lambda: MODELS.build(dict(type=Small)), "missing 1 required positional argument: 'width'"),
        (setting, "no attribute 'test_dataloader'"),
        (lambda: Path('/dev/null/a').read_bytes(), 'NotADirectoryError'),
        (lambda: Path('/').write_bytes(b''), "IsADirectoryError: [Errno 21] Is a directory: '/'"),
    ],
)
def test_what_a_user_can_mend_is_one_message(capsys, action, words):
    with pytest.raises(SystemExit) as ended, plain_errors():
        action()
    assert ended.value.code == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    'error, action',
    [
        (TypeError, lambda: MODELS.build(dict(type=Small, width=-1))),
        (KeyError, lambda: {}['a']),
        (AttributeError, lambda: object().a),
        (ZeroDivisionError, lambda: 1 / 0),
    ],
)
def test_faults_of_the_code_keep_their_traceback(error, action):
    with pytest.raises(error), plain_errors():
        action()


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv('MMFRAC_TRACEBACK', '1')
    with pytest.raises(KeyError), plain_errors():
        MODELS.build(dict(type='PiTeachr'))
