# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import pytest

from mmfrac.preparation.dicom_folder.identity_check import tells_identity


@pytest.mark.parametrize(
    ('text', 'name', 'birth', 'tells'),
    [
        ('doe/1.dcm', 'Doe^John', '', True),
        ('a/JOHN_1.dcm', 'Doe^John', '', True),
        ('a/doering_1.dcm', 'Doe^John', '', False),
        ('films/19500102/1.dcm', '', '19500102', True),
        ('films/1950-01-02.dcm', '', '19500102', True),
        ('02.01.1950.dcm', '', '19500102', True),
        ('1.2.119500102.dcm', '', '19500102', False),
        ('films/1.dcm', 'Doe^John', '19500102', False),
        ('müller/1.dcm', 'Müller^Ä', '', True),
        ('王/1.dcm', 'Wang^XiaoDong=王^小东', '', True),
        ('patient/chest/1.dcm', 'Patient^Chest', '', False),
        ('anonymous/1.dcm', 'Anonymous', '', False),
        ('p17/1.dcm', 'p17', '', False),
        ('li/1.dcm', 'Li^A', '', False),
    ],
)
def test_what_tells_identity(text, name, birth, tells):
    assert tells_identity(text, name, 'p17', birth) is tells


def test_a_name_that_is_the_id_is_none():
    assert not tells_identity('case_alpha/1.dcm', 'ALPHA', 'alpha', '')
    assert tells_identity('case_alpha/1.dcm', 'ALPHA', 'p17', '')
