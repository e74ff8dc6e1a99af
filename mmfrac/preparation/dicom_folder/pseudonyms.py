# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Names that stand for patients, studies and films."""

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from mmfrac.utils.io import write_private

KEY_VARIABLE = 'MMFRAC_PATIENT_KEY'
_KEY_BYTES = 32
LENGTH = 16


def default_key_file() -> Path:
    """Where the key of this user lies unless another file is named."""
    if os.environ.get(KEY_VARIABLE):
        return Path(os.environ[KEY_VARIABLE])
    base = os.environ.get('XDG_CONFIG_HOME') or os.path.join(os.path.expanduser('~'), '.config')
    return Path(base) / 'mmfrac' / 'patient.key'


def read_key(path: str | os.PathLike | None = None) -> bytes:
    """The secret key of the pseudonyms; made at the first use, readable by its user alone.

    Args:
        path (str or os.PathLike, optional): Its file. Defaults to :func:`default_key_file`.

    Returns:
        bytes: The key.

    Raises:
        ValueError: If it is shorter than 16 bytes, or cannot be read or made.
    """
    file = Path(path) if path is not None else default_key_file()
    how = f'name another file (--key-file, or the variable {KEY_VARIABLE})'
    try:
        if not file.exists():
            # another conversion may make it at the same time
            with contextlib.suppress(FileExistsError):
                write_private(file, secrets.token_hex(_KEY_BYTES) + '\n')
        key = file.read_bytes().strip()
    except OSError as error:
        raise ValueError(f"no key of patient pseudonyms in '{file}' ({error}): {how}") from error
    if len(key) < LENGTH:
        raise ValueError(f"the key in '{file}' is shorter than {LENGTH} bytes: {how}")
    return key


def pseudonym(key: bytes, kind: str, text: str) -> str:
    """A name that tells nothing without the key: HMAC-SHA256, 64 bits of it.

    Args:
        key (bytes): Of :func:`read_key`.
        kind (str): 'patient', 'study', 'film'; equal texts of other kinds have other names.
        text (str): What it stands for.

    Returns:
        str: 16 hexadecimal digits, always the same for the same key.
    """
    message = f'{kind}\0{text}'.encode('utf-8', 'surrogatepass')
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:LENGTH]
