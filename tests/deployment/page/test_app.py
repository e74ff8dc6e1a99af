# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The page over HTTP: what it answers, and what it refuses."""

import asyncio
import io
import itertools
import json
import os
import re
import socket
import struct
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from mmfrac.datasets.radiographs.read import read_radiograph
from mmfrac.deployment.page import guard as guard_module
from mmfrac.deployment.page.guard import HEADERS, Guard, hosts_of
from mmfrac.utils.prob_map import component_boxes
from mmfrac.visualization.overlay import heat_colours
from tests.deployment.page.conftest import POINTS
from tests.deployment.page.frames import read_frames

httpx = pytest.importorskip('httpx', reason='pip install mmfrac[deploy]')
app_module = pytest.importorskip('mmfrac.deployment.page.app', reason='pip install mmfrac[deploy]')
scoring = pytest.importorskip('mmfrac.deployment.page.scoring')
uploads = pytest.importorskip('mmfrac.deployment.page.uploads')

# of this checkout, which no answer tells
ROOT = os.fspath(Path(__file__).resolve().parents[3]).encode()


@pytest.fixture
def scorer(package, inferencer):
    return scoring.PageScorer(package, inferencer)


@pytest.fixture
def url(serve, scorer):
    limits = uploads.UploadLimits(request_bytes=2**22, image_bytes=2**21, images=20, seconds=3)
    return serve(app_module.create_app(scorer, limits, hosts_of('127.0.0.1')))


def png(shape=(90, 120), seed=0):
    image = (np.random.default_rng(seed).random(shape) * 65535).astype(np.uint16)
    return cv2.imencode('.png', image)[1].tobytes()


