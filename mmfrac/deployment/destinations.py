# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Where objects of findings are sent: a DICOM node (C-STORE) or a DICOMweb server (STOW-RS)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pydicom
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from mmfrac.deployment.dicomweb import check_url, login_session

try:
    from dicomweb_client import DICOMwebClient
    from pynetdicom import AE
    from requests import RequestException
except ImportError as error:
    raise ImportError(
        "a DICOM node needs pynetdicom and dicomweb-client: pip install '.[deploy]' in a checkout"
    ) from error

# user:password of a DICOMweb server; not an argument, which others on the machine can see
AUTH_VARIABLE = 'MMFRAC_STOW_AUTH'

_CLASSES = (
    SecondaryCaptureImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    SegmentationStorage,
)

_NODE = re.compile(
    r'(?P<title>[^@\\\s]{1,16})@(?P<host>[\w.\-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})'
)

_SECONDS = 30.0


class Destination(Protocol):
    """Takes objects.

    Attributes:
        name (str): Of where they go.
    """

    name: str

    def send(self, paths: Sequence[Path]) -> list[str]:
        """Send objects.

        Args:
            paths (Sequence[Path]): DICOM files.

        Returns:
            list[str]: One each: '' if it arrived, else why not, without text of others.
        """
        ...


class StoreDestination:
    """A DICOM node that takes C-STORE.

    Args:
        title (str): Its AE title.
        host (str): Its name or address.
        port (int): Its port.
        own_title (str): AE title of the sender. Defaults to 'MMFRAC'.
    """

    def __init__(self, title: str, host: str, port: int, own_title: str = 'MMFRAC') -> None:
        self.title, self.host, self.port = title, host, port
        self.name = f'{title}@{host}:{port}'
        self._ae = AE(own_title)
        for one in _CLASSES:
            self._ae.add_requested_context(one, [ExplicitVRLittleEndian])
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = _SECONDS
        self._ae.connection_timeout = _SECONDS

    def send(self, paths: Sequence[Path]) -> list[str]:
        """See ``Destination``."""
        association = self._ae.associate(self.host, self.port, ae_title=self.title)
        if not association.is_established:
            return [f'{self.name} takes no association'] * len(paths)
        try:
            return [self._send_one(association, path) for path in paths]
        finally:
            association.release()

    def _send_one(self, association: Any, path: Path) -> str:
        try:
            status = association.send_c_store(pydicom.dcmread(path))
        except Exception as error:  # of a file, too: the others are sent all the same
            return f'{self.name} does not take it ({type(error).__name__})'
        if 'Status' not in status:
            return f'{self.name} does not answer'
        # warnings: it is stored
        is_stored = status.Status == 0 or 0xB000 <= status.Status <= 0xBFFF
        return '' if is_stored else f'{self.name} answers 0x{status.Status:04X}'


class WebDestination:
    """A DICOMweb server that takes STOW-RS.

    The environment variable ``MMFRAC_STOW_AUTH`` may hold ``user:password``.

    Args:
        url (str): Its root, e.g. ``http://localhost:8042/dicom-web``.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self._client = DICOMwebClient(url, login_session(AUTH_VARIABLE))
        self._client.set_http_retry_params(retry=False)

    def send(self, paths: Sequence[Path]) -> list[str]:
        """See ``Destination``."""
        return [self._send_one(path) for path in paths]

    def _send_one(self, path: Path) -> str:
        try:
            answer = self._client.store_instances([pydicom.dcmread(path)])
        except RequestException as error:
            status = getattr(error.response, 'status_code', None)
            what = type(error).__name__ if status is None else f'status {status}'
            return f'{self.name} does not take it ({what})'
        except Exception as error:  # of a file, or of an answer that is none: the others are sent
            return f'{self.name} does not take it ({type(error).__name__})'
        if answer.get('FailedSOPSequence'):
            reason = answer.FailedSOPSequence[0].get('FailureReason', 0)
            return f'{self.name} answers 0x{reason:04X}'
        return ''


def destination_of(text: str, own_title: str = 'MMFRAC') -> Destination:
    """A destination by its name.

    Args:
        text (str): ``AE@host:port``, or the URL of a DICOMweb server.
        own_title (str): AE title of the sender. Defaults to 'MMFRAC'.

    Raises:
        ValueError: If it is neither.
    """
    if re.match(r'https?://[^/\s]', text):
        check_url(text, AUTH_VARIABLE)
        return WebDestination(text.rstrip('/'))
    found = _NODE.fullmatch(text)
    if found is None or not 0 < int(found['port']) < 65536:
        raise ValueError(
            f'{text!r} is no destination: it is AE_TITLE@host:port, or http://host:port/dicom-web (user '
            f'and password of that: environment variable {AUTH_VARIABLE})'
        )
    return StoreDestination(
        found['title'], found['host'].strip('[]'), int(found['port']), own_title
    )
