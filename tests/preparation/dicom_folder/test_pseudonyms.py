# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import hashlib
import hmac
import stat

import pytest

from mmfrac.preparation.dicom_folder.pseudonyms import (
    KEY_VARIABLE,
    default_key_file,
    pseudonym,
    read_key,
)


def test_key_is_made_once_and_kept_from_others(tmp_path, monkeypatch):
    file = tmp_path / 'deep' / 'patient.key'
    key = read_key(file)
    assert len(key) == 64 and read_key(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'config'))
    assert default_key_file() == tmp_path / 'config' / 'mmfrac' / 'patient.key'
    assert read_key() != key and read_key() == read_key()
    monkeypatch.setenv(KEY_VARIABLE, str(file))
    assert read_key() == key


def test_unusable_keys(tmp_path):
    (tmp_path / 'short').write_text('abc\n')
    with pytest.raises(ValueError, match=r'shorter than 16 bytes.*--key-file'):
        read_key(tmp_path / 'short')
    with pytest.raises(ValueError, match=KEY_VARIABLE):
        read_key(tmp_path / 'short' / 'below')


def test_pseudonym_is_a_keyed_hash():
    expected = hmac.new(b'k' * 16, b'patient\0p17', hashlib.sha256).hexdigest()[:16]
    assert pseudonym(b'k' * 16, 'patient', 'p17') == expected
    names = {
        pseudonym(key, kind, text)
        for key in (b'k' * 16, b'l' * 16)
        for kind in ('patient', 'study')
        for text in ('p17', 'p18', '', 'Müller', '\udcff')
    }
    assert len(names) == 20
