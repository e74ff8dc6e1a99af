# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mmfrac.preparation.checks import CHECKS, check_data, severities, write_page
from tests.preparation.checks.broken_set import broken_set, sound_set

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
CHROMIUM_OPTIONS = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
)


class Page(HTMLParser):
    """Tags of a page; complains of tags that are not closed."""

    VOID = ('meta', 'img', 'br', 'link')

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag, name):
        return [attrs[name] for found, attrs in self.tags if found == tag and name in attrs]


@pytest.fixture(scope='module')
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp('page')
    root, expected = broken_set(folder / 'data')
    report, films = check_data(root, workers=0, progress=False)
    write_page(report, films, folder / 'out' / 'check.html', size=96, workers=0)
    assert [path.name for path in (folder / 'out').iterdir()] == ['check.html']
    return folder / 'out' / 'check.html', expected


def test_page(page_file):
    text = page_file[0].read_text()
    page = Page(text)
    assert set(page.all('section', 'id')) == set(page_file[1])
    assert {link.removeprefix('#') for link in page.all('a', 'href')} == set(page_file[1])
    for check, count in page_file[1].items():
        assert f'{CHECKS[check].title}: {count}' in text
    # nothing is loaded from elsewhere
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and '<script' not in text
    pictures = dict(zip(page.all('img', 'alt'), page.all('img', 'src')))
    assert 'train/inverted.png' in pictures and 'train/gone.png' not in pictures
    content = base64.b64decode(pictures['train/inverted.png'].split(',')[1])
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert max(picture.shape) == 96
    # the box of a film is on its picture
    content = base64.b64decode(pictures['train/outside.png'].split(',')[1])
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert (picture[..., 1] - picture[..., 2]).max() > 80


def test_page_of_a_sound_set_and_its_limits(tmp_path):
    data = sound_set(tmp_path / 'data')
    report, films = check_data(data.write(), workers=0, progress=False)
    write_page(report, films, tmp_path / 'sound.html', workers=0)
    text = (tmp_path / 'sound.html').read_text()
    assert '0 errors, 0 warnings' in text and 'img src' not in text
    for index in range(5):
        data.film('train', f't{index}.png', 1, [[30, 40, 1, 9]])
    report, films = check_data(data.write(), workers=0, progress=False)
    write_page(report, films, tmp_path / 'a.html', images_a_check=2, lines_a_check=3, workers=0)
    text = (tmp_path / 'a.html').read_text()
    assert text.count('<figure>') == 2 and text.count('<li>') == 3 and 'and 2 more' in text


def test_names_are_escaped(tmp_path):
    data = sound_set(tmp_path / 'data')
    data.film('train', '<script>alert(1)</script>&.png', pixels=False)
    data.film('train', 'half\ud800.png', pixels=False)
    report, films = check_data(data.write(), workers=0, progress=False, severity=severities())
    write_page(report, films, tmp_path / 'a.html', workers=0)
    text = (tmp_path / 'a.html').read_text()
    Page(text)
    assert '<script' not in text and '&lt;script&gt;alert(1)' in text and '\\ud800' in text


@pytest.mark.skipif(CHROMIUM is None, reason='chromium is not installed')
def test_page_in_a_browser(page_file, tmp_path):
    picture = tmp_path / 'page.png'
    done = subprocess.run(
        [
            *(CHROMIUM, *CHROMIUM_OPTIONS, f'--user-data-dir={tmp_path / "profile"}'),
            *(f'--screenshot={picture}', '--window-size=1000,1600', f'file://{page_file[0]}'),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    shown = cv2.imread(str(picture))
    assert shown.shape == (1600, 1000, 3)
    # text, a red verdict and grey films are drawn, not an error page
    blue, green, red = np.moveaxis(shown.astype(int), 2, 0)
    assert ((red - blue > 90) & (red - green > 90)).sum() > 200
    assert (shown.max(axis=2) < 60).sum() > 5000
