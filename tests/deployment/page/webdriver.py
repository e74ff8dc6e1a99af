# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A headless Chromium, driven over the WebDriver protocol."""

import base64
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

_ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'
_FLAGS = (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--hide-scrollbars',
    # nothing but the page: what else it asked for would be an error of the console
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
)
KEYS = dict(right='\ue014', left='\ue012', up='\ue013', down='\ue015', tab='\ue004', enter='\ue007')


class WebDriver:
    """One window of a browser; a context manager.

    Args:
        folder (Path): For its profile and for downloads.
    """

    def __init__(self, folder: Path) -> None:
        browser = shutil.which('chromium') or shutil.which('google-chrome')
        driver = shutil.which('chromedriver')
        if not browser or not driver:
            pytest.skip('no browser to drive: apt-get install chromium chromium-driver')
        self.downloads = folder / 'downloads'
        self.downloads.mkdir()
        self._process = subprocess.Popen(
            [driver, '--port=0'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        port = ''
        while not port:
            line = self._process.stdout.readline()
            assert line, 'chromedriver ended'
            if 'successfully on port' in line:
                port = line.rsplit('on port', 1)[1].strip(' .\n')
        self._client = httpx.Client(base_url=f'http://127.0.0.1:{port}', timeout=120)
        options = dict(
            args=[*_FLAGS, f'--user-data-dir={folder / "profile"}'],
            binary=browser,
            prefs={'download.default_directory': str(self.downloads)},
        )
        wanted = {'goog:chromeOptions': options, 'goog:loggingPrefs': dict(browser='ALL')}
        self._session = ''
        made = self._ask('POST', '/session', dict(capabilities=dict(alwaysMatch=wanted)))
        self._session = f'/session/{made["sessionId"]}'

    def __enter__(self) -> 'WebDriver':
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._ask('DELETE', '')
        finally:
            self._client.close()
            self._process.terminate()
            self._process.wait(20)

    def open(self, url: str, width: int = 1400, height: int = 1000) -> None:
        """Open a page in a window of a size."""
        self._ask('POST', '/window/rect', dict(width=width, height=height))
        self._ask('POST', '/url', dict(url=url))

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self._ask('POST', '/execute/sync', dict(script=script, args=list(arguments)))

    def wait(self, script: str, seconds: float = 60) -> Any:
        """What a script returns as soon as that is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(f'return {script}')):
            assert time.monotonic() < end, f'never true: {script}'
            time.sleep(0.05)
        return value

    def text(self, css: str) -> str:
        """Text of an element as it is shown."""
        return self._ask('GET', f'/element/{self._find(css)}/text')

    def click(self, css: str) -> None:
        """Click on an element."""
        self._ask('POST', f'/element/{self._find(css)}/click', {})

    def type(self, css: str, text: str) -> None:
        """Type into an element, or name files to one that takes files."""
        self._ask('POST', f'/element/{self._find(css)}/value', dict(text=text))

    def drag(self, css: str, x: int, y: int, shift: bool = False) -> None:
        """Drag from the middle of an element, px."""
        origin = {_ELEMENT: self._find(css)}
        moves = [
            dict(type='pointerMove', origin=origin, x=0, y=0, duration=0),
            dict(type='pointerDown', button=0),
            *(
                dict(type='pointerMove', origin='pointer', x=x // 4, y=y // 4, duration=20)
                for _ in range(4)
            ),
            dict(type='pointerUp', button=0),
        ]
        actions = [dict(type='pointer', id='mouse', actions=moves)]
        if shift:
            held = [dict(type='keyDown', value='\ue008'), *[dict(type='pause')] * 6]
            held.append(dict(type='keyUp', value='\ue008'))
            moves.append(dict(type='pause', duration=0))
            moves.insert(0, dict(type='pause', duration=0))
            actions.append(dict(type='key', id='keys', actions=held))
        self._ask('POST', '/actions', dict(actions=actions))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        pressed = [
            dict(type=kind, value=KEYS.get(key, key))
            for key in keys
            for kind in ('keyDown', 'keyUp')
        ]
        self._ask('POST', '/actions', dict(actions=[dict(type='key', id='keys', actions=pressed)]))

    def screenshot(self, path: Path) -> Path:
        """A picture of the window."""
        path.write_bytes(base64.b64decode(self._ask('GET', '/screenshot')))
        return path

    def console(self) -> list[str]:
        """Errors of the console since it was asked."""
        said = self._ask('POST', '/se/log', dict(type='browser'))
        return [one['message'] for one in said if one['level'] == 'SEVERE']

    def downloaded(self, name: str, seconds: float = 60) -> Path:
        """A file that was downloaded, as soon as it is whole."""
        end = time.monotonic() + seconds
        path = self.downloads / name
        while not path.exists() or list(self.downloads.glob('*.crdownload')):
            assert time.monotonic() < end, f'no download {name}: {list(self.downloads.iterdir())}'
            time.sleep(0.05)
        return path

    def _find(self, css: str) -> str:
        return self._ask('POST', '/element', dict(using='css selector', value=css))[_ELEMENT]

    def _ask(self, method: str, path: str, content: dict | None = None) -> Any:
        answer = self._client.request(method, self._session + path, json=content).json()['value']
        if isinstance(answer, dict) and 'error' in answer:
            raise AssertionError(f'{path}: {answer["message"]}')
        return answer