def zipped(files, method=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, 'w', method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def send(url, *files, path='/api/images', **options):
    fields = [('files', (name, content)) for name, content in files]
    return httpx.post(url + path, files=fields, timeout=120, **options)


def test_an_image_comes_back_with_its_findings_at_every_threshold(url, scorer, dicom):
    about = httpx.get(f'{url}/api/model').json()
    assert about['thresholds'] == sorted(about['thresholds']) and 0.237 in about['thresholds']
    assert len(about['curve']['fppi']) == len(about['thresholds'])
    assert about['palette'] == heat_colours(np.linspace(0, 1, 256)[:, None])[:, 0].tolist()
    assert [one['name'] for one in about['operating_points']] == ['low', 'high']
    answer = send(url, ('phantom.dcm', dicom.read_bytes()))
    assert answer.status_code == 200
    (frame,) = read_frames(answer.content)
    plane = read_radiograph(dicom, [])
    assert frame.result.scored and (frame.result.width, frame.result.height) == plane.shape[::-1]
    np.testing.assert_allclose(frame.plane / 65535, plane, atol=1e-5)
    expected = scorer.inferencer(str(dicom), return_datasamples=True)['predictions'][0]
    np.testing.assert_array_equal(frame.prob_map, expected.pred_prob_map.data[0].numpy())
    assert frame.result.score == float(expected.pred_score)
    assert frame.result.operating_point == dict(name='low', threshold=0.237)
    for threshold, found in zip(about['thresholds'], frame.header['findings']):
        boxes, scores = component_boxes(
            frame.prob_map, frame.result.map_scale, plane.shape, threshold
        )
        assert found == dict(boxes=boxes.tolist(), scores=scores.tolist())
        if threshold == 0.237:
            assert len(boxes)
    # as of an archive: the point lies above the detector's own 0.2
    boxes, _ = component_boxes(frame.prob_map, frame.result.map_scale, plane.shape, 0.2)
    assert frame.result.boxes == boxes.tolist()
    header = pydicom.dcmread(dicom, stop_before_pixels=True)
    assert frame.result.sop_instance_uid == header.SOPInstanceUID


def test_every_answer_tells_the_browser_what_it_may_do(url):
    for path in ('/', '/page.js', '/page.css', '/api/model', '/nowhere', '/health'):
        answer = httpx.get(url + path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, (path, name)
    assert "default-src 'none'" in HEADERS['content-security-policy']
    assert 'unsafe' not in HEADERS['content-security-policy']
    folder = Path(app_module.__file__).with_name('static')
    for path in folder.iterdir():
        # nothing is loaded from elsewhere, and no markup is made of text
        text = path.read_text()
        for wrong in (
            'http://',
            'https://',
            '//cdn',
            'innerHTML',
            'outerHTML',
            'insertAdjacent',
            'eval(',
        ):
            assert wrong not in text, (path.name, wrong)
        assert ' style=' not in text and ' onclick=' not in text


def test_a_zip_file_is_taken_apart_and_what_is_no_image_says_why(url, dicom):
    content = dicom.read_bytes()
    files = {
        'study/series 1/a.dcm': content,
        'b': content,
        'c.png': png(),
        '__MACOSX/._c.png': b'x',
        'DICOMDIR': b'x',
        'notes.txt': b'no image',
        'cut.dcm': content[:2000],
        '../../outside.dcm': content,
        '/etc/absolute.dcm': content,
        'C:\\drive.dcm': content,
        '<img src=x onerror=alert(1)>.png': png(),
        'inner.zip': zipped({'a.dcm': content}),
        'bomb.png': bytes(2**21),
    }
    frames = read_frames(send(url, ('study.zip', zipped(files))).content)
    found = {}
    for frame in frames:
        found.setdefault(frame.result.image, []).append(frame.result)
    scored = [name for name, results in found.items() if results[0].scored]
    assert scored == ['study/series 1/a.dcm', 'b', 'c.png']
    assert found['study/series 1/a.dcm'][0].score == found['b'][0].score
    assert 'neither DICOM nor an image' in found['notes.txt'][0].error
    assert found['cut.dcm'][0].error and '/proc/' not in found['cut.dcm'][0].error
    # names that are paths or markup are not repeated
    names = found['a file of the ZIP']
    assert len(names) == 4 and all('is refused' in one.error for one in names)
    assert found['inner.zip'][0].error == 'a ZIP file in a ZIP file is refused'
    assert 'more than 1 : 200' in found['bomb.png'][0].error


def test_what_a_zip_file_says_of_itself_is_not_believed(url):
    content = zipped({'a.png': bytes(2**16)})
    # says less than there is, in both of its places
    for offset in (22, content.index(b'PK\x01\x02') + 24):
        content = content[:offset] + struct.pack('<L', 99) + content[offset + 4 :]
    (frame,) = read_frames(send(url, ('lie.zip', content)).content)
    assert frame.result.reason == 'refused'
    many = zipped({f'{index}.png': b'' for index in range(21)})
    (frame,) = read_frames(send(url, ('many.zip', many)).content)
    assert frame.result.error == 'it holds 21 files, 20 are taken'
    (frame,) = read_frames(send(url, ('cut.zip', many[:-30])).content)
    assert frame.result.error == 'the ZIP file is damaged'


def test_bombs_of_pixels_are_refused_before_memory_is_taken(url):
    def chunk(name, content):
        whole = name + content
        return struct.pack('>L', len(content)) + whole + struct.pack('>L', zlib.crc32(whole))

    bomb = b'\x89PNG\r\n\x1a\n'
    bomb += chunk(b'IHDR', struct.pack('>2L5B', 60000, 60000, 16, 0, 0, 0, 0))
    bomb += chunk(b'IDAT', zlib.compress(bytes(2**20))) + chunk(b'IEND', b'')
    (frame,) = read_frames(send(url, ('bomb.png', bomb)).content)
    assert not frame.result.scored and 'more than' in frame.result.error
    (frame,) = read_frames(send(url, ('big.dcm', bytes(2**21 + 1))).content)
    assert frame.result.error == f'it has more than {2**21} bytes'


def test_laterals_are_shown_and_not_scored(url, scorer, dicom, tmp_path):
    ds = pydicom.dcmread(dicom)
    ds.ViewPosition = 'LL'
    ds.save_as(tmp_path / 'lateral.dcm')
    content = (tmp_path / 'lateral.dcm').read_bytes()
    (frame,) = read_frames(send(url, ('lateral.dcm', content)).content)
    assert not frame.result.scored and frame.result.reason == 'view lateral'
    assert frame.plane is not None and frame.header['findings'] == []


def test_downloads(url, dicom):
    content = dicom.read_bytes()
    frame, other = read_frames(send(url, ('a.dcm', content), ('b.png', png())).content)
    records = [frame.result.as_dict(), other.result.as_dict()]
    coco = httpx.post(f'{url}/api/coco', json=records).json()
    assert [one['file_name'] for one in coco['images']] == ['a.dcm', 'b.png']
    assert len(coco['annotations']) == len(frame.result.boxes) + len(other.result.boxes) > 0
    x1, y1, x2, y2 = frame.result.boxes[0]
    first = coco['annotations'][0]
    assert first['bbox'] == [x1, y1, x2 - x1, y2 - y1] and first['score'] == frame.result.scores[0]
    assert coco['info']['description'].startswith('Research use only')
    assert coco['categories'] == [dict(id=1, name='fracture')]
    for wrong in ([1], [[]], {}, [dict(records[0], score='x')]):
        assert httpx.post(f'{url}/api/coco', json=wrong).status_code == 400
    assert httpx.post(f'{url}/api/coco', content=b'[' * 100000).status_code == 400


def test_a_list_of_results_has_an_end(scorer, monkeypatch):
    monkeypatch.setattr(app_module, '_LARGEST_JSON', 2**16)
    pieces, answers = [], []

    async def receive():
        pieces.append(bytes(2**14))
        return dict(type='http.request', body=pieces[-1], more_body=len(pieces) < 200)

    async def send(message):
        answers.append(message)

    scope = dict(type='http', method='POST', path='/api/coco', query_string=b'', headers=[])
    asyncio.run(app_module.create_app(scorer)(scope, receive, send))
    assert answers[0]['status'] == 413 and len(pieces) < 10


def test_images_beyond_the_limit_are_named(serve, scorer, dicom):
    url = serve(app_module.create_app(scorer, uploads.UploadLimits(images=2)))
    study = zipped({'a.png': png(), 'b.png': png(seed=1)})
    frames = read_frames(send(url, ('1.zip', study), ('2.zip', study)).content)
    assert [frame.result.scored for frame in frames] == [True, True, False]
    assert 'more than 2 images' in frames[2].result.error


def test_an_image_that_is_sent_twice_has_its_objects_once(url, dicom):
    pytest.importorskip('highdicom', reason='pip install mmfrac[deploy]')
    study = zipped({'a.dcm': dicom.read_bytes(), 'b.dcm': dicom.read_bytes()})
    answer = send(url, ('study.zip', study), path='/api/objects?threshold=0.3&kinds=sr')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names)) == 2


