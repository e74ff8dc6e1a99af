# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The page in a real browser: what a hand, a keyboard and a screen reader do with it."""

import json
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.results import read_results
from tests.deployment.page.frames import read_frames
from tests.deployment.page.test_app import send, zipped
from tests.deployment.tiny_package import write_dicom

pytest.importorskip('httpx', reason='pip install mmfrac[deploy]')
app_module = pytest.importorskip('mmfrac.deployment.page.app', reason='pip install mmfrac[deploy]')
scoring = pytest.importorskip('mmfrac.deployment.page.scoring')
WebDriver = pytest.importorskip('tests.deployment.page.webdriver').WebDriver

# mean of the grey values of what a canvas shows, in the middle of the image
MEAN = """
const canvas = document.getElementById(arguments[0]);
const [w, h] = [canvas.width, canvas.height];
const data = canvas.getContext('2d').getImageData(w * 0.3, h * 0.3, w * 0.4, h * 0.4).data;
let total = 0, colour = 0;
for (let i = 0; i < data.length; i += 4) {
  total += data[i]; colour += Math.abs(data[i] - data[i + 1]) > 8;
}
return [4 * total / data.length, 4 * colour / data.length];
"""


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    with WebDriver(tmp_path_factory.mktemp('browser')) as driver:
        yield driver


@pytest.fixture
def url(serve, package, inferencer):
    return serve(app_module.create_app(scoring.PageScorer(package, inferencer)))


def keep(browser, name, tmp_path):
    """A picture for somebody to look at, in MMFRAC_SCREENSHOTS."""
    folder = Path(os.environ.get('MMFRAC_SCREENSHOTS', tmp_path))
    return cv2.imread(str(browser.screenshot(folder / f'{name}.png')))


def test_what_is_doubtful_of_an_image_is_said(browser, url, tmp_path):
    doubtful = write_dicom(tmp_path / 'doubtful.dcm', 0, WindowWidth=0)
    blank = write_dicom(tmp_path / 'blank.dcm', 1, PixelData=bytes(2 * 48 * 64))
    browser.open(url)
    browser.wait("document.getElementById('status').textContent === 'Ready.'")
    browser.type('#files', f'{doubtful}\n{blank}')
    browser.wait("document.getElementById('status').textContent === '2 images, 1 scored.'")
    text = browser.text('#verdict')
    assert 'image score' in text and 'Doubtful: its window (center 2048.0, width 0.0)' in text
    assert 'all its pixels have one value' in browser.text('#images li:nth-child(2)')
    browser.run("document.querySelector('#images li:nth-child(2) button').click()")
    text = browser.text('#verdict')
    assert 'not scored, all its pixels have one value. Doubtful: ' in text


