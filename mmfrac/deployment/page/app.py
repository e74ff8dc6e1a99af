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
from typing import Any

from mmfrac.deployment.annotation import coco_of_found
from mmfrac.deployment.package import RESEARCH_ONLY
from mmfrac.deployment.page.guard import Guard
from mmfrac.deployment.page.scoring import PageScorer, ShownImage, frame
from mmfrac.deployment.page.uploads import (
    Upload,
    UploadError,
    UploadLimits,
    checked_name,
    file_of,
    images_of,
)
from mmfrac.deployment.results import ImageResult

try:
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
    from starlette.datastructures import FormData, UploadFile
except ImportError as error:
    raise ImportError('the page needs FastAPI: pip install mmfrac[deploy]') from error

_log = logging.getLogger(__name__)
_STATIC = Path(__file__).with_name('static')
_FILES = {
    '/': ('index.html', 'text/html; charset=utf-8'),
    '/page.js': ('page.js', 'text/javascript; charset=utf-8'),
    '/page.css': ('page.css', 'text/css; charset=utf-8'),
}
KINDS = ('sc', 'gsps', 'sr', 'seg')
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

    def add_file(path: str, name: str, media_type: str) -> None:
        @app.get(path)
        async def file() -> FileResponse:
            return FileResponse(_STATIC / name, media_type=media_type)

    for path, (name, media_type) in _FILES.items():
        add_file(path, name, media_type)

    @app.get('/favicon.ico', status_code=204)
    async def icon() -> Response:
        return Response(status_code=204)

    @app.get('/health')
    async def health() -> dict[str, str]:
        return dict(status='ok', model=scorer.package.name, sha256=scorer.package.sha256)

    @app.get('/api/model')
    async def model() -> JSONResponse:
        taken = dict(request_bytes=limits.request_bytes, images=limits.images)
        return JSONResponse(dict(scorer.about(), taken=taken, kinds=list(KINDS)))

    @app.post('/api/images')
    async def images(request: Request) -> StreamingResponse:
        form, files = await _files(request, limits)

        async def frames() -> AsyncIterator[bytes]:
            try:
                uploads = islice(_uploads(files, limits), limits.images)
                while content := await in_turn(_next_frame, scorer, uploads):
                    yield content
            finally:
                await form.close()

        return StreamingResponse(frames(), media_type='application/octet-stream')

    @app.post('/api/objects')
    async def objects(
        request: Request,
        threshold: float,
        kinds: str = ','.join(KINDS),
        member: int | None = None,
    ) -> StreamingResponse:
        wanted = kinds.split(',')
        if not 0 < threshold <= 1 or not set(wanted) <= set(KINDS) or (member or 0) < 0:
            raise HTTPException(400, f'a threshold in (0, 1] and kinds of {KINDS} are wanted')
        # of a ZIP file all, or the one that is shown
        chosen = slice(limits.images) if member is None else slice(member, member + 1)
        form, files = await _files(request, limits)
        try:
            archive = await in_turn(
                _objects, scorer, _uploads(files, limits), chosen, threshold, wanted
            )
        finally:
            await form.close()

        def pieces() -> Iterator[bytes]:
            with archive:
                while piece := archive.read(_PIECE):
                    yield piece

        return StreamingResponse(
            pieces(),
            media_type='application/zip',
            headers={'content-disposition': 'attachment; filename="findings.zip"'},
        )

    @app.post('/api/coco')
    async def coco(request: Request) -> JSONResponse:
        content = await request.body()
        if len(content) > _LARGEST_JSON:
            raise HTTPException(413, f'more than {_LARGEST_JSON} bytes are refused')
        try:
            records = json.loads(content)
            if not isinstance(records, list):
                raise ValueError('a list of results is wanted')
            results = [ImageResult.from_json(record) for record in records]
        except (ValueError, TypeError, RecursionError) as error:
            raise HTTPException(400, 'these are no results') from error
        return JSONResponse(_coco(results, scorer.package.classes[0]))

    return Guard(app, limits, hosts)


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


def _uploads(files: Sequence[UploadFile], limits: UploadLimits) -> Iterator[Upload]:
    for file in files:
        yield from images_of(file.file, str(file.filename), limits)


def _next_frame(scorer: PageScorer, uploads: Iterator[Upload]) -> bytes:
    """The next image, scored; nothing at the end."""
    upload = next(uploads, None)
    return b'' if upload is None else frame(_scored(scorer, upload), scorer.thresholds)


def _scored(scorer: PageScorer, upload: Upload) -> ShownImage:
    try:
        return scorer.score(upload)
    except Exception as error:  # of a library, on whatever was sent
        _log.error('an image ended with %s', type(error).__name__)
        return scorer.score(Upload(upload.name, b'', 'it cannot be scored'))


def _coco(results: Sequence[ImageResult], category: str) -> dict[str, Any]:
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
    return dict(info=dict(description=RESEARCH_ONLY), **coco_of_found(records, category))


def _objects(
    scorer: PageScorer,
    uploads: Iterator[Upload],
    chosen: slice,
    threshold: float,
    kinds: Sequence[str],
) -> Any:
    """ZIP file of DICOM objects of all images."""
    from mmfrac.deployment.dicom_objects.make import make_objects

    archive = tempfile.SpooledTemporaryFile(2**24)  # noqa: SIM115 closed when it was sent
    left_out: list[dict[str, str]] = []
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_DEFLATED) as packed:
        for upload in islice(uploads, chosen.start, chosen.stop):
            scored = _scored(scorer, upload)
            result = scored.at(threshold)
            if not result.scored:
                left_out.append(dict(image=upload.name, reason=result.error or result.reason))
                continue
            with file_of(upload.content) as path:
                try:
                    made = make_objects(result, path, scored.prob_map, kinds, threshold)
                except (OSError, ValueError) as error:
                    text = str(error).replace(path, upload.name)
                    left_out.append(dict(image=upload.name, reason=text))
                    continue
            for one in made.objects:
                packed.writestr(one.file_name, one.content)
            for kind, reason in made.left_out.items():
                left_out.append(dict(image=upload.name, kind=kind, reason=reason))
        packed.writestr('left_out.json', json.dumps(left_out, indent=1))
    archive.seek(0)
    return archive