@pytest.mark.parametrize('kind', ['http.response.start', 'http.response.body'])
def test_who_reads_no_answer_holds_no_place(kind):
    async def app(scope, receive, send):
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=b'x', more_body=True))

    async def send(message):
        if message['type'] == kind:
            await asyncio.sleep(100)

    guard = Guard(app, uploads.UploadLimits(answer_seconds=0.1), ())
    scope = dict(type='http', method='POST', headers=[])

    async def receive():
        return dict(type='http.request', body=b'', more_body=False)

    asyncio.run(asyncio.wait_for(guard(scope, receive, send), 20))
    assert guard._sending == 0


def test_a_byte_now_and_then_holds_no_place_for_ever(scorer):
    limits = uploads.UploadLimits(request_seconds=0.3)
    answers = []
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.dcm"\r\n\r\n'
    pieces = itertools.chain([head], itertools.repeat(b'x'))

    async def receive():
        await asyncio.sleep(0.01)
        return dict(type='http.request', body=next(pieces), more_body=not answers)

    async def send(message):
        answers.append(message)

    kind = (b'content-type', b'multipart/form-data; boundary=x')
    scope = dict(type='http', method='POST', path='/api/images', query_string=b'', headers=[kind])
    guard = app_module.create_app(scorer, limits)
    asyncio.run(asyncio.wait_for(guard(scope, receive, send), 20))
    assert answers[0]['status'] == 408 and guard._sending == 0


def test_a_refused_request_that_never_ends_is_not_listened_to_for_ever(monkeypatch):
    monkeypatch.setattr(guard_module, '_DRAIN_SECONDS', 0.2)
    guard = Guard(None, uploads.UploadLimits(), ())
    scope = dict(type='http', method='POST', headers=[(b'content-length', b'x')])
    answers = []

    async def receive():
        await asyncio.sleep(0.01)
        return dict(type='http.request', body=b'x', more_body=True)

    async def send(message):
        answers.append(message)

    asyncio.run(asyncio.wait_for(guard(scope, receive, send), 20))
    assert answers[0]['status'] == 413