def test_from_files_to_findings_and_downloads(browser, url, dicom, tmp_path):
    image = (np.random.default_rng(0).random((90, 140)) * 65535).astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'noise & more.png'), image)
    (tmp_path / 'notes.txt').write_text('no image')
    study = zipped({'series/one.dcm': dicom.read_bytes(), '<b>two</b>.dcm': dicom.read_bytes()})
    (tmp_path / 'study.zip').write_bytes(study)
    browser.open(url)
    browser.wait("document.getElementById('status').textContent === 'Ready.'")
    assert 'Research use only' in browser.text('header')
    assert 'For tests only & <i>never</i> for patients.' in browser.text('#limits')
    assert 'Model tiny <b>' in browser.text('#model')
    paths = [dicom, tmp_path / 'noise & more.png', tmp_path / 'notes.txt', tmp_path / 'study.zip']
    browser.type('#files', '\n'.join(map(str, paths)))
    browser.wait("document.getElementById('status').textContent === '5 images, 3 scored.'")
    entries = [browser.text(f'#images li:nth-child({index})') for index in range(1, 6)]
    assert entries[0].startswith('phantom.dcm score ')
    assert 'neither DICOM nor an image' in entries[2]
    assert entries[3].startswith('series/one.dcm score ')
    assert entries[4].startswith('a file of the ZIP not scored') and 'markup' in entries[4]

    # findings are those of the server, at every threshold of the slider
    (frame,) = read_frames(send(url, ('phantom.dcm', dicom.read_bytes())).content)
    thresholds = browser.run(
        "return fetch('/api/model').then((answer) => answer.json()).then((model) => model.thresholds)"
    )
    assert browser.text('#threshold-value') == '0.237'
    for index in (0, thresholds.index(0.237), thresholds.index(0.6), len(thresholds) - 1):
        browser.run(
            "const slider = document.getElementById('threshold'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input'));",
            index,
        )
        threshold, found = thresholds[index], frame.header['findings'][index]
        rows = browser.run(
            "return [...document.querySelectorAll('#findings tr')].map((row) => row.innerText)"
        )
        assert [float(row.split()[1]) for row in rows] == [round(one, 3) for one in found['scores']]
        assert f'FPPI {2 * (1 - threshold):.3f}' in browser.text('#rates')
        assert f'sensitivity {1 - threshold**2:.3f}' in browser.text('#rates')
        assert '160 test images with 123 lesions' in browser.text('#rates')
        flag = 'at or above' if frame.result.score >= threshold else 'below'
        assert flag in browser.text('#verdict')
        label = browser.run("return document.getElementById('overlay').ariaLabel")
        assert f'{len(rows)} finding' in label and f'at threshold {threshold:.3f}' in label
    assert browser.run("return document.getElementById('point').value") == ''
    browser.run(
        "const select = document.getElementById('point'); select.selectedIndex = 0;"
        "select.dispatchEvent(new Event('change'));"
    )
    assert browser.text('#threshold-value') == '0.237'
    picture = keep(browser, 'findings', tmp_path)
    assert picture.shape[1] >= 1300

    # the original is grey, the overlay has heat
    plane = read_radiograph(dicom, [])
    middle = plane[int(0.3 * plane.shape[0]) : int(0.7 * plane.shape[0])]
    grey, coloured = browser.run(MEAN, 'original')
    assert coloured == 0 and grey == pytest.approx(255 * middle.mean(), rel=0.25)
    assert browser.run(MEAN, 'overlay')[1] > 0.05
    browser.click('#heat')
    assert browser.run(MEAN, 'overlay')[1] < 0.05
    browser.click('#heat')

    browser.click('#json')
    results = list(read_results(browser.downloaded('results.jsonl')))
    assert [one.image for one in results if one.scored] == [
        *('phantom.dcm', 'noise & more.png', 'series/one.dcm'),
    ]
    assert results[0].operating_point == dict(name='low', threshold=0.237)
    index = thresholds.index(0.237)
    assert results[0].boxes == frame.header['findings'][index]['boxes']
    assert results[0].flag is not None
    browser.click('#coco')
    coco = json.loads(browser.downloaded('findings_coco.json').read_text())
    assert len(coco['annotations']) == sum(len(one.boxes) for one in results)
    assert browser.console() == []


def test_dicom_objects_are_downloaded(browser, url, dicom):
    pytest.importorskip('highdicom', reason='pip install mmfrac[deploy]')
    pytest.importorskip('mmfrac.deployment.dicom_objects')
    browser.open(url)
    browser.wait("document.getElementById('status').textContent === 'Ready.'")
    assert browser.run("return document.getElementById('sc').disabled")
    browser.type('#files', str(dicom))
    browser.wait("document.getElementById('status').textContent === '1 image, 1 scored.'")
    browser.click('#all')
    with zipfile.ZipFile(browser.downloaded('findings.zip')) as archive:
        kinds = {name.split('_')[0] for name in archive.namelist()}
    assert {'sc', 'sr'} <= kinds
    assert 'downloaded' in browser.text('#status')


