# Copyright (c) mmfrac contributors. Licensed under Apache-2.0.
"""A trained model at work: packaged, on an archive, as a DICOM node, in a browser.

It needs the extra ``deploy``; nothing that trains imports it.
"""