def test_dicom_objects_of_the_image_that_is_shown(url, dicom):
    pytest.importorskip('highdicom', reason='pip install mmfrac[deploy]')
    pytest.importorskip('mmfrac.deployment.dicom_objects')
    content = dicom.read_bytes()
    study = zipped({'a.png': png(), 'b.dcm': content})
    answer = send(url, ('study.zip', study), path='/api/objects?threshold=0.3&kinds=sc,sr&member=1')
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        objects = [
            pydicom.dcmread(io.BytesIO(archive.read(name)))
            for name in names
            if name.endswith('.dcm')
        ]
        assert json.loads(archive.read('left_out.json')) == []
    source = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    assert {one.Modality for one in objects} == {'OT', 'SR'} or len(objects) == 2
    assert all(one.StudyInstanceUID == source.StudyInstanceUID for one in objects)
    # of what is no DICOM there are none
    answer = send(url, ('study.zip', study), path='/api/objects?threshold=0.3&kinds=sc&member=0')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ['left_out.json']
        assert json.loads(archive.read('left_out.json'))[0]['image'] == 'a.png'
    for query in ('threshold=0', 'threshold=nan', 'threshold=2', 'threshold=0.5&kinds=exe', ''):
        answer = send(url, ('a.dcm', content), path=f'/api/objects?{query}')
        assert answer.status_code in (400, 422), query


@pytest.mark.slow
def test_fifty_at_once(url, dicom):
    content = dicom.read_bytes()
    alone = read_frames(send(url, ('a.dcm', content)).content)[0].result
    with ThreadPoolExecutor(50) as pool:
        answers = list(
            pool.map(
                lambda user: send(url, (f'{user}.dcm', content), (f'{user}.png', png(seed=user))),
                range(50),
            )
        )
    scores = set()
    for user, answer in enumerate(answers):
        first, second = (frame.result for frame in read_frames(answer.content))
        assert (first.image, second.image) == (f'{user}.dcm', f'{user}.png')
        assert first.score == alone.score
        scores.add(second.score)
    assert len(scores) == 50


def test_too_many_at_once_are_asked_to_wait(serve, scorer, dicom):
    limits = uploads.UploadLimits(requests=1, seconds=5)
    url = serve(app_module.create_app(scorer, limits))
    host, port = url.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            b'POST /api/images HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n'
            b'Content-Type: multipart/form-data; boundary=x\r\n\r\n--x'
        )
        for _ in range(50):
            answer = send(url, ('a.dcm', dicom.read_bytes()))
            if answer.status_code == 503:
                break
        assert answer.status_code == 503 and 'try again' in answer.text
    assert httpx.get(f'{url}/health').json()['status'] == 'ok'
    for _ in range(50):
        if send(url, ('a.dcm', dicom.read_bytes())).status_code == 200:
            break
    else:
        pytest.fail('it stays busy')


def test_other_pages_and_other_names_are_refused(url):
    for headers in (
        {'origin': 'http://evil.example'},
        {'origin': 'null'},
        {'sec-fetch-site': 'cross-site'},
    ):
        assert send(url, ('a.png', png()), headers=headers).status_code == 403
    for host in ('evil.example', 'evil.example:8000', '', '[', 'localhost.evil.example'):
        assert httpx.get(url, headers={'host': host}).status_code in (400, 421), host
    assert httpx.get(url, headers={'host': 'localhost:1'}).status_code == 200
    assert hosts_of('0.0.0.0') == [] and 'a.b' in hosts_of('0.0.0.0', ['a.b'])


def raw(url, request):
    """What is answered to some bytes; b'' where nothing is."""
    host, port = url.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        answer = b''
        try:
            connection.sendall(request)
            # of a request that has no end nothing may come
            connection.settimeout(4)
            while not is_whole(answer) and (piece := connection.recv(65536)):
                answer += piece
        except OSError:
            pass
    return answer


def is_whole(answer):
    head, found, body = answer.partition(b'\r\n\r\n')
    length = re.search(rb'(?i)content-length: (\d+)', head)
    if found and length:
        return len(body) >= int(length[1])
    return bool(found) and (b'HTTP/1.1 204' in head or answer.endswith(b'0\r\n\r\n'))