def test_window_level_zoom_and_place_by_hand_and_by_keys(browser, url, dicom, tmp_path):
    browser.open(url)
    browser.wait("document.getElementById('status').textContent === 'Ready.'")
    browser.type('#files', str(dicom))
    browser.wait("document.getElementById('status').textContent === '1 image, 1 scored.'")

    def shown():
        return [float(browser.text(f'#{name}')) for name in ('window', 'level', 'zoom')]

    assert shown() == [1, 0.5, 1]
    before = browser.run(MEAN, 'original')[0]
    browser.drag('#original', 0, 80)
    width, level, _ = shown()
    assert width == 1 and level == pytest.approx(0.7, abs=0.02)
    darker = browser.run(MEAN, 'original')[0]
    assert darker < before - 20
    browser.drag('#overlay', 100, 0)
    assert shown()[0] > 1.4 and shown()[1] == level
    browser.click('#reset')
    assert shown() == [1, 0.5, 1] and browser.run(MEAN, 'original')[0] == before
    # shift moves: nothing else changes, the picture does
    browser.drag('#original', 120, 0, shift=True)
    assert shown() == [1, 0.5, 1] and browser.run(MEAN, 'original')[0] != before
    browser.click('#zoom-in')
    assert shown()[2] == 1.2
    keep(browser, 'zoomed', tmp_path)
    # by keys alone
    browser.run("document.getElementById('original').focus()")
    browser.press('0')
    assert shown() == [1, 0.5, 1]
    browser.press('right', 'right', 'up', '+', 'd')
    width, level, zoom = shown()
    assert width > 1.05 and level < 0.5 and zoom == 1.2
    assert browser.console() == []


def test_everything_has_a_name_and_can_be_reached_by_keys(browser, url, dicom, tmp_path):
    browser.open(url, 1000, 1400)
    browser.wait("document.getElementById('status').textContent === 'Ready.'")
    browser.type('#files', str(dicom))
    browser.wait("document.getElementById('status').textContent === '1 image, 1 scored.'")
    nameless = browser.run("""
      return [...document.querySelectorAll('input, select, button, canvas, a, [role=region]')]
        .filter((one) => !(one.ariaLabel || one.labels?.length || one.getAttribute('aria-labelledby')
          || (['BUTTON', 'A'].includes(one.tagName) && one.textContent.trim())))
        .map((one) => one.outerHTML)""")
    assert nameless == []
    ids = browser.run("""
      const names = ['aria-describedby', 'aria-labelledby', 'for'];
      return [...document.querySelectorAll(names.map((name) => `[${name}]`).join())]
        .flatMap((one) => names.map((name) => one.getAttribute(name)))
        .filter((id) => id && !document.getElementById(id))""")
    assert ids == []
    reached = []
    browser.run('document.body.focus()')
    for _ in range(30):
        browser.press('tab')
        reached.append(
            browser.run('return document.activeElement.id || document.activeElement.tagName')
        )
    wanted = {
        'files',
        'json',
        'coco',
        'threshold',
        'point',
        'zoom-in',
        'heat',
        'original',
        'overlay',
    }
    assert wanted <= set(reached)
    # the language, headings in order, and one main part
    assert browser.run('return document.documentElement.lang') == 'en'
    levels = browser.run(
        "return [...document.querySelectorAll('h1, h2, h3')].map((one) => one.tagName)"
    )
    assert levels[0] == 'H1' and set(levels[1:]) == {'H2'}
    assert browser.run("return document.querySelectorAll('main').length") == 1
    keep(browser, 'narrow', tmp_path)


def test_what_is_refused_is_said(browser, serve, package, inferencer, tmp_path):
    uploads = pytest.importorskip('mmfrac.deployment.page.uploads')
    limits = uploads.UploadLimits(request_bytes=2**16)
    url = serve(app_module.create_app(scoring.PageScorer(package, inferencer), limits))
    browser.open(url)
    browser.wait("document.getElementById('status').textContent === 'Ready.'")
    large = tmp_path / 'large.dcm'
    large.write_bytes(bytes(2**17))
    browser.type('#files', str(large))
    browser.wait("document.getElementById('status').textContent === '1 image, 0 scored.'")
    assert f'large.dcm not scored: more than {2**16} bytes are refused' in browser.text('#images')
    browser.console()
