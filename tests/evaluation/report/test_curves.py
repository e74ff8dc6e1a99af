# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import json
import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmfrac.evaluation import froc
from mmfrac.evaluation.definitions import METRIC_DEFAULTS
from mmfrac.evaluation.report import curves
from tests.forking import python_for_tools


@pytest.fixture
def figures(monkeypatch):
    """Figures in the order in which they are saved."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, 'savefig', lambda self, *args, **kw: (saved.append(self), save(self, *args, **kw))
    )
    return saved


def lines_of(figure, axes=0):
    return [line.get_xydata() for line in figure.axes[axes].lines]


def log(work_dir, timestamp, records, tail=''):
    path = work_dir / timestamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(record) for record in records) + '\n' + tail)


def sharpening(epoch, m, t, a):
    return {'sharpening/m': m, 'sharpening/t': t, 'sharpening/a': a, 'step': epoch}


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / 'run'
    log(
        folder,
        '20240101_090000',
        [
            {'loss': 0.5, 'lr': 1e-4, 'epoch': 1, 'step': 50},
            {'frac/AUROC': 0.7, 'frac/FROC': float('nan'), 'step': 1},
            sharpening(2, 0.30, 0.20, 6.0),
            {'frac/AUROC': 0.8, 'frac/FROC': 0.4, 'step': 2},
            sharpening(3, 0.99, 0.50, 4.0),
        ],
        tail='{"sharpening/m": 0.1, "sharp',
    )
    log(
        folder,
        '20240101_100000',
        [
            sharpening(3, 0.40, 0.30, 6.0),
            {'frac/AUROC': 0.9, 'frac/FROC': 0.6, 'step': 3},
            sharpening(4, 0.60, 0.50, 4.0),
        ],
    )
    curve = dict(thresholds=[0.9, 0.5], fppi=[0.1, 0.6], recall=[0.5, 0.9])
    content = dict(metrics={'frac/FROC': 0.7}, curve=curve, num_images=9, num_lesions=4)
    (folder / 'frac_test.json').write_text(json.dumps(content))
    return folder


def test_all_plots_of_a_resumed_run(work_dir, tmp_path, monkeypatch):
    drawn = {}

    def spy(name):
        plot = getattr(curves, name)

        def call(out, *args, **kwargs):
            drawn[name] = args or kwargs
            return plot(out, *args, **kwargs)

        monkeypatch.setattr(curves, name, call)

    for name in ('plot_sharpening', 'plot_sharpening_epochs', 'plot_froc', 'plot_val_metrics'):
        spy(name)
    said = []
    written = curves.plot_run(work_dir, tmp_path / 'plots', said.append)
    assert [path.name for path in written] == [
        'sharpening.png',
        'sharpening_epochs.png',
        'froc.png',
        'val_metrics.png',
    ]
    assert all(cv2.imread(str(path)) is not None for path in written)
    assert drawn['plot_sharpening'] == dict(t=0.5)
    # epoch 3 is that of the later file
    epochs, m, t, a = drawn['plot_sharpening_epochs']
    assert (epochs, m, t, a) == ([2, 3, 4], [0.3, 0.4, 0.6], [0.2, 0.3, 0.5], [6, 6, 4])
    assert list(drawn['plot_froc'][0]) == ['test']
    assert drawn['plot_val_metrics'][0]['frac/AUROC'] == {1: 0.7, 2: 0.8, 3: 0.9}
    assert len(said) == 1 and '1 damaged line' in said[0]


def test_what_is_missing_is_said(tmp_path):
    said = []
    (tmp_path / 'frac_broken.json').write_text('{"metrics": {}')
    nothing = dict(curve=dict(fppi=[0, 1], recall=[None, None]))
    (tmp_path / 'frac_no_lesion.json').write_text(json.dumps(nothing))
    written = curves.plot_run(tmp_path, report=said.append)
    assert [path.name for path in written] == ['sharpening.png']
    text = '\n'.join(said)
    for part in ('frac_broken', 'frac_no_lesion', 'froc.png', 'sharpening_epochs', 'val_metrics'):
        assert part in text
    with pytest.raises(FileNotFoundError, match='no work dir'):
        curves.plot_run(tmp_path / 'absent')


def test_curves_of_folders_keep_their_name(work_dir):
    (work_dir / '20240101_100000' / 'frac_val.json').write_text(
        (work_dir / 'frac_test.json').read_text()
    )
    assert set(curves.read_evaluations(work_dir)) == {'test', '20240101_100000/val'}


def test_tool_prints_what_it_wrote(work_dir, repository):
    tool = repository / 'tools' / 'analysis_tools' / 'plot_run.py'
    result = subprocess.run(
        [python_for_tools(), str(tool), str(work_dir)],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(repository), 'PATH': ''},
    )
    assert result.returncode == 0, result.stderr
    assert str(work_dir / 'froc.png') in result.stdout.splitlines()
    assert (work_dir / 'sharpening_epochs.png').is_file()


def test_froc_plot_marks_what_the_metric_reports(tmp_path, figures):
    # FPPI falls between the third and the fourth point
    curve = froc.FrocCurve(
        np.array([np.inf, 0.9, 0.8, 0.7, 0.6]),
        np.array([0, 0.1, 0.3, 0.2, 0.45]),
        np.array([0, 0.4, 0.5, 0.6, 0.9]),
        20,
        10,
    )
    curves.plot_froc(tmp_path / 'f.png', {'ours': curve}, METRIC_DEFAULTS)
    drawn, marks, held = lines_of(figures[0])
    np.testing.assert_allclose(drawn[:, 0], [0, 0.1, 0.3, 0.3, 0.45])
    np.testing.assert_allclose(marks[:, 0], [0.1, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(marks[:, 1], [0.4, 0.45, 0.6, 0.8, 0.9])
    np.testing.assert_allclose(held, [[0.45, 0.9], [1, 0.9]])
    (text,) = figures[0].axes[0].get_legend().get_texts()
    assert text.get_text() == f'ours  ({froc.froc_score(curve):.3f})'


def test_froc_plot_takes_plain_data_with_or_without_the_anchor(tmp_path, figures):
    plain = dict(fppi=[0.1, 0.5], recall=[0.4, 0.8])
    anchored = dict(fppi=[0, 0.1, 0.5], recall=[0, 0.4, 0.8])
    curves.plot_froc(tmp_path / 'f.png', {'plain': plain, 'anchored': anchored}, METRIC_DEFAULTS)
    lines = lines_of(figures[0])
    np.testing.assert_array_equal(lines[0], lines[3])
    np.testing.assert_allclose(lines[1][:, 1], [0.4, 0.5, 0.6, 0.7, 0.8])


def test_froc_plot_refuses_what_is_no_curve(tmp_path):
    with pytest.raises(ValueError, match='one curve'):
        curves.plot_froc(tmp_path / 'f.png', {}, METRIC_DEFAULTS)
    with pytest.raises(ValueError, match="'x' holds NaN"):
        curves.plot_froc(
            tmp_path / 'f.png', {'x': dict(fppi=[0, 1], recall=[np.nan, np.nan])}, METRIC_DEFAULTS
        )
    assert not list(tmp_path.iterdir())


def evaluation(crossing, max_fppi=None):
    options = dict(crossing=crossing, connectivity=8, targets=[0.25, 0.5])
    curve = dict(thresholds=[None, 0.9, 0.5, 0.4], fppi=[0, 0.5, 0.25, 1], recall=[0, 0.25, 0.5, 1])
    return json.dumps(dict(metrics={}, options=options, curve=curve, max_fppi=max_fppi))


def test_legend_and_line_are_read_as_the_file_says(tmp_path, figures):
    for crossing, score, at in (('first', '0.312', 0.5), ('best', '0.583', 2 / 3)):
        (tmp_path / 'frac_test.json').write_text(evaluation(crossing))
        curves.plot_run(tmp_path, report=lambda line: None)
        (text,) = figures[-1].axes[0].get_legend().get_texts()
        assert text.get_text() == f'test  ({score})'
        assert f'crossing {crossing}' in figures[-1].axes[0].get_title()
        line = lines_of(figures[-1])[0]
        assert line[line[:, 0] <= 0.5][:, 1].max() == pytest.approx(at)


def test_step_is_drawn_as_steps(tmp_path, figures):
    curve = dict(fppi=[0, 0.25, 0.5], recall=[0, 0.5, 1])
    step = replace(METRIC_DEFAULTS, interpolation='step')
    curves.plot_froc(tmp_path / 'f.png', {'a': curve}, step)
    expected = [[0, 0], [0.25, 0], [0.25, 0.5], [0.5, 0.5], [0.5, 1]]
    np.testing.assert_allclose(lines_of(figures[0])[0], expected)


def test_the_mean_of_seeds_is_drawn_with_the_mean_score(tmp_path, figures):
    first = dict(fppi=[0, 1], recall=[0, 1])
    second = dict(fppi=[0, 1], recall=[0.5, 0.5])
    curves.plot_froc(tmp_path / 'f.png', {'a': [first, second]}, METRIC_DEFAULTS)
    drawn, marks = lines_of(figures[0])[:2]
    np.testing.assert_allclose(np.interp([0.1, 0.5], *drawn.T), [0.3, 0.5])
    np.testing.assert_allclose(marks[:, 1], [0.3, 0.35, 0.4, 0.45, 0.5])
    (text,) = figures[0].axes[0].get_legend().get_texts()
    assert text.get_text() == 'a  (0.400)'


def test_files_of_other_definitions_are_not_drawn_together(tmp_path):
    (tmp_path / 'frac_test.json').write_text(evaluation('first'))
    (tmp_path / 'frac_val.json').write_text(evaluation('best'))
    with pytest.raises(
        ValueError, match=r'frac_test\.json and .*frac_val\.json.*crossing first and best'
    ):
        curves.plot_run(tmp_path, report=lambda line: None)


def test_what_a_file_does_not_hold_is_not_drawn(tmp_path, figures):
    (tmp_path / 'frac_test.json').write_text(evaluation('first', 0.6))
    curves.plot_run(tmp_path, report=lambda line: None)
    assert figures[-1].axes[0].get_xlim() == (0, 0.6)
