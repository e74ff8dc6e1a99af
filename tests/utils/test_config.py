# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import copy
import sys
from pathlib import Path

import pytest
from mmdet.datasets.transforms import RandomFlip, Resize
from mmengine.config import Config, ConfigDict
from mmengine.config.lazy import LazyObject

from mmfrac.datasets import CXRDataset, ProbMapTarget
from mmfrac.utils import config as config_helpers
from mmfrac.utils.config import (
    change_transform,
    fill_stride,
    film_sets,
    is_cxr_dataset,
    keep_only,
    load_config,
    merge_config_file,
    merge_options,
    set_data_root,
    set_film_cache,
    set_fold,
    set_img_scale,
    set_label_fraction,
    type_name,
    use_tta,
)


def test_a_file_of_changes_is_merged_and_reads_the_base(tmp_path):
    (tmp_path / 'base.py').write_text(
        "model = dict(teacher=dict(type='A', decay=1), loss=dict(type='L', weight=2))\nepochs = 3\n"
    )
    (tmp_path / 'changes.py').write_text(
        'import math\n'
        "model = dict(teacher=dict(_delete_=True, type='B'), loss=dict(weight=_base_.epochs + 4))\n"
        'epochs = math.floor(5.5)\n'
    )
    (tmp_path / 'child.py').write_text(
        "_base_ = 'base.py'\n"
        'from mmfrac.utils.config import merge_config_file\n'
        "merge_config_file(_base_, 'changes.py')\n"
        'epochs = _base_.epochs + 1\n'
    )
    expected = dict(
        model=dict(teacher=dict(type='B'), loss=dict(type='L', weight=7)),
        epochs=5,
        merged_file_changes=str(tmp_path / 'changes.py'),
    )
    cfg = Config.fromfile(tmp_path / 'base.py')
    merge_config_file(cfg._cfg_dict, tmp_path / 'changes.py')
    assert cfg.to_dict() == expected
    assert Config.fromfile(tmp_path / 'child.py').to_dict() == dict(expected, epochs=6)


def test_a_missing_file_of_changes_is_said(tmp_path):
    (tmp_path / 'one.py').write_text('')
    with pytest.raises(FileNotFoundError, match=r'other\.py; .* holds one\.py'):
        merge_config_file(Config()._cfg_dict, tmp_path / 'other.py')


def test_options_reach_dicts_and_items_of_lists():
    cfg = Config(dict(loss=[dict(k=1), dict(k=2)], head=dict(a=1, b=2), none=None))
    options = {
        'loss.1.k': 5,
        'head': dict(_delete_=True, c=3),
        'head.d': 4,
        'none': 6,
        'new.one': 7,
    }
    merge_options(cfg, options)
    assert cfg.to_dict() == dict(
        loss=[dict(k=1), dict(k=5)], head=dict(c=3, d=4), none=6, new=dict(one=7)
    )
    # what the caller holds stays
    assert options['head'] == dict(_delete_=True, c=3)


@pytest.mark.parametrize(
    'option, words',
    [
        ({'loss.k': 5}, r'^loss\.k: loss is a list of 2, whose items are loss\.0 to loss\.1'),
        ({'loss.2.k': 5}, r'^loss\.2: loss is a list of 2, .* give the whole list as'),
        ({'loss': dict(k=5)}, r'^loss\.k: loss is a list of 2'),
        ({'loss.1': 5}, r'^loss\.1: an item of a list cannot be replaced'),
        ({'empty.0.k': 5}, r'^empty\.0: empty is a list of 0, whose items are none'),
        ({'head.a.k': 5}, r'^head\.a\.k: head\.a is 1, which has no settings'),
        ({'pair.0': 5}, r'^pair\.0: pair is \(1, 2\), which has no settings'),
        ({'head.a': 5, 'head.a.k': 5}, r'^head\.a\.k: another option says a=5 as a whole'),
    ],
)
def test_an_option_that_fits_no_setting_is_named(option, words):
    cfg = Config(dict(loss=[dict(k=1), dict(k=2)], empty=[], head=dict(a=1), pair=(1, 2)))
    before = cfg.to_dict()
    with pytest.raises(ValueError, match=words):
        merge_options(cfg, option)
    assert cfg.to_dict() == before