def hostile_requests(content):
    """200 requests that are none, each with what it is."""
    part = b'--xyz\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s'
    part += b'\r\n--xyz--\r\n'

    def post(body, kind=b'multipart/form-data; boundary=xyz', path=b'/api/images', length=None):
        length = len(body) if length is None else length
        head = (
            b'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n'
        )
        return head % (path, kind, length) + body

    names = [
        *(
            '../../etc/passwd',
            '/etc/passwd',
            'a/b.dcm',
            '..\\\\..\\\\a.dcm',
            'C:\\\\a',
            '..',
            '.',
            'x' * 300,
        ),
        *(
            '<script>alert(1)</script>.dcm',
            '<img src=x>',
            'a\x01b',
            'a\x7f',
            '\u202egnp.exe',
            'a:b',
        ),
    ]
    for name in names:
        yield f'name {name[:20]!r}', post(part % (name.encode(), content))
    whole = part % (b'a.dcm', content)
    for cut in range(0, 120, 3):
        yield f'multipart cut at {cut}', post(whole[:cut])
    for cut in range(0, 120, 8):
        yield f'multipart that ends early at {cut}', post(whole[:cut], length=len(whole))
    for kind in (
        b'',
        b'text/plain',
        b'application/json',
        b'multipart/form-data',
        b'multipart/form-data; boundary=',
        b'multipart/form-data; boundary=other',
        b'multipart/form-data; boundary=' + 5000 * b'x',
    ):
        yield f'type {kind[:40]}', post(whole, kind)
    yield 'field that is no file', post(whole.replace(b'; filename="a.dcm"', b''))
    yield 'another field', post(whole.replace(b'name="files"', b'name="x"'))
    yield (
        'many fields',
        post(
            b''.join(
                b'--xyz\r\nContent-Disposition: form-data; name="f"\r\n\r\n1\r\n' for _ in range(50)
            )
            + b'--xyz--\r\n'
        ),
    )
    yield 'many files', post(b''.join(whole[:-9] + b'\r\n' for _ in range(25)) + b'--xyz--\r\n')
    yield 'no file', post(b'--xyz--\r\n')
    for method in (
        b'PUT',
        b'DELETE',
        b'PATCH',
        b'OPTIONS',
        b'TRACE',
        b'CONNECT',
        b'PROPFIND',
        b'BREW',
        b'get',
        b'\xff',
    ):
        for path in (b'/', b'/api/images', b'/api/model'):
            yield f'{method} {path}', method + b' ' + path + b' HTTP/1.1\r\nHost: localhost\r\n\r\n'
    for path in (
        b'/../../etc/passwd',
        b'/%2e%2e/%2e%2e/etc/passwd',
        b'/static/../app.py',
        b'/page.js/..',
        b'//etc/passwd',
        b'/..%5c..%5capp.py',
        b'/page.js%00',
        b'/\xff\xfe',
        b'/docs',
        b'/redoc',
        b'/openapi.json',
        b'/api',
        b'/api/images',
        b'/' + 70000 * b'a',
        b'*',
        b'http://evil.example/',
    ):
        yield f'path {path[:30]}', b'GET ' + path + b' HTTP/1.1\r\nHost: localhost\r\n\r\n'
    for length in (b'-1', b'99999999999999999999', b'abc', b'1e3', b'0x10', b'4194305'):
        yield (
            f'length {length}',
            b'POST /api/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: '
            + length
            + b'\r\n\r\n',
        )
    for header in (
        b'X: ' + 100000 * b'a',
        b'A' * 70000 + b': 1',
        b'no colon',
        b': empty',
        b'Bad Name: 1',
        b'X: a\x00b',
        b'Host: a\r\nHost: b',
        b'Transfer-Encoding: chunked\r\nContent-Length: 5',
        b'Transfer-Encoding: gzip',
    ):
        yield (
            f'header {header[:20]}',
            b'POST /api/images HTTP/1.1\r\nHost: localhost\r\n' + header + b'\r\n\r\n',
        )
    yield (
        'many headers',
        b'GET / HTTP/1.1\r\nHost: localhost\r\n'
        + b''.join(b'X-%d: 1\r\n' % index for index in range(9000))
        + b'\r\n',
    )
    chunks = b'POST /api/images HTTP/1.1\r\nHost: localhost\r\n'
    chunks += (
        b'Content-Type: multipart/form-data; boundary=xyz\r\nTransfer-Encoding: chunked\r\n\r\n'
    )
    for chunk in (
        b'zz\r\nabc',
        b'-5\r\nabc\r\n',
        b'fffffffffffffffff\r\n',
        b'5\r\nabc',
        b'3\r\nabc\r\n0\r\n\r\n',
    ):
        yield f'chunk {chunk[:10]}', chunks + chunk
    yield (
        'chunks without end',
        chunks + b''.join(b'10000\r\n' + bytes(65536) + b'\r\n' for _ in range(70)),
    )
    for version in (b'HTTP/0.9', b'HTTP/3.0', b'HTCPCP/1.0', b''):
        yield f'version {version}', b'GET / ' + version + b'\r\nHost: localhost\r\n\r\n'
    for noise in (
        b'',
        b'\r\n\r\n',
        b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc',
        b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
        bytes(5000),
        b'GET',
        b'SSH-2.0-x\r\n',
    ):
        yield f'noise {noise[:10]}', noise
    for index in range(40):
        yield f'random {index}', np.random.default_rng(index).bytes(1 + 97 * index)
    for body in (
        b'',
        b'{',
        b'null',
        b'[{}]',
        b'[' * 5000,
        b'\xff\xfe',
        b'[NaN]',
        b'"' + 9999 * b'a' + b'"',
    ):
        yield f'JSON {body[:10]}', post(body, b'application/json', b'/api/coco')


