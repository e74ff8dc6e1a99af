# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The page and what it asks for."""

import asyncio
import json
import logging
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from mmfrac.deployment.annotation import coco_of_found
from mmfrac.deployment.memory_file import memory_file
from mmfrac.deployment.object_kinds import OBJECT_KINDS
from mmfrac.deployment.package import RESEARCH_ONLY
from mmfrac.deployment.page.guard import Guard
from mmfrac.deployment.page.scoring import PageScorer, ShownImage, frame
from mmfrac.deployment.page.uploads import (
    Upload,
    UploadError,
    UploadLimits,
    checked_name,
    images_of,
)
from mmfrac.deployment.results import ResultLine

try:
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
    from starlette.datastructures import FormData, UploadFile
except ImportError as error:
    raise ImportError("the page needs FastAPI: pip install '.[deploy]' in a checkout") from error

_log = logging.getLogger(__name__)
_STATIC = Path(__file__).with_name('static')
_FILES = {
    '/': ('index.html', 'text/html; charset=utf-8'),
    '/page.js': ('page.js', 'text/javascript; charset=utf-8'),
    '/page.css': ('page.css', 'text/css; charset=utf-8'),
}
# of a JSON that asks for a COCO file
_LARGEST_JSON = 2**26
_PIECE = 2**20


