# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""What stands before the page: refuses what is no request of it, tells browsers what to allow."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from mmfrac.deployment.page.uploads import UploadLimits

_log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADERS = {
    'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; form-action 'none'; frame-ancestors 'none'; "
    "base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': 'camera=(), microphone=(), geolocation=()',
    # nothing is kept, by browsers neither
    'cache-control': 'no-store',
}
_METHODS = ('GET', 'HEAD', 'POST')
_HEADERS = 100
# bytes of a request that is refused, and seconds that it has
_DRAINED, _DRAIN_SECONDS = 2**24, 5.0
_LOCAL = ('localhost', '127.0.0.1', '::1')


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text


class Guard:
    """ASGI application around another.

    Args:
        app (Callable): The other.
        limits (UploadLimits): What is taken.
        hosts (Sequence[str]): Names under which it is asked; none: all. A page elsewhere could else have
            its own name lead here.
    """

    def __init__(self, app: Any, limits: UploadLimits, hosts: Sequence[str]) -> None:
        self._app, self._limits = app, limits
        self._hosts = {host.lower() for host in hosts}
        self._sending = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope['type'] == 'lifespan':
            await self._app(scope, receive, send)
            return
        if scope['type'] != 'http':
            return
        answer = _Answer(send, self._limits.answer_seconds)
        is_post = scope['method'] == 'POST'
        try:
            self._check(scope)
            if is_post and self._sending >= self._limits.requests:
                raise _Refused(503, 'many are sending: try again in a while')
            self._sending += is_post
            try:
                await self._app(scope, self._limited(scope, receive, answer), answer)
            finally:
                self._sending -= is_post
        except _Refused as refused:
            answer.refusal = refused
        except asyncio.CancelledError:
            raise
        except Exception as error:  # of a library, on whatever was sent
            _log.error('a request ended with %s', type(error).__name__)
            answer.refusal = answer.refusal or _Refused(500, 'this cannot be answered')
        if answer.refusal is not None:
            if is_post:
                await self._drain(receive)
            await answer.refuse()

    def _check(self, scope: Message) -> None:
        headers = {key.lower(): value.decode('latin-1') for key, value in scope['headers']}
        if len(scope['headers']) > _HEADERS:
            raise _Refused(431, f'more than {_HEADERS} headers are refused')
        if scope['method'] not in _METHODS:
            raise _Refused(405, 'GET and POST are answered')
        if self._hosts and _name(headers.get(b'host', '')) not in self._hosts:
            raise _Refused(421, 'this page is not asked for under that name')
        if scope['method'] != 'POST':
            return
        origin = headers.get(b'origin')
        if headers.get(b'sec-fetch-site', 'same-origin') not in ('same-origin', 'none') or (
            origin is not None and origin.partition('//')[2] != headers.get(b'host')
        ):
            raise _Refused(403, 'a request of another page is refused')
        length = headers.get(b'content-length', '0')
        if not length.isdecimal() or int(length) > self._limits.request_bytes:
            raise _Refused(413, f'more than {self._limits.request_bytes} bytes are refused')

    async def _drain(self, receive: Receive) -> None:
        """Let the other side send a while: who is cut off in the middle reads no answer."""
        total, more = 0, True
        loop = asyncio.get_running_loop()
        end = loop.time() + _DRAIN_SECONDS
        try:
            while more and total < _DRAINED and loop.time() < end:
                message = await asyncio.wait_for(receive(), 1)
                total += len(message.get('body', b''))
                more = message.get('more_body', False)
        except asyncio.TimeoutError:
            pass

    def _limited(self, scope: Message, receive: Receive, answer: '_Answer') -> Receive:
        total, is_whole = 0, scope['method'] != 'POST'
        loop, limits = asyncio.get_running_loop(), self._limits
        end = loop.time() + limits.request_seconds

        async def limited() -> Message:
            nonlocal total, is_whole
            if is_whole:
                return await receive()
            try:
                # a byte now and then holds no place for ever
                left = min(limits.seconds, end - loop.time())
                message = await asyncio.wait_for(receive(), left)
            except asyncio.TimeoutError:
                answer.refusal = _Refused(408, 'the request did not go on')
                raise answer.refusal from None
            if message['type'] == 'http.request':
                total += len(message.get('body', b''))
                is_whole = not message.get('more_body', False)
            if total > limits.request_bytes:
                text = f'more than {limits.request_bytes} bytes are refused'
                answer.refusal = _Refused(413, text)
                raise answer.refusal
            return message

        return limited


class _Answer:
    """Sends what an application answers, with the headers of the page.

    Attributes:
        refusal (_Refused | None): Sent in the place of what the application makes of it.
    """

    def __init__(self, send: Send, seconds: float) -> None:
        self.refusal: _Refused | None = None
        self._send, self._seconds = send, seconds
        self._has_begun = False

    async def __call__(self, message: Message) -> None:
        if self.refusal is not None:
            return
        await self._hand_on(message)

    async def refuse(self) -> None:
        """Answer with an error, unless there is an answer; then it ends where it is."""
        if self._has_begun or self.refusal is None:
            return
        headers = [
            (b'content-type', b'text/plain; charset=utf-8'),
            # what else the other side sends is read by nobody
            (b'connection', b'close'),
        ]
        body = f'{self.refusal.text}\n'.encode()
        headers.append((b'content-length', str(len(body)).encode()))
        start = dict(type='http.response.start', status=self.refusal.status, headers=headers)
        await self._hand_on(start)
        await self._hand_on(dict(type='http.response.body', body=body))

    async def _hand_on(self, message: Message) -> None:
        if message['type'] == 'http.response.start':
            self._has_begun = True
            own = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
            names = {key for key, _ in own}
            others = [(key, value) for key, value in message['headers'] if key not in names]
            message = dict(message, headers=[*others, *own])
        # whoever reads nothing holds the place of another
        await asyncio.wait_for(self._send(message), self._seconds)


def _name(host: str) -> str:
    try:
        return urlsplit(f'//{host}').hostname or ''
    except ValueError:
        return ''


def hosts_of(address: str, names: Sequence[str] = ()) -> list[str]:
    """Names under which a server of an address is asked.

    Args:
        address (str): That it listens on; '0.0.0.0' and '::' are all of the machine.
        names (Sequence[str]): Further ones. Defaults to none.

    Returns:
        list[str]: None: all.
    """
    if address in ('0.0.0.0', '::') and not names:
        return []
    return [*_LOCAL, address, *names]