def test_every_pipeline_and_data_root_is_changed():
    cfg = dict(
        img_scale=(8, 8),
        data_root='old/',
        loader=dict(
            dataset=dict(
                datasets=[
                    dict(data_root='old/', pipeline=[dict(type='Resize', scale=(8, 8))]),
                    dict(
                        data_root='old/',
                        pipeline=(dict(type='MultiBranch', sup=[dict(type='Pad', size=(8, 8))]),),
                    ),
                ]
            )
        ),
    )
    set_img_scale(cfg, (4, 4))
    set_data_root(cfg, 'new/')
    first, second = cfg['loader']['dataset']['datasets']
    assert first['pipeline'][0]['scale'] == (4, 4) and cfg['img_scale'] == (4, 4)
    assert second['pipeline'][0]['sup'][0]['size'] == (4, 4)
    assert cfg['data_root'] == first['data_root'] == second['data_root'] == 'new/'


def test_a_transform_is_changed_wherever_it_is():
    step = dict(type='Target', stride=4)
    cfg = dict(pipeline=[dict(step)], branches=dict(sup=(dict(step), dict(type='Other', stride=4))))
    change_transform(cfg, 'Target', type='Window', inner=0.5)
    changed = dict(type='Window', stride=4, inner=0.5)
    assert cfg == dict(
        pipeline=[changed], branches=dict(sup=(changed, dict(type='Other', stride=4)))
    )


def test_a_shared_step_is_scaled_once_and_other_scales_keep_their_ratio():
    shared, larger = dict(type='Resize', scale=(100, 100)), dict(type='Resize', scale=(150, 150))
    cfg = dict(img_scale=(100, 100), train=[shared], val=[shared, dict(again=shared)], tta=[larger])
    set_img_scale(cfg, (64, 64))
    assert shared['scale'] == (64, 64) and larger['scale'] == (96, 96)
    set_img_scale(cfg, (32, 32))
    assert shared['scale'] == (32, 32) and larger['scale'] == (48, 48)


def test_random_sizes_and_crops_keep_their_ratio():
    steps = [
        dict(type='RandomChoiceResize', scales=[(96, 96), (128, 128)]),
        dict(type='mmdet.RandomResize', scale=[(64, 64), (256, 128)], ratio_range=(1, 1)),
        dict(type='RandomCrop', crop_size=(64, 64)),
        dict(type='RandomChoiceResize', scales=[64, 192]),
        dict(type='FixScaleResize', scale=(128, 128)),
    ]
    set_img_scale(dict(img_scale=(128, 128), pipeline=steps), (64, 64))
    assert steps[0]['scales'] == [(48, 48), (64, 64)]
    assert steps[1]['scale'] == [(32, 32), (128, 64)] and steps[1]['ratio_range'] == (1, 1)
    assert steps[2]['crop_size'] == (32, 32)
    assert steps[3]['scales'] == [(32, 32), (96, 96)] and steps[4]['scale'] == (64, 64)
    with pytest.raises(ValueError, match='scales of RandomChoiceResize has several sizes'):
        set_img_scale(dict(pipeline=steps[:1]), (64, 64))
    share = dict(type='RandomCrop', crop_size=(0.5, 0.5), crop_type='relative')
    set_img_scale(dict(img_scale=(64, 64), pipeline=[*steps[:1], share]), (32, 32))
    assert share['crop_size'] == (0.5, 0.5)
    with pytest.raises(ValueError, match='crop_size of RandomCrop is a part of what size'):
        set_img_scale(dict(pipeline=[dict(type='Resize', scale=(64, 64)), steps[2]]), (32, 32))
    # of no crop
    other = dict(type='Other', crop_size=8)
    set_img_scale(dict(pipeline=[dict(type='Resize', scale=(64, 64)), other]), (32, 32))
    assert other['crop_size'] == 8
    # as an expression of a config gives it
    larger = dict(type='Resize', scale=(1.25 * 64, 1.25 * 64))
    set_img_scale(dict(img_scale=(64, 64), pipeline=[larger]), (32, 32))
    assert larger['scale'] == (40, 40)


