# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Whether a text would tell who a patient is."""

import re

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
