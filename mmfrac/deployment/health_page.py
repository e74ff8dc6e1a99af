# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How a DICOM node is: ``/`` for people, ``/health`` for programs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>mmfrac node</title>
<meta http-equiv="refresh" content="10">
<style>body{{font-family:sans-serif;margin:2em}}th{{text-align:left;padding-right:2em}}</style></head>
<body><h1>mmfrac node: {state}</h1><p><strong>Research use only, not for diagnosis.</strong></p>
<table>{rows}</table></body></html>
"""


def health_app(health: Callable[[], dict[str, Any]]) -> Any:
    """The page.

    Args:
        health (Callable): What is shown, plain data with ``ok``.

    Returns:
        FastAPI: The application; ``/health`` has status 503 where ``ok`` is False.
    """
    try:
        from fastapi import FastAPI
        from fastapi.responses import HTMLResponse, JSONResponse
    except ImportError as error:
        raise ImportError(
            "the health page needs FastAPI: pip install '.[deploy]' in a checkout"
        ) from error

    app = FastAPI(title='mmfrac node', docs_url=None, redoc_url=None, openapi_url=None)

    @app.get('/health')
    def as_json() -> JSONResponse:
        facts = health()
        return JSONResponse(facts, 200 if facts['ok'] else 503)

    @app.get('/')
    def as_page() -> HTMLResponse:
        facts = health()
        state = 'at work' if facts['ok'] else 'NOT at work'
        rows = ''.join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(_text(value))}</td></tr>'
            for name, value in facts.items()
        )
        return HTMLResponse(_PAGE.format(state=state, rows=rows), 200 if facts['ok'] else 503)

    return app


@contextmanager
def serving(app: Any, host: str, port: int) -> Iterator[int]:
    """Serve an application from a thread.

    Args:
        app (FastAPI): The application.
        host (str): Address.
        port (int): 0: any that is free.

    Yields:
        int: The port.

    Raises:
        OSError: If the port is taken.
    """
    import socket

    import uvicorn

    listener = socket.create_server((host, port))
    config = uvicorn.Config(app, log_level='warning', access_log=False, limit_concurrency=32)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), name='health', daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{name}: {one}' for name, one in value.items()) or 'none'
    return str(value)