LAZY = LazyObject('mmdet.datasets.transforms', 'Resize')


@pytest.mark.parametrize(
    'kind', ['Resize', 'mmdet.Resize', 'mmdet.datasets.transforms.Resize', Resize, LAZY]
)
def test_one_type_has_one_name(kind):
    assert type_name(kind) == type_name(dict(type=kind)) == 'Resize'
    assert type_name(ConfigDict(type=kind)) == 'Resize'


def test_what_is_no_type_has_no_name():
    assert type_name(dict(a=1)) is None and type_name(None) is None and type_name(3) is None
    # a lazy type is not imported to be named
    assert type_name(ConfigDict(type=LazyObject('no.such.module', 'Resize'))) == 'Resize'


def test_a_config_is_changed_without_importing_its_types():
    cfg = ConfigDict(pipeline=dict(a=LazyObject('no.such.module', 'A'), b=data_of('Resize')))
    set_img_scale(cfg, (4, 4))
    set_data_root(cfg, 'b/')
    assert dict.get(cfg, 'pipeline')['b'].img_scale == (4, 4)


def test_attributes_of_lazy_modules_are_types():
    transforms = LazyObject(['mmdet.datasets.transforms'])
    assert type_name(dict(type=transforms.datasets.transforms.Resize)) == 'Resize'


def every_kind(node):
    """The config, as dict, as ConfigDict and as Config."""
    return [copy.deepcopy(node), ConfigDict(copy.deepcopy(node)), Config(copy.deepcopy(node))]


def data_of(kind, dataset='CXRDataset'):
    step = dict(type=kind, scale=(8, 8))
    return dict(
        img_scale=(8, 8),
        train_dataloader=dict(
            dataset=dict(type=dataset, ann_file='a.json', data_root='a/', pipeline=[step])
        ),
    )


@pytest.mark.parametrize('kind', ['Resize', 'mmdet.Resize', Resize, LAZY])
@pytest.mark.parametrize('dataset', ['CXRDataset', 'mmdet.CXRDataset', CXRDataset])
def test_helpers_know_every_kind_of_type(kind, dataset):
    for cfg in every_kind(data_of(kind, dataset)):
        set_img_scale(cfg, (4, 4))
        change_transform(cfg, kind, keep_ratio=True)
        change_transform(cfg, 'mmcv.Resize', backend='cv2')
        set_film_cache(cfg, 'cache')
        (found,) = film_sets(cfg)
        assert is_cxr_dataset(found) and found['film_cache'] == 'cache'
        step = found['pipeline'][0]
        assert (step['scale'], step['keep_ratio'], step['backend']) == ((4, 4), True, 'cv2')
        change_transform(cfg, kind, type=RandomFlip)
        assert type_name(step) == 'RandomFlip'


NOTHING = dict(model=dict(type='A'), train_dataloader=dict(dataset=dict(type='B')))


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda cfg: set_img_scale(cfg, (4, 4)), 'no Resize with a scale, no Pad'),
        (lambda cfg: change_transform(cfg, 'Resize', scale=3), 'no Resize in the config'),
        (lambda cfg: change_transform(cfg, Resize, scale=3), 'no Resize in the config'),
        (lambda cfg: set_data_root(cfg, 'a/'), 'no data set .* has a data_root'),
        (lambda cfg: set_label_fraction(cfg, 0.5), r'no data set .* in train_dataloader'),
        (lambda cfg: set_fold(cfg, 'a', 0), r'no data set .* in train_dataloader'),
        (lambda cfg: set_film_cache(cfg, 'a'), 'no CXRDataset'),
        (lambda cfg: keep_only(cfg, 'modell'), r"no \['modell'\]; it has \['model', 'train_"),
    ],
)
def test_what_changes_nothing_is_an_error(change, words):
    for cfg in every_kind(NOTHING):
        before = copy.deepcopy(cfg)
        with pytest.raises(ValueError, match=words):
            change(cfg)
        assert cfg == before or cfg.to_dict() == before.to_dict()