def create_app(
    scorer: PageScorer, limits: UploadLimits | None = None, hosts: Sequence[str] = ()
) -> Guard:
    """The page as an ASGI application.

    Args:
        scorer (PageScorer): The model.
        limits (UploadLimits, optional): What is taken. Defaults to None, those of ``UploadLimits``.
        hosts (Sequence[str]): Names under which it is asked. Defaults to none, all.

    Returns:
        Guard: For uvicorn or any other server.
    """
    limits = limits or UploadLimits()
    # one image at a time: they take turns, whoever sent them
    pool = ThreadPoolExecutor(1, 'scoring')

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        pool.shutdown(cancel_futures=True)

    # without its own pages, which load from elsewhere
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    async def in_turn(function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    _add_files(app)

    @app.get('/health')
    async def health() -> dict[str, str]:
        return dict(status='ok', model=scorer.package.name, sha256=scorer.package.sha256)

    @app.get('/api/model')
    async def model() -> JSONResponse:
        taken = dict(request_bytes=limits.request_bytes, images=limits.images)
        return JSONResponse(dict(scorer.about(), taken=taken, kinds=list(OBJECT_KINDS)))

    @app.post('/api/images')
    async def images(request: Request) -> StreamingResponse:
        form, files = await _files(request, limits)

        async def frames() -> AsyncIterator[bytes]:
            try:
                uploads = _uploads(files, limits)
                while content := await in_turn(_next_frame, scorer, uploads):
                    yield content
            finally:
                await form.close()

        return StreamingResponse(frames(), media_type='application/octet-stream')

    @app.post('/api/objects')
    async def objects(
        request: Request,
        threshold: float,
        kinds: str = ','.join(OBJECT_KINDS),
        member: int | None = None,
    ) -> StreamingResponse:
        wanted = kinds.split(',')
        if not 0 < threshold <= 1 or not set(wanted) <= set(OBJECT_KINDS) or (member or 0) < 0:
            raise HTTPException(
                400, f'a threshold in (0, 1] and kinds of {OBJECT_KINDS} are wanted'
            )
        # of a ZIP file all, or the one that is shown
        form, files = await _files(request, limits)
        uploads = _uploads(files, limits)
        if member is not None:
            uploads = islice(uploads, member, member + 1)
        packed = _PackedObjects(scorer, uploads, threshold, wanted)
        try:
            # image by image: others have their turns between them
            while await in_turn(packed.add):
                pass
            archive = await in_turn(packed.end)
        except BaseException:
            packed.close()
            raise
        finally:
            await form.close()
        return StreamingResponse(
            _pieces(archive),
            media_type='application/zip',
            headers={'content-disposition': 'attachment; filename="findings.zip"'},
        )

    @app.post('/api/coco')
    async def coco(request: Request) -> Response:
        content = await _json(request)
        try:
            # beside the loop that all others are answered in
            found = await asyncio.to_thread(_coco, content, scorer.package.classes[0])
        except (ValueError, TypeError, RecursionError) as error:
            raise HTTPException(400, 'these are no results') from error
        return Response(found, media_type='application/json')

    return Guard(app, limits, hosts)


def _add_files(app: FastAPI) -> None:
    """Answer with the files that the page consists of."""

    def add(path: str, name: str, media_type: str) -> None:
        @app.get(path)
        async def file() -> FileResponse:
            return FileResponse(_STATIC / name, media_type=media_type)

    for path, (name, media_type) in _FILES.items():
        add(path, name, media_type)

    @app.get('/favicon.ico', status_code=204)
    async def icon() -> Response:
        return Response(status_code=204)


async def _files(request: Request, limits: UploadLimits) -> tuple[FormData, list[UploadFile]]:
    """What was sent, with the form that has to be closed."""
    kind = request.headers.get('content-type', '')
    if not kind.startswith('multipart/form-data'):
        raise HTTPException(415, 'files are sent as multipart/form-data')
    form = await request.form(max_files=limits.images, max_fields=1, max_part_size=1024)
    files = form.getlist('files')
    try:
        if not files or len(files) != len(form.multi_items()):
            raise UploadError('files are sent in fields named "files", and nothing else')
        for file in files:
            if not isinstance(file, UploadFile):
                raise UploadError('a file without a name is refused')
            checked_name(file.filename)
    except UploadError as error:
        await form.close()
        raise HTTPException(400, str(error)) from error
    return form, files  # type: ignore[return-value]


async def _json(request: Request) -> bytes:
    """The JSON of a request, up to the size that is taken."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > _LARGEST_JSON:
            raise HTTPException(413, f'more than {_LARGEST_JSON} bytes are refused')
    return bytes(content)


def _pieces(archive: IO[bytes]) -> Iterator[bytes]:
    """A file piece by piece; it is closed in the end."""
    with archive:
        while piece := archive.read(_PIECE):
            yield piece


def _uploads(files: Sequence[UploadFile], limits: UploadLimits) -> Iterator[Upload]:
    number = 0
    for file in files:
        for upload in images_of(file.file, str(file.filename), limits):
            number += 1
            if number > limits.images:
                text = f'more than {limits.images} images of one request are refused'
                yield Upload(upload.name, b'', text)
                return
            yield upload


def _next_frame(scorer: PageScorer, uploads: Iterator[Upload]) -> bytes:
    """The next image, scored; nothing at the end."""
    upload = next(uploads, None)
    return b'' if upload is None else frame(_shown(scorer, upload), scorer.thresholds)


def _shown(scorer: PageScorer, upload: Upload) -> ShownImage:
    try:
        return scorer.score(upload)
    except Exception as error:  # of a library, on whatever was sent
        _log.error('an image ended with %s', type(error).__name__)
        return scorer.score(Upload(upload.name, b'', 'it cannot be scored'))


def _coco(content: bytes, category: str) -> bytes:
    """COCO JSON of a JSON list of results."""
    found = json.loads(content)
    if not isinstance(found, list):
        raise ValueError('a list of results is wanted')
    results = [ResultLine.from_json(record) for record in found]
    records = [
        dict(
            picture=result.image,
            width=result.width,
            height=result.height,
            boxes=result.boxes,
            scores=result.scores,
        )
        for result in results
        if result.scored
    ]
    coco = dict(info=dict(description=RESEARCH_ONLY), **coco_of_found(records, category))
    return json.dumps(coco, allow_nan=False).encode()


class _PackedObjects:
    """ZIP file of the DICOM objects of images, one image at a time.

    Args:
        scorer (PageScorer): The model.
        uploads (Iterator[Upload]): Images.
        threshold (float): Of the findings.
        kinds (Sequence[str]): Of ``OBJECT_KINDS``.
    """

    def __init__(
        self,
        scorer: PageScorer,
        uploads: Iterator[Upload],
        threshold: float,
        kinds: Sequence[str],
    ) -> None:
        self._scorer, self._uploads = scorer, uploads
        self._threshold, self._kinds = threshold, kinds
        self._file = tempfile.SpooledTemporaryFile(2**24)  # noqa: SIM115 closed when it was sent
        self._packed = zipfile.ZipFile(self._file, 'w', zipfile.ZIP_DEFLATED)
        self._names: set[str] = set()
        self._left_out: list[dict[str, str]] = []

    def add(self) -> bool:
        """Add the objects of the next image; False if there is none."""
        from mmfrac.deployment.dicom_objects.make import make_objects

        upload = next(self._uploads, None)
        if upload is None:
            return False
        scored = _shown(self._scorer, upload).scored
        result = scored.at(self._threshold)
        if not result.scored:
            self._left_out.append(dict(image=upload.name, reason=result.error or result.reason))
            return True
        with memory_file(upload.content) as path:
            try:
                made = make_objects(
                    result,
                    path,
                    scored.prob_map,
                    self._kinds,
                    self._threshold,
                    max_per_img=scored.max_per_img,
                )
            except (OSError, ValueError) as error:
                text = str(error).replace(path, upload.name)
                self._left_out.append(dict(image=upload.name, reason=text))
                return True
        for one in made.objects:
            # an image that was sent twice has one of each kind
            if one.file_name not in self._names:
                self._names.add(one.file_name)
                self._packed.writestr(one.file_name, one.content)
        for kind, reason in made.left_out.items():
            self._left_out.append(dict(image=upload.name, kind=kind, reason=reason))
        return True

    def end(self) -> Any:
        """The file, whole and at its start."""
        self._packed.writestr('left_out.json', json.dumps(self._left_out, indent=1))
        self._packed.close()
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Let go of the file: nobody waits for it."""
        self._file.close()