@pytest.mark.slow
def test_two_hundred_requests_that_are_none(serve, scorer, dicom, tmp_path, monkeypatch):
    limits = uploads.UploadLimits(request_bytes=2**22, images=20, seconds=1)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    content = dicom.read_bytes()
    threads, files = threading.active_count(), len(os.listdir('/proc/self/fd'))
    requests = list(hostile_requests(content))
    assert len(requests) >= 200
    url = serve(app_module.create_app(scorer, limits, hosts_of('127.0.0.1')))
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda one: raw(url, one[1]), requests))
    wrong = []
    for (what, request), answer in zip(requests, answers):
        status = int(answer.split()[1]) if answer.startswith(b'HTTP/1.') else 0
        # of the paths those that a server may take for another of its own
        is_page = request.startswith(b'GET http://evil') or what.startswith("path b'/page.js/..'")
        # of a path of Windows its reader takes the last part, which is a name
        is_page |= what.startswith("name 'C:") and b'"image": "a"' in answer
        # what is no HTTP may be left without an answer
        is_http = not what.startswith(('noise', 'random', 'chunk', 'version', 'header', 'method'))
        # of another version the page is the same
        is_page |= what.startswith('version')
        if not (400 <= status < 500 or is_page or (not answer and not is_http)):
            wrong.append((what, answer[:60]))
        assert b'Traceback' not in answer and ROOT not in answer and b'root:' not in answer
        assert b'<script>alert' not in answer
    assert wrong == []
    assert list(tmp_path.iterdir()) == []
    answer = send(url, ('a.dcm', content))
    assert read_frames(answer.content)[0].result.scored
    assert threading.active_count() <= threads + 60
    assert len(os.listdir('/proc/self/fd')) <= files + 10


def test_a_body_that_says_no_length_is_counted(url):
    def pieces():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.dcm"\r\n\r\n'
        for _ in range(80):
            yield bytes(2**16)
        yield b'\r\n--x--\r\n'

    kind = {'content-type': 'multipart/form-data; boundary=x'}
    answer = httpx.post(f'{url}/api/images', content=pieces(), headers=kind, timeout=60)
    assert answer.status_code == 413


def test_nothing_that_was_sent_is_left(url, dicom, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    name = 'DOE_JANE_secret.dcm'
    files = len(os.listdir('/proc/self/fd'))
    # larger than what is held in memory while it arrives
    study = zipped({name: dicom.read_bytes(), 'DOE_x.png': bytes(2**20 + 7)}, zipfile.ZIP_STORED)
    assert len(read_frames(send(url, ('study.zip', study)).content)) == 2
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir('/proc/self/fd')) <= files + 5
    assert 'DOE' not in caplog.text + ''.join(capfd.readouterr())


def test_what_ends_a_library_is_the_error_of_one_image(url, scorer, dicom, monkeypatch):
    monkeypatch.setattr(scorer, '_score', lambda path, name: 1 / 0)
    first, second = read_frames(send(url, ('a.dcm', dicom.read_bytes()), ('b.png', png())).content)
    assert first.result.error == second.result.error == 'it cannot be scored'


def test_points_begin_where_they_are_asked_to(package, inferencer, dicom):
    scorer = scoring.PageScorer(package, inferencer, point='high')
    upload = uploads.Upload('a.dcm', dicom.read_bytes())
    result = scorer.score(upload).scored.result
    assert result.operating_point == dict(name='high', threshold=0.6)
    assert scorer.about()['chosen'] == 'high' and POINTS[1].name == 'high'
    with pytest.raises(ValueError, match='no operating point'):
        scoring.PageScorer(package, inferencer, point='other')
