# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import httpx

from mmfrac.deployment.health_page import health_app, serving


def test_health_for_people_and_programs():
    facts = dict(ok=True, use='research use only', images=dict(scored=2), last_error='<b>x</b>')
    with (
        serving(health_app(lambda: facts), '127.0.0.1', 0) as port,
        httpx.Client(base_url=f'http://127.0.0.1:{port}') as client,
    ):
        assert client.get('/health').json() == facts
        page = client.get('/')
        assert page.status_code == 200 and 'Research use only' in page.text
        assert '&lt;b&gt;x' in page.text and '<b>' not in page.text and 'scored: 2' in page.text
        facts['ok'] = False
        assert client.get('/health').status_code == 503
        assert 'NOT at work' in client.get('/').text
        assert client.get('/docs').status_code == 404
        assert client.post('/health').status_code == 405
