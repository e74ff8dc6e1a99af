# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A real headless browser."""

import shutil
import subprocess
from pathlib import Path

import pytest

_FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--hide-scrollbars',
)


class Browser:
    """Opens pages that lie on disk.

    Args:
        program (str): Chromium.
        profile (Path): Folder that it may write to.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.command = [program, *_FLAGS, f'--user-data-dir={profile}']

    def dom(self, page: Path) -> str:
        """The page as the browser has understood it."""
        return self._run('--dump-dom', page.as_uri())

    def screenshot(self, page: Path, out: Path, width: int = 1280, height: int = 2400) -> Path:
        """A picture of the page."""
        self._run(f'--window-size={width},{height}', f'--screenshot={out}', page.as_uri())
        return out

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.command, *arguments], capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout


def open_browser(profile: Path) -> Browser:
    """A browser; the test is skipped where there is none."""
    for name in ('chromium', 'chromium-browser', 'google-chrome'):
        program = shutil.which(name)
        if program:
            return Browser(program, profile)
    pytest.skip('no chromium: apt-get install chromium')
