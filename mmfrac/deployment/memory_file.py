# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""Images that somebody sent or packed as files for their readers, without a trace on the disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(content: bytes) -> Iterator[str]:
    """A file with an image, for the time of the block.

    On Linux it lies in memory, under no name: a process that is killed leaves nothing of a patient.

    Args:
        content (bytes): The image.

    Yields:
        str: Its path.
    """
    if hasattr(os, 'memfd_create') and os.path.isdir('/proc/self/fd'):
        descriptor = os.memfd_create('image')
        with open(descriptor, 'r+b') as file:
            file.write(content)
            file.flush()
            yield f'/proc/self/fd/{descriptor}'
        return
    with tempfile.TemporaryDirectory(prefix='mmfrac_') as folder:
        path = os.path.join(folder, 'image')
        with open(path, 'wb') as file:
            file.write(content)
        yield path
