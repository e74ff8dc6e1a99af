# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""How a DICOMweb server is addressed: passwords are no part of a URL, which results and logs quote."""

import os
from typing import Any
from urllib.parse import urlsplit


def check_url(url: str, variable: str) -> None:
    """Refuse the URL of a server that holds a user or a password.

    Args:
        url (str): The URL.
        variable (str): Environment variable that they belong into.

    Raises:
        ValueError: If it holds them, or is none; what it holds is not quoted.
    """
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url:
        raise ValueError('the URL of a DICOMweb server has no host: http://host:port/dicom-web')
    if '@' in parts.netloc:
        raise ValueError(
            'the URL of a DICOMweb server holds no user and password, which results and logs would '
            f'quote: set the environment variable {variable} to user:password'
        )


def login_session(variable: str) -> Any:
    """A session of requests with the ``user:password`` that an environment variable holds, if any.

    Args:
        variable (str): Its name.
    """
    from requests import Session

    session = Session()
    user, _, password = os.environ.get(variable, '').partition(':')
    if user:
        session.auth = (user, password)
    return session
