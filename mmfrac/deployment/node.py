# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A DICOM node: takes studies by C-STORE, scores them when they are complete, sends findings back.

Two threads beside those of the associations: one scores, one sends. All that they do goes through the
queue on disk, so that a killed node goes on where it was. Logs name images and studies by hashes of
their UIDs, and nothing else of a header.
"""

import logging
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.filebase import DicomBytesIO
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mmfrac.datasets.radiographs.dicom import values_unsaid
from mmfrac.deployment.destinations import Destination
from mmfrac.deployment.dicom_objects import KINDS, MadeObjects, make_objects
from mmfrac.deployment.dicom_objects.identity import MANUFACTURER, check_threshold
from mmfrac.deployment.dicom_objects.source import is_uid
from mmfrac.deployment.object_kinds import check_kinds
from mmfrac.deployment.results import Scored
from mmfrac.deployment.study_queue import (
    MOST_ATTEMPTS,
    FullError,
    StudyQueue,
    WaitingImage,
    hash_of,
)
from mmfrac.utils.text import PrintableFilter

LOGGER = logging.getLogger('mmfrac.node')
LOGGER.addFilter(PrintableFilter())

# What may be a radiograph: CR, DX, secondary captures. Objects of other classes are taken and dropped,
# so that an archive that sends a whole study has no error.
_IMAGE_CLASSES = (
    '1.2.840.10008.5.1.4.1.1.1',
    '1.2.840.10008.5.1.4.1.1.1.1',
    '1.2.840.10008.5.1.4.1.1.1.1.1',
    '1.2.840.10008.5.1.4.1.1.7',
)

_STORED, _NO_ROOM, _OTHER_INSTANCE, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000

# A PDU, whatever its header says of its length.
_MOST_PDU = 2**20

_NAMES = ('SOPClassUID', 'SOPInstanceUID', 'StudyInstanceUID', 'SeriesInstanceUID', 'Manufacturer')

# Seconds between looks at the queue.
_LOOK = 0.2


ScoreFiles = Callable[[Sequence[str]], Sequence[Scored]]


@dataclass(frozen=True)
class NodeOptions:
    """What a node accepts and does.

    Attributes:
        ae_title (str): Its own; callers must use it. Defaults to 'MMFRAC'.
        host (str): Address that it listens at. Defaults to '', all.
        port (int): Defaults to 11112; 0: any that is free.
        callers (tuple[str, ...]): AE titles that may send. Defaults to none: everybody's.
        quiet (float): Seconds without a new image after which a study is complete. Defaults to 30.
        most_bytes_an_image (int): Defaults to 2**28.
        most_bytes (int): Of the whole queue. Defaults to 2**35.
        least_free (int): Bytes left free on the disk. Defaults to 2**30.
        associations (int): At a time. Defaults to 10.
        timeout (float): Seconds of a peer that says nothing. Defaults to 60.
        kinds (tuple[str, ...]): Objects that are made. Defaults to all.
        threshold (float, optional): Of the findings, in (0, 1]. Defaults to None, that of the operating
            point.

    Raises:
        ValueError: If a kind is unknown, or the threshold is not in (0, 1].
    """

    ae_title: str = 'MMFRAC'
    host: str = ''
    port: int = 11112
    callers: tuple[str, ...] = ()
    quiet: float = 30.0
    most_bytes_an_image: int = 2**28
    most_bytes: int = 2**35
    least_free: int = 2**30
    associations: int = 10
    timeout: float = 60.0
    kinds: tuple[str, ...] = KINDS
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_kinds(self.kinds)


@dataclass
class _Counters:
    """Since the start."""

    received: int = 0
    duplicates: int = 0
    dropped: int = 0
    refused: int = 0
    errors: int = 0
    last_error: str = ''
    started: float = field(default_factory=time.time)


class DicomNode:
    """A DICOM node; a context manager.

    Args:
        folder (str or PathLike): Of its queue.
        scorer (Callable): Of paths; gives a ``Scored`` for each.
        destination (Destination): Where objects of findings go.
        options (NodeOptions, optional): Defaults to None, those of ``NodeOptions``.
        scored_by (Mapping[str, str], optional): What findings depend on, see ``StudyQueue``. Defaults to
            None, not asked.

    Attributes:
        port (int): That it listens at, once entered.
    """

    def __init__(
        self,
        folder: str | Path,
        scorer: ScoreFiles,
        destination: Destination,
        options: NodeOptions | None = None,
        scored_by: Mapping[str, str] | None = None,
    ) -> None:
        self.options = options or NodeOptions()
        self.scorer, self.destination = scorer, destination
        self.queue = StudyQueue(
            Path(folder), self.options.most_bytes, self.options.least_free, scored_by=scored_by
        )
        self.counters = _Counters()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.port = 0

    def __enter__(self) -> 'DicomNode':
        _silence_libraries()
        self.queue.__enter__()
        try:
            self._server = self._listen()
        except BaseException as error:
            self.queue.__exit__(None, None, None)
            if isinstance(error, OSError):
                raise OSError(
                    f'cannot listen at port {self.options.port}: {error.strerror or error}'
                ) from error
            raise
        self.port = self._server.socket.getsockname()[1]
        for name, work in (('score', self._score), ('send', self._send)):
            thread = threading.Thread(target=self._loop, args=(work,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        LOGGER.info('listening at port %d as %s', self.port, self.options.ae_title)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self.queue.__exit__(None, None, None)

    def health(self) -> dict[str, Any]:
        """What there is to know of the node, in plain data; no text of a header."""
        counters = self.counters
        alive = all(thread.is_alive() for thread in self._threads) and bool(self._threads)
        counts = self.queue.counts()
        not_taken = self.queue.not_taken()
        # findings that were given up are nobody's until a new start
        is_sending = not (not_taken or counts['objects'].get('failed'))
        return dict(
            ok=alive and is_sending and self.queue.bytes < self.options.most_bytes,
            use='research use only, not for diagnosis',
            ae_title=self.options.ae_title,
            port=self.port,
            destination=self.destination.name,
            uptime_s=round(time.time() - counters.started),
            queue_bytes=self.queue.bytes,
            **counts,
            not_taken=not_taken,
            received=counters.received,
            duplicates=counters.duplicates,
            dropped=counters.dropped,
            refused=counters.refused,
            errors=counters.errors,
            last_error=counters.last_error,
            not_scored=self.queue.reasons(),
        )

    # ---- taking ------------------------------------------------------------------------------------

    def _listen(self) -> Any:
        from pynetdicom import AE, AllStoragePresentationContexts, evt
        from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        options = self.options
        ae = AE(options.ae_title)
        ae.maximum_associations = options.associations
        ae.require_called_aet = True
        ae.require_calling_aet = list(options.callers)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = options.timeout
        # what it inflates to is not known before
        syntaxes = [one for one in ALL_TRANSFER_SYNTAXES if one != DeflatedExplicitVRLittleEndian]
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), syntaxes)
        ae.add_supported_context(Verification)
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._limit),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
        ]
        return ae.start_server((options.host, options.port), block=False, evt_handlers=handlers)

    def _limit(self, event: Any) -> None:
        """Have a connection end where a PDU or an image is larger than allowed, or its peer stalls."""
        socket = event.assoc.dul.socket
        socket.socket.settimeout(self.options.timeout)
        receive = socket.recv
        event.assoc.mmfrac_received = 0
        most = self.options.most_bytes_an_image + _MOST_PDU

        def receive_some(size: int) -> bytearray:
            event.assoc.mmfrac_received += size
            if size > _MOST_PDU or event.assoc.mmfrac_received > most:
                if socket.recv is receive_some:
                    self._refuse('more bytes than an image may have')
                socket.recv = receive_none
                raise OSError('more bytes than an image may have')
            return receive(size)

        def receive_none(size: int) -> bytearray:
            raise OSError('more bytes than an image may have')

        socket.recv = receive_some

    def _rejected(self, event: Any) -> None:
        self._refuse('an association whose AE titles are not allowed, or one too many')

    def _store(self, event: Any) -> int:
        """Take an object; the status of the answer."""
        try:
            event.assoc.mmfrac_received = 0
            return self._take(event)
        except FullError as error:
            self._refuse(str(error))
            return _NO_ROOM
        except (OSError, sqlite3.Error) as error:
            self._error(f'an image cannot be written: {type(error).__name__}')
            return _NO_ROOM
        except Exception as error:  # any bytes at all come here
            self._refuse(f'an object that is none ({type(error).__name__})')
            return _NOT_UNDERSTOOD

    def _take(self, event: Any) -> int:
        content = event.encoded_dataset()
        if len(content) > self.options.most_bytes_an_image:
            self._refuse('an object of more bytes than an image may have')
            return _NO_ROOM
        with values_unsaid():
            ds = pydicom.dcmread(
                DicomBytesIO(content), stop_before_pixels=True, specific_tags=list(_NAMES)
            )
            header = {name: str(ds.get(name) or '').strip() for name in _NAMES}
        if header['SOPInstanceUID'] != event.request.AffectedSOPInstanceUID:
            self._refuse('an object of another UID than announced')
            return _OTHER_INSTANCE
        if not all(is_uid(header[name]) for name in _NAMES[:4]):
            self._refuse('an object without UIDs')
            return _NOT_UNDERSTOOD
        # an archive may send on to us what it has from us
        is_own = header['Manufacturer'] == MANUFACTURER
        if header['SOPClassUID'] not in _IMAGE_CLASSES or is_own:
            self.counters.dropped += 1
            return _STORED
        is_new = self.queue.add(header['SOPInstanceUID'], header['StudyInstanceUID'], content)
        if is_new:
            self.counters.received += 1
        else:
            self.counters.duplicates += 1
        LOGGER.info(
            '%s image %.8s of study %.8s, %d bytes',
            'took' if is_new else 'has',
            hash_of(header['SOPInstanceUID']),
            hash_of(header['StudyInstanceUID']),
            len(content),
        )
        return _STORED

    def _refuse(self, reason: str) -> None:
        self.counters.refused += 1
        LOGGER.warning('refused %s', reason)

    # ---- scoring and sending -----------------------------------------------------------------------

    def _loop(self, work: Callable[[], bool]) -> None:
        while not self._stopped.is_set():
            try:
                is_busy = work()
            except Exception as error:  # whatever it is, the next study may do
                self._error(f'{work.__name__}: {type(error).__name__}')
                is_busy = False
                self._stopped.wait(1.0)
            if not is_busy:
                self._stopped.wait(_LOOK)

    def _error(self, what: str) -> None:
        self.counters.errors += 1
        self.counters.last_error = what
        LOGGER.error('%s', what)

    def _score(self) -> bool:
        """Score a study that is complete; False if there is none."""
        images = self.queue.complete_study(self.options.quiet)
        for image in images:
            if image.attempts >= MOST_ATTEMPTS:
                self.queue.finish(image, 'failed', 'it ended the process several times')
        images = [image for image in images if image.attempts < MOST_ATTEMPTS]
        if not images:
            self.queue.forget()
            return False
        # alone if they were tried before: one of them may end the process
        groups = [images] if not any(one.attempts for one in images) else [[i] for i in images]
        for group in groups:
            if self._stopped.is_set():
                break
            self.queue.begin(group)
            try:
                self._score_group(group)
            except (OSError, sqlite3.Error):
                # of the queue: a disk that is full for a while costs no image
                self.queue.take_back(group)
                raise
        LOGGER.info('study %.8s is done, %d images', images[0].study, len(images))
        return True

    def _score_group(self, images: list[WaitingImage]) -> None:
        try:
            scored = list(self.scorer([str(image.path) for image in images]))
            if len(scored) != len(images):
                raise RuntimeError(f'{len(scored)} results of {len(images)} images')
        except Exception as error:
            if len(images) > 1:
                for image in images:
                    self._score_group([image])
                return
            self._error(f'image {images[0].key:.8s}: {type(error).__name__}')
            self.queue.finish(images[0], 'failed', f'cannot be scored ({type(error).__name__})')
            return
        for image, one in zip(images, scored):
            self._finish(image, one)

    def _finish(self, image: WaitingImage, scored: Scored) -> None:
        result = scored.result
        if not result.scored:
            self.queue.finish(image, 'left out', result.reason)
            LOGGER.info('image %.8s is not scored: %s', image.key, result.reason)
            return
        try:
            made = make_objects(
                result,
                image.path,
                scored.prob_map,
                self.options.kinds,
                self.options.threshold,
                max_per_img=scored.max_per_img,
            )
        except Exception as error:
            self._error(f'objects of image {image.key:.8s}: {type(error).__name__}')
            self.queue.finish(image, 'failed', f'no objects ({type(error).__name__})')
            return
        self.queue.finish(image, 'scored', objects=made.objects)
        LOGGER.info('image %.8s: %s', image.key, _said_of(made))

    def _send(self) -> bool:
        """Send what is due; False if nothing is."""
        objects = self.queue.due_objects()
        if not objects:
            return False
        for one, fault in zip(objects, self.destination.send([one.path for one in objects])):
            if fault:
                self._error(f'object not sent: {fault}')
                self.queue.not_sent(one, fault)
            else:
                self.queue.sent(one)
        return True


def _said_of(made: MadeObjects) -> str:
    kinds = ', '.join(one.kind for one in made.objects)
    left_out = ''.join(f'; no {kind}: {reason}' for kind, reason in made.left_out.items())
    return f'made {kinds}{left_out}'


def _silence_libraries() -> None:
    """Have no library write text of a header to the log."""
    from pynetdicom import _config

    _config.LOG_HANDLER_LEVEL = 'none'
    # threads that silence them for a while restore what was there before
    warnings.simplefilter('ignore')
    for name in ('pynetdicom', 'pydicom', 'highdicom', 'dicomweb_client', 'retrying', 'urllib3'):
        logging.getLogger(name).propagate = False
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