def test_a_variable_alone_is_no_data_root():
    with pytest.raises(ValueError, match='no data set'):
        set_data_root(dict(NOTHING, data_root='a/'), 'b/')


def test_a_mistyped_transform_is_an_error_that_guesses():
    cfg = data_of('mmdet.Resize')
    cfg['train_dataloader']['dataset']['pipeline'] += [
        dict(type='MultiBranch', sup=[dict(type=ProbMapTarget)])
    ]
    words = r'did you mean ProbMapTarget\? there are MultiBranch, ProbMapTarget, Resize$'
    with pytest.raises(ValueError, match=words):
        change_transform(cfg, 'ProbMapTargt', stride=8)


def test_a_resize_without_a_scale_is_not_changed():
    step = dict(type='Resize', scale_factor=0.5)
    with pytest.raises(ValueError, match='there are Resize'):
        set_img_scale(dict(pipeline=[step]), (4, 4))
    assert step == dict(type='Resize', scale_factor=0.5)


def test_tta_reaches_every_test_set():
    views = dict(tta_model=dict(type='T'), tta_pipeline=[dict(type='V')], model=dict(type='M'))
    sets = [dict(type='CXRDataset', pipeline=[]), dict(type='CXRDataset', pipeline=[])]
    cfg = Config(
        dict(views, test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=sets)))
    )
    use_tta(cfg)
    assert [one.pipeline for one in cfg.test_dataloader.dataset.datasets] == [[dict(type='V')]] * 2
    assert cfg.model == dict(type='T', module=dict(type='M'))
    with pytest.raises(ValueError, match='no data set in test_dataloader has a pipeline'):
        use_tta(Config(dict(views, test_dataloader=dict(dataset=dict(type='A')))))


class TestStride:
    head = dict(type='ProbMapDetector', prob_map_head=dict(type='ProbMapHead', stride=8))

    def config(self, model, *steps):
        return dict(model=model, train_dataloader=dict(dataset=dict(pipeline=[*steps])))

    def strides(self, cfg):
        return [step.get('stride') for step in cfg['train_dataloader']['dataset']['pipeline']]

    @pytest.mark.parametrize(
        'kind', ['ProbMapTarget', 'mmdet.WindowTarget', ProbMapTarget], ids=str
    )
    def test_of_the_head_is_that_of_the_targets(self, kind):
        branches = dict(type='MultiBranch', branch_field=['a'], a=[dict(type=kind)])
        semi = dict(type='SemiProbMapDetector', detector=self.head)
        for model in (self.head, semi, dict(type='E', detectors=[self.head, self.head])):
            steps = [dict(type=kind), dict(type=kind, stride=None), dict(type=kind, stride=2)]
            for cfg in every_kind(self.config(model, *steps, dict(type='RandomFlip'), branches)):
                fill_stride(cfg)
                assert self.strides(cfg) == [8, 8, 2, None, None]
                pipeline = cfg['train_dataloader']['dataset']['pipeline']
                assert pipeline[-1]['a'][0]['stride'] == 8

    def test_that_the_head_does_not_set_is_left_open(self):
        model = dict(type='ProbMapDetector', prob_map_head=dict(type='ProbMapHead'))
        cfg = self.config(model, dict(type='ProbMapTarget'))
        fill_stride(cfg)
        assert self.strides(cfg) == [None]
        fill_stride(dict())
        fill_stride(dict(model=self.head))

    def test_of_several_heads_is_no_guess(self):
        other = dict(type='ProbMapDetector', prob_map_head=dict(stride=4))
        model = dict(type='E', detectors=[self.head, other])
        with pytest.raises(ValueError, match=r'stride \[4, 8\]: set .*ProbMapTarget'):
            fill_stride(self.config(model, dict(type='ProbMapTarget')))
        fill_stride(self.config(model, dict(type='ProbMapTarget', stride=4)))

    def test_of_steps_of_the_model_is_their_own(self):
        model = dict(self.head, pseudo_pipeline=[dict(type='ProbMapTarget')])
        fill_stride(self.config(model))
        assert model['pseudo_pipeline'] == [dict(type='ProbMapTarget')]


