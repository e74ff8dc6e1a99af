# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application on a port of its own for the time of the block; its URL."""
    import uvicorn

    listener = socket.create_server(('127.0.0.1', 0))
    settings = uvicorn.Config(app, log_level='critical', h11_max_incomplete_event_size=2**16)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f'http://127.0.0.1:{listener.getsockname()[1]}'
    finally:
        server.should_exit = True
        thread.join(20)
