# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmfrac.visualization import plots


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


def test_sharpening_curves_are_those_of_the_paper(tmp_path, figures):
    path = plots.plot_sharpening(tmp_path / 'new' / 'ds.png', t=0.4, a=(1, 4))
    identity, sharpened = (xy for xy in lines_of(figures[0]) if len(xy) > 1)
    np.testing.assert_allclose(identity[:, 1], identity[:, 0], atol=1e-12)
    y, values = sharpened.T
    assert y[0] == 0 and y[-1] == 1
    at_points = values[np.abs(y - np.array([[0.2], [0.4], [0.7]])).argmin(axis=1)]
    expected = [0.2**4 / 0.4**3, 0.4, 0.3**0.25 / 0.6 ** (0.25 - 1) + 0.4]
    np.testing.assert_allclose(at_points, expected, rtol=1e-6)
    picture = cv2.imread(str(path))
    assert picture is not None and np.ptp(picture) > 200


def test_plots_differ_with_the_data_and_leave_nothing_behind(tmp_path):
    first = plots.plot_sharpening(tmp_path / 'a.svg', t=0.4).read_text()
    again = plots.plot_sharpening(tmp_path / 'b.svg', t=0.4).read_text()
    other = plots.plot_sharpening(tmp_path / 'c.svg', t=0.2).read_text()
    assert first.startswith('<?xml') and first == again != other
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.svg', 'b.svg', 'c.svg']
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match=r'\.png or \.svg'):
        plots.plot_sharpening(tmp_path / 'a.doc')


def test_sharpening_epochs_shows_m_t_and_a(tmp_path, figures):
    epochs, m, t, a = [11, 12, 13], [0.3, 0.4, 0.7], [0.2, 0.3, 0.5], [6, 6, 4]
    path = plots.plot_sharpening_epochs(tmp_path / 'e.png', epochs, m, t, a)
    assert path.is_file()
    for drawn, values in zip(lines_of(figures[0]) + lines_of(figures[0], 1), (m, t, a)):
        np.testing.assert_array_equal(drawn, np.c_[epochs, values])
    plots.plot_sharpening_epochs(tmp_path / 'e.png', epochs, m, t)
    assert len(figures[1].axes) == 1


def test_spread_shows_each_run_and_gives_a_method_one_style(tmp_path, figures):
    values = {'Supervised': [0.4, 0.5, 0.6], 'Ours': [0.7]}
    epochs = {'recall': {'Ours': {2: 0.3, 1: 0.2}}, 'precision': {'Ours': {1: 0.5, 2: 0.6}}}
    assert plots.plot_spread(tmp_path / 's.png', values, epochs).is_file()
    first, recall, precision = figures[0].axes
    assert [text.get_text() for text in first.get_yticklabels()] == ['Supervised', 'Ours']
    # the first method is above the second
    assert first.get_ylim() == (1.5, -0.5)
    spans, dots, means = (lines_of(figures[0])[part::3] for part in range(3))
    np.testing.assert_array_equal(spans[0], [[0.4, 0], [0.6, 0]])
    np.testing.assert_array_equal(dots[0], [[0.4, 0], [0.5, 0], [0.6, 0]])
    np.testing.assert_allclose([means[0][0], means[1][0]], [[0.5, 0], [0.7, 1]])
    ours = first.lines[3].get_color()
    assert ours != first.lines[0].get_color()
    for axes, drawn in ((recall, [[1, 0.2], [2, 0.3]]), (precision, [[1, 0.5], [2, 0.6]])):
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), drawn)
        assert axes.lines[0].get_color() == ours
    # of methods without pseudo maps alone there is one panel
    plots.plot_spread(tmp_path / 's.png', values, {})
    assert len(figures[1].axes) == 1
