# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
import io
import struct
import tracemalloc
import zipfile

import pytest

from mmfrac.deployment import archive_inputs
from mmfrac.deployment.archive_inputs import file_of
from mmfrac.deployment.page.uploads import UploadLimits, images_of
from mmfrac.deployment.zip_members import directory_bytes, read_member
from mmfrac.utils.errors import RadiographError

MEBIBYTE = 2**20


def packed(content, method=zipfile.ZIP_DEFLATED, said=None):
    """A ZIP file of one member, which says another size of itself."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', method) as archive:
        archive.writestr('a', content)
    raw = bytearray(file.getvalue())
    if said is not None:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            directory = archive.start_dir
        struct.pack_into('<L', raw, 22, said)
        struct.pack_into('<L', raw, directory + 24, said)
    return bytes(raw)


@pytest.fixture
def peak():
    """Most MiB that were held at a time so far."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1] / MEBIBYTE
    tracemalloc.stop()


def member(raw):
    archive = zipfile.ZipFile(io.BytesIO(raw))
    return archive, archive.infolist()[0]


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize('content', [b'', b'abc', bytes(3 * MEBIBYTE), bytes(range(256)) * 999])
def test_a_member_comes_as_it_was_packed(content, method):
    assert read_member(*member(packed(content, method))) == content


@pytest.mark.parametrize('said', [1, 1000, 2**31])
def test_one_of_another_size_than_it_says_is_damaged(said):
    with pytest.raises(zipfile.BadZipFile):
        read_member(*member(packed(bytes(MEBIBYTE), said=said)))


@pytest.mark.parametrize('method', [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_one_that_says_less_than_it_inflates_to_takes_no_memory(method, tmp_path, peak):
    raw = packed(bytes(64 * MEBIBYTE), method, said=5)
    tracemalloc.reset_peak()
    (upload,) = images_of(io.BytesIO(raw), 'a.zip', UploadLimits())
    assert upload.refusal and not upload.content
    path = tmp_path / 'a.zip'
    path.write_bytes(raw)
    archive_inputs._archive.cache_clear()
    with (
        pytest.raises(RadiographError, match='cannot read film'),
        file_of(dict(image='a', zip=str(path), member='a')),
    ):
        pass
    archive_inputs._archive.cache_clear()
    assert peak() < 8


@pytest.mark.slow
def test_a_directory_of_many_files_is_not_read(peak):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for number in range(60000):
            archive.writestr(f'{number:030d}', b'')
    assert directory_bytes(file) == 60000 * (46 + 30) and directory_bytes(io.BytesIO(b'')) == 0
    file.seek(0)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0] / MEBIBYTE
    (upload,) = images_of(file, 'a.zip', UploadLimits())
    assert 'directory' in upload.refusal and peak() - before < 4