class TestMergedFile:
    """What stands in a file of changes, as in any config."""

    @pytest.fixture
    def write(self, tmp_path, monkeypatch):
        monkeypatch.chdir('/')

        def write(**files):
            for name, text in files.items():
                path = tmp_path / f'{name.replace("__", "/")}.py'
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            return tmp_path

        return write

    @staticmethod
    def child(path):
        return (
            "_base_ = '../base.py'\n"
            'from mmfrac.utils.config import merge_config_file\n'
            f'merge_config_file(_base_, {path!r})\n'
        )

    def test_paths_begin_at_the_config_that_calls(self, write):
        root = write(
            base='x = 1\n', configs__child=self.child('../methods/a.py'), methods__a='x = 2\n'
        )
        assert Config.fromfile(root / 'configs/child.py').x == 2
        # from a config that inherits it, and from a function
        (root / 'configs/grandchild.py').write_text("_base_ = 'child.py'\n")
        assert Config.fromfile(root / 'configs/grandchild.py').x == 2
        (root / 'configs/wrapped.py').write_text(
            "_base_ = '../base.py'\n"
            'from mmfrac.utils.config import merge_config_file\n'
            "def merge():\n    merge_config_file(_base_, '../methods/a.py')\n"
            'merge()\n'
        )
        assert Config.fromfile(root / 'configs/wrapped.py').x == 2

    def test_paths_in_it_begin_at_itself(self, write):
        root = write(
            base='x = 1\n',
            configs__child=self.child('../methods/a.py'),
            methods__a='from mmfrac.utils.config import merge_config_file\n'
            "merge_config_file(_base_, 'b.py')\n",
            methods__b='x = 3\n',
        )
        assert Config.fromfile(root / 'configs/child.py').x == 3

    def test_without_a_config_they_begin_at_the_working_directory(self, write, monkeypatch):
        root = write(methods__a='x = 2\n')
        monkeypatch.chdir(root)
        cfg = Config(dict(x=1))
        merge_config_file(cfg, 'methods/a.py')
        assert cfg.x == 2

    def test_the_old_way_still_works(self, write):
        root = write(
            base='x = 1\n',
            configs__child=self.child('{{ fileDirname }}/../methods/a.py'),
            methods__a='x = 2\n',
        )
        assert Config.fromfile(root / 'configs/child.py').x == 2

    def test_braces_are_replaced(self, write, monkeypatch):
        monkeypatch.setenv('MMFRAC_TEST_NUMBER', '7')
        root = write(
            base='x = dict(y=[1, 2])\n',
            methods__a="folder = '{{ fileDirname }}'\nname = '{{ fileBasenameNoExtension }}'\n"
            "number = {{'$MMFRAC_TEST_NUMBER:3'}}\nother = {{'$MMFRAC_TEST_NONE:3'}}\n"
            'z = dict(w={{ _base_.x.y }})\n',
        )
        cfg = Config.fromfile(root / 'base.py')
        merge_config_file(cfg, root / 'methods/a.py')
        assert (cfg.folder, cfg.name) == (str(root / 'methods'), 'a')
        assert (cfg.number, cfg.other, cfg.z.w) == (7, 3, [1, 2])

    def test_its_bases_are_merged_before_it(self, write):
        root = write(
            base='x = 1\nmodel = dict(a=dict(type="A", b=1), c=1)\n',
            methods__a="_base_ = ['parts/b.py', 'c.py']\nw = _base_.z + 1\nmodel = dict(c=5)\n",
            methods__c='y = _base_.x + 10\nmodel = dict(c=4)\n',
        )
        (root / 'methods/parts').mkdir()
        (root / 'methods/parts/b.py').write_text(
            "_base_ = '../d.py'\nz = _base_.x + 1\nmodel = dict(a=dict(_delete_=True, type='B'))\n"
        )
        (root / 'methods/d.py').write_text('x = 5\n')
        cfg = Config.fromfile(root / 'base.py')
        merge_config_file(cfg, root / 'methods/a.py')
        assert (cfg.x, cfg.y, cfg.z, cfg.w) == (5, 15, 6, 7)
        assert cfg.model == dict(a=dict(type='B'), c=5)

    def test_a_circle_of_bases_is_an_error(self, write):
        root = write(methods__a="_base_ = 'b.py'\n", methods__b="_base_ = 'a.py'\n")
        with pytest.raises(
            ValueError, match=r'in a circle|name each other .*a\.py > .*b\.py > .*a\.py'
        ):
            merge_config_file(Config(), root / 'methods/a.py')

    def test_a_missing_base_is_an_error(self, write):
        root = write(methods__a="_base_ = 'c.py'\n")
        with pytest.raises(FileNotFoundError, match=r'no config file .*c\.py; .* holds a\.py'):
            merge_config_file(Config(), root / 'methods/a.py')

    def test_a_pure_python_config_is_an_error(self, write):
        root = write(
            methods__b='x = 1\n',
            methods__a='from mmengine.config import read_base\n'
            'with read_base():\n    from .b import *\n',
        )
        with pytest.raises(ValueError, match=r'a\.py is a pure-Python config'):
            merge_config_file(Config(), root / 'methods/a.py')

    def test_the_dumped_config_names_it_and_is_the_same(self, write):
        root = write(
            base="model = dict(teacher=dict(type='A', decay=1))\n",
            configs__child=self.child('../methods/a.py'),
            methods__a="model = dict(teacher=dict(_delete_=True, type='B'))\n",
        )
        cfg = load_config(root / 'configs/child.py')
        file = str(root / 'methods/a.py')
        assert f'{file}\nmodel = dict(teacher=dict(_delete_' in cfg.text
        cfg.dump(root / 'dumped.py')
        again = load_config(root / 'dumped.py')
        assert again.to_dict() == cfg.to_dict() and again.model == dict(teacher=dict(type='B'))
        assert file in (root / 'dumped.py').read_text()

    def test_two_files_of_one_name_are_both_named(self, write):
        root = write(methods__a='x = 2\n', others__a='y = 3\n')
        cfg = Config()
        for folder in ('methods', 'others', 'methods'):
            merge_config_file(cfg, root / folder / 'a.py')
        assert cfg.to_dict() == dict(
            x=2,
            y=3,
            merged_file_a=str(root / 'methods/a.py'),
            merged_file_a_2=str(root / 'others/a.py'),
        )

    def test_lazy_types_stay_as_they_are(self, write):
        root = write(methods__a="model = dict(teacher=dict(type='B'))\n")
        kind = LazyObject('no.such.module', 'A')
        cfg = ConfigDict(model=dict(type=kind, teacher=dict(type='A')))
        ConfigDict.lazy = True
        try:
            merge_config_file(cfg, root / 'methods/a.py')
        finally:
            ConfigDict.lazy = False
        assert type_name(dict.get(cfg, 'model')) == 'A' and cfg.model.teacher.type == 'B'


def test_configs_of_the_repository_merge_by_relative_paths():
    configs = Path(__file__).resolve().parents[2] / 'configs'
    texts = [path.read_text() for path in configs.rglob('*.py')]
    assert sum("merge_config_file(_base_, '../_base_/" in text for text in texts) > 20
    assert not any('fileDirname' in text for text in texts)


def test_old_name_of_the_module():
    sys.modules.pop('mmfrac.config', None)  # a config of another test may have imported it
    with pytest.warns(FutureWarning, match=r'mmfrac\.config is now'):
        import mmfrac.config as old
    assert old.type_name is config_helpers.type_name
