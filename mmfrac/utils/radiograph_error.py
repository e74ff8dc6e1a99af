# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""The one error of a film that cannot be read."""


class RadiographError(ValueError):
    """A film exists but cannot be turned into a plane.

    The message names the file, what is wrong with it (for DICOM also the transfer syntax) and how
    to mend it.
    """
