# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Names that stand for patients, studies and films, and what would tell who they are."""

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from mmfrac.utils.io import write_private

KEY_VARIABLE = 'MMFRAC_PATIENT_KEY'
_KEY_BYTES = 32
_LENGTH = 16
_SHORTEST_NAME = 3
# What stands in PatientName where no name does, and words that are in many paths.
_NO_NAMES = frozenset(
    (
        *('anon', 'anonym', 'anonymous', 'anonymised', 'anonymized', 'deidentified', 'unknown'),
        *('patient', 'name', 'test', 'none', 'null', 'chest', 'thorax', 'film', 'image', 'images'),
        *('dicom', 'dcm', 'study', 'series', 'xray', 'male', 'female', 'the', 'del', 'van', 'von'),
        *('sample', 'samples', 'phantom', 'subject', 'case', 'png', 'cxr'),
    )
)


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
    if len(key) < _LENGTH:
        raise ValueError(f"the key in '{file}' is shorter than {_LENGTH} bytes: {how}")
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
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:_LENGTH]


def tells_identity(text: str, patient_name: str, patient_id: str, birth_date: str) -> bool:
    """Whether a text, e.g. a path, holds a part of the patient's name or the date of birth.

    Args:
        text (str): What would be copied.
        patient_name (str): PatientName, parts separated by ``^``, ``=``, blanks.
        patient_id (str): PatientID; equal to the name, as in de-identified sets, the name is none.
        birth_date (str): PatientBirthDate, YYYYMMDD.
    """
    plain = text.lower()
    if re.fullmatch(r'\d{8}', birth_date):
        year, month, day = birth_date[:4], birth_date[4:6], birth_date[6:]
        for order in ((year, month, day), (day, month, year), (month, day, year)):
            if re.search(rf'(?<!\d){"[-_.]?".join(order)}(?!\d)', plain):
                return True
    if patient_name.strip('^ ').lower() == patient_id.strip().lower():
        return False
    parts = set(re.findall(r'[^\W\d_]+', patient_name.lower())) - _NO_NAMES
    words = set(re.findall(r'[^\W\d_]+', plain))
    parts = {part for part in parts if len(part) >= _SHORTEST_NAME or not part.isascii()}
    return bool(parts & words)
